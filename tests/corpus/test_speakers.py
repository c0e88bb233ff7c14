"""Speakers in two splits are counted by domain and name."""

import datasets

from dusha_ser.corpus.speakers import speakers_of, warn_of_shared, warn_of_splits


def rows_of(speakers, domain="own"):
    columns = {"source_id": speakers, "domain": [domain] * len(speakers)}
    return datasets.Dataset.from_dict(columns)


def test_warn_of_shared_counts_speakers_and_their_clips(caplog):
    assert warn_of_shared(["a", "b", None, ""], ["b", "b", None, "", "c"], ("x", "y")) == 1
    assert "1 speakers are in both x and y, with 2 of y's 5 clips" in caplog.text


def test_warn_of_splits_when_one_name_is_of_two_corpora_raises_no_warning(caplog):
    splits = {"train": rows_of(["03", "04"], "ravdess"), "test": rows_of(["03"], "emodb")}
    warn_of_splits(splits, {"train": "ravdess", "test": "emodb"})
    assert caplog.messages == []


def test_warn_of_splits_when_some_speakers_are_unknown_counts_both(caplog):
    splits = {"train": rows_of(["a", "b"]), "test": rows_of(["a", None, ""])}
    warn_of_splits(splits, {"train": "train", "test": "test"})
    unknown, shared = caplog.messages
    assert unknown == (
        "whether test has speakers of train is not known: 2 of the 3 clips of test have no speaker"
    )
    assert shared.startswith("1 speakers are in both train and test, with 1 of test's 3 clips")


def test_speakers_of_rows_without_a_speaker_column_are_not_known():
    assert speakers_of(datasets.Dataset.from_dict({"label": [0, 1]})) == [None, None]
