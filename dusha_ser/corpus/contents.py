"""Keys of rows, which change with ids, labels, speakers and audio, and of data sets' folders."""

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dusha_ser.files import find_files, named_file
from dusha_ser.fingerprints import digest

# Teachers' probability of each class, in the order of the classes.
TEACHER_COLUMN = "probabilities of teachers"
# What a row says of its audio, as far as training and evaluation read it.
ROW_COLUMNS = (
    *("id", "label", "answers", "label_probabilities", "log_likelihoods"),
    *("duration", "source_id", "domain"),
    TEACHER_COLUMN,
)
# Holds what `row_contents` returned, so that it is computed once.
CONTENT_COLUMN = "content"
# Names of columns, as of `copy_column`.
OF_COPY = re.compile(r".+ of copy \d+")
CARD = "README.md"
# Rows read at once: with audio some tens of megabytes.
BATCH = 100


def copy_column(column: str, copy: int) -> str:
    """Name the column of a copy, counted from 0, that says of it what a column says of the clip.

    Examples:
        >>> copy_column("duration", 0)
        'duration of copy 1'
    """
    return f"{column} of copy {copy + 1}"


def columns_of_copies(rows: datasets.Dataset) -> list[str]:
    """Name the columns of copies that were made before."""
    return [name for name in rows.column_names if OF_COPY.fullmatch(name)]


def rows_key(rows: datasets.Dataset) -> str:
    """Name rows by what they say and hold: their ROW_COLUMNS, their labels' names, their audio.

    What teachers say of copies of them counts, too.
    """
    said = [name for name in columns_of_copies(rows) if name.startswith(TEACHER_COLUMN)]
    names = [*(name for name in ROW_COLUMNS if name in rows.column_names), *said]
    columns = {name: rows[name][:] for name in names}
    label = rows.features.get("label")
    classes = label.names if isinstance(label, datasets.ClassLabel) else None
    return digest(columns, classes, row_contents(rows))


def row_contents(rows: datasets.Dataset, sizes_only: bool = False) -> list[str]:
    """Hash the audio of each row, and its input_features where it has some.

    Args:
        rows: with audio as bytes or as the path of a file, input_features, or both.
        sizes_only: whether sizes are enough for what lies in the rows themselves, because their
            files are known not to have changed.

    Returns:
        One text per row, the same for equal audio, whatever its file is called.

    Raises:
        OSError: if a file is missing.
    """
    if CONTENT_COLUMN in rows.column_names:
        return list(rows[CONTENT_COLUMN])
    columns = [name for name in ("audio", "input_features") if name in rows.column_names]
    found = [""] * len(rows) if not columns else []
    with ThreadPoolExecutor() as pool:
        for table in rows.select_columns(columns).with_format("arrow").iter(BATCH):
            parts = []
            if "audio" in columns:
                parts.append(list(_audio_hashes(table["audio"], sizes_only, pool)))
            if "input_features" in columns:
                parts.append(list(_feature_hashes(table["input_features"], sizes_only)))
            found += ["".join(row) for row in zip(*parts, strict=True)]
    return found


def with_contents(rows: datasets.Dataset) -> datasets.Dataset:
    """Return rows with a column of their `row_contents`, so that these are computed once."""
    if CONTENT_COLUMN in rows.column_names:
        return rows
    return rows.add_column(CONTENT_COLUMN, row_contents(rows))


def _audio_hashes(
    audio: pa.ChunkedArray, sizes_only: bool, pool: ThreadPoolExecutor
) -> Iterator[str]:
    sizes = pc.binary_length(pc.struct_field(audio, "bytes"))
    paths = pc.struct_field(audio, "path")
    if sizes_only and not sizes.null_count:
        return map(str, sizes.to_pylist())
    return pool.map(_audio_hash, pc.struct_field(audio, "bytes"), paths.to_pylist())


def _audio_hash(content: pa.BinaryScalar, path: str | None) -> str:
    if (held := content.as_buffer() if content.is_valid else None) is not None:
        return hashlib.sha256(held).hexdigest()[:32]
    if not path:
        return ""
    with named_file(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _feature_hashes(features: pa.ChunkedArray, sizes_only: bool) -> Iterator[str]:
    """Hash features (frames, width) of any number of frames."""
    if isinstance(features.type, pa.ExtensionType):
        features = features.cast(features.type.storage_type)
    frames = pc.fill_null(pc.list_value_length(features), 0).to_numpy()
    if sizes_only:
        yield from map(str, frames)
        return
    values = pc.list_flatten(pc.list_flatten(features)).to_numpy()
    width = len(values) // max(1, frames.sum())
    for row in np.split(values, np.cumsum(frames)[:-1] * width):
        yield hashlib.sha256(np.asarray(row, np.float32).tobytes()).hexdigest()[:32]


def folder_state(folder: str) -> str:
    """Name the state of a data set's files: of its card and Parquet files, else of all."""
    paths = sorted(find_files(Path(folder)))
    cards = [path.read_text("utf-8", "replace") for path in paths if path == Path(folder, CARD)]
    # What is exported beside Parquet files is no part of the data set.
    parquet = [path for path in paths if path.suffix == ".parquet"]
    states = [(str(path), path.stat()) for path in parquet or paths if path != Path(folder, CARD)]
    times = [(path, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for path, one in states]
    return digest(str(Path(folder).resolve()), cards, times)
