"""The released weights outside PyTorch: exported by the tool, from features and from waveforms, in
floating point and as 8-bit convolutions, against the reference network's answers to real clips."""

import json
import re

import numpy as np
import pytest
import scipy.special
import soundfile

from dusha_ser.inference.onnx_runtime import OnnxClassifier
from dusha_ser.inference.timeline import TimelineClassifier

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def model(shared, shell, repository, tmp_path_factory):
    """The folder that the conversion of the released weights writes."""
    folder = tmp_path_factory.mktemp("released")
    checkpoint = shared / "data" / "reference" / "released_checkpoint.pt"
    shell(
        *("-m", "dusha_ser", "convert", checkpoint, folder / "model", "--quiet"),
        cwd=folder,
    )
    return folder / "model"


@pytest.fixture(scope="module")
def reference(shared):
    """Files of the 37 clips, and the probabilities that the reference network gives them."""
    logits = json.loads((shared / "data" / "reference" / "logits.json").read_text())
    files = [shared / "data" / "ravdess" / name for name in logits]
    return files, scipy.special.softmax(list(logits.values()), axis=1)


@pytest.mark.parametrize("options", [[], ["--waveform"]], ids=["features", "waveform"])
def test_exported_model_when_clips_are_real_answers_as_the_reference(
    options, model, reference, shell, repository, tmp_path
):
    files, expected = reference
    process = shell(
        *("-m", "dusha_ser", "export", model, "dusha.onnx", *options),
        *("--clips", *files[:4]),
        cwd=tmp_path,
        timeout=800,
    )
    assert "same label 100.0%" in process.stdout
    classify = OnnxClassifier(tmp_path / "dusha.onnx", threads=1)
    clips = [soundfile.read(path, dtype="float32")[0] for path in files]
    alone = np.concatenate([classify([clip]) for clip in clips])
    np.testing.assert_allclose(alone, expected, atol=1e-4)
    np.testing.assert_allclose(classify(clips[:9]), expected[:9], atol=1e-4)
    assert classify.labels == ["angry", "sad", "neutral", "positive"]


def test_int8_model_when_calibrated_on_real_clips_says_what_it_loses(
    model, reference, shell, repository, tmp_path
):
    files, expected = reference
    process = shell(
        *("-m", "dusha_ser", "export", model, "int8.onnx", "--one_length", "--int8"),
        *("--clips", *files),
        cwd=tmp_path,
        timeout=800,
    )
    # Every second clip calibrates; the others are what the loss is measured on.
    report = re.search(
        r"calibrated on 19 clips.* on 18 other clips: largest difference of a probability (\S+), "
        r"same label ([\d.]+)%",
        process.stdout,
    )
    classify = OnnxClassifier(tmp_path / "int8.onnx", threads=1)
    clips = [soundfile.read(path, dtype="float32")[0] for path in files[1::2]]
    found = np.concatenate([classify([clip]) for clip in clips])
    difference = np.abs(found - expected[1::2]).max()
    same = (found.argmax(1) == expected[1::2].argmax(1)).mean()
    assert float(report[1]) == pytest.approx(difference, abs=0.01)
    assert float(report[2]) == pytest.approx(100 * same, abs=0.1)
    assert same >= 0.8
    assert difference < 0.3


def test_stream_when_pushed_to_the_exported_model_gives_the_timeline_of_the_whole(
    model, reference, shell, repository, tmp_path
):
    files, _ = reference
    shell(
        *("-m", "dusha_ser", "export", model, "dusha.onnx", "--waveform", "--quiet"),
        cwd=tmp_path,
        timeout=800,
    )
    classify = OnnxClassifier(tmp_path / "dusha.onnx", threads=1)
    samples = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in files[:6]])
    whole = TimelineClassifier(classify, classify.labels)
    expected = whole.push(samples) + whole.finish()
    stream = TimelineClassifier(classify, classify.labels)
    segments = []
    for start in range(0, len(samples), 1600):
        segments += stream.push(samples[start : start + 1600])
    segments += stream.finish()
    assert len(segments) == len(expected) > 5
    for segment, other in zip(segments, expected, strict=True):
        assert (segment.start, segment.end, segment.label) == (other.start, other.end, other.label)
        np.testing.assert_allclose(segment.probabilities, other.probabilities, atol=1e-4)
    assert stream.label == whole.label
