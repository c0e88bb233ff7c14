"""Tests of timelines: windows, streams, files, memory and the cost of a chunk."""

import time
import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from dusha_ser.audio.reading import read_blocks
from dusha_ser.inference.timeline import TimelineClassifier, classify_file

RATE = 100


def by_loudness(windows):
    loud = np.array([np.abs(window).mean() for window in windows])
    return np.stack([loud, 1 - loud], axis=1)


def new_timeline(**options):
    return TimelineClassifier(
        by_loudness, ["loud", "quiet"], **{"sampling_rate": RATE, "window": 5, "hop": 2.5} | options
    )


def spans(segments):
    return [(segment.start, segment.end) for segment in segments]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.01, [(0, 0.01)]),
        (4.99, [(0, 4.99)]),
        (5, [(0, 5)]),
        (5.01, [(0, 5), (2.5, 5.01)]),
        (7.5, [(0, 5), (2.5, 7.5)]),
        (12, [(0, 5), (2.5, 7.5), (5, 10), (7.5, 12)]),
    ],
)
def test_windows_cover_the_recording_when_it_has_any_length(seconds, expected):
    timeline = new_timeline()
    samples = np.ones(round(seconds * RATE))
    assert spans(timeline.push(samples) + timeline.finish()) == expected


def test_last_window_is_not_repeated_when_finish_finds_all_covered():
    timeline = new_timeline(hop=5)
    assert spans(timeline.push(np.ones(10 * RATE))) == [(0, 5), (5, 10)]
    assert timeline.finish() == []


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(1, 6000),
    cuts=st.lists(st.integers(0, 6000), max_size=12),
    hop=st.floats(0.02, 5),
    batch_size=st.integers(1, 9),
)
def test_stream_equals_whole_when_chunks_have_any_size(size, cuts, hop, batch_size):
    samples = np.random.default_rng(size).uniform(-1, 1, size).astype(np.float32)
    whole = new_timeline(hop=hop, batch_size=64)
    expected = whole.push(samples) + whole.finish()
    stream = new_timeline(hop=hop, batch_size=batch_size)
    segments = []
    for chunk in np.split(samples, sorted(min(cut, size) for cut in cuts)):
        segments += stream.push(chunk)
    segments += stream.finish()
    assert spans(segments) == spans(expected)
    for segment, other in zip(segments, expected, strict=True):
        np.testing.assert_array_equal(segment.probabilities, other.probabilities)
    np.testing.assert_allclose(stream.probabilities, whole.probabilities)
    assert stream.label == whole.label


def test_segment_comes_as_soon_as_its_window_is_complete():
    timeline = new_timeline()
    assert timeline.push(np.ones(5 * RATE - 1)) == []
    assert spans(timeline.push(np.ones(1))) == [(0, 5)]


def test_answer_weighs_windows_by_length():
    timeline = new_timeline(hop=5)
    timeline.push(np.concatenate([np.ones(5 * RATE), np.zeros(RATE)]))
    timeline.finish()
    np.testing.assert_allclose(timeline.probabilities, [5 / 6, 1 / 6])
    assert timeline.label == "loud"


def test_memory_stays_flat_when_the_recording_grows():
    def peak(seconds):
        timeline = new_timeline(sampling_rate=16000)
        tracemalloc.start()
        for _ in range(seconds // 10):
            timeline.push(np.zeros(160_000, dtype=np.float32))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(1200) < 1.5 * peak(120)


def test_cost_of_a_chunk_does_not_grow_when_the_stream_is_long():
    timeline = new_timeline(sampling_rate=16000)
    chunk = np.zeros(1600, dtype=np.float32)
    seconds = []
    for _ in range(3000):
        started = time.process_time()  # a busy machine's clock counts waiting
        timeline.push(chunk)
        seconds.append(time.process_time() - started)
    assert np.median(seconds[-500:]) < 3 * np.median(seconds[100:600])


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.ones((2, 50)), r"\(2, 50\)"),
        (np.array([0.0, np.nan]), "NaN"),
        (np.array([np.inf]), "infinite"),
    ],
)
def test_push_refuses_samples_when_they_are_not_one_finite_channel(samples, words):
    with pytest.raises(ValueError, match=words):
        new_timeline().push(samples)


@pytest.mark.parametrize("options", [{"hop": 0}, {"hop": 6}, {"batch_size": 0}, {"window": -1}])
def test_construction_refuses_options_when_out_of_range(options):
    with pytest.raises(ValueError, match="must be"):
        new_timeline(**options)


def test_finish_refuses_when_nothing_was_pushed():
    with pytest.raises(ValueError, match="empty"):
        new_timeline().finish()


def test_probabilities_refuse_when_no_window_is_complete():
    with pytest.raises(ValueError, match="no window"):
        _ = new_timeline().probabilities


@pytest.mark.parametrize("file_rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_of_a_file_are_mono_at_the_asked_rate(tmp_path, file_rate, channels):
    seconds = 3.7
    time_axis = np.arange(round(seconds * file_rate)) / file_rate
    tone = 0.5 * np.sin(2 * np.pi * 440 * time_axis)
    soundfile.write(tmp_path / "tone.wav", np.stack([tone] * channels, axis=1), file_rate)
    samples = np.concatenate(list(read_blocks(tmp_path / "tone.wav", 16000, seconds=0.5)))
    assert abs(len(samples) - seconds * 16000) <= 2
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(samples)) / 16000)
    inner = slice(800, -800)
    assert np.abs(samples - expected)[inner].max() < 2e-3


def test_file_gives_the_timeline_of_its_samples(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, 16000 * 23).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", samples, 16000, subtype="FLOAT")
    from_file, from_samples = (new_timeline(sampling_rate=16000) for _ in range(2))
    segments = classify_file(from_file, tmp_path / "long.wav")
    expected = from_samples.push(samples) + from_samples.finish()
    assert spans(segments) == spans(expected)
    np.testing.assert_array_equal(from_file.probabilities, from_samples.probabilities)


def test_file_without_samples_is_refused(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.empty(0), 16000)
    with pytest.raises(ValueError, match="holds no samples"):
        classify_file(new_timeline(sampling_rate=16000), tmp_path / "empty.wav")
