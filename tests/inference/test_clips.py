"""Turns cut out of recordings that come in pieces: as slices of the whole, with little held."""

import math
import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from dusha_ser.audio.turns import Turn
from dusha_ser.inference.clips import ClipReader, Recording
from dusha_ser.inference.settings import Settings

RATE = 1000  # of the samples here, in Hz: the least that audio has


def read_clips(samples, turns, **options):
    """The recording as it is noted, and its clips."""
    reader = ClipReader(Settings("model", segments="turns", **options), RATE)
    recording = Recording("a.wav")
    clips = list(reader.read(recording, (samples, RATE), turns))
    assert len(clips) == len(recording.clips)
    return recording, clips


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(1, 60)), max_size=8),
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
)
def test_clips_of_turns_are_slices_of_the_recording(spans, sizes):
    samples = np.random.default_rng(0).uniform(-1, 1, 100 * sum(sizes)).astype(np.float32)
    blocks = np.split(samples, 100 * np.cumsum(sizes)[:-1])
    turns = [Turn(start / 10, (start + length) / 10) for start, length in sorted(spans)]
    reader = ClipReader(Settings("model", segments="turns", whole=2, window=1, hop=0.5), RATE)
    found: dict[int, list] = {}
    for number, first, clip in reader._cut_turns(blocks, turns):
        np.testing.assert_array_equal(clip, samples[first : first + len(clip)])
        found.setdefault(number, []).append((first, first + len(clip)))
    inside = [turn for turn in turns if turn.start < len(samples) / RATE]
    assert sorted(found) == list(range(len(inside)))
    for number, clips in found.items():
        turn, end = turns[number], min(round(turns[number].end * RATE), len(samples))
        start = round(turn.start * RATE)
        if end - start <= 2 * RATE:
            assert clips == [(start, end)]
        else:
            firsts = [first for first, _ in clips]
            assert firsts == list(range(start, start + 500 * len(firsts), 500))
            assert clips[-1][1] == end
            assert all(last - first == RATE for first, last in clips[:-1])


def test_turns_that_are_too_short_or_outside_have_no_clips(caplog):
    turns = [Turn(0, 0.099), Turn(0.5, 0.6), Turn(0.95, 3), Turn(0.9, math.inf), Turn(2, 3)]
    turns.sort(key=lambda turn: turn.start)
    recording, clips = read_clips(np.ones(1000, np.float32), turns)
    assert [one.turn for one in recording.clips] == [1, 2]
    assert [len(clip) for clip in clips] == [100, 100]
    assert [(turn.start, turn.end) for turn in recording.turns] == [
        (0, 0.099),
        (0.5, 0.6),
        (0.9, 1.0),
        (0.95, 1.0),
    ]
    assert "1 of 5 turns begin after its end at 1.00 s and are left out" in caplog.text
    recording, clips = read_clips(np.ones(1000, np.float32), [Turn(1, 2)])
    assert clips == [] and "all 1 turns begin after its end at 1.00 s" in recording.error


def test_memory_does_not_grow_with_the_recording(tmp_path):
    """Turns that follow one another, each of which goes when it is read."""
    peaks = []
    for minutes in (3, 30):
        path = tmp_path / f"{minutes}.flac"
        soundfile.write(path, np.zeros(60 * minutes * 8000, np.int16), 8000)
        turns = [Turn(start, start + 6) for start in range(0, 60 * minutes - 6, 5)]
        turns.insert(0, Turn(0, math.inf))
        reader = ClipReader(Settings("model", segments="turns"), 8000)
        tracemalloc.start()
        count = sum(1 for _ in reader.read(Recording("a"), str(path), turns))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == len(turns) - 1 + 60 * minutes / 2.5 - 1
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize("turns", [[], None])
def test_without_turns_there_are_no_clips(turns):
    recording, clips = read_clips(np.ones(1000, np.float32), turns)
    assert (clips, recording.turns, recording.duration, recording.error) == ([], [], 1.0, None)
