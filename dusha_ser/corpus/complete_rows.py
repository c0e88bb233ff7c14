"""Data sets as others publish them, brought to the columns that training and evaluation read.

Most have `audio` and `label` alone: their ids are made of file names, text becomes classes, and
columns with other names are found by their types or named by options.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from dusha_ser.audio.problems import find_problems, settle_problems
from dusha_ser.audio.reading import UnreadableAudioError
from dusha_ser.corpus.own_recordings import number_labels
from dusha_ser.errors import WrongUseError
from dusha_ser.options import TableOptions
from dusha_ser.vocabulary import BAD_ROWS

AUDIO, LABEL, ID, SPEAKER, DOMAIN = "audio", "label", "id", "source_id", "domain"


def complete_rows(
    splits: Mapping[str, datasets.Dataset], name: str, options: TableOptions
) -> dict[str, datasets.Dataset]:
    """Give each split id, label (classes), audio and, where speakers are known, source_id.

    Args:
        splits: of one data set, with audio that is not decoded.
        name: of the data set, for messages.
        options: which columns hold labels and speakers, and what labels mean.

    Returns:
        The splits, whose labels have the same numbers; nothing is read or written again but labels,
        speakers and names of files.

    Raises:
        WrongUseError: if there is no column of labels, or a row has no label.
    """
    found = {split: _with_audio(rows) for split, rows in splits.items()}
    labelled = _with_classes(found, name, options)
    completed = {}
    for split, rows in labelled.items():
        speaker = options.speaker_column
        if SPEAKER not in rows.column_names and speaker in rows.column_names:
            values = [None if one is None else str(one) for one in _values(rows, speaker)]
            rows = _replace(rows, speaker, SPEAKER, values, datasets.Value("string"))
        if ID not in rows.column_names:
            names = [f"{split}/{one}" for one in _file_names(rows)]
            rows = rows.add_column(ID, names, feature=datasets.Value("string"))
            if DOMAIN not in rows.column_names:
                # Another data set may have files of the same names.
                place = str(Path(name).resolve()) if Path(name).exists() else name
                rows = rows.add_column(DOMAIN, [place] * len(rows))
        completed[split] = _without_bad_rows(rows, options.bad_rows)
    return completed


def _without_bad_rows(rows: datasets.Dataset, bad_rows: str) -> datasets.Dataset:
    """Leave out rows whose audio cannot be used, where that is asked for."""
    if bad_rows == BAD_ROWS[0] or AUDIO not in rows.column_names:
        return rows
    problems = find_row_problems(rows)
    settle_problems(problems, len(rows), bad_rows)
    return rows.select([row for row, name in enumerate(rows[ID]) if name not in problems])


def find_row_problems(rows: datasets.Dataset) -> dict[str, str]:
    """Read the audio of rows that have some; return why it cannot be used, by the rows' ids."""
    return find_problems(
        (str(row[ID]), row[AUDIO])
        for row in rows.select_columns([ID, AUDIO])
        # Dusha's podcasts have none.
        if row[AUDIO] and any(row[AUDIO].values())
    )


@contextlib.contextmanager
def all_problems_named(rows: datasets.Dataset) -> Iterator[None]:
    """Turn the error of the first row whose audio cannot be read into one of all of them."""
    try:
        yield
    except UnreadableAudioError:
        settle_problems(find_row_problems(rows), len(rows), BAD_ROWS[0])
        raise


def _with_audio(rows: datasets.Dataset) -> datasets.Dataset:
    """Call the column of audio `audio` where it is the only one."""
    kinds = rows.features.items()
    audio = [column for column, kind in kinds if isinstance(kind, datasets.Audio)]
    if AUDIO in rows.column_names or len(audio) != 1:
        return rows
    return rows.rename_column(audio[0], AUDIO)


def _with_classes(
    splits: Mapping[str, datasets.Dataset], name: str, options: TableOptions
) -> dict[str, datasets.Dataset]:
    """Make the column `label` classes, whose numbers are the same in all splits."""
    column, meanings = options.label_column, options.meanings
    texts = {}
    for split, rows in splits.items():
        if column not in rows.column_names:
            raise WrongUseError(
                f"split {split} of {name} has the columns {', '.join(rows.column_names)} and not "
                f"{column!r}; name the one that holds the labels with `label_column`"
            )
        texts[split] = [meanings.get(one, one) for one in _label_texts(rows, column, split, name)]
    first, *others = [rows.features[column] for rows in splits.values()]
    is_settled = (
        isinstance(first, datasets.ClassLabel)
        and all(own == first for own in others)
        and not meanings
    )
    found = first.names if is_settled else [text for own in texts.values() for text in own]
    ordered = number_labels(found, None, Path(name))
    kind = first if is_settled else datasets.ClassLabel(names=ordered)
    return {
        split: rows
        if column == LABEL and rows.features[LABEL] == kind
        else _replace(rows, column, LABEL, list(map(kind.names.index, texts[split])), kind)
        for split, rows in splits.items()
    }


def _label_texts(rows: datasets.Dataset, column: str, split: str, name: str) -> Iterator[str]:
    """Yield the label of each row as text."""
    kind = rows.features[column]
    for number, value in enumerate(_values(rows, column)):
        place = f"row {number} of split {split} of {name}"
        if value in (None, "") or (isinstance(value, int) and value < 0):
            raise WrongUseError(f"{place} has no label ({column} is {value!r}); leave it out")
        if not isinstance(value, (str, int)):
            raise WrongUseError(
                f"{place} has the {column} {str(value)[:80]!r}; labels are text, integers or "
                "classes: name their column with `label_column`"
            )
        is_class = isinstance(kind, datasets.ClassLabel)
        yield kind.names[value] if is_class else str(value).strip()


def _values(rows: datasets.Dataset, column: str) -> list:
    """Return the values of a column, which is the only one that is read."""
    table = rows.select_columns([column]).with_format("arrow")[:]
    return table[column].to_pylist()


def _replace(
    rows: datasets.Dataset,
    old: str,
    new: str,
    values: list,
    kind: datasets.Value | datasets.ClassLabel,
) -> datasets.Dataset:
    """Put a column in the place of one or two others."""
    others = [column for column in {old, new} if column in rows.column_names]
    return rows.remove_columns(others).add_column(new, values, feature=kind)


def _file_names(rows: datasets.Dataset) -> Iterator[str]:
    """Yield a name of its own for each row: that of its audio file where it is known."""
    names: list[str | None] = [None] * len(rows)
    schema = rows.features.arrow_schema
    if AUDIO in rows.column_names and pa.types.is_struct(schema.field(AUDIO).type):
        tables = rows.select_columns([AUDIO]).with_format("arrow").iter(1000)
        names = [
            path for table in tables for path in pc.struct_field(table[AUDIO], "path").to_pylist()
        ]
    seen: Counter[str] = Counter()
    for number, path in enumerate(names):
        name = Path(path).name if path else str(number)
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}"
