"""Answers to clips: aggregated once, the first row of each kept, and kept in the cache."""

import os
import time

import numpy as np
import pyarrow as pa
import pytest
from small_corpus import make_clips, write_corpus

from dusha_ser.archives.find import open_members
from dusha_ser.corpus import clips as clips_module
from dusha_ser.corpus.clips import cached_clips, content_key, parts_at_hand, posteriors, read_raw
from dusha_ser.corpus.clips import make_clips as clips_of
from dusha_ser.corpus.options import CorpusOptions
from dusha_ser.labels.crowd_answers import CrowdAnswers
from dusha_ser.labels.dawid_skene import dawid_skene

MAJORITY = CorpusOptions(method="majority_vote")


def answers(*rows, **columns):
    """A table of answers from tuples of id, annotator, answer, golden and part."""
    names = ("id", "annotator_id", "annotator_emotion", "golden_emotion", "part")
    table = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    for name in ("audio_path", "text", "speaker_emotion", "source_id"):
        table[name] = columns.get(name, [f"{name} {i}" for i in range(len(rows))])
    table["duration"] = [float(i) for i in range(len(rows))]
    return pa.table(table)


@pytest.fixture
def members(tmp_path):
    folder = write_corpus(tmp_path / "archives")
    return open_members([folder], tmp_path / "index", quiet=True)


def test_make_clips_when_rows_of_a_clip_are_apart():
    table = clips_of(
        answers(
            ("b", "x", "sad", None, "crowd_train"),
            ("a", "x", "sad", "sad", "crowd_test"),
            ("b", "y", "angry", "angry", "crowd_test"),
            ("b", "z", "sad", None, "crowd_train"),
        ),
        MAJORITY,
    )
    assert table["id"].to_pylist() == ["b", "a"]
    assert table["part"].to_pylist() == ["crowd_train", "crowd_test"]
    assert table["duration"].to_pylist() == [0.0, 1.0]
    assert table["text"].to_pylist() == ["text 0", "text 1"]
    assert table["golden_emotion"].to_pylist() == [None, "sad"]
    assert table["votes"].to_pylist() == [[1, 2, 0, 0, 0], [0, 1, 0, 0, 0]]
    np.testing.assert_allclose(table["label_probabilities"][0].as_py(), [1 / 3, 2 / 3, 0, 0, 0])


def test_make_clips_when_known_answers_are_the_truth():
    rows = answers(
        ("a", "x", "sad", None, "crowd_train"),
        ("a", "y", "sad", "angry", "crowd_train"),
        ("a", "z", "sad", "neutral", "crowd_train"),
        ("b", "z", "sad", None, "crowd_train"),
    )
    known = clips_of(rows, CorpusOptions(method="majority_vote", golden=True))
    assert known["label_probabilities"].to_pylist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
    assert clips_of(rows, MAJORITY)["label_probabilities"][0].as_py() == [0, 1, 0, 0, 0]


def test_make_clips_when_dawid_skene_sees_all_parts_at_once(members):
    options = CorpusOptions()
    rows, _ = read_raw(members, options, quiet=True)
    clips = clips_of(rows, options)
    task = {name: number for number, name in enumerate(clips["id"].to_pylist())}
    annotators = sorted(set(rows["annotator_id"].to_pylist()))
    crowd = CrowdAnswers(
        np.array([task[name] for name in rows["id"].to_pylist()]),
        np.array([annotators.index(name) for name in rows["annotator_id"].to_pylist()]),
        np.array([options.labels.index(name) for name in rows["annotator_emotion"].to_pylist()]),
        list(task),
        annotators,
        options.labels,
    )
    expected = dawid_skene(crowd)
    np.testing.assert_allclose(
        np.array(clips["label_probabilities"].to_pylist()), expected.probabilities, atol=1e-12
    )


def test_posteriors_when_made_or_read_from_the_cache_have_their_labels(members, tmp_path):
    labels = ("other", "positive", "neutral", "sad", "angry")
    for _ in range(2):
        clips, _ = cached_clips(members, CorpusOptions(labels=labels), tmp_path, quiet=True)
        found = posteriors(clips)
        assert found.labels == labels
        assert found.probabilities.tolist() == clips["label_probabilities"].to_pylist()


