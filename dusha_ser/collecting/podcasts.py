"""Audio of the corpus' podcasts, cut by the published links and timings out of files one has.

The podcasts are published without audio. Their archive says where each clip comes from; from
the podcasts' files this cuts wavs/HASH.wav, which dusha.py finds in its `data_dir`.
"""

import contextlib
import itertools
import operator
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import numpy as np
from tqdm import tqdm

from dusha_ser.archives.find import open_members
from dusha_ser.audio.finding import AudioFile, find_audio_files
from dusha_ser.audio.reading import (
    SAMPLING_RATE,
    UnreadableAudioError,
    count_frames,
    encode_wav,
    read_blocks,
)
from dusha_ser.audio.voice_activity import cut_spans
from dusha_ser.collecting.clips import wav_path, write_clip
from dusha_ser.collecting.options import UNITS, PodcastOptions
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.files import is_safe_name, named_file, safe_name
from dusha_ser.fingerprints import code_digest, hash_name
from dusha_ser.inference.prediction_files import input_state
from dusha_ser.storage import check_folder, read_json, write_csv, write_json
from dusha_ser.tables import read_table

METADATA = "podcast_metadata"
# Folder of what each recording's clips were made of.
NOTES = ".podcasts"
# Modules whose code decides the clips.
CODE = ("dusha_ser.audio", "dusha_ser.collecting.podcasts")
METADATA_SUFFIXES = (".tsv", ".csv")
MISSING_FILE = "missing_podcasts.csv"
MISSING_COLUMNS = ("id", "recording", "reason")
# The last clip of a recording may end a little behind what a decoder gives, in seconds.
TOLERANCE = 0.1
# No clip of the corpus is longer than 20 s; a timing that is says something else.
LONGEST = 60.0
TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d*)?)")


@dataclass(frozen=True)
class Piece:
    """A clip: its hash, the link or title of its podcast, beginning and end in seconds."""

    id: str
    recording: str
    start: float
    end: float


class BadTimingError(ValueError):
    """A row of the timings cannot be used; the message says why."""


def cut_podcasts(options: PodcastOptions) -> dict[str, int]:
    """Cut the clips of all podcasts that are there, and list what is missing.

    Args:
        options: the timings, the podcasts' files, and where to write.

    Returns:
        Numbers of clips: cut, there (by an earlier run) and missing.

    Raises:
        MissingInputError: if a table or folder is missing.
        WrongUseError: if a column of a table is missing, or the output folder is of others or
            holds other clips of the same names.
    """
    check_folder(options.output_dir, marks=[NOTES, MISSING_FILE])
    roles = ("id", "recording", "start", "end")
    names = {role: getattr(options, f"{role}_column") for role in roles}
    advice = "name yours with " + ", ".join(f"`{role}_column`" for role in roles)
    with find_metadata(options.metadata) as table:
        rows = read_table(table, list(names.values()), advice)
    by_recording: dict[str, list[Piece]] = defaultdict(list)
    missing = []
    for row in rows:
        values = {role: row[column] for role, column in names.items()}
        try:
            piece = parse_piece(values, UNITS[options.unit])
        except BadTimingError as error:
            place = row.place.rpartition(", ")[2]  # the table may lie in an archive
            missing.append(missing_row(values["id"], values["recording"], f"{place}: {error}"))
        else:
            by_recording[piece.recording].append(piece)
    found = find_recordings(by_recording, options.audio_dir, options.files)
    plans = {
        recording: plan_cut(options, own, found[recording])
        for recording, own in by_recording.items()
    }
    # What is begun from here on is this program's.
    (options.output_dir / NOTES).mkdir(parents=True, exist_ok=True)
    counts = {"cut": 0, "there": 0}
    count = len(rows) - len(missing)
    bar = tqdm(total=count, unit="clip", desc="podcasts", disable=options.quiet or None)
    for recording, own in by_recording.items():
        note, before, made_of, todo = plans[recording]
        counts["there"] += len(own) - len(todo)
        not_cut = cut_recording(found[recording], todo, options.output_dir)
        counts["cut"] += len(todo) - len(not_cut)
        missing += not_cut
        if todo:
            lost = {row["id"] for row in not_cut}
            new = {one.id: made_of[one.id] for one in todo if one.id not in lost}
            write_json(note, before | new)
        bar.update(len(own))
    bar.close()
    write_csv(options.output_dir / MISSING_FILE, MISSING_COLUMNS, missing)
    return counts | {"missing": len(missing)}


