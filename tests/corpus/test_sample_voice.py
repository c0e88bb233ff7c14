import numpy as np
import pytest

from dusha_ser.audio.reading import SAMPLING_RATE
from dusha_ser.corpus.sample_voice import (
    LONGEST,
    MANNERS,
    SHORTEST,
    Voice,
    draw_manner,
    draw_voice,
    room_noise,
    speak,
    wordless,
)

VOICE = Voice(120, 1.0, 1.0, 0.0, -50, 0.5, -6)


def clips(emotion, count=12, voice=VOICE):
    return [speak(np.random.default_rng([5, i]), voice, emotion)[0] for i in range(count)]


def pitch(samples):
    """Median over loud frames of the strongest lag of autocorrelation, in Hz."""
    found = []
    for start in range(0, len(samples) - 1024, 320):
        frame = samples[start : start + 1024] * np.hanning(1024)
        if np.sqrt(np.mean(frame**2)) < 0.1 * np.abs(samples).max():
            continue
        spectrum = np.abs(np.fft.rfft(frame, 4096)) ** 2
        correlation = np.fft.irfft(spectrum)[32:230]  # 70 to 500 Hz
        found.append(SAMPLING_RATE / (32 + np.argmax(correlation)))
    return np.median(found)


def brightness(samples):
    """Share of the energy above 1 kHz, in dB."""
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    edge = len(samples) * 1000 // SAMPLING_RATE
    return 10 * np.log10(spectrum[edge:].sum() / spectrum.sum())


def test_draw_voice_when_repeated_gives_low_and_high_speakers():
    rng = np.random.default_rng(0)
    pitches = [draw_voice(rng).pitch for _ in range(40)]
    assert 10 < sum(value > 160 for value in pitches) < 30
    assert len(set(pitches)) == 40


@pytest.mark.parametrize("emotion", MANNERS)
def test_draw_manner_when_repeated_spreads_within_limits(emotion):
    rng = np.random.default_rng(0)
    drawn = [draw_manner(rng, emotion) for _ in range(300)]
    assert np.std([manner.energy for manner in drawn]) > 1
    assert all(0 <= manner.pause <= 0.4 and 0.3 <= manner.tilt <= 0.95 for manner in drawn)


@pytest.mark.parametrize("emotion", MANNERS)
def test_speak_when_any_emotion_gives_sound_of_the_promised_length(emotion):
    for number in range(20):
        samples, text = speak(np.random.default_rng(number), VOICE, emotion)
        assert SHORTEST - 0.01 <= len(samples) / SAMPLING_RATE <= LONGEST + 0.01
        assert np.isfinite(samples).all() and 0.05 < np.abs(samples).max() <= 0.98
        assert set("аэиоуы") & set(text) and text == text.strip()


def test_speak_when_the_emotion_differs_changes_pitch_tilt_and_energy():
    pitches = {emotion: np.median([pitch(clip) for clip in clips(emotion)]) for emotion in MANNERS}
    assert pitches["positive"] > 1.2 * pitches["neutral"] > 1.2 * 100
    assert pitches["sad"] < pitches["neutral"]
    bright = {
        emotion: np.mean([brightness(clip) for clip in clips(emotion)]) for emotion in MANNERS
    }
    assert bright["angry"] > bright["neutral"] + 3
    # The room's noise, which is all there is at the start, stays as it is.
    headroom = {
        emotion: np.mean([20 * np.log10(clip.std() / clip[:600].std()) for clip in clips(emotion)])
        for emotion in MANNERS
    }
    assert headroom["angry"] > headroom["neutral"] + 4 > headroom["sad"] + 8


def test_speak_when_seeded_alike_repeats_itself():
    first, second = (speak(np.random.default_rng(9), VOICE, "sad") for _ in range(2))
    assert np.array_equal(first[0], second[0]) and first[1] == second[1]


def test_speak_when_the_voice_is_higher_raises_the_pitch():
    high = Voice(220, 1.15, 1.0, 0.0, -50, 0.5, -6)
    low, high = (
        np.median([pitch(clip) for clip in clips("neutral", voice=voice)])
        for voice in (VOICE, high)
    )
    assert high > 1.5 * low


def test_room_noise_when_browner_is_duller():
    rng = np.random.default_rng(0)
    white, brown = room_noise(rng, 16000, 0.0), room_noise(rng, 16000, 0.95)
    assert np.mean(white**2) == pytest.approx(1) and np.mean(brown**2) == pytest.approx(1)
    assert brightness(brown) < brightness(white) - 6


def test_wordless_when_repeated_gives_sound_without_text():
    for number in range(12):
        samples, text = wordless(np.random.default_rng(number))
        assert text == "" and 0 < np.abs(samples).max() <= 0.98
