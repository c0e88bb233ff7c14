"""Samples of any shape and type as one channel, and other rates piece by piece."""

import numpy as np
import pytest

from dusha_ser.audio.samples import Resampler, UnreadableAudioError, resample_blocks, to_mono


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int8, np.int16, np.int32])
def test_to_mono_when_samples_have_any_type_and_shape(kind):
    scale = 1 if np.dtype(kind).kind == "f" else -np.iinfo(kind).min
    channels = np.tile(np.array([[-scale, 0]], kind), (100, 1))
    for samples in (channels, channels.T, np.full(100, -scale // 2, kind)):
        mono = to_mono(samples)
        assert mono.dtype == np.float32
        assert mono.shape == (100,)
        np.testing.assert_array_equal(mono, -1 if scale == 1 and samples.ndim == 1 else -0.5)


@pytest.mark.parametrize("shape", [(), (9, 0), (2, 3, 4)])
def test_to_mono_when_the_shape_is_not_that_of_samples(shape):
    with pytest.raises(UnreadableAudioError, match="its samples have shape"):
        to_mono(np.zeros(shape))


def test_to_mono_when_both_sides_are_longer_than_channels():
    with pytest.raises(UnreadableAudioError, match="it has 70 channels; audio of up to 64"):
        to_mono(np.zeros((65, 70)))


@pytest.mark.parametrize("kind", [np.int64, np.uint8, bool, complex, object, "U1"])
def test_to_mono_when_full_scale_is_not_known(kind):
    with pytest.raises(UnreadableAudioError, match="give floating-point numbers of full scale 1"):
        to_mono(np.zeros(9, kind))


@pytest.mark.parametrize(("old", "new"), [(44100, 16000), (8000, 16000), (16000, 16000)])
def test_resampler_when_pieces_are_of_any_length(old, new):
    samples = np.random.default_rng(0).standard_normal(old).astype(np.float32)
    whole = np.concatenate(list(resample_blocks([samples], old, new)))
    assert len(whole) == new
    resampler = Resampler(old, new)
    pieces = [resampler.push(piece) for piece in np.split(samples, [0, 1, 500, 7000, 7001])]
    np.testing.assert_allclose(np.concatenate([*pieces, resampler.finish()]), whole, atol=1e-6)


def test_resampler_when_nothing_is_recorded_at_the_rate():
    with pytest.raises(UnreadableAudioError, match="its sampling rate is 0 Hz"):
        Resampler(0, 16000)
