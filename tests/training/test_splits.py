"""The splits of a run: what is held out to choose the best epoch on, and what is refused."""

import os
import shutil

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_recordings import write_recordings
from small_corpus import make_clips
from small_corpus import write_corpus as write_archives
from small_models import write_corpus

from dusha_ser.corpus import sample
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.training import splits as splits_module
from dusha_ser.training.options import DataOptions
from dusha_ser.training.splits import hold_out_validation, load_splits, shuffle_labels, sure_clips

LABELS = ["no", "yes"]


def rows_of(speakers, clips_each):
    """Rows of so many speakers, whose labels come in turn; 0: rows of no known speaker."""
    count = max(1, speakers) * clips_each
    columns = {"id": list(map(str, range(count))), "label": [i % 2 for i in range(count)]}
    if speakers:
        columns["source_id"] = [f"speaker {i // clips_each}" for i in range(count)]
    features = datasets.Features(
        {name: datasets.Value("string") for name in columns}
        | {"label": datasets.ClassLabel(names=LABELS)}
    )
    return datasets.Dataset.from_dict(columns, features=features)


def test_shuffled_labels_keep_their_counts_and_leave_all_else_where_it_was():
    rows = rows_of(20, 4)
    shuffled = shuffle_labels(rows, seed=3)
    assert sorted(shuffled["label"]) == sorted(rows["label"]) and shuffled.features == rows.features
    assert shuffled["label"] != rows["label"]
    assert all(shuffled[name] == rows[name] for name in ("id", "source_id"))
    assert shuffle_labels(rows, seed=3)["label"] == shuffled["label"]
    assert shuffle_labels(rows, seed=4)["label"] != shuffled["label"]


def test_shuffled_labels_take_the_answers_behind_them_along():
    rows = rows_of(20, 4)
    rows = rows.add_column("votes", [[number, 0] for number in rows["label"]])
    rows = rows.add_column("label_probabilities", [[0.0, float(one)] for one in rows["label"]])
    shuffled = shuffle_labels(rows, seed=3)
    assert [votes[0] for votes in shuffled["votes"]] == shuffled["label"][:]
    assert [one[1] for one in shuffled["label_probabilities"]] == shuffled["label"][:]


def test_validation_when_there_are_many_speakers_is_near_the_share(caplog):
    splits = hold_out_validation({"train": rows_of(20, 4)}, 0.1)
    assert set(splits["train"]["source_id"]).isdisjoint(splits["validation"]["source_id"])
    assert len(splits["validation"]) == 8
    assert not caplog.messages


def test_validation_when_all_speakers_have_too_many_clips_is_one_of_them(caplog):
    splits = hold_out_validation({"train": rows_of(4, 12)}, 0.1)
    assert len(set(splits["validation"]["source_id"])) == 1
    assert set(splits["train"]["source_id"]).isdisjoint(splits["validation"]["source_id"])
    (message,) = caplog.messages
    for words in ("0.1 of 48 clips", "these are 12 clips", "`validation=0`"):
        assert words in message


def test_validation_when_there_is_one_speaker_is_refused_with_the_way_out():
    with pytest.raises(WrongUseError, match=r"by 1 speakers.*`validation=0` trains on all"):
        hold_out_validation({"train": rows_of(1, 12)}, 0.1)


def test_validation_when_no_speaker_is_known_takes_single_clips(caplog):
    splits = hold_out_validation({"train": rows_of(0, 40)}, 0.1)
    assert "no speaker is known, so single clips are held out" in caplog.text
    assert len(splits["validation"]) == 4
    assert sorted([*splits["train"]["id"], *splits["validation"]["id"]], key=int) == list(
        map(str, range(40))
    )


def test_validation_when_there_is_one_or_none_is_wanted_stays():
    train = rows_of(4, 12)
    assert hold_out_validation({"train": train}, 0)["train"] is train
    given = {"train": train, "validation": rows_of(1, 2)}
    assert hold_out_validation(given, 0.1) is given


def test_own_recordings_when_read_keep_the_class_numbers_of_train(tmp_path):
    table = write_recordings(tmp_path / "train", LABELS, 4)
    other = write_recordings(tmp_path / "test", LABELS[::-1], 3)
    options = DataOptions(train_file=str(table), test_file=str(other))
    splits = load_splits(options, features_only=True)
    assert list(splits) == ["train", "test"]
    assert splits["test"].features["label"].names == LABELS
    assert list(splits["test"]["label"]) == [1, 0, 1]


