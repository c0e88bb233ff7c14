import gzip
import json

import pyarrow as pa
import pytest

from dusha_ser.archives.find import open_members
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError
from dusha_ser.labels.answers import (
    code_answers,
    read_answers,
    read_manifest,
)
from dusha_ser.labels.rows import BadRow
from dusha_ser.vocabulary import ANSWERS, PARTS, check_labels

NAN = float("nan")


def row(clip="c1", annotator="a1", answer="sad", **others):
    return {
        "hash_id": clip,
        "audio_path": f"wavs/{clip}.wav",
        "duration": 2.5,
        "annotator_emo": answer,
        "golden_emo": NAN,
        "speaker_text": "включи музыку",
        "speaker_emo": "angry",
        "source_id": "s1",
        "annotator_id": annotator,
    } | others


def as_jsonl(rows):
    return "".join(json.dumps(own, ensure_ascii=False) + "\n" for own in rows).encode()


def as_tsv(rows):
    lines = [list(rows[0]), *([("" if v != v else v) for v in own.values()] for own in rows)]
    return "".join("\t".join(map(str, line)) + "\n" for line in lines).encode()


@pytest.fixture
def corpus(tmp_path):
    """Write files by name and open the folder."""

    def write(files):
        for name, content in files.items():
            path = tmp_path / "corpus" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return open_members([tmp_path / "corpus"], cache_dir=tmp_path / "cache", quiet=True)

    return write


def test_read_answers_when_parts_have_different_forms_joins_them(corpus):
    podcast = {"speaker_text": NAN, "speaker_emo": NAN}
    members = corpus(
        {
            "crowd_train/raw_crowd_train.jsonl": as_jsonl([row(), row(annotator="a2")]),
            "crowd_test/raw_crowd_test.tsv": as_tsv([row("c2", answer="other", golden_emo="sad")]),
            "podcast_train/raw_podcast_train.tsv.gz": gzip.compress(
                as_tsv([row("c3", **podcast)]), mtime=0
            ),
            "podcast_test/raw_podcast_test.jsonl.gz": gzip.compress(
                as_jsonl(
                    [{"hash_id": "c4", "duration": 1, "annotator_emo": "sad", "annotator_id": 5}]
                ),
                mtime=0,
            ),
        }
    )
    table, bad = read_answers(members, quiet=True)
    assert bad == []
    assert table.column_names == [
        *("part", "id", "audio_path", "duration", "annotator_emotion", "golden_emotion"),
        *("text", "speaker_emotion", "source_id", "annotator_id"),
    ]
    assert table.schema.field("duration").type == pa.float64()
    assert table.schema.field("annotator_emotion").type == pa.dictionary(pa.int32(), pa.string())
    assert table["part"].to_pylist() == ["crowd_train", *PARTS]
    assert table["id"].to_pylist() == ["c1", "c1", "c2", "c3", "c4"]
    assert table["golden_emotion"].to_pylist() == [None, None, "sad", None, None]
    assert table.slice(1, 1).to_pylist() == [
        {
            "part": "crowd_train",
            "id": "c1",
            "audio_path": "wavs/c1.wav",
            "duration": 2.5,
            "annotator_emotion": "sad",
            "golden_emotion": None,
            "text": "включи музыку",
            "speaker_emotion": "angry",
            "source_id": "s1",
            "annotator_id": "a2",
        }
    ]
    assert table["text"].to_pylist()[3:] == [None, None]
    assert table.slice(4).to_pylist()[0]["annotator_id"] == "5"


def test_read_answers_when_a_clip_is_answered_twice_by_one_keeps_both(corpus):
    rows = [row(), row(), row(answer="angry")]
    members = corpus({"crowd_train/raw_crowd_train.jsonl": as_jsonl(rows)})
    table, _ = read_answers(members, ["crowd_train"], quiet=True)
    assert table["annotator_emotion"].to_pylist() == ["sad", "sad", "angry"]


def test_read_answers_when_several_forms_are_there_reads_one(corpus):
    members = corpus(
        {
            "crowd_train/raw_crowd_train.tsv": as_tsv([row("tsv")]),
            "crowd_train/raw_crowd_train.jsonl": as_jsonl([row("jsonl")]),
        }
    )
    table, _ = read_answers(members, ["crowd_train"], quiet=True)
    assert table["id"].to_pylist() == ["jsonl"]


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"annotator_emo": "happy"}, "annotator_emo", "happy"),
        ({"annotator_emo": NAN}, "annotator_emo", "nan"),
        ({"golden_emo": "calm"}, "golden_emo", "calm"),
        ({"hash_id": ""}, "hash_id", ""),
        ({"duration": -2}, "duration", "-2"),
        ({"duration": NAN}, "duration", "nan"),
        ({"duration": float("inf")}, "duration", "inf"),
        ({"annotator_id": None}, "annotator_id", "missing"),
    ],
)
@pytest.mark.parametrize("form", [as_jsonl, as_tsv])
def test_read_answers_when_a_value_is_bad_names_it(corpus, form, change, field, value):
    if form is as_tsv and value in ("nan", "missing"):
        change, value = {field: ""}, ""
    file = f"crowd_train/raw_crowd_train.{form.__name__.removeprefix('as_')}"
    members = corpus({file: form([row(), row(**change), row("c2")])})
    line = 2 if form is as_jsonl else 3
    with pytest.raises(WorkFailedError) as caught:
        read_answers(members, ["crowd_train"], quiet=True)
    assert f"{file}, line {line}: {field} is {value!r}: " in str(caught.value)
    assert "`bad_rows=skip`" in str(caught.value)
    table, bad = read_answers(members, ["crowd_train"], bad_rows="skip", quiet=True)
    assert table["id"].to_pylist() == ["c1", "c2"]
    assert [(own.file, own.line, own.field, own.value) for own in bad] == [
        (file, line, field, value)
    ]
    assert isinstance(bad[0], BadRow) and bad[0].problem


