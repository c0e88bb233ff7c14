"""Speech found in recordings that come piece by piece."""

import csv

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import save_model

from dusha_ser.audio.reading import read_blocks
from dusha_ser.audio.voice_activity import SAMPLING_RATE, SpeechDetector, cut_spans, frames
from dusha_ser.cli.predict import main
from dusha_ser.errors import WrongUseError

silero_vad = pytest.importorskip("silero_vad")


@pytest.fixture(scope="module")
def detector():
    return SpeechDetector()


@pytest.fixture
def speech(shared):
    """Real speech between silences, about 8 s: (samples,) at 16 kHz."""
    clips = sorted((shared / "data" / "ravdess").glob("*.flac"))[:2]
    parts = [np.concatenate(list(read_blocks(clip, SAMPLING_RATE))) for clip in clips]
    silence = np.zeros(SAMPLING_RATE, dtype=np.float32)
    return np.concatenate([silence, parts[0], silence, parts[1], silence])


def test_detector_gives_what_silero_gives_of_the_whole_recording(detector, speech):
    spans, duration = detector(iter(np.array_split(speech, 7)))
    expected = silero_vad.get_speech_timestamps(torch.from_numpy(speech), detector.model)
    assert [(round(a * 16000), round(b * 16000)) for a, b in spans] == [
        (one["start"], one["end"]) for one in expected
    ]
    assert len(spans) >= 2
    assert duration == len(speech) / SAMPLING_RATE
    # Each recording is judged afresh.
    assert detector(iter([speech]))[0] == spans


def test_detector_when_nobody_speaks(detector):
    assert detector(iter([np.zeros(SAMPLING_RATE, dtype=np.float32)])) == ([], 1.0)


def test_detector_leaves_the_threads_of_pytorch_alone(detector):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        SpeechDetector()([np.zeros(600, dtype=np.float32)])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_detector_when_the_threshold_is_out_of_range():
    with pytest.raises(WrongUseError, match="threshold"):
        SpeechDetector(1.5)


def test_detector_when_silero_is_not_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "silero_vad", None)
    with pytest.raises(WrongUseError, match=r"dusha-ser\[vad\]"):
        SpeechDetector()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 5))
def test_frames_hold_all_samples_in_order(sizes, size):
    samples = np.arange(1, sum(sizes) + 1, dtype=np.float32)
    blocks = np.split(samples, np.cumsum(sizes)[:-1]) if sizes else []
    cut = list(frames(blocks, size))
    assert all(len(one) == size for one in cut)
    joined = np.concatenate([*cut, np.empty(0)])
    assert len(cut) == -(-len(samples) // size)
    np.testing.assert_array_equal(joined[: len(samples)], samples)
    assert not joined[len(samples) :].any()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.sets(st.integers(0, 30)))
def test_cut_spans_gives_what_slicing_the_whole_gives(sizes, edges):
    samples = np.arange(sum(sizes))
    edges = sorted(edge for edge in edges if edge <= len(samples))
    spans = list(zip(edges[::2], edges[1::2], strict=False))
    got: dict[int, list] = {}
    for start, part in cut_spans(np.split(samples, np.cumsum(sizes)[:-1]), spans, 1):
        got.setdefault(start, []).extend(part.tolist())
    assert got == {start: samples[start:end].tolist() for start, end in spans}


def test_predict_when_silence_is_left_out(speech, tmp_path):
    model = save_model(tmp_path / "model")
    soundfile.write(tmp_path / "speech.wav", speech, SAMPLING_RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "silence.wav", np.zeros(16000), SAMPLING_RATE)
    paths = [str(tmp_path / "speech.wav"), str(tmp_path / "silence.wav")]
    rows = {}
    for name, options in {
        "line": ["--timeline", "--window", "1", "--hop", "1"],
        "file": [],
    }.items():
        output = tmp_path / f"{name}.csv"
        main([model, *paths, "--vad", *options, "--output_file", str(output), "--quiet"])
        with output.open(newline="") as file:
            rows[name] = list(csv.DictReader(file))
    spans, duration = SpeechDetector()([speech])
    for row in rows["line"][:-1]:
        start, end = float(row["start"]), float(row["end"])
        assert any(a - 0.001 <= start < end <= b + 0.001 for a, b in spans)
    covered = sum(float(row["end"]) - float(row["start"]) for row in rows["line"][:-1])
    assert covered == pytest.approx(sum(b - a for a, b in spans), abs=0.05)
    assert [rows["line"][-1][name] for name in ("start", "prediction", "error")] == ["", "", ""]
    heard, silent = rows["file"]
    assert float(heard["duration"]) == pytest.approx(duration, abs=0.001)
    assert float(heard["speech"]) == pytest.approx(sum(b - a for a, b in spans), abs=0.002)
    assert heard["prediction"]
    assert (float(silent["speech"]), silent["prediction"], silent["error"]) == (0, "", "")
