"""What speech goes through before it is heard: a room, a telephone, a podcast's MP3.

Rooms are computed where the clips are. Codecs are those of libsndfile, on the CPU, one clip at a
time. Whatever is drawn comes as numbers, so that a clip is changed alike wherever it is.
"""

import io

import numpy as np
import soundfile
import soxr
import torch
import torchaudio.functional
from scipy.signal import butter, sosfilt

# Of narrow-band telephony (ITU-T G.712), in Hz.
PHONE_RATE = 8000
PHONE_BAND = 300, 3400
# GSM 06.10 of the first mobile phones, and the logarithmic codes of fixed networks.
PHONE_CODECS = ("GSM610", "ULAW", "ALAW")
# Delay of LAME and of a decoder, in samples: files of low rates do not say that it is to be cut.
MP3_DELAY = 576 + 529


def in_rooms(
    clips: list[torch.Tensor],
    sampling_rate: int,
    reverberation: np.ndarray,
    direct: np.ndarray,
    seeds: np.ndarray,
) -> list[torch.Tensor]:
    """Let clips sound in rooms: direct sound, and noise that decays (Polack 1988).

    Args:
        clips: (samples,) float32 each, all on one device.
        sampling_rate: in Hz.
        reverberation: seconds until the level has fallen by 60 dB, (clips,), above 0.
        direct: level of the direct sound above the reverberation, in dB, (clips,).
        seeds: of the reverberation, below 2**63, (clips,).

    Returns:
        (samples,) float32 each, as long as they were.
    """
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    times = torch.arange(1 + round(float(reverberation.max()) * sampling_rate)) / sampling_rate
    responses = torch.zeros(len(clips), len(times))
    for row, seconds, level, seed in zip(responses, reverberation, direct, seeds, strict=True):
        # Drawn on the CPU, because each kind of device draws its own numbers.
        row.normal_(generator=torch.Generator().manual_seed(int(seed)))
        row *= 10 ** (-3 * times / float(seconds))
        row[0] = 0
        row *= 10 ** (-float(level) / 20) / row.norm()
        row[0] = 1
    heard = torchaudio.functional.fftconvolve(padded, responses.to(padded.device))
    return [row[: len(clip)] for row, clip in zip(heard, clips, strict=True)]


def over_phone(clip: np.ndarray, sampling_rate: int, codec: str, peak: float) -> np.ndarray:
    """Send a clip over a telephone: 8 kHz, 300 to 3400 Hz, a level, a codec.

    Args:
        clip: (samples,) float32.
        sampling_rate: in Hz.
        codec: of PHONE_CODECS.
        peak: of the clip when it is coded, in dB of full scale, at most 0; silence stays silent.

    Returns:
        (samples,) float32, as many as there were.

    Examples:
        >>> silence = over_phone(np.zeros(1600, np.float32), 16000, "ULAW", -6)
        >>> silence.shape, bool(np.abs(silence).max() < 1e-3)
        ((1600,), True)
    """
    band = butter(4, PHONE_BAND, "bandpass", fs=PHONE_RATE, output="sos")
    narrow = sosfilt(band, soxr.resample(clip, sampling_rate, PHONE_RATE))
    coded = through_file(at_peak(narrow, peak), PHONE_RATE, "WAV", codec)
    return fitted(soxr.resample(coded, PHONE_RATE, sampling_rate), len(clip))


def as_mp3(clip: np.ndarray, sampling_rate: int, compression: float, peak: float) -> np.ndarray:
    """Code a clip as an MP3.

    Args:
        clip: (samples,) float32.
        sampling_rate: in Hz, one that MP3 has.
        compression: 0 to 1, as libsndfile counts; at 16 kHz 0.6 is 64 kbit/s and 0.9 24 kbit/s.
        peak: of the clip when it is coded, in dB of full scale, at most 0.

    Returns:
        (samples,) float32, as many as there were, not delayed.
    """
    settings = {"compression_level": compression, "bitrate_mode": "CONSTANT"}
    coded = through_file(at_peak(clip, peak), sampling_rate, "MP3", "MPEG_LAYER_III", **settings)
    return fitted(coded[MP3_DELAY if len(coded) > len(clip) else 0 :], len(clip))


def at_peak(clip: np.ndarray, peak: float) -> np.ndarray:
    """Give a clip a peak, in dB of full scale; silence stays silent."""
    highest = np.abs(clip).max(initial=0)
    return clip * (10 ** (peak / 20) / highest) if highest else clip


def through_file(
    clip: np.ndarray, sampling_rate: int, form: str, subtype: str, **settings
) -> np.ndarray:
    """Write a clip to a file in memory and read it, (samples,) float32."""
    file = io.BytesIO()
    soundfile.write(file, clip, sampling_rate, format=form, subtype=subtype, **settings)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def fitted(samples: np.ndarray, count: int) -> np.ndarray:
    """Cut samples off behind, or add silence, until there are `count`."""
    return np.pad(samples[:count], (0, max(0, count - len(samples))))
