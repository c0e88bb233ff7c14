"""What people hold a recording in, as what `audio.reading` reads."""

import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dusha_ser.audio.reading import AudioSource
from dusha_ser.errors import WrongUseError

ALLOWED = (
    "give a path, (samples, sampling_rate), the bytes of a file, a file opened in binary mode, a "
    "row with audio, or a list of these"
)


def name_source(recording: Any, unnamed: str) -> tuple[str, AudioSource]:
    """Turn a recording into a source to read, with a name for messages.

    Args:
        recording: a path; (samples, sampling_rate in Hz), samples as `to_mono` takes them, also
            those of a CPU tensor; a file's bytes; a file object; a row whose `audio` is one of
            these; the value of an audio column: {"bytes", "path"}, {"array", "sampling_rate"} or
            an AudioDecoder.
        unnamed: the name of one that has no path.

    Raises:
        WrongUseError: if it is something else, or samples without their rate.

    Examples:
        >>> name_source({"id": "1", "audio": {"bytes": None, "path": "a.wav"}}, "the recording")
        ('a.wav', {'bytes': None, 'path': 'a.wav'})
    """
    if isinstance(recording, (str, os.PathLike)):
        return str(recording), recording if isinstance(recording, str) else Path(recording)
    if isinstance(recording, (bytes, bytearray, memoryview)):
        return unnamed, bytes(recording)
    if isinstance(recording, Mapping):
        return _in_mapping(recording, unnamed)
    if _has_rate(recording):
        return unnamed, (np.asarray(recording[0]), recording[1])
    if hasattr(recording, "get_all_samples"):  # an AudioDecoder, of torchcodec or datasets
        decoded = recording.get_all_samples()  # (channels, samples)
        return unnamed, (np.asarray(decoded.data).T, decoded.sample_rate)
    if hasattr(recording, "read"):
        return _in_file(recording, unnamed)
    if _is_array(recording):
        raise WrongUseError(
            f"{unnamed} is an array without its sampling rate; give (samples, sampling_rate), such "
            "as (samples, 16000)"
        )
    raise WrongUseError(f"{unnamed} is of type {type(recording).__name__}; {ALLOWED}")


def is_several(recordings: Any) -> bool:
    """Tell whether something is a list, or another iterable, of recordings, not a recording.

    Examples:
        >>> is_several(["a.wav", "b.wav"]), is_several("a.wav"), is_several((np.ones(9), 16000))
        (True, False, False)
    """
    one = (str, os.PathLike, bytes, bytearray, memoryview, Mapping)
    is_one = isinstance(recordings, one) or _has_rate(recordings) or _is_array(recordings)
    readable = hasattr(recordings, "read") or hasattr(recordings, "get_all_samples")
    return isinstance(recordings, Iterable) and not is_one and not readable


def _is_array(value: Any) -> bool:
    """Tell an array or tensor of numbers; one of paths is a list."""
    return hasattr(value, "__array__") and np.asarray(value).dtype.kind not in "OUST"


def _has_rate(value: Any) -> bool:
    """Tell samples with their sampling rate."""
    return (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and isinstance(value[1], (int, float, np.integer, np.floating))
        and not isinstance(value[0], (str, bytes))
        and np.ndim(value[0]) > 0
    )


def _in_mapping(row: Mapping[str, Any], unnamed: str) -> tuple[str, AudioSource]:
    """Find the audio in a row, or in the value of an audio column."""
    if row.get("audio") is not None:
        return name_source(row["audio"], str(row.get("id") or unnamed))
    samples = row.get("array", row.get("raw"))
    if samples is not None and row.get("sampling_rate"):
        name = row.get("path") or unnamed
        return str(name), (np.asarray(samples), row["sampling_rate"])
    if row.get("bytes") is None and row.get("path") is None:
        raise WrongUseError(
            f"{unnamed} has {', '.join(map(str, row)) or 'nothing'} and no audio in them; give "
            "audio, or bytes or path of a file, or array and sampling_rate"
        )
    source = {"bytes": row.get("bytes"), "path": row.get("path")}
    return str(row.get("path") or unnamed), source


def _in_file(file: Any, unnamed: str) -> tuple[str, AudioSource]:
    """Make a file object one that can be read twice."""
    if isinstance(file, io.TextIOBase):
        raise WrongUseError(f'{unnamed} is a file opened as text; open it with mode "rb"')
    name = getattr(file, "name", None)
    shown = name if isinstance(name, str) else unnamed
    return shown, file if file.seekable() else file.read()