@contextlib.contextmanager
def find_metadata(source: Path) -> Iterator[Path]:
    """Give the table of timings, which may lie in an archive or in a folder."""
    if source.suffix.lower() in METADATA_SUFFIXES:
        yield source
        return
    wanted = [METADATA + suffix for suffix in METADATA_SUFFIXES]
    with tempfile.TemporaryDirectory(prefix="dusha-podcasts-") as folder:
        members = open_members([source], Path(folder) / "index", quiet=True)
        found = [name for name in members if PurePosixPath(name).name in wanted]
        if not found:
            raise MissingInputError(
                f"no {' or '.join(wanted)} in {source}; give the table of links and timings itself"
            )
        table = Path(folder) / PurePosixPath(found[0]).name
        table.write_bytes(members[found[0]].read())
        yield table


def parse_piece(values: dict[str, str], unit: float) -> Piece:
    """Read one row; BadTimingError where it names no file or no stretch of time."""
    if not is_safe_name(values["id"]):
        raise BadTimingError(f"{values['id']!r} cannot be the name of a clip")
    if not values["recording"]:
        raise BadTimingError("it names no recording")
    start, end = (parse_time(values[role], unit) for role in ("start", "end"))
    if not 0 < end - start <= LONGEST:
        raise BadTimingError(
            f"from {start:g} s to {end:g} s is no clip; clips last up to {LONGEST:g} s (see `unit`)"
        )
    return Piece(values["id"], values["recording"], start, end)


def parse_time(text: str, unit: float = 1.0) -> float:
    """Read a number of units, or hours, minutes and seconds with colons, as seconds."""
    match = TIME.fullmatch(text)
    if not match:
        raise BadTimingError(f"{text!r} is no time; times are numbers or H:MM:SS")
    hours, minutes, seconds = match.groups()
    number = float(seconds.replace(",", "."))
    if minutes is None:
        return number * unit
    return 3600 * int(hours or 0) + 60 * int(minutes) + number


def find_recordings(
    recordings: Iterable[str], audio_dir: Path, files: Path | None
) -> dict[str, Path | str]:
    """Find the file of each link or title, or the reason why there is none.

    Files are named as the last part of a link or as a title, with any suffix; a table `files` with
    the columns recording and path (relative to its folder) goes before names.
    """
    if not audio_dir.is_dir():
        raise MissingInputError(f"no folder {audio_dir}; give the folder of the podcasts' files")
    by_name: dict[str, set[Path]] = defaultdict(set)
    with contextlib.suppress(MissingInputError):
        for path in find_audio_files([audio_dir]):
            by_name[plain_name(path.name)].add(path)
            by_name[plain_name(path.stem)].add(path)
    rows = read_table(files, ("recording", "path")) if files else []
    given = {row["recording"]: row["path"] for row in rows}
    names = {recording: file_name(recording) for recording in recordings}
    fitting = {
        recording: by_name.get(plain_name(name)) or by_name.get(plain_name(Path(name).stem), set())
        for recording, name in names.items()
        if recording not in given
    }
    users = Counter(path for paths in fitting.values() for path in paths if len(paths) == 1)
    found: dict[str, Path | str] = {}
    for recording, name in names.items():
        if files and recording in given:
            found[recording] = named_file(given[recording], files.parent)
        elif len(fitting[recording]) > 1:
            count = len(fitting[recording])
            found[recording] = f"{count} files have the name {name}; say which with `files`"
        elif not fitting[recording]:
            found[recording] = f"no file {name} in the folder of podcasts"
        else:
            (path,) = fitting[recording]
            # Many feeds name their files alike; a guess would cut somebody else's speech.
            shared = f"{users[path]} links end in {path.name}; say which with `files`"
            found[recording] = path if users[path] == 1 else shared
    return found


def file_name(recording: str) -> str:
    """The name that a podcast's file most likely has."""
    if "://" not in recording:
        return recording
    return PurePosixPath(unquote(urlsplit(recording).path)).name