def test_content_key_when_files_change_or_move(tmp_path):
    folder = write_corpus(tmp_path / "archives")

    def key(folder, matters=lambda name: True):
        return content_key(open_members([folder], tmp_path / "index", quiet=True), matters)

    first = key(folder)
    assert key(folder) == first
    assert key(folder, lambda name: "crowd" in name) != first
    moved = folder.rename(tmp_path / "moved")
    assert key(moved) == first
    os.utime(moved / "podcast.tar")
    assert key(moved) != first
    assert key(moved, lambda name: name.startswith("crowd")) == key(
        moved, lambda name: name.startswith("crowd_")
    )


def test_cached_clips_when_read_again(members, tmp_path, monkeypatch):
    first, _ = cached_clips(members, CorpusOptions(), tmp_path, quiet=True)
    monkeypatch.setattr(clips_module, "read_answers", None)  # a call fails
    again, _ = cached_clips(members, CorpusOptions(), tmp_path, quiet=True)
    assert again.equals(first)
    other_splits = CorpusOptions(threshold=0.5, keep_other=True, validation=0.1)
    assert cached_clips(members, other_splits, tmp_path, quiet=True)[0].equals(first)
    with pytest.raises(TypeError):
        cached_clips(members, MAJORITY, tmp_path, quiet=True)


def test_cached_clips_when_answers_options_or_code_change(tmp_path, monkeypatch):
    def kept(**options):
        members = open_members([write_corpus(tmp_path / "archives", clips)], tmp_path, quiet=True)
        found, _ = cached_clips(members, CorpusOptions(**options), tmp_path / "cache", quiet=True)
        return found, len(list((tmp_path / "cache" / "clips").glob("*.parquet")))

    clips = make_clips()
    first, count = kept()
    assert count == 1
    clips[0]["answers"] = [(annotator, "sad") for annotator, _ in clips[0]["answers"]]
    changed, count = kept()
    assert count == 2
    assert posteriors(first).probabilities[0].argmax() == 0
    assert posteriors(changed).probabilities[0].argmax() == 1
    assert kept(iterations=1)[1] == 3
    monkeypatch.setattr(clips_module, "CODE", ("dusha_ser.errors",))
    assert kept()[1] == 4


def test_cached_clips_when_bad_rows_are_skipped(tmp_path):
    clips = make_clips()
    clips[2]["answers"][0] = ("annotator0", "bored")
    folder = write_corpus(tmp_path / "archives", clips)
    members = open_members([folder], tmp_path / "index", quiet=True)
    options = CorpusOptions(bad_rows="skip")
    for _ in range(2):  # made, then read from the cache
        found, bad_rows = cached_clips(members, options, tmp_path, quiet=True)
        assert len(found) == len(clips)
        assert [row["value"] for row in bad_rows] == ["bored"]
        assert bad_rows[0]["file"] == "crowd_train/raw_crowd_train.jsonl"
        assert bad_rows[0]["line"] == 11


def test_waiting_when_a_step_takes_long(capsys, monkeypatch):
    monkeypatch.setattr(clips_module, "TICK", 0.01)
    with clips_module.waiting("Aggregating", quiet=False):
        time.sleep(0.1)
    assert "Aggregating 00:00" in capsys.readouterr().err
    with pytest.raises(KeyError), clips_module.waiting("Aggregating", quiet=True):
        raise KeyError
    assert not capsys.readouterr().err


def test_read_raw_when_there_is_no_answer(tmp_path):
    clips = [clip | {"answers": []} for clip in make_clips()]
    members = open_members(
        [write_corpus(tmp_path / "archives", clips)], tmp_path / "index", quiet=True
    )
    with pytest.raises(Exception, match="raw_crowd_train") as error:
        read_raw(members, CorpusOptions(), quiet=True)
    assert not isinstance(error.value, (KeyError, IndexError, AttributeError))


def test_parts_at_hand_when_some_are_missing(members, tmp_path):
    assert parts_at_hand(members) == CorpusOptions().parts
    clips = [clip for clip in make_clips() if clip["part"] == "podcast_test"]
    write_corpus(tmp_path / "one", clips)
    one = open_members([tmp_path / "one"], tmp_path / "index", quiet=True)
    assert parts_at_hand(one) == ("podcast_test",)
