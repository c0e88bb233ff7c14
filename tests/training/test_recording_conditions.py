"""Rooms, telephones and MP3: what speech has lost behind them, and what it has not."""

import numpy as np
import pytest
import scipy.signal
import torch

from dusha_ser.training.recording_conditions import (
    MP3_DELAY,
    PHONE_BAND,
    PHONE_CODECS,
    as_mp3,
    at_peak,
    in_rooms,
    over_phone,
    through_file,
)

RATE = 16000


def noise(count, seed=0):
    return (0.05 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def level(samples):
    """The mean power, in dB."""
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


def band_level(samples, low, high):
    """The power between two frequencies, in Hz, per hertz, in dB."""
    frequencies, power = scipy.signal.welch(samples.astype(np.float64), RATE, nperseg=1024)
    return 10 * np.log10(power[(frequencies >= low) & (frequencies < high)].mean())


def test_rooms_answer_a_click_with_itself_and_a_decay_of_their_own():
    click = torch.zeros(2 * RATE)
    click[0] = 1
    times, direct = np.array([0.3, 0.6]), np.array([0.0, 10.0])
    heard = in_rooms([click, click], RATE, times, direct, np.array([1, 2]))
    for response, seconds, above in zip(heard, times, direct, strict=True):
        samples = response.double().numpy()
        assert samples[0] == pytest.approx(1, abs=1e-4)
        assert -10 * np.log10((samples[1:] ** 2).sum()) == pytest.approx(above, abs=0.01)
        # Schroeder's integral falls as the room's decay does, between 5 and 25 dB below its start.
        left = np.cumsum(samples[:0:-1] ** 2)[::-1]
        decay = 10 * np.log10(left[left > 0] / left[0])
        start, stop = np.searchsorted(-decay, [5, 25])
        assert 3 * (stop - start) / RATE == pytest.approx(seconds, rel=0.1)


def test_rooms_are_convolutions_of_each_clip_alone():
    clips = [torch.from_numpy(noise(4000)), torch.from_numpy(noise(2500, 1))]
    times, direct, seeds = np.array([0.2, 0.5]), np.array([3.0, -3.0]), np.array([5, 6])
    click = torch.zeros(4000)
    click[0] = 1
    answers = in_rooms([click, click], RATE, times, direct, seeds)
    for clip, answer, found in zip(
        clips, answers, in_rooms(clips, RATE, times, direct, seeds), strict=True
    ):
        expected = np.convolve(clip.double().numpy(), answer.double().numpy())[: len(clip)]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("codec", PHONE_CODECS)
def test_phones_keep_their_band_and_nothing_else(codec):
    clip = noise(4 * RATE)
    heard = over_phone(clip, RATE, codec, -10)
    assert heard.shape == clip.shape and heard.dtype == np.float32
    within = band_level(heard, 600, 3000)
    assert band_level(heard, 4200, 8000) < within - 50
    assert band_level(heard, 20, 100) < within - 8
    # Speech is where it was: the codec is heard, but not late.
    band = scipy.signal.butter(4, PHONE_BAND, "bandpass", fs=RATE, output="sos")
    narrow = scipy.signal.sosfilt(band, clip.astype(np.float64))
    middle = slice(1000, -1000)
    agreement = [np.corrcoef(np.roll(narrow, shift)[middle], heard[middle])[0, 1]
                 for shift in range(-40, 41)]  # fmt: skip
    assert abs(int(np.argmax(agreement)) - 40) <= 1
    assert max(agreement) > 0.5


@pytest.mark.parametrize(("codec", "least"), [("ULAW", 35), ("ALAW", 35), ("GSM610", 1)])
def test_codecs_of_phones_lose_what_they_are_known_to_lose(codec, least):
    tone = 0.5 * np.sin(2 * np.pi * 500 * np.arange(8000) / 8000)
    lost = through_file(tone, 8000, "WAV", codec)[:8000] - tone
    # Those with a logarithmic scale keep a tone 35 dB above their noise (ITU-T G.712 asks for 33).
    assert least < level(tone) - level(lost) < 60


@pytest.mark.parametrize("peak", [-1.0, -20.0])
def test_clips_are_coded_at_their_peak(peak):
    clip = noise(RATE)
    assert np.abs(at_peak(clip, peak)).max() == pytest.approx(10 ** (peak / 20))
    heard = over_phone(clip, RATE, "ALAW", peak)
    assert 20 * np.log10(np.abs(heard).max()) == pytest.approx(peak, abs=1)


@pytest.mark.parametrize("compression", [0.6, 0.8, 0.85, 0.9])
def test_mp3_is_neither_late_nor_longer(compression):
    low = scipy.signal.butter(8, 3000, fs=RATE, output="sos")
    clip = scipy.signal.sosfilt(low, noise(2 * RATE + 1)).astype(np.float32)
    heard = as_mp3(clip, RATE, compression, -3)
    assert heard.shape == clip.shape
    agreement = [np.corrcoef(np.roll(clip, shift)[2000:-2000], heard[2000:-2000])[0, 1]
                 for shift in range(-20, 21)]  # fmt: skip
    assert int(np.argmax(agreement)) == 20
    assert max(agreement) > 0.95
    assert len(as_mp3(clip[:300], RATE, compression, -3)) == 300


def test_mp3_of_a_low_rate_is_late_by_the_delay_that_is_cut():
    clip = noise(RATE)
    settings = {"compression_level": 0.9, "bitrate_mode": "CONSTANT"}
    raw = through_file(clip, RATE, "MP3", "MPEG_LAYER_III", **settings)
    assert len(raw) >= len(clip) + MP3_DELAY


def test_silence_stays_silent():
    silence = np.zeros(RATE, np.float32)
    (room,) = in_rooms([torch.from_numpy(silence)], RATE, np.ones(1), np.ones(1), np.ones(1))
    assert not room.any()
    for codec in PHONE_CODECS:
        # The logarithmic codes have no zero: one step of 16 bits is what they come to.
        assert np.abs(over_phone(silence, RATE, codec, -6)).max() < 1e-3
    assert np.abs(as_mp3(silence, RATE, 0.8, -6)).max() < 1e-3
