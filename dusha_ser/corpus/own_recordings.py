"""Anyone's own recordings as a data set with the columns of the corpus: a table, or folders."""

import csv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import pyarrow as pa
import soundfile

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.vocabulary import EMOTIONS

DOMAIN = "own"
COLUMNS = {"path": "path", "label": "label", "speaker": "speaker"}


def read_recordings(
    path: str | Path,
    labels: Sequence[str] | None = None,
    columns: dict[str, str] | None = None,
) -> datasets.Dataset:
    """List one's own recordings with the columns that the corpus has.

    Args:
        path: a table (.csv, or .tsv with tabulators) with a header and the columns path, label
            and, where speakers are known, speaker, paths being relative to the table's folder; or
            a folder that holds a folder of sound files for each label.
        labels: the labels in the order of their numbers; None: the four emotions of Dusha where
            no other label occurs, else all that occur in alphabetical order.
        columns: other names of the table's columns, by "path", "label" and "speaker".

    Returns:
        one row a recording, with id, audio (bytes null, path), duration (seconds), label,
        source_id (the speaker, or null) and domain ("own").

    Raises:
        MissingInputError: if the table, the folder or a recording is not there.
        WrongUseError: if a column lacks, a label is not among `labels`, a recording comes twice
            or cannot be read, or there is nothing at all.
    """
    path = Path(path)
    if path.is_dir():
        rows = list(folder_rows(path))
        if not rows:
            raise WrongUseError(
                f"{path} holds no sound files in folders named after labels, such as "
                f"{path / 'angry' / 'clip.wav'}; formats are {', '.join(audio_suffixes())}"
            )
    elif path.is_file():
        rows = list(table_rows(path, COLUMNS | (columns or {})))
        if not rows:
            raise WrongUseError(f"{path} holds no rows below its header; add path,label rows")
    else:
        raise MissingInputError(
            f"no file or folder {path}; give a table with the columns path,label[,speaker] or a "
            "folder that holds a folder for each label"
        )
    names = number_labels([row["label"] for row in rows], labels, path)
    refuse_repeated(rows, path)
    return make_recordings(rows, names)


def make_recordings(
    rows: Sequence[dict], labels: Sequence[str], domain: str = DOMAIN
) -> datasets.Dataset:
    """Make a data set of recordings that lie on disk.

    Args:
        rows: id, path, label, speaker (None where unknown) and place, for messages.
        labels: in the order of their numbers.
        domain: what stands in the column of that name.

    Returns:
        one row a recording, with the columns that `read_recordings` names.

    Raises:
        MissingInputError: if a recording is not there.
        WrongUseError: if a recording cannot be read.
    """
    labels = list(labels)
    with ThreadPoolExecutor() as pool:
        durations = list(pool.map(sound_duration, rows))
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "audio": datasets.Audio(decode=False),
            "duration": datasets.Value("float64"),
            "label": datasets.ClassLabel(names=labels),
            "source_id": datasets.Value("string"),
            "domain": datasets.Value("string"),
        }
    )
    # An Arrow table, because Dataset.from_dict asks for torchcodec to take an Audio column.
    table = pa.table(
        {
            "id": [row["id"] for row in rows],
            "audio": [{"bytes": None, "path": str(row["path"])} for row in rows],
            "duration": durations,
            "label": [labels.index(row["label"]) for row in rows],
            "source_id": [row["speaker"] for row in rows],
            "domain": [domain] * len(rows),
        },
        schema=features.arrow_schema,
    )
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=features))


