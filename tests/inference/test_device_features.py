"""Features on an accelerator are the extractor's; a CPU and the meta device stand for it here."""

import numpy as np
import pytest
import soundfile
import torch
from small_network import small_classifier
from waiting import no_waiting

from dusha_ser.inference.classify import torch_classifier
from dusha_ser.inference.device_features import DeviceFeatures, device_features
from dusha_ser.inference.loading import load_model
from dusha_ser.inference.released_weights import read_checkpoint, write_model
from feature_extraction_dusha import DushaFeatureExtractor

CPU, META = torch.device("cpu"), torch.device("meta")
DECIBEL = 0.01
LOGITS = 2e-3


def noise(samples, level=1.0):
    return np.random.default_rng(samples).uniform(-level, level, samples).astype(np.float32)


def chirp(low, high):
    """Two seconds whose quiet bands are 80 dB down: there rounding is most of what is heard."""
    time = np.arange(32000) / 16000
    return np.sin(2 * np.pi * (low + (high - low) / 4 * time) * time).astype(np.float32)


CLIPS = {
    **{f"{samples} samples": noise(samples, 0.5) for samples in (1, 2, 159, 160, 161, 320, 16000)},
    "3.3 s at full scale": noise(52800),
    "silence": np.zeros(5000, dtype=np.float32),
    "tiny": noise(8000, 1e-4),
    "below the floor": noise(8000, 1e-7),
    "louder than full scale": noise(8000, 1e14),
    "a chirp": chirp(50, 7950),
    "a tone at the edge": chirp(7990, 7990),
    "a constant": np.full(4000, 0.9, dtype=np.float32),
    "in double precision": noise(4000).astype(np.float64),
    "with silence behind": np.concatenate([noise(3000), np.zeros(9000, dtype=np.float32)]),
}


def of_extractor(extractor, clips):
    return extractor(clips, extractor.sampling_rate, padding=True, return_tensors="pt")


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
    assert torch.equal(found["attention_mask"], expected["attention_mask"])
    torch.testing.assert_close(
        found["input_features"], expected["input_features"], atol=DECIBEL, rtol=0
    )


@pytest.fixture(scope="module")
def extractor():
    return DushaFeatureExtractor()


@pytest.fixture(scope="module")
def model():
    return small_classifier(num_mel_bins=64)


@pytest.mark.parametrize("name", CLIPS)
def test_features_of_a_clip_are_those_of_the_extractor(name, extractor):
    found = DeviceFeatures(extractor, CPU)([CLIPS[name]])
    assert_close(found, of_extractor(extractor, [CLIPS[name]]))


def test_features_of_a_batch_are_those_of_the_extractor_padding_and_mask_included(extractor):
    clips = list(CLIPS.values())
    found = DeviceFeatures(extractor, CPU)(clips)
    assert_close(found, of_extractor(extractor, clips))
    padding = found["input_features"][found["attention_mask"] == 0]
    assert len(padding) and (padding == extractor.padding_value).all()


def test_features_of_a_clip_are_the_same_in_any_batch(extractor):
    compute = DeviceFeatures(extractor, CPU)
    together = compute(list(CLIPS.values()))["input_features"]
    for row, clip in zip(together, CLIPS.values(), strict=True):
        alone = compute([clip])["input_features"][0]
        torch.testing.assert_close(row[: len(alone)], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_fft": 401, "hop_length": 200, "feature_size": 40},
        {"sampling_rate": 8000, "min_frequency": 100.0, "max_frequency": 3800.0},
        {"power_floor": 1e-6, "dynamic_range": 60.0, "padding_value": 0.0},
    ],
    ids=["windows", "bands", "levels"],
)
def test_features_when_settings_are_others_are_those_of_the_extractor(settings):
    extractor = DushaFeatureExtractor(**settings)
    clips = [noise(1), noise(7000), noise(52800)]
    assert_close(DeviceFeatures(extractor, CPU)(clips), of_extractor(extractor, clips))


