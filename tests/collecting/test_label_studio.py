"""Label Studio's files: an interface that it takes, answers as it gives them."""

import json
from xml.etree import ElementTree

import pytest

from dusha_ser.collecting.label_studio import (
    answer_label,
    label_studio_config,
    read_label_studio,
)
from dusha_ser.errors import WrongUseError
from dusha_ser.vocabulary import ANSWERS

# As Label Studio 1.x writes it; ids and times are shortened.
EXPORT = [
    {
        "id": 1,
        "data": {"task": "0a1b", "audio": "/data/local-files/?d=wavs/0a1b.wav"},
        "annotations": [
            {
                "id": 11,
                "completed_by": {"id": 3, "email": "somebody@a.example", "first_name": ""},
                "result": [
                    {
                        "id": "Y3NH3ghJgg",
                        "from_name": "emotion",
                        "to_name": "audio",
                        "type": "choices",
                        "value": {"choices": ["sad"]},
                        "origin": "manual",
                    }
                ],
                "was_cancelled": False,
                "ground_truth": False,
                "lead_time": 4.2,
            },
            {"id": 12, "completed_by": 4, "result": [], "was_cancelled": True},
            {"id": 13, "completed_by": 5, "result": [], "was_cancelled": False},
        ],
        "predictions": [],
        "drafts": [],
        "project": 7,
    },
    {"id": 2, "data": {"audio": "wavs/2c.wav"}, "annotations": []},
]
MINIMAL = [
    {"audio": "wavs/0a1b.wav", "task": "0a1b", "id": 1, "emotion": "sad", "annotator": 3},
    {"audio": "wavs/2c.wav", "id": 2, "annotator": 3, "annotation_id": 9},
]


def test_config_asks_for_one_of_the_five_answers():
    view = ElementTree.fromstring(label_studio_config())
    (audio,), (choices,) = view.findall("Audio"), view.findall("Choices")
    assert choices.get("toName") == audio.get("name")
    assert (choices.get("required"), choices.get("choice")) == ("true", "single-radio")
    assert audio.get("value") == "$audio"
    aliases = [choice.get("alias") for choice in choices]
    assert sorted(aliases) == sorted(ANSWERS)
    for choice in choices:
        assert answer_label(choice.get("value")) == choice.get("alias")


def test_read_label_studio_gives_each_annotation_that_was_not_skipped(tmp_path):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(EXPORT))
    assert [list(row.values())[:3] for row in read_label_studio(path)] == [
        ["0a1b", "somebody@a.example", "sad"],
        ["0a1b", "5", ""],
    ]


def test_read_label_studio_of_a_minimal_export(tmp_path):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(MINIMAL))
    assert [list(row.values())[:3] for row in read_label_studio(path)] == [
        ["0a1b", "3", "sad"],
        ["wavs/2c.wav", "3", ""],
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("{}", "not a list of tasks"),
        ("[1]", "task 1 is not of an export"),
        ('[{"annotations": [{"completed_by": 1, "result": []}]}]', "task 1 is not of"),
        ('[{"audio": "a.wav"}]', "task 1 is not of"),
        ('[{"data": {"task": "a"}, "annotations": 5}]', "task 1 is not of"),
    ],
    ids=["cut", "object", "numbers", "no data", "no annotator", "no annotations"],
)
def test_read_label_studio_when_it_is_no_export(content, said, tmp_path):
    path = tmp_path / "export.json"
    path.write_text(content)
    with pytest.raises(WrongUseError, match=said):
        list(read_label_studio(path))


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("sad", "sad"),
        (" ANGRY ", "angry"),
        ("Грусть", "sad"),
        ("Злость / Angry", "angry"),
        ("Нейтрально / Neutral", "neutral"),
        ("Другое / Other: too quiet", "other"),
        ("positively", None),
        ("", None),
    ],
)
def test_answer_label_of_names_as_people_write_them(answer, label):
    assert answer_label(answer) == label
