"""Windows of timelines as segments: the rule by hand, and what holds for any windows."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dusha_ser.timelines.merging import merge_rows
from dusha_ser.vocabulary import UNCERTAIN

LABELS = ("angry", "sad", "neutral")


def row(start, end, *probabilities, name="a.wav", **more):
    """A row of a timeline."""
    named = dict(zip(LABELS, probabilities, strict=True)) if probabilities else None
    label = max(named, key=named.get) if named else None
    times = {"id": name, "start": start, "end": end}
    return times | {"prediction": label, "probabilities": named, "error": None} | more


def shown(rows):
    """What tests by hand look at."""
    return [(one["start"], one["end"], one["prediction"]) for one in rows]


def test_merge_rows_when_windows_overlap():
    windows = [row(0, 5, 0.8, 0.1, 0.1), row(2.5, 7.5, 0.6, 0.4, 0), row(5, 9, 0, 1, 0)]
    first, second = merge_rows(windows)
    assert shown([first, second]) == [(0, 5, "angry"), (5, 9, "sad")]
    assert first["probabilities"] == pytest.approx({"angry": 0.75, "sad": 0.175, "neutral": 0.075})
    # 5 to 7.5 s has the mean of two windows, 7.5 to 9 s one window.
    angry, sad = (2.5 * 0.3 + 1.5 * 0) / 4, (2.5 * 0.7 + 1.5 * 1) / 4
    assert second["probabilities"] == pytest.approx({"angry": angry, "sad": sad, "neutral": 0})
    assert list(first) == list(windows[0])


def test_merge_rows_when_windows_leave_a_gap():
    windows = [row(0, 2, 1, 0, 0), row(2, 4, 0.9, 0.1, 0), row(4.5, 6, 1, 0, 0)]
    assert shown(merge_rows(windows)) == [(0, 4, "angry"), (4.5, 6, "angry")]


def test_merge_rows_when_some_have_no_prediction():
    silent = row(None, None, name="b.wav")
    failed = silent | {"id": "c.wav", "error": "it is empty"}
    windows = [row(0, 5, 1, 0, 0), row(2.5, 6, 1, 0, 0), silent, failed]
    assert merge_rows(windows) == [windows[0] | {"start": 0, "end": 6.0}, silent, failed]
    assert merge_rows([]) == []


def test_merge_rows_when_speakers_talk_at_once():
    windows = [
        row(0, 4, 1, 0, 0, speaker="A", text="one"),
        row(2, 6, 0, 1, 0, speaker="B", text="two"),
        row(4, 8, 0.8, 0.2, 0, speaker="A", text=None),
        row(8, 9, 0.8, 0.2, 0, speaker="A", text="three"),
    ]
    first, second = merge_rows(windows)
    assert (first["start"], first["end"]) == (0, 9)
    assert (first["speaker"], first["text"]) == ("A", "one three")
    assert (second["start"], second["end"], second["text"]) == (2, 6, "two")


def test_merge_rows_when_uncertain():
    windows = [row(0, 2, 0.9, 0.1, 0), row(2, 4, 0.5, 0.4, 0.1), row(4, 6, 0.4, 0.5, 0.1)]
    merged = merge_rows(windows, least_confidence=0.6)
    assert shown(merged) == [(0, 2, "angry"), (2, 6, UNCERTAIN)]
    assert merged[1]["probabilities"] == pytest.approx({"angry": 0.45, "sad": 0.45, "neutral": 0.1})


def test_merge_rows_when_segments_are_short():
    windows = [row(0, 9, 1, 0, 0), row(9, 10, 0, 1, 0), row(10, 14, 0.9, 0, 0.1)]
    assert shown(merge_rows(windows, shortest=1)) == shown(windows)
    assert shown(merge_rows(windows, shortest=1.5)) == [(0, 14, "angry")]
    alone = [row(0, 1, 1, 0, 0), row(2, 3, 0, 1, 0)]
    assert shown(merge_rows(alone, shortest=5)) == shown(alone)
    halves = [row(0, 1, 0.6, 0.4, 0), row(1, 2, 0, 0.9, 0.1)]
    assert shown(merge_rows(halves, shortest=1.5)) == [(0, 2, "sad")]


@st.composite
def timelines(draw):
    """Windows as a timeline has them, in stretches of speech, in milliseconds."""
    hop = draw(st.integers(1, 3000))
    window = draw(st.integers(hop, 3 * hop))
    rows, begin = [], 0
    for _ in range(draw(st.integers(1, 3))):
        begin += draw(st.integers(0, 2000))
        length = draw(st.integers(1, 8 * hop))
        starts = range(0, max(1, length - window + hop), hop)
        for start in starts:
            shares = [draw(st.integers(0, 4)) for _ in LABELS]
            shares = [one / max(1, sum(shares)) for one in shares]
            end = begin + min(length, start + window)
            rows.append(row((begin + start) / 1000, end / 1000, *shares))
        begin = int(1000 * rows[-1]["end"])
    return rows


@settings(max_examples=150, deadline=None)
@given(timelines(), st.sampled_from([0, 0.5, 0.9]), st.sampled_from([0, 0.7, 4]))
def test_merge_rows_when_anything(rows, least_confidence, shortest):
    merged = merge_rows(rows, least_confidence=least_confidence, shortest=shortest)
    covered = set()
    for one in rows:
        covered.update(range(round(1000 * one["start"]), round(1000 * one["end"])))
    spans = [(round(1000 * one["start"]), round(1000 * one["end"])) for one in merged]
    assert sum(end - start for start, end in spans) == len(covered)
    assert {time for start, end in spans for time in range(start, end)} == covered
    for one in merged:
        best = max(one["probabilities"], key=one["probabilities"].get)
        confidence = one["probabilities"][best]
        if one["prediction"] == UNCERTAIN:
            assert confidence < least_confidence + 1e-6
        else:
            assert confidence >= least_confidence - 1e-6
            assert one["probabilities"][one["prediction"]] == pytest.approx(confidence, abs=1e-5)
    for (_, end), (start, _), (one, other) in zip(
        spans, spans[1:], itertools.pairwise(merged), strict=False
    ):
        assert end <= start
        touches = end == start
        assert not touches or one["prediction"] != other["prediction"]
        if touches and shortest:
            assert min(one["end"] - one["start"], other["end"] - other["start"]) > shortest - 1e-3
