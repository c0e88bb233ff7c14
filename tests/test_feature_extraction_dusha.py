"""Features: equal to librosa's recipe, for any mono sound, alone or in any batch."""

import inspect
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import librosa
import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_network import one_thread  # noqa: F401 - a fixture of every test here
from transformers import AutoFeatureExtractor, BatchFeature, DataCollatorWithPadding

import feature_extraction_dusha
from feature_extraction_dusha import LOUDEST, DushaFeatureExtractor, resample_waveform

RATE = 16000


def recipe(waveform):
    """The published features by librosa; NumPy mirrors sounds of any length, however short."""
    padded = np.pad(np.asarray(waveform, np.float64), 160, mode="reflect")
    power = librosa.feature.melspectrogram(
        y=padded, sr=RATE, n_fft=320, hop_length=160, n_mels=64, center=False
    )
    return librosa.power_to_db(power, ref=np.max).T


def noise(samples, seed=0):
    return np.random.default_rng(seed).standard_normal(samples) / 10


def sound(kind, samples, seed=0):
    """A sound that is hard for features in its own way."""
    time = np.arange(samples) / RATE
    return {
        "noise": lambda: noise(samples, seed),
        "quiet": lambda: noise(samples, seed) * 1e-5,
        "tone": lambda: np.sin(2 * np.pi * (100 + 37.7 * seed) * time),
        "silence": lambda: np.zeros(samples),
        "constant": lambda: np.full(samples, 0.3),
        "constant and noise": lambda: 0.9 + noise(samples, seed) * 1e-3,
        "clipped": lambda: np.clip(noise(samples, seed) * 50, -1, 1),
        "click": lambda: (np.arange(samples) == samples // 2) * 1.0,
        "fade": lambda: noise(samples, seed) * np.linspace(0, 1, samples) ** 4,
    }[kind]()


KINDS = (
    "noise",
    "quiet",
    "tone",
    "silence",
    "constant",
    "constant and noise",
    "clipped",
    "click",
    "fade",
)


@pytest.fixture(scope="module")
def extractor():
    return DushaFeatureExtractor()


def assert_is_recipe(features, expected):
    """Single precision rounds by parts of a frame's loudest bands, so quiet ones show it more."""
    quiet = expected < expected.max(1, keepdims=True) - 40
    difference = np.abs(features - expected)
    assert difference[~quiet].max() < 1e-3
    assert difference.max() < 2e-2


def one(extractor, waveform, sampling_rate=RATE, **options):
    """The features of one waveform, (frames, 64)."""
    return extractor(waveform, sampling_rate, **options)["input_features"][0]


# The recipe


def test_features_when_real_clips_equal_reference(extractor, shared):
    reference = np.load(shared / "data" / "reference" / "features.npz")
    assert len(reference) == 8
    for name, expected in reference.items():
        waveform, rate = soundfile.read(shared / "data" / "ravdess" / name, dtype="float32")
        features = one(extractor, waveform, rate)
        assert features.dtype == np.float32
        np.testing.assert_allclose(features, expected.T, atol=1e-3, rtol=0)
        np.testing.assert_allclose(features, recipe(waveform), atol=1e-3, rtol=0)


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    samples=st.one_of(st.integers(1, 700), st.integers(700, 20000), st.sampled_from([160, 16000])),
    seed=st.integers(0, 200),
)
def test_features_when_any_sound_equal_recipe(extractor, kind, samples, seed):
    waveform = sound(kind, samples, seed)
    features = one(extractor, waveform)
    assert features.shape == (1 + samples // 160, 64)
    assert np.isfinite(features).all()
    assert features.max() == 0
    assert features.min() >= -80
    assert_is_recipe(features, recipe(waveform))


@pytest.mark.parametrize("samples", [1, 2, 3, 159, 160, 161, 320, 321, 60 * RATE])
def test_features_when_shortest_and_longest_equal_recipe(extractor, samples):
    waveform = noise(samples)
    features = one(extractor, waveform)
    np.testing.assert_allclose(features, recipe(waveform), atol=1e-3, rtol=0)


@pytest.mark.parametrize("samples", [1, 100, 161, 3333, 16001, 16000])
def test_features_when_compared_equal_librosa_centred(extractor, samples):
    waveform = noise(samples)
    power = librosa.feature.melspectrogram(
        y=waveform, sr=RATE, n_fft=320, hop_length=160, n_mels=64, pad_mode="reflect"
    )
    expected = librosa.power_to_db(power, ref=np.max).T
    # Where the hop divides a clip, today's librosa mirrors only the last hop, which is a sample
    # short: the outermost sample of the last window is another one.
    compared = len(expected) - (samples % 160 == 0 and samples > 160)
    features = one(extractor, waveform)
    np.testing.assert_allclose(features[:compared], expected[:compared], atol=1e-3, rtol=0)
    np.testing.assert_allclose(features, expected, atol=0.1, rtol=0)


@pytest.mark.parametrize("samples", [1, 500, 16000])
def test_features_when_silent_are_loudest_everywhere(extractor, samples):
    assert (one(extractor, np.zeros(samples)) == 0).all()


def test_features_when_scaled_stay_the_same(extractor):
    waveform = noise(8000)
    louder = one(extractor, waveform * 7)
    np.testing.assert_allclose(one(extractor, waveform), louder, atol=1e-4, rtol=0)


def test_features_when_settings_differ_follow_them():
    extractor = DushaFeatureExtractor(
        feature_size=40,
        n_fft=512,
        hop_length=128,
        min_frequency=50.0,
        max_frequency=7000.0,
        dynamic_range=60.0,
        power_floor=1e-8,
    )
    waveform = noise(5000)
    power = librosa.feature.melspectrogram(
        y=np.pad(waveform, 256, mode="reflect"),
        sr=RATE,
        n_fft=512,
        hop_length=128,
        n_mels=40,
        fmin=50,
        fmax=7000,
        center=False,
    )
    expected = librosa.power_to_db(power, ref=np.max, amin=1e-8, top_db=60).T
    np.testing.assert_allclose(one(extractor, waveform), expected, atol=1e-3, rtol=0)


# What goes in

WAVEFORM = (np.round(noise(3000) * 2**15)).astype(np.int16)
FLOATS = WAVEFORM / 2.0**15


@pytest.mark.parametrize(
    "same",
    [
        FLOATS.astype(np.float32),
        FLOATS,
        WAVEFORM,
        WAVEFORM.astype(np.int32) * 2**16,
        FLOATS.tolist(),
        tuple(FLOATS.tolist()),
        torch.from_numpy(FLOATS),
        torch.from_numpy(FLOATS).float().requires_grad_(),
        torch.from_numpy(WAVEFORM),
        FLOATS[None],
        np.repeat(FLOATS, 2)[::2],
        np.flip(np.flip(FLOATS).copy()),
        [FLOATS],
        (torch.from_numpy(FLOATS),),
        [FLOATS.tolist()],
        [WAVEFORM],
    ],
    ids=lambda value: type(value).__name__ + str(getattr(value, "dtype", "")),
)
def test_waveform_when_given_in_any_form_gives_same_features(extractor, same):
    batch = extractor(same, RATE)
    assert len(batch["input_features"]) == 1
    np.testing.assert_allclose(
        batch["input_features"][0], one(extractor, FLOATS), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("kind", [np.float16, torch.float16, torch.bfloat16])
def test_waveform_when_half_precision_is_taken_as_it_is(extractor, kind):
    if isinstance(kind, torch.dtype):
        half = torch.from_numpy(FLOATS).to(kind)
        expected = half.double().numpy()
    else:
        half = FLOATS.astype(kind)
        expected = half.astype(np.float64)
    np.testing.assert_allclose(one(extractor, half), recipe(expected), atol=1e-3, rtol=0)


def test_waveform_when_read_only_is_left_alone(extractor):
    waveform = FLOATS.copy()
    waveform.setflags(write=False)
    one(extractor, waveform)
    assert np.array_equal(waveform, FLOATS)


BAD = {
    "empty": (np.zeros(0), "is empty"),
    "nan": (np.array([0.0, np.nan, 0.1]), "NaN or infinity"),
    "infinite": ([0.1, float("inf")], "NaN or infinity"),
    "too loud for single precision": (np.full(900, 1e18), r"1.0e\+18 times full scale"),
    "three dimensions": (np.zeros((1, 1, 900)), "one channel"),
    "a number": (np.float32(0.5), "one channel"),
    "whole numbers": (np.zeros(900, np.int64), "full scale is not known"),
    "bytes": (np.zeros(900, np.uint8), "full scale is not known"),
    "complex": (np.zeros(900, np.complex64), "full scale is not known"),
    "truth values": (np.zeros(900, bool), "full scale is not known"),
    "text": ("speech.wav", "is not a waveform"),
    "nothing": (None, "is not a waveform"),
    "numbers and text": ([0.1, "b"], "is not a waveform"),
    "a dictionary": ({"array": FLOATS}, "need array and sampling_rate"),
    "no audio": ({"bytes": None, "path": None}, "need array and sampling_rate, or bytes"),
    "no such file": ({"bytes": None, "path": "nowhere.wav"}, "cannot be read"),
    "bytes of no audio": ({"bytes": b"<html>", "path": "a.wav"}, "cannot be read"),
    "stereo in a dictionary": ({"array": np.zeros((2, 9)), "sampling_rate": 16000}, "one channel"),
}


@pytest.mark.parametrize("name", BAD)
def test_waveform_when_bad_is_refused_by_what_is_wrong(extractor, name):
    waveform, words = BAD[name]
    with pytest.raises(ValueError, match=f"clip 0 .*{words}"):
        extractor(waveform, RATE)
    with pytest.raises(ValueError, match=f"clip 1 .*{words}"):
        extractor([FLOATS, waveform], RATE)


@pytest.mark.parametrize("stereo", [np.zeros((2, 900)), np.zeros((900, 2)), torch.zeros(2, 900)])
def test_waveform_when_stereo_is_refused_among_others(extractor, stereo):
    with pytest.raises(ValueError, match="clip 1 .*one channel"):
        extractor([FLOATS, stereo], RATE)


def test_array_when_channels_are_beside_each_other_is_refused(extractor):
    for stereo in (np.zeros((900, 2)), torch.zeros(900, 6)):
        with pytest.raises(ValueError, match="average the channels"):
            extractor(stereo, RATE)


@pytest.mark.parametrize("clips", [1, 2, 5])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, list, tuple, np.ndarray.tolist])
def test_batch_when_given_in_any_form_gives_features_of_each_clip(extractor, kind, clips):
    batch = np.stack([noise(2000, seed) for seed in range(clips)])
    features = extractor(kind(batch), RATE, return_tensors="np")["input_features"]
    assert features.shape == (clips, 13, 64)
    for ours, waveform in zip(features, batch, strict=True):
        np.testing.assert_allclose(ours, one(extractor, waveform), atol=1e-4, rtol=0)


