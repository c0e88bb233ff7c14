"""The dataset card tells what the folder holds, to people and to the library."""

import pytest
import yaml
from small_corpus import COUNTS, make_clips, write_corpus

import dusha
from dusha_ser.corpus.dataset_card import (
    card_data,
    card_text,
    default_name,
    find_prepared,
    format_length,
    size_category,
    write_card,
)
from dusha_ser.corpus.published import PAPER_PARTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    clips = make_clips()
    clips[0]["golden"] = clips[0]["emotion"]
    for clip in clips:
        if clip["part"] == "podcast_test":
            clip["source"] = "podcast_train source 0"
    archives = write_corpus(tmp_path_factory.mktemp("archives"), clips)
    folder = tmp_path_factory.mktemp("user") / "dusha"
    options = {"data_dir": str(archives), "validation": 0.2, "quiet": True}
    dusha.write_folder(["podcast", "crowd", "raw"], str(folder), **options)
    return folder


@pytest.fixture(scope="module")
def card(folder):
    _, data, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(data), text


def test_card_when_the_library_reads_it(card):
    data, _ = card
    assert {one["config_name"]: one.get("default", False) for one in data["configs"]} == {
        "crowd": True,
        "podcast": False,
        "raw": False,
    }
    info = {one["config_name"]: one for one in data["dataset_info"]}
    splits = {split["name"]: split["num_examples"] for split in info["crowd"]["splits"]}
    assert list(splits) == ["train", "validation", "test"]
    assert splits["train"] + splits["validation"] == COUNTS["crowd_train"] - 1
    assert data["size_categories"] == ["n<1K"]


def test_card_of_ones_own_archives_leaves_licence_and_language_open(card):
    data, text = card
    assert not {"license", "license_name", "license_link", "language", "pretty_name"} & set(data)
    assert text.lstrip().startswith("# Emotional speech")
    assert "largest corpus" not in text
    licence = text.split("## Licence")[1].split("##")[0]
    assert "Not stated" in licence and "name it in the header (`license`)" in licence
    assert "The way of labelling is that of Dusha" in text


@pytest.mark.parametrize("part", ["train", "test"])
def test_card_of_dusha_has_its_licence_and_language(folder, monkeypatch, part):
    (crowd,) = (one for one in find_prepared(folder) if one.name == "crowd")
    splits = ["test"] if part == "test" else ["train", "validation"]
    seconds = [value for split in splits for value in crowd.column(split, "duration")]
    # Few clips stand for the published ones.
    monkeypatch.setitem(PAPER_PARTS["crowd"], part, (len(seconds), 0, sum(seconds) / 60))
    prepared = find_prepared(folder)
    data, text = card_data(prepared).to_dict(), card_text(prepared)
    assert data["license"] == "other" and data["language"] == ["ru"]
    assert data["license_name"] == "dusha-public-license-with-attribution"
    assert data["pretty_name"] == "Dusha" and text.startswith("# Dusha\n")
    assert "The corpus has a licence of its own" in text


def test_card_of_answers_alone_leaves_the_licence_open(folder):
    (raw,) = (one for one in find_prepared(folder) if one.name == "raw")
    assert "license" not in card_data([raw]).to_dict()


def test_card_when_people_read_it(card, folder):
    _, text = card
    assert "## Licence" in text
    assert "@inproceedings" in text
    assert "`crowd`: one run of `dawid_skene` (at most 100 iterations)" in text
    assert "left out were (each by the first reason): 1 control tasks." in text
    assert "The validation split is 20% of train by whole speakers" in text
    assert "1 speakers or podcasts are in both train or validation and test" in text
    assert "| split | clips | length | angry | sad | neutral | positive |" in text
    rows = [line for line in text.splitlines() if line.startswith("| test |")]
    assert rows[0].split(" | ")[1] == str(COUNTS["crowd_test"])
    assert "`label_probabilities` | probability of each answer being the true one: angry," in text
    assert "input_features" not in text


def test_card_when_columns_are_read_from_shards(folder):
    crowd, podcast, raw = find_prepared(folder)
    assert [crowd.name, podcast.name, raw.name] == ["crowd", "podcast", "raw"]
    assert crowd.column("test", "label") == [0, 1, 2, 3] * (COUNTS["crowd_test"] // 4)


def test_write_card_when_it_is_written_again(folder):
    before = (folder / "README.md").read_bytes()
    write_card(folder)
    assert (folder / "README.md").read_bytes() == before
    assert not list(folder.glob(".*unfinished*"))


def test_default_name_when_crowd_is_missing():
    assert default_name(["podcast", "crowd"]) == "crowd"
    assert default_name(["podcast", "all"]) == "all"
    assert default_name(["podcast", "raw"]) == "podcast"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 h 00 min"), (679440.4, "188 h 44 min")])
def test_format_length_when_as_in_the_paper(seconds, text):
    assert format_length(seconds) == text


@pytest.mark.parametrize(("rows", "name"), [(999, "n<1K"), (1000, "1K<n<10K"), (3e6, "1M<n<10M")])
def test_size_category_when_at_a_limit(rows, name):
    assert size_category(rows) == name
