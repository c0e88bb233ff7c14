"""Data sets as others publish them have, when read, the columns that the corpus has."""

import datasets
import fake_corpora
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dusha_ser.corpus.named import load_folder_or_hub, named_rows
from dusha_ser.errors import WrongUseError
from dusha_ser.options import TableOptions

NAMES = ["sad", "neutral", "angry"]
CLASS = datasets.ClassLabel(names=NAMES)
TEXT = datasets.Value("string")


def write(folder, labels, kind=TEXT, audio="audio", column="label", split="train", **more):
    """Write a data set of Parquet files, as the Hub has them."""
    files = [f"{number % 2}.wav" for number in range(len(labels))]
    columns = {
        audio: [{"bytes": fake_corpora.tone(300, 0.1), "path": file} for file in files],
        column: labels,
        **more,
    }
    kinds = {name: datasets.Value("int64") for name in more} | {audio: datasets.Audio()}
    features = datasets.Features({name: (kinds | {column: kind})[name] for name in columns})
    (folder / "data").mkdir(parents=True, exist_ok=True)
    table = pa.table(columns, schema=features.arrow_schema)
    pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")
    return str(folder)


@pytest.mark.parametrize(
    ("labels", "kind", "names"),
    [
        (["angry", " sad", "sad"], TEXT, ("angry", "sad", "neutral", "positive")),
        (["yes", "no", "no"], TEXT, ("no", "yes")),
        ([2, 0, 0], CLASS, tuple(NAMES)),
        ([3, 1, 1], datasets.Value("int64"), ("1", "3")),
    ],
)
def test_named_rows_of_audio_and_label_alone_have_ids_and_classes(tmp_path, labels, kind, names):
    found = named_rows(write(tmp_path / "set", labels, kind))
    assert found.labels == names
    texts = [CLASS.names[label] if kind == CLASS else str(label).strip() for label in labels]
    assert [names[number] for number in found.rows["label"]] == texts
    assert found.rows["id"] == ["train/0.wav", "train/1.wav", "train/0.wav#2"]
    assert found.rows[0]["audio"]["bytes"].startswith(b"RIFF")
    assert found.speakers is None
    # Files of another set may have the same names.
    other = named_rows(write(tmp_path / "other", labels, kind))
    assert len(found.clips) == 3 and not found.clips & other.clips


def test_named_rows_when_columns_have_other_names_and_labels_are_coded(tmp_path):
    more = {"speaker": [7, 7, 8], "label": [5, 5, 5]}
    folder = write(tmp_path, ["A", "S", "A"], audio="speech", column="emotion", **more)
    options = TableOptions(label_column="emotion", label_map=("A=angry", "S=sad"))
    found = named_rows(folder, options=options)
    assert found.rows["label"] == [0, 1, 0] and found.labels[:2] == ("angry", "sad")
    assert found.speakers == ["7", "7", "8"]
    options = TableOptions(label_map=("sad=angry",))
    coded = named_rows(write(tmp_path / "b", [0, 2], CLASS), options=options)
    assert coded.rows["label"] == [0, 0]


def test_named_rows_when_splits_have_different_labels_number_them_alike(tmp_path):
    write(tmp_path, ["b", "c"])
    folder = write(tmp_path, ["a", "c"], split="test")
    for split, labels in {"train": [1, 2], "test": [0, 2]}.items():
        found = named_rows(folder, split)
        assert found.labels == ("a", "b", "c") and found.rows["label"] == labels


@pytest.mark.parametrize("whole", [True, False])
def test_named_rows_of_a_saved_data_set_are_its_rows(tmp_path, whole):
    loaded = load_folder_or_hub(write(tmp_path / "set", [2, 0, 1], CLASS))
    (loaded if whole else loaded["train"]).save_to_disk(str(tmp_path / "saved"))
    found = named_rows(str(tmp_path / "saved"))
    assert found.labels == tuple(NAMES) and found.rows["label"] == [2, 0, 1]
    assert found.rows[2]["audio"]["bytes"].startswith(b"RIFF")


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"labels": ["a", None]}, "row 1 of split train of .* has no label .label is None"),
        ({"labels": [0, -1], "kind": CLASS}, "row 1 .* has no label"),
        ({"labels": [0.5, 1.5], "kind": datasets.Value("float64")}, "the label '0.5'; labels are"),
        ({"labels": ["Sad", "sad"]}, "differ in case only, such as 'Sad' and 'sad'"),
        ({"labels": ["a", "b"], "column": "emotion"}, "columns audio, emotion and not 'label'"),
    ],
)
def test_named_rows_when_labels_are_missing_or_wrong_say_where(tmp_path, named, words):
    with pytest.raises(WrongUseError, match=words):
        named_rows(write(tmp_path, **named))


def test_load_folder_or_hub_when_a_library_fails_names_the_first_cause(tmp_path):
    (tmp_path / "data").mkdir()
    for number, content in enumerate((b"a,b\n1,2\n", b"a,c\n1,2\n")):
        (tmp_path / "data" / f"{number}.csv").write_bytes(content)
    with pytest.raises(WrongUseError) as caught:
        load_folder_or_hub(str(tmp_path))
    assert "An error occurred while generating" not in str(caught.value)
    assert "Schema at index 1 was different" in str(caught.value)