@pytest.mark.parametrize("option", ["train_file", "dataset"])
def test_own_recordings_when_a_folder_has_splits_are_these(tmp_path, option):
    for split in ("train", "dev", "test"):
        write_recordings(tmp_path / "a", LABELS, 4)
        for number in range(4):
            label = tmp_path / "own" / split / LABELS[number % 2]
            label.mkdir(parents=True, exist_ok=True)
            (tmp_path / "a" / f"{number}.flac").rename(label / f"{number}.flac")
    options = DataOptions(**{option: str(tmp_path / "own")})
    splits = load_splits(options, features_only=True)
    assert {split: len(rows) for split, rows in splits.items()} == {
        "train": 4,
        "validation": 4,
        "test": 4,
    }
    for rows in splits.values():
        assert rows.features["label"].names == LABELS and rows["label"] == [0, 0, 1, 1]
    options = DataOptions(train_file=str(tmp_path / "own"), test_file=str(tmp_path / "a"))
    with pytest.raises(WrongUseError, match="has the split test itself: leave out `test_file`"):
        load_splits(options, features_only=True)


def own_splits(folder, train, validation=None, test=None):
    """Read tables of tones by the speakers given; of none where these are empty."""
    speakers = {"train": train, "validation": validation, "test": test}
    options = {
        f"{split}_file": str(write_recordings(folder / split, LABELS, 8, names))
        for split, names in speakers.items()
        if names is not None
    }
    return load_splits(DataOptions(**options), features_only=True)


def test_own_recordings_of_the_same_speakers_are_counted_in_a_warning(tmp_path, caplog):
    own_splits(tmp_path, train="ab", test="bc")
    (message,) = caplog.messages
    assert message.startswith(f"1 speakers are in both {tmp_path / 'train' / 'clips.csv'} and ")
    assert f"4 of {tmp_path / 'test' / 'clips.csv'}'s 8 clips" in message


def test_own_recordings_in_three_tables_are_compared_with_all_before(tmp_path, caplog):
    own_splits(tmp_path, train="ab", validation="bc", test="acd")
    first, second = caplog.messages
    assert first.startswith("1 speakers") and "validation/clips.csv, with 4 of" in first
    assert second.startswith("2 speakers") and "train/clips.csv or " in second


def test_own_recordings_of_other_speakers_raise_no_warning(tmp_path, caplog):
    own_splits(tmp_path, train="ab", validation="cd", test="ef")
    assert caplog.messages == []


@pytest.mark.parametrize(("train", "test", "table"), [("", "ab", "train"), ("ab", "", "test")])
def test_own_recordings_of_unknown_speakers_are_said(tmp_path, caplog, train, test, table):
    own_splits(tmp_path, train=train, test=test)
    (message,) = caplog.messages
    assert "is not known" in message
    assert message.endswith(f"8 of the 8 clips of {tmp_path / table / 'clips.csv'} have no speaker")


