"""Anyone's own recordings as a data set with the columns of the corpus: a table, or folders."""

import contextlib
import functools
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import datasets
import pyarrow as pa
from datasets import data_files

from dusha_ser.audio.finding import audio_suffixes, files_below
from dusha_ser.audio.problems import MISSING, find_problems, settle_problems
from dusha_ser.audio.reading import UnreadableAudioError, read_info
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.files import is_hidden, named_file, printable_name
from dusha_ser.options import NAME_COLUMNS, TableOptions
from dusha_ser.tables import read_table
from dusha_ser.vocabulary import BAD_ROWS, EMOTIONS

logger = logging.getLogger(__name__)

DOMAIN = "own"
# Of an AudioFolder: what holds the labels where folders do not, and its column of files.
METADATA_FILE, FILE_COLUMN = "metadata.csv", "file_name"
# What folders of splits are called.
SPLIT_WORDS = {
    word: str(split) for split, words in data_files.SPLIT_KEYWORDS.items() for word in words
}


@dataclass(frozen=True)
class Recording:
    """One labelled recording on disk; id and speaker are unique among those it comes with."""

    id: str
    path: Path
    label: str
    speaker: str | None  # None where unknown
    # Its part of the usual cross-validation; None where each study makes its own.
    fold: str | None = None
    line: str = ""  # where a table names it, for messages
    # What else its corpus says of it, such as sex and sentence, by name.
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where a user finds it: a line of a table, or its path."""
        return self.line or str(self.path)

    @property
    def name(self) -> str:
        """Where a user finds it, and the name of its file."""
        shown = printable_name(self.place)
        file = printable_name(self.path.name)
        return shown if shown.endswith(file) else f"{shown}: {file}"


def read_recordings(
    path: str | Path,
    labels: Sequence[str] | None = None,
    options: TableOptions = TableOptions(),  # noqa: B008  # it is not changed
    split: str | None = None,
) -> datasets.Dataset:
    """List one's own recordings with the columns that the corpus has.

    Args:
        path: a table (see `tables.read_table`) with the columns path, label and, where speakers
            are known, speaker, paths being relative to the table's folder; or a folder that holds
            a folder of audio files for each label, or a folder of each split with these in it.
        labels: the labels in the order of their numbers; None: the four emotions of Dusha where
            no other label occurs, else all that occur in alphabetical order.
        options: names of the table's columns, and what labels mean.
        split: the one to read of a folder that has splits; None: the only one.

    Returns:
        One row per recording, with id, audio (bytes null, path), duration (seconds), label,
        source_id (the speaker, or null) and domain ("own").

    Raises:
        MissingInputError: if the table, the folder or recordings are not there.
        WrongUseError: if there is no such split, a column is missing, a label is not among `labels`
            or differs from another in case only, a recording occurs twice or cannot be read, or
            there is nothing at all.
    """
    path = Path(path)
    recordings, others = _list_recordings(path, options, split)
    # The labels of a folder's splits have the same numbers.
    found = [one.label for one in (recordings if labels else [*recordings, *others])]
    names = number_labels(found, labels, path)
    places: dict[Path, str] = {}
    for recording in recordings:
        first = places.setdefault(recording.path, recording.place)
        if first != recording.place:
            raise WrongUseError(
                f"{recording.place} and {first} are one recording: keep one of them"
            )
    return make_recordings(recordings, names, bad_rows=options.bad_rows)


def make_recordings(
    recordings: Sequence[Recording],
    labels: Sequence[str],
    domain: str = DOMAIN,
    bad_rows: str = BAD_ROWS[0],
) -> datasets.Dataset:
    """Make a data set of recordings on disk: one row each, with the columns of `read_recordings`.

    Raises:
        MissingInputError: if recordings are not there.
        WrongUseError: if recordings cannot be read, and `bad_rows` is not "skip".
    """
    labels, named = list(labels), {one.name: one for one in recordings}
    with ThreadPoolExecutor() as pool:
        measured = list(pool.map(measure_recording, recordings))
    durations = dict(zip(named, measured, strict=True))
    problems = {name: found for name, found in durations.items() if isinstance(found, str)}
    if problems or bad_rows != BAD_ROWS[0]:
        # All are named at once, those, too, whose headers say nothing of it.
        others = ((name, one.path) for name, one in named.items() if name not in problems)
        problems |= find_problems(others)
    settle_problems(problems, len(recordings), bad_rows)
    recordings = [one for name, one in named.items() if name not in problems]
    text = datasets.Value("string")
    features = datasets.Features(
        {
            "id": text,
            "audio": datasets.Audio(decode=False),
            "duration": datasets.Value("float64"),
            "label": datasets.ClassLabel(names=labels),
            "source_id": text,
            "domain": text,
        }
    )
    # An Arrow table, because Dataset.from_dict asks for torchcodec to take an Audio column.
    table = pa.table(
        {
            "id": [printable_name(one.id) for one in recordings],
            "audio": [{"bytes": None, "path": printable_name(str(one.path))} for one in recordings],
            "duration": [durations[one.name] for one in recordings],
            "label": [labels.index(one.label) for one in recordings],
            "source_id": [one.speaker for one in recordings],
            "domain": [domain] * len(recordings),
        },
        schema=features.arrow_schema,
    )
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=features))


def _list_recordings(
    path: Path, options: TableOptions, split: str | None
) -> tuple[list[Recording], list[Recording]]:
    """List the recordings of a table or folder, and those of its other splits."""
    others: list[Recording] = []
    if folders := find_split_folders(path):
        wanted = next(iter(folders)) if split is None and len(folders) == 1 else split
        if wanted not in folders:
            raise WrongUseError(
                f"{path} has the splits {', '.join(folders)}; name one as `split`, or as "
                f"{path}:default:{next(iter(folders))}"
            )
        found = {
            name: [one for folder in own for one in _from_folder(folder, path, options)]
            for name, own in folders.items()
        }
        recordings = found.pop(wanted)
        others = [one for own in found.values() for one in own]
    elif path.is_dir():
        recordings = list(_from_folder(path, path, options))
        if not recordings:
            raise WrongUseError(
                f"{path} holds no audio files in folders named after labels, such as "
                f"{path / 'angry' / 'clip.wav'}; formats are {', '.join(audio_suffixes())}"
            )
        names = dict.fromkeys(one.label for one in recordings)
        if all(name.lower() in SPLIT_WORDS for name in names):
            raise WrongUseError(
                f"{path} has folders of splits ({', '.join(names)}) with audio and no labels; give "
                f"each a folder of each label, or {METADATA_FILE} with the columns {FILE_COLUMN} "
                f"and {options.label_column}"
            )
    elif path.is_file():
        recordings = list(_from_table(path, options))
    else:
        raise MissingInputError(
            f"no file or folder {path}; give a table with the columns path,label[,speaker] or a "
            "folder that holds a folder for each label"
        )
    meanings = options.meanings

    def with_meanings(found: list[Recording]) -> list[Recording]:
        return [replace(one, label=meanings.get(one.label, one.label)) for one in found]

    return with_meanings(recordings), with_meanings(others)


def _from_table(path: Path, options: TableOptions) -> Iterator[Recording]:
    needed = (options.path_column, options.label_column)
    for row in read_table(path, needed, NAME_COLUMNS, filled=needed):
        name = row[options.path_column]
        yield Recording(
            id=name,
            path=named_file(name, path.parent).resolve(),
            label=row[options.label_column],
            speaker=row.get(options.speaker_column) or None,
            line=row.place,
        )


def _from_folder(folder: Path, root: Path, options: TableOptions) -> Iterator[Recording]:
    """Yield the recordings of a folder that lies in the root, by which they are named."""
    metadata, columns = folder / METADATA_FILE, set[str]()
    with contextlib.suppress(WrongUseError):  # it is not there, or about something else
        columns = set(read_table(metadata, [FILE_COLUMN])[0])
    if options.label_column in columns:
        named = replace(options, path_column=FILE_COLUMN)
        for one in _from_table(metadata, named):
            yield replace(one, id=(folder / one.id).relative_to(root).as_posix())
        return
    suffixes = audio_suffixes()
    folders = (one for one in folder.iterdir() if one.is_dir() and not is_hidden(one.name))
    for label in sorted(folders):
        for path in files_below(label, suffixes):
            name = path.relative_to(root).as_posix()
            yield Recording(name, path.resolve(), label.name, speaker=None, line=str(path))


def find_split_folders(root: Path) -> dict[str, list[Path]]:
    """Find the splits of a folder that is laid out as an AudioFolder of `datasets`.

    That is: a folder of each split, named by one of the words that `datasets` takes for splits, in
    which a folder of each label lies, or metadata.csv.

    Returns:
        The folders of train, validation and test, as far as there are any; none where the folders
        are those of labels.
    """
    words: dict[str, list[Path]] = {split: [] for split in SPLIT_WORDS.values()}
    suffixes, others = audio_suffixes(), list[Path]()
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if is_hidden(folder.name) or not folder.is_dir():
            continue
        split = SPLIT_WORDS.get(folder.name.lower())
        is_flat = any(path.suffix.lower() in suffixes for path in folder.iterdir())
        if split and ((folder / METADATA_FILE).is_file() or not is_flat):
            words[split].append(folder)
        else:
            others.append(folder)
    splits = {split: folders for split, folders in words.items() if folders}
    left_out = [one.name for one in others if splits and any(files_below(one, suffixes))]
    if not splits or (left_out and not {"train", "test"} <= set(splits)):
        return {}
    _tell_of_splits(root, tuple(splits), tuple(left_out))
    return splits


@functools.cache  # once per folder, which several steps may read
def _tell_of_splits(root: Path, splits: tuple[str, ...], left_out: tuple[str, ...]) -> None:
    more = f"; {', '.join(left_out)} left out" if left_out else ""
    logger.warning("%s is read as folders of splits: %s%s", root, ", ".join(splits), more)


def number_labels(found: Sequence[str], labels: Sequence[str] | None, path: Path) -> list[str]:
    """List the labels in the order of their numbers; arguments as in `read_recordings`.

    Examples:
        >>> number_labels(["sad", "angry"], None, Path("clips.csv"))
        ['angry', 'sad', 'neutral', 'positive']
        >>> number_labels(["no", "yes"], None, Path("clips.csv"))
        ['no', 'yes']
    """
    spellings = {label.casefold(): label for label in [*sorted(set(found)), *(labels or EMOTIONS)]}
    others = [label for label in sorted(set(found)) if spellings[label.casefold()] != label]
    meant = ",".join(f"{label}={spellings[label.casefold()]}" for label in others)
    if others and len({label.casefold() for label in found}) < len(set(found)):
        raise WrongUseError(
            f"{path} has labels that differ in case only, such as {others[0]!r} and "
            f"{spellings[others[0].casefold()]!r}; write them alike, or give `label_map={meant}`"
        )
    if labels is None:
        if others:
            logger.warning(
                "%s has the labels %s, which differ from Dusha's in case only; if these are meant, "
                "give `label_map=%s`",
                *(path, ", ".join(others), meant),
            )
        return list(EMOTIONS) if set(found) <= set(EMOTIONS) else sorted(set(found))
    if unknown := sorted(set(found) - set(labels)):
        raise WrongUseError(
            f"{path} has the label {unknown[0]!r}; allowed are {', '.join(labels)}, as in the "
            "training data; `label_map` tells what other labels mean"
        )
    return list(labels)


def measure_recording(recording: Recording) -> float | str:
    """Measure a recording by its file's header, in seconds above 0, or say why it has none."""
    if not recording.path.is_file():
        return MISSING
    try:
        info = read_info(recording.path)
    except UnreadableAudioError as error:
        return str(error)
    return info.duration or "holds no samples"
