import io

import datasets
import numpy as np
import pytest
import soundfile

from command_line_dusha import WrongUseError
from feature_extraction_dusha import DushaFeatureExtractor
from inputs_dusha import compute_inputs


def wav(seconds: float) -> dict:
    content = io.BytesIO()
    noise = np.random.default_rng(0).normal(size=int(seconds * 16000)) / 10
    soundfile.write(content, noise, 16000, format="WAV", subtype="PCM_16")
    return {"bytes": content.getvalue(), "path": None}


def clips(*sounds: dict | None) -> datasets.Dataset:
    features = datasets.Features(
        id=datasets.Value("string"),
        label=datasets.ClassLabel(names=["angry", "sad"]),
        audio={"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
    )
    columns = {"id": [f"clip {i}" for i in range(len(sounds))], "label": [0] * len(sounds)}
    return datasets.Dataset.from_dict({**columns, "audio": list(sounds)}, features=features)


def test_inputs_when_some_clips_have_no_audio(tmp_path, caplog):
    rows, column = compute_inputs(
        clips(wav(0.5), None, wav(1)), DushaFeatureExtractor(), str(tmp_path), split="train"
    )
    assert rows["id"][:] == ["clip 0", "clip 2"]
    assert [len(one) for one in rows[column]] == [51, 101]
    assert "1 of 3 clips of train have no audio" in caplog.text


def test_inputs_when_no_clip_has_audio(tmp_path):
    with pytest.raises(WrongUseError, match="no clip of test has audio"):
        compute_inputs(clips(None, None), DushaFeatureExtractor(), str(tmp_path), split="test")


def test_inputs_when_all_clips_have_audio(tmp_path, caplog):
    sound = wav(0.5)
    rows, column = compute_inputs(clips(sound, sound), DushaFeatureExtractor(), str(tmp_path))
    samples = soundfile.read(io.BytesIO(sound["bytes"]), dtype="float32")[0]
    expected = DushaFeatureExtractor()(samples, sampling_rate=16000)["input_features"][0]
    np.testing.assert_allclose(rows[1][column], expected, atol=1e-4)
    assert not caplog.text
