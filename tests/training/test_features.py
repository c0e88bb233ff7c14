import io

import datasets
import numpy as np
import pytest
import soundfile

from dusha_ser.errors import WrongUseError
from dusha_ser.training.features import compute_inputs
from feature_extraction_dusha import DushaFeatureExtractor


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


def test_inputs_when_silence_is_cut_off_are_the_same_from_sound_and_from_features(tmp_path):
    noise = np.random.default_rng(0).normal(size=16000) / 10
    quiet = np.concatenate([np.zeros(8000), noise, np.zeros(16000)])
    content = io.BytesIO()
    soundfile.write(content, quiet, 16000, format="WAV", subtype="PCM_16")
    rows = clips({"bytes": content.getvalue(), "path": None}, wav(1))
    trimming = DushaFeatureExtractor(trim_silence=40)
    cut, column = compute_inputs(rows, trimming, str(tmp_path))
    assert [len(one) for one in cut[column]] == [111, 101]
    whole, _ = compute_inputs(rows, DushaFeatureExtractor(), str(tmp_path))
    assert len(whole[0][column]) == 251
    for again in (whole, cut):
        trimmed, _ = compute_inputs(again, trimming, str(tmp_path))
        assert trimmed[0][column] == cut[0][column] and trimmed[1][column] == cut[1][column]