def wav(samples, rate):
    """The bytes of a wav."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


class Decoder:
    """An AudioDecoder, as torchcodec has them: (channels, samples) and their rate."""

    def __init__(self, samples, sample_rate):
        self.samples = SimpleNamespace(
            data=torch.from_numpy(np.atleast_2d(samples)), sample_rate=sample_rate
        )

    def get_all_samples(self):
        return self.samples


def columns(samples, rate, folder):
    """A waveform as an audio column of `datasets` may hold it."""
    (folder / "clip.wav").write_bytes(wav(samples, rate))
    return {
        "decoded": {"path": "clip.wav", "array": samples, "sampling_rate": rate},
        "bytes": {"bytes": wav(samples, rate), "path": None},
        "path": {"bytes": None, "path": str(folder / "clip.wav")},
        "stereo": {"bytes": wav(np.stack([samples * 2, samples * 0], 1), rate), "path": "a.wav"},
        "decoder": Decoder(samples, rate),
        "stereo decoder": Decoder(np.stack([samples * 2, samples * 0]), rate),
    }


def test_audio_columns_in_any_form_give_the_features_of_their_samples(extractor, tmp_path):
    samples = FLOATS.astype(np.float32)
    expected = one(extractor, samples)
    for name, value in columns(samples, RATE, tmp_path).items():
        for rate in (RATE, None):
            forms = [value, [value], [value, value], [value, samples]]
            for form in forms if rate else forms[:3]:
                found = extractor(form, rate)["input_features"]
                np.testing.assert_allclose(found[0], expected, atol=1e-3, rtol=0, err_msg=name)
                np.testing.assert_allclose(found[-1], expected, atol=1e-3, rtol=0, err_msg=name)


def test_audio_columns_of_another_rate_are_refused_or_resampled(extractor, tmp_path):
    samples = noise(6000).astype(np.float32)
    expected = one(extractor, samples, 48000, resample=True)
    for name, value in columns(samples, 48000, tmp_path).items():
        with pytest.raises(ValueError, match="48000 Hz.*16000 Hz.*resample=True"):
            extractor(value)
        with pytest.raises(ValueError, match="clip 0 has 48000 Hz, and sampling_rate is 16000"):
            extractor(value, RATE, resample=True)
        for rate in (None, 48000):
            found = one(extractor, value, rate, resample=True)
            np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0, err_msg=name)


def test_file_without_soundfile_says_what_to_do(extractor, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ValueError, match="clip 0 is a file.*pip install soundfile"):
        extractor({"bytes": b"RIFF", "path": None}, RATE)


def test_features_when_samples_are_as_loud_as_may_be_are_finite(extractor):
    loudest = one(extractor, np.full(900, LOUDEST) * np.resize([1.0, -1.0, 0.3], 900))
    assert np.isfinite(loudest).all() and loudest.max() == 0


def test_waveforms_when_there_are_none_are_refused(extractor):
    with pytest.raises(ValueError, match="empty list"):
        extractor([], RATE)


# Sampling rate


def test_sampling_rate_when_wrong_is_refused(extractor):
    with pytest.raises(ValueError, match="44100 Hz.*16000 Hz.*resample=True"):
        extractor(FLOATS, 44100)


@pytest.mark.parametrize("rate", [0, -16000, 999, 1_000_001])
def test_sampling_rate_when_impossible_is_refused_even_for_resampling(extractor, rate):
    with pytest.raises(ValueError, match=f"{rate} Hz"):
        extractor(FLOATS, rate, resample=True)


def test_sampling_rate_when_missing_is_assumed_with_a_warning(extractor, caplog):
    from transformers.utils import logging

    logging.enable_propagation()
    with caplog.at_level("WARNING"):
        batch = extractor(FLOATS)
    logging.disable_propagation()
    assert "sampling_rate was not given" in caplog.text
    np.testing.assert_allclose(batch["input_features"][0], one(extractor, FLOATS), atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_features_when_resampled_are_near_those_of_soxr(extractor, rate):
    generator = np.random.default_rng(rate)
    time = np.arange(rate) / rate
    tones = generator.uniform(100, 0.85 * min(rate, RATE) / 2, 30)
    waveform = np.sin(2 * np.pi * np.outer(time, tones) + generator.uniform(0, 6, 30)).sum(1) / 30
    ours = one(extractor, waveform, rate, resample=True)
    theirs = one(extractor, soxr.resample(waveform, rate, RATE, quality="VHQ"))
    assert ours.shape == theirs.shape
    # Frames at the edges see how each filter meets the end of the sound.
    near = np.maximum(ours, theirs)[5:-5] > -60
    assert np.abs(ours - theirs)[5:-5][near].max() < 0.1


@pytest.mark.parametrize(
    ("old", "new"), [(44100, 16000), (48000, 16000), (8000, 16000), (22050, 16000), (15999, 16000)]
)
def test_resampled_tones_equal_tones_of_the_new_rate(old, new):
    generator = np.random.default_rng(0)
    tones = generator.uniform(50, 0.85 * min(old, new) / 2, 12)
    phases = generator.uniform(0, 6, 12)

    def tones_at(rate):
        time = np.arange(rate) / rate
        loudness = np.sin(np.pi * time) ** 2 / 12
        return np.sin(2 * np.pi * np.outer(time, tones) + phases).sum(1) * loudness

    resampled = resample_waveform(torch.from_numpy(tones_at(old)), old, new).numpy()
    np.testing.assert_allclose(resampled, tones_at(new), atol=1e-6, rtol=0)


def test_resampled_tone_above_the_new_limit_is_gone():
    time = np.arange(48000) / 48000
    tone = np.sin(2 * np.pi * 8400 * time) * np.sin(np.pi * time) ** 2
    assert resample_waveform(torch.from_numpy(tone), 48000, 16000).abs().max() < 1e-6


@settings(deadline=None, max_examples=40)
@given(
    samples=st.integers(1, 3000),
    old=st.integers(4000, 50000),
    new=st.sampled_from([8000, 16000, 22050]),
)
def test_resampled_length_when_anything_is_rounded_up(samples, old, new):
    waveform = torch.ones(samples, dtype=torch.float64)
    resampled = resample_waveform(waveform, old, new)
    assert resampled.shape == (-(-samples * new // old),)
    assert resampled.dtype == torch.float64
    assert resampled.isfinite().all()
    assert resampled.abs().max() < 1.5


# Batches


@settings(deadline=None, max_examples=20)
@given(
    lengths=st.lists(st.integers(1, 4000), min_size=1, max_size=5),
    side=st.sampled_from(["left", "right"]),
    seed=st.integers(0, 100),
)
def test_features_when_in_a_batch_equal_those_of_clip_alone(lengths, side, seed):
    extractor = DushaFeatureExtractor(padding_side=side)
    clips = [noise(samples, seed + number) for number, samples in enumerate(lengths)]
    batch = extractor(clips, RATE, return_tensors="np")
    frames = 1 + max(lengths) // 160
    assert batch["input_features"].shape == (len(clips), frames, 64)
    assert batch["attention_mask"].shape == (len(clips), frames)
    for row, clip in enumerate(clips):
        real = batch["attention_mask"][row] == 1
        # Not bit by bit: sums of MKL depend on where in memory a clip lies.
        np.testing.assert_allclose(
            batch["input_features"][row][real], one(extractor, clip), atol=1e-4, rtol=0
        )
        assert (batch["input_features"][row][~real] == -80).all()
        expected = np.arange(frames) < real.sum()
        assert np.array_equal(real, expected if side == "right" else expected[::-1])


def test_batch_when_not_padded_is_lists_of_arrays(extractor):
    batch = extractor([FLOATS, FLOATS[:500]], RATE)
    assert isinstance(batch, BatchFeature)
    assert [features.shape for features in batch["input_features"]] == [(19, 64), (4, 64)]
    assert [mask.tolist() for mask in batch["attention_mask"]] == [[1] * 19, [1] * 4]


@pytest.mark.parametrize(("kind", "array"), [("pt", torch.Tensor), ("np", np.ndarray)])
def test_batch_when_tensors_are_asked_for_is_padded(extractor, kind, array):
    batch = extractor([FLOATS, FLOATS[:500]], RATE, return_tensors=kind)
    assert isinstance(batch["input_features"], array)
    assert tuple(batch["input_features"].shape) == (2, 19, 64)
    assert str(batch["input_features"].dtype).endswith("float32")
    assert str(batch["attention_mask"].dtype).endswith("int32")
    assert batch["attention_mask"].sum(1).tolist() == [19, 4]


def test_batch_when_numpy_or_torch_is_the_same(extractor):
    clips = [FLOATS, FLOATS[:500]]
    first = extractor(clips, RATE, return_tensors="np")
    second = extractor(clips, RATE, return_tensors="pt")
    for name in first:
        np.testing.assert_allclose(first[name], second[name].numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        ({"padding": "longest"}, 19),
        ({"padding": True}, 19),
        ({"padding": "max_length", "max_length": 30}, 30),
        ({"padding": "max_length", "max_length": 10, "truncation": True}, 10),
        ({"max_length": 10, "truncation": True}, 10),
        ({"max_length": 100, "truncation": True}, 19),
        ({"pad_to_multiple_of": 8}, 24),
        ({"padding": "max_length", "max_length": 25, "pad_to_multiple_of": 10}, 30),
    ],
)
def test_batch_when_padding_is_chosen_has_that_length(extractor, options, frames):
    batch = extractor([FLOATS, FLOATS[:500]], RATE, return_tensors="pt", **options)
    assert batch["input_features"].shape == (2, frames, 64)
    assert batch["attention_mask"].sum(1).tolist() == [min(19, frames), 4]


def test_batch_when_cut_without_padding_keeps_beginnings(extractor):
    batch = extractor([FLOATS, FLOATS[:500]], RATE, max_length=6, truncation=True)
    assert [len(features) for features in batch["input_features"]] == [6, 4]
    np.testing.assert_allclose(batch["input_features"][0], one(extractor, FLOATS)[:6], atol=1e-4)


def test_batch_when_options_contradict_is_refused(extractor):
    with pytest.raises(ValueError, match="max_length"):
        extractor(FLOATS, RATE, truncation=True)
    with pytest.raises(ValueError, match="max_length"):
        extractor(FLOATS, RATE, padding="max_length")
    with pytest.raises(ValueError, match="padding=True"):
        extractor([FLOATS, FLOATS[:500]], RATE, padding=False, return_tensors="pt")


def test_mask_when_not_wanted_is_left_out(extractor):
    assert set(extractor(FLOATS, RATE, return_attention_mask=False)) == {"input_features"}
    silent = DushaFeatureExtractor(return_attention_mask=False)
    assert set(silent(FLOATS, RATE)) == {"input_features"}
    assert set(silent(FLOATS, RATE, return_attention_mask=True)) == set(silent.model_input_names)


def test_padding_value_when_published_is_zero():
    extractor = DushaFeatureExtractor(padding_value=0.0)
    batch = extractor([FLOATS, FLOATS[:500]], RATE, return_tensors="np")
    assert (batch["input_features"][1, 4:] == 0).all()


@pytest.mark.parametrize("as_list", [False, True])
def test_stock_collator_when_given_rows_pads_as_the_extractor_does(extractor, as_list):
    clips = [FLOATS, FLOATS[:500]]
    batch = extractor(clips, RATE)
    rows = [
        {
            "input_features": features.tolist() if as_list else features,
            "attention_mask": mask.tolist() if as_list else mask,
            "label": number,
        }
        for number, (features, mask) in enumerate(
            zip(batch["input_features"], batch["attention_mask"], strict=True)
        )
    ]
    collated = DataCollatorWithPadding(extractor)(rows)
    expected = extractor(clips, RATE, return_tensors="pt")
    for name in expected:
        torch.testing.assert_close(
            collated[name], expected[name], atol=1e-4, rtol=0, check_dtype=False
        )
    assert collated["input_features"].dtype == torch.float32
    assert collated["labels"].tolist() == [0, 1]


# A citizen of Transformers


def test_extractor_when_saved_and_loaded_is_the_same(tmp_path):
    extractor = DushaFeatureExtractor(padding_value=0.0, dynamic_range=70.0, padding_side="left")
    extractor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved["auto_map"] == {
        "AutoFeatureExtractor": "feature_extraction_dusha.DushaFeatureExtractor"
    }
    files = {path.name for path in tmp_path.iterdir()}
    assert {"feature_extraction_dusha.py", "configuration_dusha.py"} <= files
    for loaded in (
        DushaFeatureExtractor.from_pretrained(tmp_path),
        AutoFeatureExtractor.from_pretrained(tmp_path),
    ):
        assert type(loaded) is DushaFeatureExtractor
        assert loaded.to_dict() == extractor.to_dict()
        np.testing.assert_allclose(one(loaded, FLOATS), one(extractor, FLOATS), atol=1e-4)


def test_extractor_when_written_as_json_comes_back(tmp_path):
    extractor = DushaFeatureExtractor(feature_size=32)
    told = json.loads(extractor.to_json_string())
    assert told["feature_size"] == 32
    assert told["sampling_rate"] == RATE
    extractor.to_json_file(tmp_path / "extractor.json")
    loaded = DushaFeatureExtractor.from_json_file(tmp_path / "extractor.json")
    assert loaded.to_dict() == extractor.to_dict()


def test_extractor_when_saved_writes_each_argument_and_nothing_else():
    told = set(DushaFeatureExtractor().to_dict())
    arguments = set(inspect.signature(DushaFeatureExtractor.__init__).parameters) - {"self"}
    taken = {"padding_side", "return_attention_mask", "feature_extractor_type"}
    assert told == (arguments - {"kwargs"}) | taken


def test_extractor_when_used_stays_small_and_equal():
    used, new = DushaFeatureExtractor(), DushaFeatureExtractor()
    used([FLOATS, WAVEFORM], RATE, return_tensors="pt")
    # datasets finds the rows it has computed before by the pickled function that made them.
    assert pickle.dumps(used) == pickle.dumps(new)
    assert len(pickle.dumps(used)) < 1000
    again = pickle.loads(pickle.dumps(used))
    np.testing.assert_allclose(one(again, FLOATS), one(new, FLOATS), atol=1e-4)


def test_pad_when_given_what_other_collators_give_keeps_types(extractor):
    features = [one(extractor, FLOATS), one(extractor, FLOATS[:500])]
    for given_as in (
        BatchFeature({"input_features": features}),
        [{"input_features": rows} for rows in features],
        {"input_features": [rows.tolist() for rows in features]},
    ):
        padded = extractor.pad(given_as, padding="longest", return_tensors="pt")
        assert padded["input_features"].dtype == torch.float32
        assert padded["input_features"].shape == (2, 19, 64)
        assert padded["attention_mask"].sum(1).tolist() == [19, 4]


def test_features_when_silence_is_cut_off_are_those_between_loud_frames(tmp_path):
    rng = np.random.default_rng(0)
    speech = np.concatenate([np.zeros(4800), rng.normal(size=8000), np.zeros(8000)])
    DushaFeatureExtractor(trim_silence=40).save_pretrained(tmp_path)
    trimming = DushaFeatureExtractor.from_pretrained(tmp_path)
    (cut,), (whole,) = (
        extractor(speech, 16000)["input_features"]
        for extractor in (trimming, DushaFeatureExtractor())
    )
    loud = np.flatnonzero(whole.max(1) > -40)
    np.testing.assert_array_equal(cut, whole[loud[0] - 5 : loud[-1] + 6])
    assert len(cut) < 70 < len(whole)


def test_features_when_silence_is_cut_off_of_silence_are_all_of_it():
    (features,) = DushaFeatureExtractor(trim_silence=40)(np.zeros(1600), 16000)["input_features"]
    assert features.shape == (11, 64) and not features.any()


def test_extractor_refuses_to_cut_off_what_is_not_quieter():
    with pytest.raises(ValueError, match="need more than 0"):
        DushaFeatureExtractor(trim_silence=0)


FORK_AFTER_USE = """
import os, signal
import numpy as np
import datasets
from feature_extraction_dusha import DushaFeatureExtractor

extractor = DushaFeatureExtractor()
clip = np.sin(np.arange(32_000) / 9).astype("float32")
extractor(clip, sampling_rate=16_000)
rows = datasets.Dataset.from_dict({"clip": [clip, clip]})
made = rows.map(lambda row: extractor(row["clip"], sampling_rate=16_000), num_proc=2)
print(len(made), len(made[1]["input_features"][0]))
"""


def test_features_when_the_process_is_forked_after_use(tmp_path):
    # PyTorch's threads, which this process has used, are not forked.
    done = subprocess.run(
        [sys.executable, "-c", FORK_AFTER_USE],
        env=os.environ | {"OMP_NUM_THREADS": "2", "HF_HOME": str(tmp_path)},
        cwd=Path(feature_extraction_dusha.__file__).parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "2 201\n", done.stderr
