"""The released weights outside PyTorch: exported by the tool, from features and from waveforms,
against the reference network's answers to real clips."""

import json

import numpy as np
import pytest
import scipy.special
import soundfile

from onnx_dusha import OnnxClassifier

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def model(shared, shell, repository, tmp_path_factory):
    """The folder that the conversion of the released weights writes."""
    folder = tmp_path_factory.mktemp("released")
    checkpoint = shared / "data" / "reference" / "released_checkpoint.pt"
    shell(
        *(repository / "tools" / "convert_checkpoint.py", checkpoint, folder / "model", "--quiet"),
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
        *(repository / "tools" / "export_onnx.py", model, "dusha.onnx", *options, "--quiet"),
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