def test_splits_of_a_folder_with_the_same_speakers_are_counted_too(tmp_path, caplog):
    load_splits(DataOptions(dataset=str(write_corpus(tmp_path / "dusha"))), features_only=True)
    assert "4 speakers are in both train and test, with 12 of test's 12 clips" in caplog.text


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"validation": 1.0}, WrongUseError, "below 1"),
        ({"test_file": "a.csv"}, WrongUseError, "`train_file` is missing"),
        ({"train_file": "nowhere.csv"}, MissingInputError, "nowhere.csv"),
        ({"dataset": "sample", "data_dir": "a"}, WrongUseError, "are for the corpus"),
        ({"dataset": "crowd", "configuration": "a"}, WrongUseError, "leave `configuration` out"),
        ({"dataset": "raw"}, WrongUseError, "no labels"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_load_splits_when_options_do_not_fit_says_which(options, kind, words):
    with pytest.raises(kind, match=words):
        load_splits(DataOptions(**options), features_only=True)


def test_load_splits_of_a_folder_that_was_prepared_again_reads_the_new_files(tmp_path):
    folder = tmp_path / "dusha"
    options = DataOptions(dataset=str(folder), configuration="podcast")
    write_corpus(folder, "podcast", audio=False)
    assert load_splits(options, features_only=True)["train"][0]["audio"] is None
    write_corpus(folder, "podcast", audio=True)
    assert load_splits(options, features_only=True)["train"][0]["audio"] is not None


def test_load_splits_of_a_folder_whose_labels_were_replaced_reads_the_new_ones(tmp_path):
    options = DataOptions(dataset=str(write_corpus(tmp_path / "dusha")))
    assert set(load_splits(options, features_only=True)["train"]["label"]) == {0, 1, 2}
    path = tmp_path / "dusha" / "crowd" / "train-00000.parquet"
    state, table = path.stat(), pq.read_table(path)
    labels = pa.array([3] * len(table), table["label"].type)
    other = table.set_column(table.column_names.index("label"), "label", labels)
    pq.write_table(other.replace_schema_metadata(table.schema.metadata), path)
    # A copy keeps the time.
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert set(load_splits(options, features_only=True)["train"]["label"]) == {3}
    # Another folder of the same name with the same card.
    elsewhere = shutil.copytree(tmp_path / "dusha", tmp_path / "elsewhere" / "dusha")
    pq.write_table(table, elsewhere / "crowd" / path.name)
    options = DataOptions(dataset=str(elsewhere))
    assert set(load_splits(options, features_only=True)["train"]["label"]) == {0, 1, 2}


def test_load_splits_of_the_sample_makes_it_once_for_the_same_code(tmp_path, monkeypatch):
    made, write = [], sample.write_sample

    def write_few(folder, quiet):
        made.append(folder)
        return write(folder, clips=96, quiet=quiet)

    monkeypatch.setattr(sample, "write_sample", write_few)
    options = DataOptions(cache_dir=str(tmp_path))
    first, again = (load_splits(options, features_only=True)["train"]["id"][:] for _ in range(2))
    assert first == again and len(made) == 1
    monkeypatch.setattr(splits_module, "SAMPLE_CODE", ("dusha_ser.errors",))
    load_splits(options, features_only=True)
    assert len(set(made)) == 2


@pytest.mark.parametrize("several", [str, tuple], ids=lambda kind: kind.__name__)
def test_load_splits_when_the_first_of_two_addresses_has_nothing_asks_the_second(several, tmp_path):
    (tmp_path / "empty").mkdir()
    folder = write_archives(tmp_path / "archives")
    addresses = [path.as_uri() for path in (tmp_path / "empty", folder)]
    data = DataOptions(
        dataset="crowd",
        base_url=",".join(addresses) if several is str else tuple(addresses),
        cache_dir=str(tmp_path / "cache"),
    )
    assert len(load_splits(data, features_only=True)["train"]) == 24
    with pytest.raises(MissingInputError, match=f"{addresses[0]}.*{addresses[0]}"):
        data.base_url = (addresses[0], addresses[0] + "/")
        load_splits(data, features_only=True)


def test_sure_clips_are_those_that_the_threshold_keeps(tmp_path):
    names, answers = ["a", "b"], ["a", "b", "other"]
    chances = [[0.95, 0.05, 0.0], [0.6, 0.4, 0.0], [0.05, 0.0, 0.95], [0.0, 0.9, 0.1]]
    rows = datasets.Dataset.from_dict(
        {"label": [0, 0, 0, 1], "answers": [answers] * 4, "label_probabilities": chances}
    ).cast_column("label", datasets.ClassLabel(names=names))
    assert sure_clips(rows, 0.9)["label_probabilities"][:] == [chances[0], chances[3]]
    with pytest.raises(WrongUseError, match="lower `threshold`, or `validation=0`"):
        sure_clips(rows, 0.99)


def test_load_splits_of_answers_brings_their_likelihoods_and_unsure_clips(tmp_path):
    clips = make_clips()
    clips[0]["answers"] = [("x", "sad"), ("y", "angry")]
    folder = str(write_archives(tmp_path / "archives", clips))
    for name, count in (("crowd", 24), ("crowd_large", 24)):
        data = DataOptions(
            dataset=name, data_dir=folder, cache_dir=str(tmp_path / "cache"),
            keep_unsure=name == "crowd", validation=0.4,
        )  # fmt: skip
        splits = load_splits(data, features_only=False, likelihoods=True)
        assert len(splits["train"]) == count
        assert np.shape(splits["train"]["log_likelihoods"]) == (count, 5)
