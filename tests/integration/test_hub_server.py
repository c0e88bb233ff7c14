"""The stand-in of the Hub, asked by the real client libraries."""

import json

import pytest


def test_client_when_it_uploads_and_downloads_a_folder(hub, shell, tmp_path):
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\ntags: [speech]\n---\n# Title\n")
    (folder / "inner" / "small.txt").write_text("small")
    (folder / "empty.txt").write_text("")
    (folder / "large.bin").write_bytes(bytes(range(256)) * 8192)
    code = """
        import filecmp, json, os, sys
        from huggingface_hub import HfApi, snapshot_download

        api, folder = HfApi(), sys.argv[1]
        name = f"{api.whoami()['name']}/first"
        url = api.create_repo(name)
        assert api.create_repo(name, exist_ok=True) == url, url
        commit = api.upload_folder(repo_id=name, folder_path=folder)
        assert commit.repo_url.repo_id == name
        again = api.upload_folder(repo_id=name, folder_path=folder)
        assert again.oid == commit.oid, "an unchanged folder must make no commit"

        info = api.model_info(name, files_metadata=True)
        files = {file.rfilename: file for file in info.siblings}
        assert info.sha == commit.oid and info.card_data.license == "apache-2.0"
        assert "speech" in info.tags and info.author == "newcomer" and not info.private
        assert files["large.bin"].lfs.size == files["large.bin"].size == 1 << 21
        assert files["inner/small.txt"].lfs is None and files["inner/small.txt"].size == 5

        pulled = snapshot_download(name)
        names = ["README.md", "inner/small.txt", "empty.txt", "large.bin"]
        assert filecmp.cmpfiles(folder, pulled, names, shallow=False)[0] == names
        tree = [(type(x).__name__, x.path) for x in api.list_repo_tree(name, recursive=True)]
        top = [x.path for x in api.list_repo_tree(name)]
        inner = [x.path for x in api.list_repo_tree(name, "inner")]
        api.delete_file("empty.txt", name)
        api.create_branch(name, branch="side/way")
        api.create_tag(name, tag="v1")
        api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=name, revision="side/way")
        refs = api.list_repo_refs(name)
        print(json.dumps({
            "tree": tree, "top": top, "inner": inner,
            "main": api.list_repo_files(name),
            "side": api.list_repo_files(name, revision="side/way"),
            "refs": [ref.name for ref in refs.branches + refs.tags],
            "commits": [commit.title for commit in api.list_repo_commits(name)],
            "models": [model.id for model in api.list_models(author="newcomer")],
        }))
        api.delete_repo(name)
        assert not api.repo_exists(name)
    """
    process = shell(folder, code=code, cwd=tmp_path, env=hub.environment(tmp_path / "home"))
    seen = json.loads(process.stdout.splitlines()[-1])
    assert ["RepoFolder", "inner"] in seen["tree"]
    assert ["RepoFile", "inner/small.txt"] in seen["tree"]
    assert seen["top"] == [".gitattributes", "README.md", "empty.txt", "inner", "large.bin"]
    assert seen["inner"] == ["inner/small.txt"]
    assert seen["main"] == [".gitattributes", "README.md", "inner/small.txt", "large.bin"]
    assert seen["side"] == [*seen["main"], "x"]
    assert seen["refs"] == ["main", "side/way", "v1"]
    assert len(seen["commits"]) == 3
    assert seen["commits"][-1] == "initial commit"
    assert seen["models"] == ["newcomer/first"]
    assert not [request for request in hub.requests if request.status in (400, 500, 501)]


def test_client_when_something_is_missing_or_forbidden(hub, shell, tmp_path):
    code = """
        import sys
        from huggingface_hub import HfApi
        from huggingface_hub.errors import (
            EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError,
        )

        def refused(error, status, call, *arguments, **options):
            try:
                call(*arguments, **options)
            except error as found:
                assert found.response.status_code == status, (call, found.response.status_code)
            else:
                raise AssertionError(f"{call} was not refused")

        api, stranger = HfApi(), HfApi(token=False)
        api.create_repo("newcomer/open")
        api.create_repo("newcomer/closed", private=True, repo_type="dataset")
        refused(HfHubHTTPError, 409, api.create_repo, "newcomer/open")
        refused(HfHubHTTPError, 403, api.create_repo, "somebody/open")
        refused(HfHubHTTPError, 401, stranger.create_repo, "newcomer/second")
        refused(HfHubHTTPError, 401, HfApi(token="hf_wrong").whoami)
        refused(RepositoryNotFoundError, 404, api.model_info, "newcomer/none")
        refused(RepositoryNotFoundError, 401, stranger.model_info, "newcomer/none")
        refused(RepositoryNotFoundError, 401, stranger.dataset_info, "newcomer/closed")
        refused(RepositoryNotFoundError, 404, api.dataset_info, "newcomer/open")
        refused(EntryNotFoundError, 404, api.hf_hub_download, "newcomer/open", "none.txt")
        refused(RevisionNotFoundError, 404, api.model_info, "newcomer/open", revision="none")
        refused(HfHubHTTPError, 401, stranger.upload_file, path_or_fileobj=b"x",
                path_in_repo="x", repo_id="newcomer/open")
        refused(HfHubHTTPError, 412, api.upload_file, path_or_fileobj=b"x", path_in_repo="x",
                repo_id="newcomer/open", parent_commit="0" * 40)
        assert stranger.model_info("newcomer/open").id == "newcomer/open"
        assert api.dataset_info("newcomer/closed").private
    """
    shell(code=code, cwd=tmp_path, env=hub.environment(tmp_path / "home"))