def table_rows(path: Path, columns: dict[str, str]) -> Iterator[dict]:
    """Read the rows of a table of recordings.

    Args:
        path: .tsv with tabulators, anything else with commas.
        columns: names of the columns, by "path", "label" and "speaker".

    Yields:
        id (the path as the table has it), path (absolute), label, speaker (None where unknown)
        and place, for messages.

    Raises:
        WrongUseError: if a column or a value lacks.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        header = reader.fieldnames or []
        for role in ("path", "label"):
            if columns[role] not in header:
                raise WrongUseError(
                    f"{path} has the columns {', '.join(header) or 'of an empty file'}; it needs "
                    f"{columns['path']} and {columns['label']}: rename them, or name yours with "
                    "--path_column and --label_column"
                )
        for number, row in enumerate(reader, start=2):
            place = f"{path}, line {number}"
            name, label = (row[columns[role]] or "" for role in ("path", "label"))
            if not name or not label:
                raise WrongUseError(f"{place} lacks its path or its label; fill it in")
            yield {
                "id": name,
                "path": (path.parent / name).resolve(),
                "label": label.strip(),
                "speaker": row.get(columns["speaker"]) or None,
                "place": place,
            }


def folder_rows(folder: Path) -> Iterator[dict]:
    """Read the sound files of a folder with a folder a label; rows as `table_rows` gives them."""
    suffixes = audio_suffixes()
    for label in sorted(one for one in folder.iterdir() if one.is_dir()):
        for path in sorted(label.rglob("*")):
            # macOS leaves a "._NAME" companion of each file on foreign disks.
            if path.suffix.lower() in suffixes and not path.name.startswith("."):
                yield {
                    "id": path.relative_to(folder).as_posix(),
                    "path": path.resolve(),
                    "label": label.name,
                    "speaker": None,
                    "place": str(path),
                }


def audio_suffixes() -> list[str]:
    """Suffixes of the sound files that libsndfile reads here, in lower case, with their dot."""
    known = {f".{name.lower()}" for name in soundfile.available_formats()}
    # A .raw file does not say its rate.
    return sorted((known | {".aif", ".oga", ".opus", ".mp3"}) - {".raw"})


def number_labels(found: Sequence[str], labels: Sequence[str] | None, path: Path) -> list[str]:
    """Decide which labels there are and in which order.

    Args:
        found: the label of each recording.
        labels: the labels that are allowed, in order; None: as `read_recordings` says.
        path: of the table or folder, for messages.

    Returns:
        The labels in the order of their numbers.

    Raises:
        WrongUseError: if a label is not allowed.

    Example:
        >>> number_labels(["sad", "angry"], None, Path("clips.csv"))
        ['angry', 'sad', 'neutral', 'positive']
        >>> number_labels(["no", "yes"], None, Path("clips.csv"))
        ['no', 'yes']
    """
    if labels is None:
        return list(EMOTIONS) if set(found) <= set(EMOTIONS) else sorted(set(found))
    if unknown := sorted(set(found) - set(labels)):
        raise WrongUseError(
            f"{path} has the label {unknown[0]!r}; allowed are {', '.join(labels)}, as in the "
            "training data"
        )
    return list(labels)


def refuse_repeated(rows: list[dict], path: Path) -> None:
    """Raise a WrongUseError if two rows are of one recording."""
    places: dict[Path, str] = {}
    for row in rows:
        first = places.setdefault(row["path"], row["place"])
        if first != row["place"]:
            raise WrongUseError(f"{row['place']} and {first} are one recording: keep one of them")


def sound_duration(row: dict) -> float:
    """Length of a row's recording in seconds, from the file's header.

    Args:
        row: as `table_rows` gives it.

    Returns:
        The length, above 0.

    Raises:
        MissingInputError: if there is no such file.
        WrongUseError: if the file is no sound, or empty.
    """
    if not row["path"].is_file():
        raise MissingInputError(f"{row['place']}: there is no file {row['path']}")
    try:
        info = soundfile.info(row["path"])
    except (soundfile.LibsndfileError, TypeError) as error:  # of a .raw file nothing is known
        reason = getattr(error, "error_string", error)
        raise WrongUseError(
            f"{row['place']}: {row['path']} cannot be read ({reason}); convert it to wav or flac, "
            "or leave it out"
        ) from error
    if not info.frames:
        raise WrongUseError(f"{row['place']}: {row['path']} holds no sound; leave it out")
    return info.frames / info.samplerate
