"""Which turns belong to which recording: in one file, or in a folder of files named alike."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dusha_ser.audio.finding import AudioFile, audio_suffixes
from dusha_ser.audio.turn_files import READERS, Turns, read_turns
from dusha_ser.audio.turns import Turn
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.files import find_files
from dusha_ser.fingerprints import hash_name
from dusha_ser.options import TurnColumns

# Names that messages show, at most.
SHOWN = 5


@dataclass(frozen=True, slots=True)
class TurnsOf:
    """Where the turns of one recording are.

    Attributes:
        path: of the file; None: there is none.
        recording: which one's, in a file that has those of several; None: all of the file.
        columns: of tables.
        problem: why there are none.
    """

    path: Path | None
    recording: str | None = None
    columns: TurnColumns = TurnColumns()
    problem: str = ""

    def read(self) -> list[Turn]:
        """Read the turns, in the order of time.

        Raises:
            WrongUseError: there are none, or the file cannot be read.
        """
        if self.path is None:
            raise WrongUseError(self.problem)
        found = _read(self.path, self.columns)
        if self.recording is not None:
            return found[self.recording]
        return [turn for turns in found.values() for turn in turns]

    def fingerprint(self) -> str:
        """Return what changes with the turns."""
        if self.path is None or self.recording is not None:
            return hash_name(repr(self.read() if self.path else self.problem).encode())
        return hash_name(self.path.read_bytes() + repr(self.columns).encode())


def _read(path: Path, columns: TurnColumns) -> Turns:
    """Read a file once, until it changes: it may have the turns of thousands of recordings."""
    state = path.stat() if path.is_file() else None
    return _read_state(path, columns, state and (state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=2)
def _read_state(path: Path, columns: TurnColumns, state: object) -> Turns:
    return read_turns(path, columns)


def find_turns(
    files: Sequence[AudioFile], path: Path, columns: TurnColumns | None = None
) -> list[TurnsOf]:
    """Find the turns of recordings.

    A file is of one recording, or names the recordings that it has turns of. In a folder and its
    subfolders, a recording's turns are in the file of its name: a.rttm or a.wav.json for a.wav.
    Of several such files, the one whose folders are named as the recording's counts, and of several
    formats the first one of `READERS`.

    Args:
        files: the recordings.
        path: of the file or folder.
        columns: of tables.

    Returns:
        Where those of each recording are. Of one without any, reading them is an error.

    Raises:
        MissingInputError: there is no such file or folder, or none of these recordings' turns.
        WrongUseError: the file cannot be read, or it is not said which recording it is of.
    """
    columns = columns or TurnColumns()
    if path.is_dir():
        return _in_folder(files, path, columns)
    found = _read(path, columns)
    named = [name for name in found if name is not None]
    if len(files) == 1 and len(found) <= 1:
        # Programs call a recording "waveform", or by the name that it had then.
        return [TurnsOf(path, columns=columns)]
    if not named:
        raise WrongUseError(
            f"{path} does not say which of {len(files)} recordings its turns are of; give a folder "
            "with one file per recording, such as a.rttm for a.wav"
        )
    by_name = {name: name for name in named} | {_stem(Path(name)): name for name in named}
    places = []
    for file in files:
        own = Path(file.name)
        keys = [key for key in (file.name, own.name, own.stem) if key in by_name]
        problem = "" if keys else f"there are no turns of it in {path}, which has {_show(named)}"
        where = path if keys else None
        places.append(TurnsOf(where, by_name[keys[0]] if keys else None, columns, problem))
    _check_some(places, path)
    return places


def with_turns(
    files: Sequence[AudioFile], path: Path, columns: TurnColumns | None = None
) -> list[AudioFile]:
    """Return recordings with the places of their turns; see `find_turns`."""
    places = find_turns(files, path, columns)
    return [replace(file, turns=place) for file, place in zip(files, places, strict=True)]


def _in_folder(files: Sequence[AudioFile], folder: Path, columns: TurnColumns) -> list[TurnsOf]:
    """Find the file of turns of each recording by its name."""
    by_stem: dict[str, list[Path]] = {}
    for path in find_files(folder):
        if path.suffix.lower() in READERS:
            by_stem.setdefault(_stem(path), []).append(path)
    places, owners = [], dict[Path, AudioFile]()
    for file in files:
        own = Path(file.name)
        candidates = by_stem.get(own.stem, [])
        near = [_common_tail(own.parent, path.parent) for path in candidates]
        candidates = [one for one, n in zip(candidates, near, strict=True) if n == max(near)]
        if not candidates:
            problem = f"there is no file of its turns in {folder}, such as {own.stem}.rttm"
            places.append(TurnsOf(None, columns=columns, problem=problem))
            continue
        order = list(READERS)
        path = min(candidates, key=lambda one: order.index(one.suffix.lower()))
        same = [one for one in candidates if one.suffix == path.suffix]
        if len(same) > 1:
            raise WrongUseError(
                f"{_show(list(map(str, same)))} may all be the turns of {file.name}; keep one, or "
                "put it in a folder named as the recording's"
            )
        if owners.setdefault(path, file) is not file:
            raise WrongUseError(
                f"{path} may be the turns of {owners[path].name} and of {file.name}; put the turns "
                "of each in a folder named as the recording's"
            )
        places.append(TurnsOf(path, columns=columns))
    _check_some(places, folder)
    return places


def _check_some(places: Sequence[TurnsOf], path: Path) -> None:
    if all(place.path is None for place in places):
        raise MissingInputError(f"{path} has turns of none of the recordings: {places[0].problem}")


def _stem(path: Path) -> str:
    """The name of the recording that a file of turns is named after: "a" of a.rttm, a.wav.json."""
    stem = path.stem if path.suffix.lower() in (*READERS, *audio_suffixes()) else path.name
    return Path(stem).stem if Path(stem).suffix.lower() in audio_suffixes() else stem


def _common_tail(one: Path, other: Path) -> int:
    """How many folders at the ends of two paths have the same names."""
    pairs = zip(reversed(one.parts), reversed(other.parts), strict=False)
    return next(
        (n for n, (a, b) in enumerate(pairs) if a != b), min(len(one.parts), len(other.parts))
    )


def _show(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
