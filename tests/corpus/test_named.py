"""What a spelling on the command line means, and what is told where it means nothing."""

import datasets
import fake_corpora
import numpy as np
import pytest
import soundfile
from small_models import replace_audio, write_corpus, write_recordings

from dusha_ser.corpus.named import NamedRows, named_rows, refuse_other_labels
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.evaluation.ser.ser import LABELS
from dusha_ser.options import TableOptions


def test_named_rows_of_a_table_have_its_speakers(tmp_path):
    table = write_recordings(tmp_path)
    test_set = named_rows(str(table))
    assert test_set.name == "clips.csv"
    assert test_set.labels == LABELS
    assert len(test_set.rows) == 16
    assert set(test_set.speakers) == {f"speaker {i}" for i in range(4)}
    assert test_set.folds is None and test_set.published_as is None


def test_named_rows_of_a_folder_with_a_folder_a_label(tmp_path):
    for label in ("sad", "angry"):
        fake_corpora.write(tmp_path / "own" / label / "a.wav", fake_corpora.TINY)
    test_set = named_rows(str(tmp_path / "own"))
    assert (test_set.name, len(test_set.rows), test_set.speakers) == ("own", 2, None)


def write_splits(folder, *names):
    """Write an AudioFolder with a folder of each split."""
    for number, name in enumerate(names):
        for label in ("sad", "angry"):
            fake_corpora.write(
                folder / name / label / "a.wav", fake_corpora.tone(300 + number, 0.1)
            )
    return str(folder)


def test_named_rows_of_a_folder_of_splits_are_those_of_the_split(tmp_path, caplog):
    folder = write_splits(tmp_path / "own", "Training", "val", "evaluation")
    for split, name in {"train": "Training", "validation": "val", "test": "evaluation"}.items():
        found = named_rows(folder, split)
        assert found.rows["id"] == [f"{name}/angry/a.wav", f"{name}/sad/a.wav"]
        assert found.rows["label"] == [0, 1] and found.labels == LABELS
        assert named_rows(f"{folder}:default:{split}", "test").rows["id"] == found.rows["id"]
    assert caplog.messages == [f"{folder} is read as folders of splits: train, validation, test"]
    with pytest.raises(WrongUseError, match="has the splits train, validation, test; name one as"):
        named_rows(folder)


def test_named_rows_of_folders_that_are_called_as_splits_but_hold_audio_are_labels(tmp_path):
    for label in ("train", "test", "bus"):
        fake_corpora.write(tmp_path / label / "a.wav", fake_corpora.TINY)
    assert named_rows(str(tmp_path)).labels == ("bus", "test", "train")
    (tmp_path / "bus" / "a.wav").unlink()
    with pytest.raises(WrongUseError, match=r"folders of splits \(test, train\) with audio"):
        named_rows(str(tmp_path))
    # Sessions of trains and buses are not splits either.
    write_splits(tmp_path / "deep", "train", "bus")
    assert named_rows(str(tmp_path / "deep")).labels == ("bus", "train")


def test_named_rows_of_a_folder_of_splits_leave_others_out_and_say_so(tmp_path, caplog):
    folder = write_splits(tmp_path, "train", "test", "noise", ".hidden")
    assert len(named_rows(folder, "test").rows) == 2
    assert caplog.messages == [
        f"{folder} is read as folders of splits: train, test; noise left out"
    ]


def test_named_rows_of_an_audio_folder_with_metadata_have_its_labels(tmp_path):
    for name in ("clips/a.wav", "clips/b.wav"):
        fake_corpora.write(tmp_path / "train" / name, fake_corpora.TINY)
    text = "file_name,label,speaker\nclips/a.wav,sad,x\nclips/b.wav,angry,y\n"
    (tmp_path / "train" / "metadata.csv").write_text(text)
    found = named_rows(str(tmp_path))
    assert found.rows["id"] == ["train/clips/a.wav", "train/clips/b.wav"]
    assert found.rows["label"] == [1, 0] and found.speakers == ["x", "y"]
    (tmp_path / "train" / "metadata.csv").write_text("file,text\na.wav,da\n")
    assert named_rows(str(tmp_path / "train")).labels == ("clips",)