def test_read_answers_when_a_field_is_absent_takes_it_for_missing(corpus):
    without = {key: value for key, value in row().items() if key != "annotator_id"}
    members = corpus({"crowd_train/raw_crowd_train.jsonl": as_jsonl([row(), without])})
    with pytest.raises(WorkFailedError, match="line 2: annotator_id is 'missing': each row needs"):
        read_answers(members, ["crowd_train"], quiet=True)


def test_read_answers_when_labels_are_given_allows_only_them(corpus):
    rows = [row(answer="да", golden_emo="нет"), row(answer="нет")]
    members = corpus({"crowd_train/raw_crowd_train.jsonl": as_jsonl(rows)})
    table, _ = read_answers(members, ["crowd_train"], labels=["нет", "да"], quiet=True)
    assert code_answers(table, ["нет", "да"]).label.tolist() == [1, 0]
    with pytest.raises(WorkFailedError, match="must be one of angry, sad, neutral, positive, oth"):
        read_answers(members, ["crowd_train"], quiet=True)


def test_read_answers_when_asked_wrongly_refuses(corpus):
    members = corpus({"crowd_train/raw_crowd_train.jsonl": as_jsonl([row()])})
    with pytest.raises(WrongUseError, match="`bad_rows` is 'drop': take one of error, skip"):
        read_answers(members, ["crowd_train"], bad_rows="drop")
    with pytest.raises(WrongUseError, match="`parts` is empty: take one or more of crowd_train"):
        read_answers(members, [])
    with pytest.raises(MissingInputError, match="no answers of podcast_test: .*podcast.tar"):
        read_answers(members, ["crowd_train", "podcast_test"])
    for labels in ([], ["sad"], ["sad", "sad"], ["sad", "nan"], ["sad", ""]):
        with pytest.raises(WrongUseError, match="give at least two"):
            check_labels(labels)


def manifest_row(clip="c1", label=1, emotion="sad", **others):
    return {
        "id": clip,
        "tensor": f"../features/{clip}.npy",
        "wav_length": 1.5,
        "label": label,
        "emotion": emotion,
    } | others


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_read_manifest_when_published_gives_ids_and_labels(corpus, suffix):
    rows = [manifest_row(), manifest_row("c2", 0, "angry"), manifest_row("c3", None, "positive")]
    content = as_jsonl(rows)
    content = gzip.compress(content, mtime=0) if suffix.endswith(".gz") else content
    members = corpus({f"paper_setups/test/crowd_test{suffix}": content})
    assert read_manifest(members, "test/crowd_test").to_pylist() == [
        {"id": "c1", "duration": 1.5, "label": 1, "emotion": "sad"},
        {"id": "c2", "duration": 1.5, "label": 0, "emotion": "angry"},
        {"id": "c3", "duration": 1.5, "label": 3, "emotion": "positive"},
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"label": 2}, "clip c2 has label 2 and emotion sad, which has the number 1"),
        ({"emotion": "other"}, "line 2: emotion is 'other': must be one of"),
        ({"emotion": NAN}, "line 2: emotion is 'nan'"),
        ({"id": None}, "line 2: id is 'missing'"),
        ({"wav_length": -1}, "line 2: wav_length is '-1'"),
    ],
)
def test_read_manifest_when_a_row_is_bad_says_which(corpus, change, problem):
    rows = [manifest_row(), manifest_row("c2") | change]
    members = corpus({"paper_setups/crowd_large.jsonl": as_jsonl(rows)})
    with pytest.raises(WorkFailedError, match=problem):
        read_manifest(members, "crowd_large")


def test_read_manifest_when_unknown_lists_those_that_are_there(corpus):
    members = corpus({"paper_setups/test/crowd_test.jsonl": as_jsonl([manifest_row()])})
    with pytest.raises(MissingInputError, match="no manifest crowd_huge.*there are test/crowd_te"):
        read_manifest(members, "crowd_huge")


def test_code_answers_when_an_answer_is_unknown_refuses():
    table = pa.table(
        {
            "id": ["c"],
            "annotator_id": ["a"],
            "annotator_emotion": ["happy"],
            "golden_emotion": ["sad"],
        }
    )
    with pytest.raises(ValueError, match="answers hold 'happy'; allowed are angry"):
        code_answers(table)


def test_code_answers_when_clips_repeat_numbers_by_first_row(corpus):
    rows = [row("c2", "a1"), row("c1", "a1", "angry"), row("c2", "a2", "angry"), row("c1", "a3")]
    members = corpus({"crowd_train/raw_crowd_train.jsonl": as_jsonl(rows)})
    table, _ = read_answers(members, ["crowd_train"], quiet=True)
    coded = code_answers(table)
    first = table.take(pa.array(coded.first_answers()))
    assert first["id"].to_pylist() == ["c2", "c1"]
    assert first["annotator_emotion"].to_pylist() == ["sad", "angry"]
    assert coded.tasks == ("c2", "c1")
    assert coded.annotators == ("a1", "a2", "a3")
    assert [ANSWERS[i] for i in coded.label] == ["sad", "angry", "angry", "sad"]
