"""Licence and languages of a model follow its data and its starting weights, or stay open."""

import datasets
import pytest

from dusha_ser.corpus.configurations import LICENSE_FIELDS
from dusha_ser.training.options import DataOptions, RecipeOptions
from dusha_ser.training.origins import (
    Origin,
    Origins,
    base_origin,
    data_origin,
    is_dusha,
    license_fields,
    read_card,
)

DUSHA = Origin("Dusha", LICENSE_FIELDS, ["ru"])
FREE = Origin("a synthetic corpus", {})
OWN = Origin("own recordings")
APACHE = Origin("the model a/b", {"license": "apache-2.0"})
NAME = "dusha-public-license-with-attribution"


def rows_of(domain, clips, seconds):
    """Rows of one domain, as a corpus has them."""
    columns = {"domain": [domain] * clips, "duration": [seconds] * clips}
    return datasets.Dataset.from_dict(columns)


@pytest.fixture
def corpus():
    """The test part of Dusha's crowd, by number and length, and a few clips to train on."""
    return {"train": rows_of("crowd", 50, 4.0), "test": rows_of("crowd", 14035, 66540 / 14035)}


@pytest.mark.parametrize(
    ("data", "base", "expected"),
    [
        (DUSHA, None, NAME),
        (DUSHA, Origin("x", LICENSE_FIELDS), NAME),
        (FREE, None, "apache-2.0"),
        (FREE, Origin("x", LICENSE_FIELDS), NAME),
        (FREE, APACHE, "apache-2.0"),
        (OWN, None, None),
        (OWN, APACHE, None),
        (OWN, Origin("x", LICENSE_FIELDS), None),
        (DUSHA, APACHE, None),
        (DUSHA, Origin("x"), None),
    ],
)
def test_license_is_what_data_and_base_have_in_common(data, base, expected):
    found = Origins(data, base).license
    assert (found or {}).get("license_name", (found or {}).get("license")) == expected


def test_description_of_licences_that_differ_names_both_and_leaves_it_open():
    text = Origins(DUSHA, APACHE).describe_license()
    assert NAME in text and "the model a/b: apache-2.0" in text
    assert "These differ" in text and "not stated" in text


def test_description_of_own_recordings_says_that_they_decide():
    text = Origins(OWN, APACHE).describe_license()
    assert "own recordings: no licence is known" in text
    assert "the rights in all of these allow" in text and "not stated" in text


def test_description_of_a_known_licence_states_it():
    assert f"The weights are under {NAME} (https://" in Origins(DUSHA, None).describe_license()


def test_data_are_dusha_by_their_clips_whatever_their_options_say(corpus):
    for options in (
        DataOptions(dataset="crowd_small"),
        DataOptions(dataset="somebody/copy"),
        DataOptions(dataset="dusha:crowd:train"),
    ):
        origin = data_origin(options, corpus, given=True)
        assert (origin.license, origin.languages) == (LICENSE_FIELDS, ["ru"])


def test_training_part_is_dusha_with_its_validation_part():
    assert is_dusha(
        {"train": rows_of("podcast", 71000, 3.22), "validation": rows_of("podcast", 8825, 3.2)}
    )
    assert not is_dusha({"train": rows_of("podcast", 8825, 3.22)})
    assert not is_dusha({"train": datasets.Dataset.from_dict({"label": [0]})})


def test_archives_of_ones_own_are_not_dusha(corpus):
    origin = data_origin(DataOptions(dataset="crowd"), {"train": corpus["train"]})
    assert origin.license is None and not origin.languages
    assert "not those of Dusha" in origin.what


def test_own_recordings_and_given_rows_have_no_known_licence(corpus, tmp_path):
    few = {"train": corpus["train"]}
    own = data_origin(DataOptions(train_file=str(tmp_path / "clips.csv")), few)
    assert own == Origin("own recordings (clips.csv)")
    assert data_origin(DataOptions(), few, given=True).license is None
    sample = data_origin(DataOptions(), few)
    assert "synthetic" in sample.what and sample.license == {}


def test_data_set_in_a_folder_has_the_licence_and_language_of_its_card(corpus, tmp_path):
    folder = tmp_path / "data" / "korean"
    folder.mkdir(parents=True)
    front = "license: cc-by-nc-sa-4.0\nlanguage:\n- ko\n- en\n"
    (folder / "README.md").write_text(f"---\n{front}---\n# Korean\n")
    origin = data_origin(DataOptions(dataset=str(folder)), {"train": corpus["train"]})
    assert origin.what == "the data set korean"
    assert origin.license == {"license": "cc-by-nc-sa-4.0"}
    assert origin.languages == ["ko", "en"] and origin.datasets == []


@pytest.mark.parametrize(
    "text",
    [
        None,
        "# No metadata\n",
        "---\nlicense: [mit, apache-2.0]\n---\n",
        "---\nlicense: unknown\n---\n",
        "---\nlicense: [\n---\n",
        "---\n- a list\n---\n",
    ],
)
def test_card_without_one_licence_leaves_it_open(tmp_path, text):
    if text:
        (tmp_path / "README.md").write_text(text)
    assert license_fields(read_card(str(tmp_path), "model")) is None


def test_base_has_the_licence_of_its_card(tmp_path):
    lines = "\n".join(f"{name}: {value}" for name, value in LICENSE_FIELDS.items())
    (tmp_path / "README.md").write_text(f"---\n{lines}\n---\n")
    origin = base_origin(RecipeOptions(model_name_or_path=str(tmp_path)))
    assert origin == Origin("a model on disk", LICENSE_FIELDS)
    assert base_origin(RecipeOptions()) is None


def test_base_on_the_hub_that_cannot_be_reached_has_no_known_licence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    origin = base_origin(RecipeOptions(model_name_or_path="somebody/model"))
    assert origin == Origin("the model somebody/model")
