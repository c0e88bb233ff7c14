"""The corpus pushed to the Hub by the program, and read back by the stock library elsewhere."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from small_corpus import COUNTS, EMOTIONS, make_clips, write_corpus  # noqa: E402

NAME = "newcomer/dusha"


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("archives"))


@pytest.fixture
def push(shell, repository, archives, hub, tmp_path):
    """Run the program in one folder, with --push_to_hub."""

    def push(*arguments, token=True, status=0):
        return shell(
            *("-m", "dusha_ser", "corpus", *arguments, "--data_dir", archives),
            *("--push_to_hub", NAME, "--quiet"),
            cwd=tmp_path,
            env=hub.environment(tmp_path / "home", token=token),
            status=status,
        )

    return push


@pytest.fixture
def card_of(hub, shell, tmp_path):
    """The card of a dataset on the Hub, as the library reads it: its data and its text."""

    def card_of(name):
        code = """
            import json, sys
            from huggingface_hub import DatasetCard
            card = DatasetCard.load(sys.argv[1])
            json.dump(card.data.to_dict() | {"text": card.text}, open("card.json", "w"))
        """
        shell(name, code=code, cwd=tmp_path, env=hub.environment(tmp_path / "home"))
        return json.loads((tmp_path / "card.json").read_text())

    return card_of


READ_BACK = """
    import json, sys
    import datasets

    seen = {}
    for name in (None, *sys.argv[3:]):
        dataset = datasets.load_dataset(sys.argv[1], name)
        streamed = datasets.load_dataset(sys.argv[1], name, streaming=True)
        assert {split: list(part) for split, part in streamed.items()} == {
            split: list(part) for split, part in dataset.items()
        }
        seen[str(name)] = {
            split: [[row["id"], row["label"], row["audio"] and len(row["audio"]["bytes"])]
                    for row in part]
            for split, part in dataset.items()
        }
    json.dump(seen, open(sys.argv[2], "w"))
"""


def test_push_when_read_back_elsewhere(push, hub, shell, tmp_path_factory):
    push("crowd", "podcast")
    stranger = tmp_path_factory.mktemp("stranger")
    environment = hub.environment(stranger, token=False)
    shell(
        *(NAME, "seen.json", "crowd", "podcast"),
        code=READ_BACK,
        without_project=True,
        cwd=stranger,
        env=environment,
    )
    seen = json.loads((stranger / "seen.json").read_text())
    assert seen["None"] == seen["crowd"]
    clips = {clip["id"]: clip for clip in make_clips()}
    for name in ("crowd", "podcast"):
        for split in ("train", "test"):
            assert len(seen[name][split]) == COUNTS[f"{name}_{split}"]
            for clip_id, label, size in seen[name][split]:
                clip = clips[clip_id]
                assert EMOTIONS[label] == clip["emotion"]
                assert size == (clip["wav"] and len(clip["wav"]))


def test_push_when_another_configuration_is_there(push, hub, card_of):
    push("crowd")
    push("raw")
    card = card_of(NAME)
    assert {one["config_name"]: one.get("default", False) for one in card["configs"]} == {
        "crowd": True,
        "raw": False,
    }
    files = hub.repositories.visible("dataset", NAME, None).resolve("main").files
    assert {name.split("/")[0] for name in files if name.endswith(".parquet")} == {"crowd", "raw"}


def test_push_when_the_card_is_read(push, card_of):
    push("crowd")
    data = card_of(NAME)
    text = data.pop("text")
    # A small corpus in Dusha's form is not Dusha.
    assert "language" not in data and "license" not in data
    assert [one["config_name"] for one in data["configs"]] == ["crowd"]
    assert f'datasets.load_dataset("{NAME}", "crowd")' in text
    assert "## How the labels were made" in text


def test_push_when_nobody_is_logged_in(push):
    error = push("crowd", token=False, status=2).stderr
    assert error.splitlines() == [error.rstrip("\n")]
    assert "hf auth login" in error