def test_named_rows_of_another_corpus_have_its_folds_and_ids(tmp_path):
    fake_corpora.write_iemocap(tmp_path, {"ang": 10, "hap": 5, "exc": 5})
    test_set = named_rows(f"iemocap={tmp_path}", allow_other_counts=True)
    assert test_set.name == test_set.published_as == "iemocap"
    assert test_set.labels == LABELS
    assert set(test_set.folds) == {f"Session{i}" for i in range(1, 6)}
    first = test_set.rows[0]
    assert first["id"] in first["audio"]["path"]
    assert first["domain"] == "iemocap"
    with pytest.raises(WrongUseError, match="5,531"):
        named_rows(f"iemocap={tmp_path}")


def test_named_rows_of_another_corpus_when_recordings_are_blank(tmp_path, caplog):
    fake_corpora.write_iemocap(tmp_path, {"ang": 10, "hap": 5, "exc": 5})
    rows = named_rows(f"iemocap={tmp_path}", allow_other_counts=True).rows
    wavs = [audio["path"] for audio in rows["audio"]]
    for path, size in ((wavs[0], 0), (wavs[1], 16000), (wavs[-1], 0)):
        soundfile.write(path, np.zeros(size), 16000)
    with pytest.raises(WrongUseError, match=f"^3 of {len(wavs)} recordings .* `bad_rows=skip`$"):
        named_rows(f"iemocap={tmp_path}", allow_other_counts=True)
    skip = TableOptions(bad_rows="skip")
    test_set = named_rows(f"iemocap={tmp_path}", allow_other_counts=True, options=skip)
    assert len(test_set.rows) == len(test_set.folds) == len(wavs) - 3
    assert all(
        f"Ses0{fold[-1]}" in name
        for name, fold in zip(test_set.rows["id"], test_set.folds, strict=True)
    )
    assert [text for text in caplog.messages if "3 of" in text and "they are left out" in text]


def test_named_rows_of_a_prepared_corpus_take_the_split_that_is_meant(tmp_path):
    folder = write_corpus(tmp_path / "dusha")
    test_set = named_rows(f"{folder}:crowd", split="test")
    assert test_set.name == "dusha:crowd:test"
    assert test_set.published_as is None, "a name is not what makes it Dusha's"
    assert test_set.rows[0]["audio"]["bytes"].startswith(b"RIFF")
    assert named_rows(f"{folder}:crowd:train", split="test").name == "dusha:crowd:train"
    with pytest.raises(WrongUseError, match="splits train, test; name one as .*:crowd:train"):
        named_rows(f"{folder}:crowd")
    with pytest.raises(WrongUseError, match="splits train, test"):
        named_rows(f"{folder}:crowd:validation")


def test_named_rows_of_a_folder_prepared_anew_are_the_new_ones(tmp_path):
    first = write_corpus(tmp_path / "first" / "dusha", "podcast", audio=False)
    named_rows(str(first), "test")
    second = write_corpus(tmp_path / "second" / "dusha", "podcast", audio=False, features=True)
    # One name, one card, other files: the cache of `datasets` alone gives the first again.
    assert "input_features" in named_rows(str(second), "test").rows.column_names
    write_corpus(tmp_path / "second" / "dusha", "podcast", audio=True)
    assert named_rows(str(second), "test").rows[0]["audio"] is not None


def test_named_rows_of_a_folder_whose_card_changed_are_those_of_the_new_card(tmp_path):
    folder = write_corpus(tmp_path / "dusha")
    assert len(named_rows(str(folder), "test").rows) == 12
    card = folder / "README.md"
    card.write_text(card.read_text().replace("path: crowd/test-*", "path: crowd/*"))
    assert len(named_rows(str(folder), "test").rows) == 24


