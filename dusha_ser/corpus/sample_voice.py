"""Speech-like audio with an emotion, by source-filter synthesis (the voice of the sample corpus).

A train of glottal pulses (Rosenberg 1971, pulse C, differentiated) with jitter, shimmer, vibrato
and a pitch contour passes a filter for spectral tilt and a cascade of formant resonators
(Klatt 1980) that glide from vowel to vowel; bursts of noise imitate consonants. What an emotion
does to pitch, tempo, energy and tilt follows the review of Juslin & Laukka (2003). The spread
from clip to clip is wide, so that the emotions overlap.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

from dusha_ser.audio.reading import SAMPLING_RATE

FRAME = 160  # samples; loudness is constant for 10 ms
GLIDE = 3  # frames; formants are constant for 30 ms
SHORTEST, LONGEST = 0.8, 2.5  # seconds
# First three formants in Hz of an adult male voice.
VOWELS = {
    "а": (700, 1220, 2500),
    "э": (530, 1720, 2450),
    "и": (290, 2200, 2900),
    "о": (500, 880, 2450),
    "у": (310, 700, 2250),
    "ы": (340, 1500, 2350),
}
FOURTH_FORMANT = 3500
BANDWIDTHS = (70, 100, 160, 250)  # Hz
# Unvoiced consonants: band of the noise in Hz, length in seconds.
CONSONANTS = {
    "с": ((4500, 7500), 0.09),
    "ш": ((2200, 5500), 0.09),
    "х": ((900, 3500), 0.07),
    "т": ((3000, 6500), 0.02),
    "к": ((1200, 3200), 0.025),
    "п": ((400, 2000), 0.02),
}


@dataclass(frozen=True)
class Voice:
    """What a speaker keeps from clip to clip."""

    pitch: float  # resting pitch in Hz
    formant_scale: float  # formants relative to an adult male voice
    tempo: float  # syllables per second relative to the average
    tilt: float  # added to the pole of the tilt filter
    noise: float  # level of the room's noise in dB relative to neutral speech
    noise_pole: float  # colour of that noise, 0 white to 1 brown
    loudness: float  # gain of the recording in dB


@dataclass(frozen=True)
class Manner:
    """How something is said."""

    pitch: float  # semitones above the speaker's resting pitch
    melody: float  # standard deviation of the accents in semitones
    slope: float  # semitones from the clip's begin to its end
    tempo: float  # syllables per second
    tilt: float  # pole of the tilt filter, 0 bright to 1 dull
    energy: float  # dB relative to neutral speech
    breath: float  # fraction of noise in the source
    jitter: float  # relative standard deviation of a cycle's length
    pause: float  # probability of a pause before a syllable
    smile: float  # formants relative to a relaxed mouth; drawn-back lips shorten the tract


MANNERS = {
    "angry": Manner(2.5, 2.2, -1.5, 6.2, 0.25, 12, 0.03, 0.06, 0.02, 1.0),
    "sad": Manner(-2.5, 0.6, -3.0, 2.7, 0.95, -8, 0.32, 0.02, 0.28, 0.95),
    "neutral": Manner(0.0, 0.8, -1.0, 4.3, 0.76, 0, 0.03, 0.01, 0.08, 1.0),
    "positive": Manner(9.0, 5.0, 3.0, 5.0, 0.55, 5, 0.12, 0.01, 0.03, 1.16),
}
# From clip to clip, added to what the emotion asks for.
SPREAD = Manner(0.9, 0.3, 0.8, 0.3, 0.025, 1.2, 0.02, 0.005, 0.03, 0.012)


def draw_voice(rng: np.random.Generator) -> Voice:
    """Draw a speaker, half of them with a high voice."""
    high = rng.random() < 0.5
    return Voice(
        pitch=rng.uniform(170, 240) if high else rng.uniform(90, 145),
        formant_scale=rng.uniform(1.1, 1.2) if high else rng.uniform(0.96, 1.04),
        tempo=rng.uniform(0.88, 1.14),
        tilt=rng.uniform(-0.03, 0.03),
        noise=rng.uniform(-43, -35),
        noise_pole=rng.uniform(0.3, 0.95),
        loudness=rng.uniform(-16, -2),
    )


def draw_manner(rng: np.random.Generator, emotion: str) -> Manner:
    """Draw how a clip of an emotion is said."""
    drawn = {
        name: mean + getattr(SPREAD, name) * rng.standard_normal()
        for name, mean in vars(MANNERS[emotion]).items()
    }
    limits = {
        "melody": (0.3, 9),
        "tempo": (2.2, 7.5),
        "tilt": (0.3, 0.95),
        "breath": (0.01, 0.5),
        "jitter": (0.003, 0.06),
        "pause": (0, 0.4),
    }
    return Manner(**drawn | {name: np.clip(drawn[name], *limit) for name, limit in limits.items()})


def speak(rng: np.random.Generator, voice: Voice, emotion: str) -> tuple[np.ndarray, str]:
    """Say something with an emotion, a key of MANNERS.

    Returns:
        (samples,) float64 at 16 kHz in [-1, 1], 0.8 to 2.5 s long, and the syllables as text.
    """
    manner = draw_manner(rng, emotion)
    frames = round(rng.uniform(SHORTEST, LONGEST) * SAMPLING_RATE / FRAME)
    track = _Track.draw(rng, manner, voice, frames)
    length = frames * FRAME

    source = _glottal_source(rng, track.pitch, manner)
    pole = np.clip(manner.tilt + voice.tilt, 0.2, 0.96)
    source = lfilter([1 - pole], [1, -pole], source)
    # The breath is not tilted: a sad voice is dull but airy.
    source /= np.sqrt(np.mean(source**2))
    source += manner.breath * rng.standard_normal(length)
    voiced = _formants(source * np.repeat(track.loudness, FRAME), track.formants)
    speech = voiced / np.sqrt(np.mean(voiced**2)) * 10 ** (manner.energy / 20)
    # Consonants hardly grow with the effort of the voice.
    speech += track.consonants(rng, length) * 10 ** (0.3 * manner.energy / 20)
    speech += room_noise(rng, length, voice.noise_pole) * 10 ** (voice.noise / 20)
    return _record(speech, voice.loudness + 0.5 * manner.energy), track.text


@dataclass
class _Track:
    """The course of a clip, a value for each 10 ms (pitch: each sample)."""

    text: str
    pitch: np.ndarray  # (samples,) Hz
    loudness: np.ndarray  # (frames,) of the voice
    formants: np.ndarray  # (frames, 4) Hz
    noises: list[tuple[str, int]]  # consonants and their first samples

    @classmethod
    def draw(cls, rng: np.random.Generator, manner: Manner, voice: Voice, frames: int) -> "_Track":
        """Fill the frames with syllables, and with pauses between them."""
        edge = int(rng.integers(4, 10))  # frames of room noise before and after
        times, accents, loudness, noises, text = [], [], np.zeros(frames), [], ""
        formant_times: list[float] = []
        formants: list[tuple[float, ...]] = []
        frame = edge
        while frame < frames - edge - 6:
            if text and rng.random() < manner.pause:
                frame += int(rng.integers(12, 28))
                text += " "
            consonant = str(rng.choice(list(CONSONANTS)))
            if rng.random() < 0.6 and frame < frames - edge - 20:
                noises.append((consonant, frame * FRAME))
                frame += 1 + round(CONSONANTS[consonant][1] * SAMPLING_RATE / FRAME)
                text += consonant
            seconds = rng.uniform(0.75, 1.25) / (manner.tempo * voice.tempo)
            stop = min(frame + max(6, round(seconds * SAMPLING_RATE / FRAME)), frames - edge)
            if stop - frame < 4:
                break
            vowel = str(rng.choice(list(VOWELS)))
            text += vowel
            position = (np.arange(stop - frame) + 0.5) / (stop - frame)
            loudness[frame:stop] = np.sin(np.pi * position) ** 0.6 * rng.uniform(0.6, 1)
            times.append((frame + stop) / 2)
            accents.append(manner.melody * rng.standard_normal())
            formant_times.extend((frame + 0.3 * (stop - frame), frame + 0.7 * (stop - frame)))
            formants.extend([(*VOWELS[vowel], FOURTH_FORMANT)] * 2)
            frame = stop
        grid = np.arange(frames)
        tracks = [np.interp(grid, formant_times, column) for column in np.array(formants).T]
        moment = np.arange(frames * FRAME) / FRAME
        semitones = manner.pitch + np.interp(moment, times, accents)
        semitones += manner.slope * (moment / frames - 0.5)
        semitones += 0.25 * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * moment * FRAME / 16000)
        return cls(
            text=text.strip(),
            pitch=voice.pitch * 2 ** (semitones / 12),
            loudness=loudness,
            formants=voice.formant_scale * manner.smile * np.array(tracks).T,
            noises=noises,
        )

    def consonants(self, rng: np.random.Generator, length: int) -> np.ndarray:
        """All unvoiced consonants, (samples,)."""
        signal = np.zeros(length)
        for consonant, start in self.noises:
            band, seconds = CONSONANTS[consonant]
            stop = min(start + round(seconds * SAMPLING_RATE), length)
            noise = sosfilt(_band_filter(band), rng.standard_normal(stop - start))
            signal[start:stop] += 0.35 * rng.uniform(0.6, 1.4) * noise * np.hanning(stop - start)
        return signal


@cache
def _band_filter(band: tuple[float, float]) -> np.ndarray:
    return butter(2, band, "bandpass", fs=SAMPLING_RATE, output="sos")


def _glottal_source(rng: np.random.Generator, pitch: np.ndarray, manner: Manner) -> np.ndarray:
    # Each cycle has a length and strength of its own (jitter and shimmer).
    cycle = np.cumsum(pitch / SAMPLING_RATE).astype(int)
    cycles = cycle[-1] + 1
    lengths = 1 + manner.jitter * rng.standard_normal(cycles)
    strength = 1 + 2 * manner.jitter * rng.standard_normal(cycles)
    phase = np.cumsum(pitch / SAMPLING_RATE * lengths[cycle]) % 1
    opening, closing = 0.4, 0.16  # fractions of the cycle
    flow = np.where(
        phase < opening,
        0.5 - 0.5 * np.cos(np.pi * phase / opening),
        np.where(phase < opening + closing, np.cos(np.pi / 2 * (phase - opening) / closing), 0.0),
    )
    return np.diff(flow * strength[cycle], prepend=0)


def _formants(source: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Pass (samples,) through resonators of frequencies (frames, 4), those of each third frame."""
    radius = np.exp(-np.pi * np.array(BANDWIDTHS) / SAMPLING_RATE)
    first = -2 * radius * np.cos(2 * np.pi * np.minimum(formants, 7500) / SAMPLING_RATE)
    second = np.broadcast_to(radius**2, first.shape)
    sections = np.zeros((*first.shape, 6))
    sections[..., 0] = 1 + first + second  # so that slow changes pass unchanged
    sections[..., 3] = 1
    sections[..., 4] = first
    sections[..., 5] = second
    signal = np.empty_like(source)
    state = np.zeros((4, 2))
    for frame in range(0, len(sections), GLIDE):
        span = slice(frame * FRAME, (frame + GLIDE) * FRAME)
        signal[span], state = sosfilt(sections[frame], source[span], zi=state)
    return signal


def room_noise(rng: np.random.Generator, length: int, pole: float) -> np.ndarray:
    """Make noise (samples,) with a mean square of 1, of a colour from 0 (white) to 1 (brown)."""
    noise = lfilter([1], [1, -pole], rng.standard_normal(length))
    return noise / np.sqrt(np.mean(noise**2))


def _record(signal: np.ndarray, loudness: float) -> np.ndarray:
    """Scale to a peak of `loudness` dB, but never beyond full scale."""
    return signal / np.abs(signal).max() * min(10 ** (loudness / 20), 0.98)


def wordless(rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Record rumble, hiss or next to silence, without a usable voice; returns as `speak`."""
    length = round(rng.uniform(SHORTEST, LONGEST) * SAMPLING_RATE / FRAME) * FRAME
    pole, loudness = [(0.97, -8), (0.0, -12), (0.5, -66)][rng.integers(3)]
    return _record(room_noise(rng, length, pole), loudness + rng.uniform(-4, 4)), ""
