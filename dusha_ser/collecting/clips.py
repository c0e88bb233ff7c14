"""Clips of an own corpus as files: wavs of one kind named by hash, their tables, whole folders."""

from pathlib import Path

import numpy as np

from dusha_ser.audio.reading import (
    SAMPLING_RATE,
    AudioSource,
    encode_wav,
    read_audio,
    read_info,
)
from dusha_ser.files import is_safe_name
from dusha_ser.fingerprints import hash_name
from dusha_ser.storage import replacing

WAVS = "wavs"


def wav_path(folder: Path, name: str) -> Path:
    """Where the clip of a safe name lies in a folder."""
    if not is_safe_name(name):
        raise ValueError(f"{name!r} is no name for a file")
    return folder / WAVS / f"{name}.wav"


def write_clip(folder: Path, content: bytes, name: str | None = None) -> str:
    """Write a clip into a folder of clips, whole or not at all.

    Args:
        folder: which gets wavs/NAME.wav.
        content: of the wav.
        name: of the clip; None: the hash of its content.

    Returns:
        The name.
    """
    name = hash_name(content) if name is None else name
    path = wav_path(folder, name)
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)
    return name


def convert_clip(path: AudioSource) -> bytes:
    """Read any sound file as a clip of the corpus.

    Args:
        path: of the file, or another source.

    Returns:
        The bytes of the wav, which hold nothing but the sound. A wav of this kind keeps its
        samples, so that converting twice changes nothing.

    Raises:
        UnreadableAudioError: if it is no sound.
    """
    samples = read_audio(path, SAMPLING_RATE)
    info = read_info(path)
    if (info.sampling_rate, info.channels, info.subtype) == (SAMPLING_RATE, 1, "PCM_16"):
        # Libraries write floating-point samples with another scale than they read.
        return encode_wav((samples * 2**15).astype(np.int16))
    return encode_wav(samples)