@pytest.mark.parametrize(
    ("front", "complaint"),
    [
        ("license: [apache-2.0", "invalid YAML"),
        ("tags: speech", '"tags" must be an array of strings'),
        (
            "model-index: [{name: x, results: [{task: {type: t}, dataset: {name: d}, "
            "metrics: [{type: f1}]}]}]",
            '"model-index[0].results[0].dataset.type" is required',
        ),
    ],
)
def test_client_when_a_card_is_wrong(hub, shell, tmp_path, front, complaint):
    code = """
        import sys
        from huggingface_hub import HfApi

        HfApi().create_repo("newcomer/card")
        try:
            HfApi().upload_file(path_or_fileobj=f"---\\n{sys.argv[1]}\\n---\\n".encode(),
                                path_in_repo="README.md", repo_id="newcomer/card")
        except ValueError as error:
            print(error)
    """
    environment = hub.environment(tmp_path / "home")
    assert complaint in shell(front, code=code, cwd=tmp_path, env=environment).stdout


def test_client_when_the_connection_fails(hub, shell, tmp_path):
    content = bytes(range(256)) * (1 << 16)
    (tmp_path / "content").write_bytes(content)
    hub.fail_next("/lfs/", 503, method="PUT")
    # The client writes what it got in blocks of 10 MiB, and goes on after the last whole one.
    hub.fail_next("/resolve/", method="GET", after_bytes=12_000_000)
    code = """
        import sys
        from huggingface_hub import HfApi

        HfApi().create_repo("newcomer/one")
        HfApi().upload_file(path_or_fileobj=sys.argv[1], path_in_repo="a.bin",
                            repo_id="newcomer/one")
        with open(HfApi().hf_hub_download("newcomer/one", "a.bin"), "rb") as file:
            pulled = file.read()
        with open(sys.argv[1], "rb") as file:
            assert pulled == file.read()
    """
    environment = hub.environment(tmp_path / "home")
    shell(tmp_path / "content", code=code, cwd=tmp_path, env=environment)
    uploads = [request.status for request in hub.requests if request.method == "PUT"]
    downloads = [
        request.status
        for request in hub.requests
        if request.method == "GET" and "/resolve/" in request.path
    ]
    assert uploads == [503, 200]
    assert downloads == [200, 206]


def test_datasets_when_a_dataset_is_pushed_and_loaded_by_name(hub, shell, tmp_path):
    push = """
        import datasets

        def rows(count, factor):
            columns = {"id": [f"{factor}-{i}" for i in range(count)],
                       "value": [float(factor * i) for i in range(count)]}
            return datasets.Dataset.from_dict(columns)

        both = datasets.DatasetDict({"train": rows(40, 1), "test": rows(8, 2)})
        both.push_to_hub("newcomer/numbers", config_name="first", max_shard_size=200)
        both["test"].push_to_hub("newcomer/numbers", "second", split="test", private=True)
        rows(3, 5).push_to_hub("newcomer/numbers", "first", split="test")
    """
    pull = """
        import datasets

        assert datasets.get_dataset_config_names("newcomer/numbers") == ["first", "second"]
        first = datasets.load_dataset("newcomer/numbers", "first")
        assert {name: split.num_rows for name, split in first.items()} == {"train": 40, "test": 3}
        assert first["test"]["value"][:] == [0.0, 5.0, 10.0]
        streamed = datasets.load_dataset("newcomer/numbers", "first", split="train", streaming=True)
        assert [row["value"] for row in streamed] == first["train"]["value"][:]
        assert datasets.load_dataset("newcomer/numbers", "second", split="test").num_rows == 8
    """
    environment = hub.environment(tmp_path / "home")
    shell(code=push, cwd=tmp_path, env=environment)
    shell(code=pull, cwd=tmp_path, env=hub.environment(tmp_path / "other"))
    files = (
        hub.repositories.visible("dataset", "newcomer/numbers", "newcomer").resolve("main").files
    )
    assert sum(name.startswith("first/train-") for name in files) > 1
    assert sum(name.startswith("first/test-") for name in files) == 1
    assert all(file.large for name, file in files.items() if name.endswith(".parquet"))


def test_transformers_when_a_model_is_pushed_and_pulled_by_name(hub, shell, tmp_path):
    push = """
        import torch
        from transformers import (
            Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification,
        )

        torch.manual_seed(0)
        config = Wav2Vec2Config(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            conv_dim=[8, 8], conv_stride=[5, 4], conv_kernel=[10, 8], vocab_size=4,
            num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, num_labels=2,
        )
        model = Wav2Vec2ForSequenceClassification(config).eval()
        model.push_to_hub("newcomer/tiny")
        Wav2Vec2FeatureExtractor().push_to_hub("newcomer/tiny")
        print(model(torch.linspace(-1, 1, 4000)[None]).logits.tolist())
    """
    pull = """
        import torch
        from transformers import AutoModelForAudioClassification, pipeline

        model = AutoModelForAudioClassification.from_pretrained("newcomer/tiny").eval()
        print(model(torch.linspace(-1, 1, 4000)[None]).logits.tolist())
        classify = pipeline("audio-classification", model="newcomer/tiny")
        assert len(classify(torch.zeros(4000).numpy())) == 2
    """
    pushed = shell(code=push, cwd=tmp_path, env=hub.environment(tmp_path / "home"))
    # A public model is pulled without a token.
    environment = hub.environment(tmp_path / "other", token=False)
    pulled = shell(code=pull, cwd=tmp_path, env=environment)
    logits = [json.loads(process.stdout.splitlines()[-1]) for process in (pushed, pulled)]
    assert logits[0] == logits[1]
    files = hub.repositories.visible("model", "newcomer/tiny", None).resolve("main").files
    assert files["model.safetensors"].large
    assert not files["config.json"].large
