"""The whole path on real speech, as a user goes it from the shell: archives over HTTP, a dataset
folder, training, the Hub, and the model pulled by its name where the project is not."""

import csv
import json

import pytest
from file_server import FileServer
from hub_cards import read_card
from hub_server import HubServer

pytestmark = pytest.mark.timeout(900)

MODEL = "newcomer/dusha-ravdess"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the user stands."""
    return tmp_path_factory.mktemp("user")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """The Hub of the whole path."""
    with HubServer(tmp_path_factory.mktemp("hub")) as server:
        yield server


@pytest.fixture(scope="module")
def dataset_folder(ravdess_archives, repository, shell, folder, tmp_path_factory):
    """The dataset folder, made from archives that a server on the loopback address has."""
    with FileServer(ravdess_archives) as server:
        shell(
            *(
                "-m",
                "dusha_ser",
                "corpus",
                "all",
                "--base_url",
                server.url,
                "--output_dir",
                "dusha",
            ),
            *("--cache_dir", tmp_path_factory.mktemp("archives"), "--quiet"),
            cwd=folder,
        )
    return folder / "dusha"


@pytest.fixture(scope="module")
def truth(ravdess_archives):
    """What was really said, by the clip's name."""
    with (ravdess_archives / "truth.csv").open(newline="") as file:
        return {row["hash_id"]: row["emotion"] for row in csv.DictReader(file)}


def test_dataset_when_only_stock_datasets_reads_it(dataset_folder, shell, folder, truth, tmp_path):
    code = """
        import io, json, sys
        import datasets, soundfile

        dataset = datasets.load_dataset("dusha")
        names = dataset["train"].features["label"].names
        rows = []
        for split, part in dataset.items():
            part = part.cast_column("audio", datasets.Audio(decode=False))
            for row in part:
                frames = rate = None
                if row["audio"] is not None:
                    samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]))
                    frames = len(samples)
                rows.append([split, row["id"], names[row["label"]], row["duration"], frames, rate,
                             row["domain"], row["label_probabilities"], row["votes"]])
        json.dump(rows, open(sys.argv[1], "w"))
    """
    shell(tmp_path / "rows.json", code=code, without_project=True, cwd=folder)
    rows = json.loads((tmp_path / "rows.json").read_text())
    counts = {split: sum(row[0] == split for row in rows) for split in ("train", "test")}
    # 648 clips of 18 actors and 216 of 6, less control tasks and uncertain ones.
    assert 520 < counts["train"] < 648
    assert 170 < counts["test"] < 216
    assert len({row[1] for row in rows}) == len(rows)
    assert sum(truth[row[1]] == row[2] for row in rows) / len(rows) > 0.95
    for _, _, _, duration, frames, rate, domain, probabilities, votes in rows:
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert max(probabilities) >= 0.9
        assert sum(votes) >= 4
        if domain == "crowd":
            assert rate == 16000
            assert frames / rate == pytest.approx(duration)
        else:
            assert frames is None, "podcasts are published without audio"


@pytest.fixture(scope="module")
def pushed(dataset_folder, repository, shell, folder, hub, tmp_path_factory):
    """Train on the dataset folder for a few epochs and push the model."""
    environment = hub.environment(tmp_path_factory.mktemp("home"))
    shell(
        *("-m", "dusha_ser", "train", "--dataset", "dusha", "--num_train_epochs", 2, "--quiet"),
        *("--per_device_train_batch_size", 16, "--learning_rate", 2e-3, "--longest", 100),
        *("--per_device_eval_batch_size", 16),
        *("--output_dir", "model", "--push_to_hub", "--hub_model_id", MODEL),
        cwd=folder,
        env=environment,
        timeout=800,
    )
    return hub.repositories.visible("model", MODEL, None).resolve("main")


def test_model_when_pulled_by_name_without_the_project(
    pushed, hub, shell, shared, folder, tmp_path_factory
):
    names = {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"}
    modules = {"configuration_dusha.py", "modeling_dusha.py", "feature_extraction_dusha.py"}
    assert names | modules <= set(pushed.files)
    card, errors, warnings = read_card(
        hub.repositories.store.read(pushed.files["README.md"]).decode()
    )
    assert not errors + warnings
    assert card["pipeline_tag"] == "audio-classification"
    metrics = {one["type"] for one in card["model-index"][0]["results"][0]["metrics"]}
    assert {"accuracy", "balanced_accuracy", "f1_macro"} <= metrics
    clip = sorted((shared / "data" / "ravdess").rglob("*.flac"))[0]
    code = """
        import json, sys
        # Those who pull models need no torchaudio.
        sys.modules["torchaudio"] = None
        import soundfile
        from transformers import pipeline

        samples, rate = soundfile.read(sys.argv[1], dtype="float32")
        classify = pipeline("audio-classification", model=sys.argv[2], trust_remote_code=True)
        answers = classify({"raw": samples, "sampling_rate": rate}, top_k=4)
        trained = pipeline("audio-classification", model=sys.argv[3], trust_remote_code=True)
        assert answers == trained({"raw": samples, "sampling_rate": rate}, top_k=4)
        print(json.dumps(answers))
    """
    # Nobody's cache: no token, a new home, a folder without the project.
    home = tmp_path_factory.mktemp("stranger")
    process = shell(
        *(clip, MODEL, folder / "model"),
        code=code,
        without_project=True,
        cwd=home,
        env=hub.environment(home, token=False),
    )
    answers = json.loads(process.stdout.splitlines()[-1])
    assert {answer["label"] for answer in answers} == {"angry", "sad", "neutral", "positive"}
    assert sum(answer["score"] for answer in answers) == pytest.approx(1, abs=1e-5)