def test_named_rows_of_one_configuration_need_no_name(tmp_path):
    folder = write_corpus(tmp_path / "dusha", "podcast", audio=False)
    test_set = named_rows(str(folder), split="test")
    assert test_set.name == "dusha:test" and len(test_set.rows) == 12
    assert test_set.published_as is None


def rows_of(domain, clips, seconds, labels=LABELS):
    """Rows without audio, whose durations are around a mean."""
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "label": datasets.ClassLabel(names=list(labels)),
            "duration": datasets.Value("float64"),
            "domain": datasets.Value("string"),
        }
    )
    columns = {
        "id": list(map(str, range(clips))),
        "label": [i % 4 for i in range(clips)],
        "duration": [seconds + 0.5 * (-1) ** i for i in range(clips)],
        "domain": [domain] * clips,
    }
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (("crowd", 14035, 66540 / 14035), "crowd"),
        (("podcast", 10637, 33900 / 10637), "podcast"),
        (("crowd", 13900, 4.7), "crowd"),  # some recordings were missing
        (("crowd", 94, 4.74), None),  # one's own few clips
        (("crowd", 14035, 3.2), None),  # one's own many
        (("podcast", 14035, 66540 / 14035), None),
        (("own", 14035, 66540 / 14035), None),
        (("crowd", 14035, 66540 / 14035, ("angry", "happy", "neutral", "sad")), None),
        (("crowd", 14035, 66540 / 14035, (*LABELS, "other")), None),
        (("iemocap", 20, 4.0), "iemocap"),
        (("iemocap", 20, 4.0, (*LABELS, "fear")), None),
    ],
)
def test_published_as_goes_by_clips_and_labels_not_by_names(rows, expected):
    assert NamedRows("X:crowd:test", rows_of(*rows)).published_as == expected


def test_published_as_when_durations_are_not_known_is_none():
    rows = rows_of("crowd", 14035, 66540 / 14035).remove_columns("duration")
    assert NamedRows("X:crowd:test", rows).published_as is None


def test_named_rows_of_nothing_say_what_is_allowed(tmp_path):
    with pytest.raises(MissingInputError, match="no data set"):
        named_rows(str(tmp_path / "nowhere"), split="test")
    with pytest.raises(MissingInputError, match="clips.csv"):
        named_rows(str(tmp_path / "clips.csv"))
    with pytest.raises(WrongUseError, match="3 colons"):
        named_rows("a:b:c:d")
    folder = write_corpus(tmp_path / "dusha")
    with pytest.raises(WrongUseError, match="cannot be read"):
        named_rows(f"{folder}:podcast", split="test")


def test_fingerprint_changes_with_labels_speakers_and_audio_and_not_with_the_folder(tmp_path):
    table = write_recordings(tmp_path / "first")
    before = named_rows(str(table)).fingerprint
    assert named_rows(str(write_recordings(tmp_path / "second"))).fingerprint == before
    text = table.read_text()
    table.write_text(text.replace("0_sad_0.wav,sad", "0_sad_0.wav,angry"))
    assert named_rows(str(table)).fingerprint != before
    table.write_text(text.replace("speaker 1", "speaker 2"))
    assert named_rows(str(table)).fingerprint != before
    table.write_text(text)
    assert named_rows(str(table)).fingerprint == before
    replace_audio(table.parent / "wavs" / "0_sad_0.wav")
    assert named_rows(str(table)).fingerprint != before


def test_refuse_other_labels_names_both(tmp_path):
    own = write_recordings(tmp_path)
    other = tmp_path / "other.csv"
    other.write_text("path,label\nwavs/0_sad_0.wav,calm\n")
    first, second = named_rows(str(own)), named_rows(str(other))
    refuse_other_labels([first, first])
    with pytest.raises(WrongUseError, match="calm and clips.csv angry, sad"):
        refuse_other_labels([first, second])
