"""Files of predictions that a stopped run resumes.

A row goes to the file when its audio file is done. Starting again drops a last line that was cut
off, keeps the others and knows which files are done.
"""

import contextlib
import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dusha_ser.audio.finding import STANDARD_INPUT, AudioFile
from dusha_ser.errors import WrongUseError
from dusha_ser.fingerprints import hash_name
from dusha_ser.inference.prediction_rows import CsvForm, RowForm
from dusha_ser.storage import check_settings, write_text

OR_REPLACE = "name another `output_file`, or replace it with `overwrite=True`"


class PredictionFile:
    """A file of rows that is written group by group and resumed where it ends.

    With `rows_of_a_file`, an audio file may have several rows: then the last one's, which may not
    all be there, are dropped. A file that holds something else raises a WrongUseError.
    """

    def __init__(self, path: Path, form: RowForm, rows_of_a_file: bool = False):
        self.path, self.form = path, form
        self.failed: dict[str, str] = {}  # errors by id
        self.places: dict[str, tuple[int, int]] = {}  # bytes where an id's rows begin and end
        path.parent.mkdir(parents=True, exist_ok=True)
        end = self._resume() if path.exists() else 0
        if rows_of_a_file and self.places:
            end = self.places.popitem()[1][0]
        self.done = set(self.places)
        self.failed = {name: self.failed[name] for name in self.failed if name in self.done}
        with path.open("ab") as file:
            file.truncate(end)
        if not end:
            self._append(form.header())

    def _resume(self) -> int:
        """Read what is there; returns where its last whole row ends."""
        header, last = self.form.header().encode(), 0
        for begin, end, record in self._records():
            if header and not begin:
                if record != header:
                    raise self._refusal("it has another header")
            else:
                try:
                    name, error = self.form.read(record)
                except (ValueError, TypeError, AttributeError, csv.Error) as error:
                    raise self._refusal(f"byte {begin} does not begin a row: {error}") from error
                # Rows of one file stand together.
                self.places[name] = (self.places.get(name, (begin, 0))[0], end)
                if error is not None:
                    self.failed[name] = error
            last = end
        return last

    def _records(self) -> Iterator[tuple[int, int, bytes]]:
        """Read whole records; in CSV, one continues where a line ends within quotes."""
        begin, end, record = 0, 0, b""
        with self.path.open("rb") as file:
            for line in file:
                record += line
                end += len(line)
                if isinstance(self.form, CsvForm) and record.count(b'"') % 2:
                    continue
                if record.endswith(b"\n"):
                    yield begin, end, record
                begin, record = end, b""

    def check_inputs(self, files: Sequence[AudioFile], note: bool = True) -> None:
        """Raise a WrongUseError if audio has changed since its rows were written.

        Args:
            files: that the file of rows is made of.
            note: whether to note the size and time of those that have no rows yet.
        """
        noted, states = read_inputs(self.path), {one.name: input_state(one) for one in files}
        changed = [
            name for name in states.keys() & self.done & noted.keys() if noted[name] != states[name]
        ]
        if changed:
            turns = ", or their turns," if any(one.turns for one in files) else ","
            raise WrongUseError(
                f"{len(changed)} audio files, such as {min(changed)}{turns} have changed since "
                f"their rows in {self.path} were written; {OR_REPLACE}"
            )
        if note:
            new = {name: state for name, state in states.items() if name not in self.done}
            write_inputs(self.path, noted | new)

    def _refusal(self, reason: str) -> WrongUseError:
        return WrongUseError(
            f"{self.path} is there and not by a run of this kind ({reason}); {OR_REPLACE}"
        )

    def _append(self, text: str) -> None:
        # Names of files need not be UTF-8.
        with self.path.open("a", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)

    def write(self, files: Iterable[list[dict]]) -> None:
        """Add the rows of files, leaving out those that are there."""
        lines = []
        for rows in files:
            name = rows[0]["id"]
            if name not in self.done:
                lines += [self.form.line(row) for row in rows]
                self.done.add(name)
                if rows[0]["error"] is not None:
                    self.failed[name] = rows[0]["error"]
        self._append("".join(lines))


def input_state(file: AudioFile) -> str | None:
    """Return what changes with a file's content, and its turns'; None: it is missing."""
    turns = f"-{file.turns.fingerprint()}" if file.turns else ""
    try:
        # What came by standard input is a new file each time.
        if file.name == STANDARD_INPUT:
            return hash_name(Path(file.path).read_bytes()) + turns
        state = Path(file.path).stat()
    except (OSError, ValueError):  # such as a name with a zero byte
        return None
    return f"{state.st_size:x}-{state.st_mtime_ns:x}{turns}"


def read_inputs(path: Path) -> dict[str, str | None]:
    """Read the states of the audio that a file of rows was made of, by name."""
    try:
        return json.loads(inputs_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_inputs(path: Path, states: dict[str, str | None]) -> None:
    """Note the states of the audio that a file of rows is made of."""
    # In ASCII, because names of files need not be UTF-8.
    write_text(inputs_path(path), json.dumps(states) + "\n")


def inputs_path(path: Path) -> Path:
    """Where the states of the audio that a file of rows was made of are noted."""
    return path.with_name(f".{path.name}.inputs.json")


def begin_file(path: Path, settings: dict) -> None:
    """Note the settings (JSON values) of a file that is begun now, or compare those that began it.

    Raises:
        WrongUseError: other settings began it, or it is not a file of predictions that was begun.
    """
    note = settings_path(path)
    if path.is_file() and path.stat().st_size and not note.exists():
        raise WrongUseError(f"{path} is there and not by a run of this kind; {OR_REPLACE}")
    check_settings(note, settings, path, "output_file")


@contextlib.contextmanager
def replaced_when_whole(path: Path, overwrite: bool) -> Iterator[Path]:
    """Give the place to write rows to; with `overwrite` it replaces the file once it is whole.

    Args:
        path: of the file of rows.
        overwrite: whether to start from scratch, beside what an earlier run left.
    """
    if not overwrite:
        yield path
        return
    new = path.with_name(f".{path.stem}.new{path.suffix}")
    for old in (new, settings_path(new), inputs_path(new)):
        old.unlink(missing_ok=True)
    yield new
    new.replace(path)
    for note in (settings_path, inputs_path):
        note(new).replace(note(path))


def settings_path(path: Path) -> Path:
    """Where the settings of a file of rows are noted."""
    return path.with_name(f".{path.name}.settings.json")