@pytest.mark.parametrize(
    "clip",
    [np.zeros(0), np.full(9, np.nan), np.zeros((20, 2)), np.full(9, 1e20), np.zeros(9, np.uint8)],
    ids=["empty", "NaN", "stereo", "too loud", "bytes"],
)
def test_clips_that_the_extractor_refuses_are_refused_in_its_words(clip, extractor):
    with pytest.raises(ValueError) as expected:
        of_extractor(extractor, [noise(9), clip])
    with pytest.raises(ValueError) as error:
        DeviceFeatures(extractor, CPU)([noise(9), clip])
    assert str(error.value) == str(expected.value)


@torch.inference_mode()
def assert_same_logits(model, extractor, clips):
    expected = model(**of_extractor(extractor, clips)).logits
    found = model(**DeviceFeatures(extractor, CPU)(clips)).logits
    torch.testing.assert_close(found, expected, atol=LOGITS, rtol=0)
    # Clips differ by far more than what is allowed.
    assert expected.std(0).min() > 20 * LOGITS


def test_logits_are_those_of_the_extractors_features(model, extractor):
    assert_same_logits(model, extractor, list(CLIPS.values()))


def test_logits_of_the_released_model_are_those_of_the_extractors_features(shared, tmp_path):
    data = shared / "data"
    write_model(read_checkpoint(data / "reference" / "released_checkpoint.pt"), tmp_path / "model")
    model, extractor = load_model(str(tmp_path / "model"), "cpu")
    files = sorted((data / "ravdess").glob("*.flac"))[::60]
    speech = [soundfile.read(file, dtype="float32")[0] for file in files]
    assert len(speech) > 10
    assert_same_logits(model, extractor, speech + list(CLIPS.values()))


class Unused(DushaFeatureExtractor):
    """An extractor that must not compute features itself."""

    def _log_mel(self, waveform):
        raise AssertionError("the extractor computed features")


def test_classifier_off_the_cpu_computes_features_on_the_device():
    model = small_classifier(num_mel_bins=64).to(META)
    assert isinstance(device_features(model, Unused()), DeviceFeatures)
    logits = []
    model.register_forward_hook(lambda module, _, output: logits.append(output.logits))
    # Without values there is nothing to copy back, and nothing that could be read on the way.
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        torch_classifier(model, Unused())([noise(400), noise(900)])
    assert [(one.shape, one.device) for one in logits] == [((2, 4), META)]


def test_classifier_on_a_cpu_uses_the_extractor(model, extractor):
    with pytest.raises(AssertionError, match="the extractor computed features"):
        torch_classifier(model, Unused())([noise(400)])
    clips = [noise(400), noise(900)]
    with torch.inference_mode():
        expected = model(**of_extractor(extractor, clips)).logits.softmax(-1)
    assert torch.equal(torch.from_numpy(torch_classifier(model, extractor)(clips)), expected)


@pytest.mark.parametrize(
    "settings",
    [{"trim_silence": 40.0}, {"padding_side": "left"}, {"return_attention_mask": False}],
    ids=lambda settings: next(iter(settings)),
)
def test_extractors_whose_features_are_others_compute_them_off_the_cpu_too(settings):
    model = small_classifier(num_mel_bins=64).to(META)
    assert device_features(model, DushaFeatureExtractor()) is not None
    assert device_features(model, DushaFeatureExtractor(**settings)) is None


def test_models_of_another_kind_keep_their_extractor(extractor):
    assert device_features(torch.nn.Linear(2, 2, device=META), extractor) is None


def test_nothing_waits_for_the_device_once_clips_are_sent(model, extractor):
    compute = DeviceFeatures(extractor, CPU)
    sent = compute.send([noise(400), noise(900)])
    with no_waiting():
        features = compute.compute(*sent)
    assert features["attention_mask"].tolist() == [[1] * 3 + [0] * 3, [1] * 6]
