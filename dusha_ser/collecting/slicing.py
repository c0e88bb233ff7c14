"""Recordings cut into clips by voice activity, as the podcasts of the corpus were (section 3.2).

When all clips of a recording are written, a note says what it gave, under a name for recording and
limits. A stopped run resumes where notes are missing; the tables are made of the notes.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dusha_ser.audio.finding import AudioFile
from dusha_ser.audio.reading import (
    SAMPLING_RATE,
    AudioSource,
    UnreadableAudioError,
    encode_wav,
    read_blocks,
)
from dusha_ser.audio.voice_activity import SpeechDetector, cut_spans
from dusha_ser.collecting.clips import WAVS, wav_path, write_clip
from dusha_ser.collecting.options import Cut
from dusha_ser.errors import WrongUseError
from dusha_ser.fingerprints import code_digest, hash_name
from dusha_ser.storage import (
    check_folder,
    check_settings,
    in_the_way,
    read_csv,
    write_csv,
    write_json,
)
from dusha_ser.tables import CLIPS_FILE

logger = logging.getLogger(__name__)

RECORDINGS_FILE = "recordings.csv"
NOTES = ".slices"
# Modules whose code decides the clips.
CODE = ("dusha_ser.audio", "dusha_ser.collecting.slicing", "dusha_ser.collecting.clips")
SETTINGS = "settings"
CLIP_COLUMNS = ("id", "path", "source_id", "start", "end", "duration")
RECORDING_COLUMNS = (
    *("path", "source_id", "duration", "speech", "clips", "repeated", "short", "error"),
)
# Long speech is cut at its quietest stretch of so many seconds.
QUIET = 0.03
NOTHING = {"duration": None, "speech": None, "short": 0, "error": None, "clips": ()}
Span = tuple[float, float]


def join_spans(spans: Sequence[Span], cut: Cut) -> list[Span]:
    """Join speech, in seconds, across short pauses as long as it fits into one clip.

    Examples:
        >>> join_spans([(0.0, 2.0), (2.2, 4.0), (4.1, 6.0), (9.0, 9.5)], Cut(longest=5.0))
        [(0.0, 4.0), (4.1, 6.0), (9.0, 9.5)]
    """
    joined: list[Span] = []
    for start, end in spans:
        if joined and start - joined[-1][1] <= cut.pause and end - joined[-1][0] <= cut.longest:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def quietest(samples: np.ndarray, first: int, last: int) -> int:
    """The middle of the quietest stretch of 30 ms in samples[first:last]."""
    size = round(QUIET * SAMPLING_RATE)
    if last - first <= size:
        return (first + last) // 2
    # The first of the sums is of nothing: each difference of two is the energy of one stretch.
    sums = np.concatenate([[0.0], np.cumsum(np.square(samples[first:last], dtype=np.float64))])
    return first + int(np.argmin(sums[size:] - sums[:-size])) + size // 2


def cut_clips(
    blocks: Iterator[np.ndarray], spans: Sequence[Span], cut: Cut
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first sample's number and the samples of each clip of a recording at 16 kHz.

    Long spans of speech, in seconds, are cut where it is quiet, so that no part is longer than the
    longest clip or shorter than the shortest.
    """
    longest, shortest = (int(seconds * SAMPLING_RATE) for seconds in (cut.longest, cut.shortest))
    edges = [(round(start * SAMPLING_RATE), round(end * SAMPLING_RATE)) for start, end in spans]
    sizes = {start: end - start for start, end in edges}
    held, begin, left = np.empty(0, np.float32), -1, 0
    for start, part in cut_spans(blocks, spans, SAMPLING_RATE):
        if start in sizes:
            held, begin, left = np.empty(0, np.float32), start, sizes.pop(start)
        held = np.concatenate([held, part])
        while left > longest and len(held) >= longest:
            size = quietest(held, longest // 2, min(longest, left - shortest))
            yield begin, held[:size]
            held, begin, left = held[size:], begin + size, left - size
        if len(held) == left:
            yield begin, held
            held = held[:0]


def slice_recording(
    source: AudioSource, keep: Callable[[bytes], str], detector: SpeechDetector, cut: Cut
) -> dict:
    """Cut one recording into clips.

    Args:
        source: what `read_blocks` reads.
        keep: takes each clip as a wav, and returns its id.
        detector: of speech.
        cut: the limits.

    Returns:
        duration and speech in seconds, the number of short ones left out, error (None where all
        went well) and clips: id, start and end in seconds.
    """
    found: dict[str, Any] = NOTHING | {"clips": []}
    try:
        spans, found["duration"] = detector(read_blocks(source, SAMPLING_RATE))
        spans = join_spans(spans, cut)
        found["speech"] = round(sum(end - start for start, end in spans), 3)
        kept = [(start, end) for start, end in spans if end - start >= cut.shortest]
        found["short"] = len(spans) - len(kept)
        for begin, samples in cut_clips(read_blocks(source, SAMPLING_RATE), kept, cut):
            start, end = begin / SAMPLING_RATE, (begin + len(samples)) / SAMPLING_RATE
            name = keep(encode_wav(samples))
            found["clips"].append({"id": name, "start": start, "end": end})
    except UnreadableAudioError as error:
        found["error"] = str(error)
    return found


def slice_recordings(
    sounds: Sequence[AudioFile],
    folder: Path,
    cut: Cut,
    source: str = "file",
    quiet: bool = False,
    overwrite: bool = False,
) -> list[dict]:
    """Cut recordings into clips and write their tables; what an earlier run did is not done again.

    The tables may grow by further recordings; what they hold goes with `overwrite` only.

    Args:
        sounds: the recordings.
        folder: to write wavs/HASH.wav, clips.csv and recordings.csv into.
        cut: the limits.
        source: what clips of one speaker or podcast have in common: their "file", or the "folder"
            that the file lies in.
        quiet: no bar.
        overwrite: whether to cut everything again, and replace the clips of other recordings or
            limits.

    Returns:
        The rows of recordings.csv, one a recording.

    Raises:
        WrongUseError: if a limit is out of range, silero-vad is not installed, or the folder is of
            others or holds other clips.
    """
    cut.check()
    rows, clips = [], []
    detector = SpeechDetector(cut.threshold)
    begin_slices(sounds, folder, asdict(cut) | {"source": source}, overwrite)
    seen: set[str] = set()
    for sound in tqdm(sounds, unit="recording", desc="slice", disable=quiet or None):
        found = take_up(sound, folder, detector, cut)
        origin = found["content"] if source == "file" else str(Path(sound.name).parent)
        source_id = hash_name(origin.encode("utf-8", "surrogateescape"))
        # Jingles and copies of a file would be annotated twice.
        own = [clip for clip in found["clips"] if clip["id"] not in seen]
        seen |= {clip["id"] for clip in own}
        for clip in own:
            start, end, path = clip["start"], clip["end"], f"{WAVS}/{clip['id']}.wav"
            # Five decimals of a second tell the sample.
            times = [f"{seconds:.5f}" for seconds in (start, end, end - start)]
            values = (clip["id"], path, source_id, *times)
            clips.append(dict(zip(CLIP_COLUMNS, values, strict=True)))
        row = {"path": sound.name, "source_id": source_id, "clips": len(own)}
        row |= {name: found[name] for name in ("duration", "speech", "short", "error")}
        rows.append(row | {"repeated": len(found["clips"]) - len(own)})
    if empty := sum(row["error"] is None and not row["clips"] for row in rows):
        logger.warning(
            "%d of %d recordings gave no clip: they hold no speech of %g s or more that is not in "
            "an earlier one; see %s",
            *(empty, len(rows), cut.shortest, folder / RECORDINGS_FILE),
        )
    lost = listed(folder / CLIPS_FILE, "id") - {clip["id"] for clip in clips}
    if lost and not overwrite:
        # A recording has other content now, or cannot be read any more.
        raise WrongUseError(in_the_way(folder, f"{WAVS}/{min(lost)}.wav, cut of the same files"))
    write_csv(folder / RECORDINGS_FILE, RECORDING_COLUMNS, rows)
    write_csv(folder / CLIPS_FILE, CLIP_COLUMNS, clips)
    for name in lost:
        wav_path(folder, name).unlink(missing_ok=True)
    return rows


def begin_slices(
    sounds: Sequence[AudioFile], folder: Path, settings: dict, overwrite: bool
) -> None:
    """Raise a WrongUseError if a folder holds anything but clips of these recordings and settings.

    With `overwrite`, forget instead which recordings are done.
    """
    check_folder(folder, marks=[NOTES])
    lost = listed(folder / RECORDINGS_FILE, "path") - {sound.name for sound in sounds}
    if overwrite:
        shutil.rmtree(folder / NOTES, ignore_errors=True)
    elif lost:
        raise WrongUseError(in_the_way(folder, f"clips of {min(lost)}, which is not given now"))
    check_settings(folder / NOTES / SETTINGS, settings, folder, "output_dir")


def listed(table: Path, column: str) -> set[str]:
    """What a column of a table of an earlier run holds; nothing if there is none."""
    return {row[column] for row in read_csv(table)} if table.is_file() else set()


def take_up(sound: AudioFile, folder: Path, detector: SpeechDetector, cut: Cut) -> dict:
    """What a recording gave: noted by an earlier run, or found now and noted.

    As `slice_recording`, and content: a hash of the file's, or its name where there is none.
    """
    try:
        with Path(sound.path).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return NOTHING | {"content": sound.name, "error": f"cannot be read: {error.strerror}"}
    code = (code_digest(*CODE), metadata.version("silero-vad"))
    mark = hash_name(f"{content} {json.dumps([asdict(cut), code], sort_keys=True)}".encode())
    note = folder / NOTES / f"{mark}.json"
    if note.is_file():
        found = json.loads(note.read_text(encoding="utf-8"))
        if all(wav_path(folder, clip["id"]).is_file() for clip in found["clips"]):
            return found
    keep = partial(write_clip, folder)
    found = slice_recording(sound.path, keep, detector, cut) | {"content": content}
    # A recording that cannot be read may be readable next time.
    if found["error"] is None:
        write_json(note, found)
    return found