def plain_name(name: str) -> str:
    """A name as file systems and downloaders may have changed it."""
    return safe_name(name).casefold()


def origin(piece: Piece, path: Path | str) -> list:
    """Return what a clip is made of: its timing, and its recording's state with the code."""
    state = None if isinstance(path, str) else input_state(AudioFile(piece.recording, str(path)))
    return [piece.start, piece.end, state and f"{state} {code_digest(*CODE)}"]


def is_same(before: list | None, now: list) -> bool:
    """Tell whether a clip is made of the same; what a recording was that is gone does not count."""
    return before == now or (before is not None and now[2] is None and before[:2] == now[:2])


def plan_cut(
    options: PodcastOptions, pieces: Sequence[Piece], path: Path | str
) -> tuple[Path, dict, dict, list[Piece]]:
    """Find out what of a recording is to be cut.

    Returns:
        The note on what its clips are made of, what it says, what they are made of now, and the
        clips that are not there.

    Raises:
        WrongUseError: if a clip that is there was made of something else.
    """
    folder = options.output_dir
    note = folder / NOTES / f"{hash_name(pieces[0].recording.encode())}.json"
    before = read_json(note) if note.is_file() and not options.overwrite else {}
    made_of = {piece.id: origin(piece, path) for piece in pieces}
    same = [piece for piece in pieces if is_same(before.get(piece.id), made_of[piece.id])]
    for piece in pieces:
        place = wav_path(folder, piece.id)
        if piece.id in before and piece not in same and place.is_file():
            raise WrongUseError(
                f"{place} was cut by other timings, of other audio or by another version; name "
                "another `output_dir`, or replace such clips with `overwrite=True`"
            )
    there = {piece.id for piece in same if is_cut(folder, piece)}
    return note, before, made_of, [piece for piece in pieces if piece.id not in there]


def is_cut(output_dir: Path, piece: Piece) -> bool:
    """Tell whether a clip is there, of the right length."""
    path = wav_path(output_dir, piece.id)
    if not path.is_file():
        return False
    frames = count_frames(path.read_bytes())
    wanted = (piece.end - piece.start) * SAMPLING_RATE
    return frames is not None and abs(frames - wanted) <= TOLERANCE * SAMPLING_RATE


def cut_recording(path: Path | str, pieces: Sequence[Piece], output_dir: Path) -> list[dict]:
    """Cut one recording, path being its file or the reason why there is none.

    Returns:
        Rows of the clips that are missing.
    """
    if isinstance(path, str):
        return [missing_row(piece.id, piece.recording, path) for piece in pieces]
    return [row for layer in without_overlap(pieces) for row in cut_layer(path, layer, output_dir)]


def without_overlap(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Share clips out so that those of one layer follow one another; mostly there is one."""
    layers: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: (piece.start, piece.end)):
        for layer in layers:
            if layer[-1].end <= piece.start:
                layer.append(piece)
                break
        else:
            layers.append([piece])
    return layers


def cut_layer(path: Path, layer: Sequence[Piece], output_dir: Path) -> list[dict]:
    """Cut clips that do not overlap in one reading; rows of those that cannot be cut."""
    left = {round(piece.start * SAMPLING_RATE): piece for piece in layer}
    sizes = []

    def counted() -> Iterator[np.ndarray]:
        for block in read_blocks(path, SAMPLING_RATE):
            sizes.append(len(block))
            yield block

    parts = cut_spans(counted(), [(piece.start, piece.end) for piece in layer], SAMPLING_RATE)
    try:
        for start, own in itertools.groupby(parts, key=operator.itemgetter(0)):
            piece, samples = left[start], np.concatenate([part for _, part in own])
            if piece.end - (start + len(samples)) / SAMPLING_RATE <= TOLERANCE:
                write_clip(output_dir, encode_wav(samples), piece.id)
                del left[start]
        reason = f"ends at {sum(sizes) / SAMPLING_RATE:.2f} s, before the clip does"
    except UnreadableAudioError as error:
        reason = str(error)
    return [
        missing_row(piece.id, piece.recording, f"{path.name} {reason}") for piece in left.values()
    ]


def missing_row(name: str, recording: str, reason: str) -> dict[str, str]:
    """A row of missing_podcasts.csv."""
    return {"id": name, "recording": recording, "reason": reason}
