"""Label Studio's files: an interface that it takes, answers as it gives them."""

import json
from xml.etree import ElementTree

import pytest

from dusha_ser.collecting.label_studio import label_studio_config, read_label_studio
from dusha_ser.collecting.texts import TEXTS, answer_label
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


@pytest.mark.parametrize("language", [None, "ru", "en"])
def test_config_asks_for_one_of_the_five_answers(language):
    text = label_studio_config(language)
    for name, texts in TEXTS.items():
        said = [texts.question, *texts.meanings.values()]
        assert [one in text for one in said] == [language in (None, name)] * 6
    view = ElementTree.fromstring(text)
    (audio,), (choices,) = view.findall("Audio"), view.findall("Choices")
    assert choices.get("toName") == audio.get("name")
    assert (choices.get("required"), choices.get("choice")) == ("true", "single-radio")
    assert audio.get("value") == "$audio"
    aliases = [choice.get("alias") for choice in choices]
    assert sorted(aliases) == sorted(ANSWERS)
    for choice in choices:
        assert answer_label(choice.get("value")) == choice.get("alias")


def annotation(chosen, person=3, control="emotion", kind="choices", **more):
    result = {"from_name": control, "to_name": "audio", "type": kind, "value": {kind: chosen}}
    return {"completed_by": person, "result": [result], "was_cancelled": False, **more}


def export_of(*annotations):
    data = {"task": "0a1b", "audio": "wavs/0a1b.wav"}
    return [{"id": 7, "data": data, "annotations": list(annotations)}]


def read(tmp_path, content, encoding="utf-8", **named):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(content), encoding=encoding)
    return [list(row.values())[:3] for row in read_label_studio(path, **named)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_read_label_studio_gives_each_annotation_and_skips_as_such(tmp_path, encoding):
    assert read(tmp_path, EXPORT, encoding) == [
        ["0a1b", "somebody@a.example", "sad"],
        ["0a1b", "4", ""],
        ["0a1b", "5", ""],
    ]


def test_read_label_studio_when_nothing_is_chosen_is_a_skip(tmp_path):
    comment = annotation(["loud"], control="comment", kind="text")
    export = export_of(annotation([]), comment, annotation(["sad"], was_cancelled=True))
    assert [row[2] for row in read(tmp_path, export + export_of(annotation(["sad"])))] == [
        *("", "", "", "sad"),
    ]


def test_read_label_studio_when_users_were_removed_names_nobody(tmp_path):
    people = (None, {"id": None, "email": None}, {"id": 4, "email": ""}, 0)
    export = export_of(*(annotation(["sad"], person) for person in people))
    assert [row[1] for row in read(tmp_path, export)] == [None, None, "4", "0"]
    assert read(tmp_path, [MINIMAL[0] | {"annotator": None}])[0][1] is None


@pytest.mark.parametrize("chosen", [["sad"], {"choices": ["sad"]}, "sad"])
def test_read_label_studio_of_a_minimal_export_with_lists(tmp_path, chosen):
    assert read(tmp_path, [MINIMAL[0] | {"emotion": chosen}]) == [["0a1b", "3", "sad"]]


@pytest.mark.parametrize(
    "export",
    [
        export_of(annotation(["sad", "angry"])),
        export_of(annotation(["sad"]) | {"result": 2 * annotation(["sad"])["result"]}),
        [MINIMAL[0] | {"emotion": {"choices": ["sad", "angry"]}}],
        [MINIMAL[0] | {"emotion": ["sad", "angry"]}],
    ],
)
def test_read_label_studio_when_several_are_chosen_names_the_task(tmp_path, export):
    said = r"task 1 \(0a1b\) has the answers sad, (angry|sad) by annotator 3; one is allowed"
    with pytest.raises(WrongUseError, match=said):
        read(tmp_path, export)


@pytest.mark.parametrize(
    ("export", "said"),
    [
        (
            export_of(annotation(["sad"], control="mood")),
            r"by the control mood \(of the kind choices\) and not by emotion; .*`answer_column`",
        ),
        (export_of(annotation(5, kind="rating")), "the control emotion is of the kind rating"),
        ([{"audio": "wavs/2c.wav", "mood": "sad", "annotator": 3}], "by the control mood"),
    ],
)
def test_read_label_studio_when_the_control_is_another_says_so(tmp_path, export, said):
    with pytest.raises(WrongUseError, match=said):
        read(tmp_path, export)


def test_read_label_studio_when_the_control_has_a_name_of_ones_own(tmp_path):
    export = export_of(annotation(["sad"], control="mood"))
    assert read(tmp_path, export, control="mood") == [["0a1b", "3", "sad"]]
    export = [{"audio": "wavs/2c.wav", "mood": "sad", "annotator": 3}]
    assert read(tmp_path, export, control="mood") == [["wavs/2c.wav", "3", "sad"]]


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
