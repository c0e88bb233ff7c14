"""Clips of an own corpus as files: wavs of one kind named by hash, their tables, whole folders."""

import contextlib
import csv
import hashlib
import io
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from command_line_dusha import MissingInputError, WrongUseError, replacing
from files_dusha import SAMPLING_RATE
from sounds_dusha import TABLES, read_sound

WAVS = "wavs"
CLIPS_FILE = "clips.csv"
# Digits of a hash; the published corpus has as many.
HASH_DIGITS = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def encode_clip(samples: np.ndarray) -> bytes:
    """Write samples as the corpus has them: a wav of 16 kHz and 16 bits.

    Args:
        samples: (samples,) int16, or floating point, about [-1, 1]; what lies outside is cut off.

    Returns:
        The bytes of the file.
    """
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLING_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def hash_name(content: bytes) -> str:
    """Name something by its content.

    Example:
        >>> hash_name(b"clip")
        '67905ad3cc2dd52b1f5f6a6d2814de03'
    """
    return hashlib.sha256(content).hexdigest()[:HASH_DIGITS]


def is_safe_name(name: str) -> bool:
    """Tell whether a name may become a file's: letters, digits, _ and - only.

    Example:
        >>> is_safe_name("0a1b"), is_safe_name("../0a1b"), is_safe_name(".hidden")
        (True, False, False)
    """
    return NAME.fullmatch(name) is not None


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


def convert_clip(path: str | Path) -> bytes:
    """Read any sound file as a clip of the corpus.

    Args:
        path: of the file.

    Returns:
        The bytes of the wav, which hold nothing but the sound. A wav of this kind keeps its
        samples, so that converting twice changes nothing.

    Raises:
        UnreadableSoundError: if it is no sound.
    """
    try:
        info = soundfile.info(path)
        if (info.samplerate, info.channels, info.subtype) == (SAMPLING_RATE, 1, "PCM_16"):
            samples, _ = soundfile.read(path, dtype="int16")
            if len(samples):
                return encode_clip(samples)
    except (OSError, RuntimeError):
        pass  # Whoever reads it next says what is wrong, or can read it.
    return encode_clip(np.concatenate(list(read_sound(path, SAMPLING_RATE))))


def read_table(path: Path, needed: Sequence[str], advice: str = "add it") -> list[dict[str, str]]:
    """Read a table of text.

    Args:
        path: .csv with commas or .tsv with tabulators, UTF-8, the first line naming the columns.
        needed: columns that must be there.
        advice: what to do where one is not.

    Returns:
        A row each, by column; what a short line lacks is empty.

    Raises:
        MissingInputError: if there is no such file.
        WrongUseError: if it is no such table, or has no rows.
    """
    if not path.is_file():
        raise MissingInputError(f"no file {path}; give a table (.csv or .tsv)")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = TABLES.get(path.suffix.lower(), ",")
            reader = csv.DictReader(file, delimiter=delimiter, restval="")
            header = list(reader.fieldnames or [])
            for column in needed:
                if column not in header:
                    raise WrongUseError(
                        f"{path} has the columns {', '.join(header) or '(none)'} and not "
                        f"{column!r}; {advice}"
                    )
            rows = list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise WrongUseError(f"{path} is no table in UTF-8: {error}") from error
    if not rows:
        raise WrongUseError(f"{path} has no rows below its header; add some")
    return rows


def find_clips_table(source: Path) -> Path:
    """The table of clips that a user means by a folder or by the table itself."""
    return source / CLIPS_FILE if source.is_dir() else source


@contextlib.contextmanager
def whole_folder(output_dir: Path, own: Sequence[str], replace: bool) -> Iterator[Path]:
    """Give a temporary folder that takes the place of another once the block ends well.

    Args:
        output_dir: which may be there if it is empty, or replaced if it holds nothing else.
        own: names of what is written into it.
        replace: whether what is there of these may go.

    Yields:
        the temporary folder, which is gone if the block fails.

    Raises:
        WrongUseError: if the place is taken.
    """
    if output_dir.exists() and not output_dir.is_dir():
        raise WrongUseError(f"{output_dir} is a file; name a folder")
    there = sorted(path.name for path in output_dir.iterdir()) if output_dir.is_dir() else []
    if others := [name for name in there if name not in own]:
        raise WrongUseError(
            f"{output_dir} holds {others[0]}, which is not of this program; name another "
            "--output_dir"
        )
    if there and not replace:
        raise WrongUseError(
            f"{output_dir} holds {there[0]} already; name another --output_dir, or give "
            "--overwrite if nobody needs it any more"
        )
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}-", dir=output_dir.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)  # mkdtemp's folders are for their owner only
        if output_dir.exists():
            old = unfinished.with_name(f"{unfinished.name}.old")
            output_dir.rename(old)
            unfinished.rename(output_dir)
            shutil.rmtree(old, ignore_errors=True)
        else:
            unfinished.rename(output_dir)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
