"""The recordings of a shard, one after the other: of Parquet, tars, tables and lists."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as pq

from dusha_ser.audio.finding import name_file
from dusha_ser.errors import WrongUseError
from dusha_ser.files import named_file
from dusha_ser.shards.sources import (
    LIST,
    PARQUET,
    TAR,
    Shard,
    TarErrors,
    audio_members,
    changed_input,
    table_rows,
)
from dusha_ser.shards.stores import Store, file_states, is_url, open_files

# Rows of Parquet that are held at once, with their audio.
ROWS_AT_ONCE = 64
AUDIO, ID = "audio", "id"


class DamagedShardError(RuntimeError):
    """A shard cannot be read to its end; the message says why."""


def read_shard(shard: Shard, store: Store, path_column: str = "path") -> Iterator[tuple[str, Any]]:
    """Read a shard of any kind.

    Args:
        shard: what to read.
        store: of the job, which holds the lists of single files.
        path_column: column of tables, and of Parquet without `audio`, that holds paths.

    Yields:
        Ids and audio, as the values of an audio column: bytes, a path or URL, or a dictionary of
        both. A file of a table is named by its path there, a member of a tar by its name without
        the suffix, a row of Parquet by its id, its path, or its number.

    Raises:
        DamagedShardError: if what it lies in is damaged or missing.
        WrongUseError: if a column is missing, or the file is another than when shards were cut.
        OSError: if a disk or store does not answer.
    """
    if shard.state and file_states([shard.place]).get(shard.place, shard.state) != shard.state:
        raise WrongUseError(changed_input(shard.place))
    try:
        if shard.kind == PARQUET:
            yield from _read_parquet(shard, path_column)
        elif shard.kind == TAR:
            for member in audio_members(shard.place, shard.start, shard.stop):
                yield member.name, member.content
        elif shard.kind == LIST:
            place = store.path(shard.place)
            content = store.files.cat_file(place, start=shard.start, end=shard.stop)
            for line in content.splitlines():
                name, path, *_ = json.loads(line)
                yield name, path
        else:
            yield from _read_table(shard, path_column)
    except FileNotFoundError as error:
        raise DamagedShardError(f"there is no {shard.place}") from error
    except (*TarErrors, pyarrow.ArrowException) as error:
        raise DamagedShardError(_reason(error)) from error
    except OSError as error:
        # What the system or a network says has a number or a kind; pyarrow's own has neither.
        if error.errno is not None or type(error) is not OSError:
            raise
        raise DamagedShardError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    return f"cannot be read: {' '.join(str(error).split()) or type(error).__name__}"


def _read_parquet(shard: Shard, path_column: str) -> Iterator[tuple[str, Any]]:
    names = parquet_columns(shard)
    audio = AUDIO if AUDIO in names else path_column
    if audio not in names:
        raise WrongUseError(
            f"{shard.place} has the columns {', '.join(names)} and neither {AUDIO!r} nor "
            f"{path_column!r}; name the one that holds paths with `path_column`"
        )
    for row, cells in parquet_rows(shard, [name for name in (ID, audio) if name in names]):
        yield _name_row(cells, audio, shard.place, row)


def parquet_columns(shard: Shard) -> list[str]:
    """Name the columns of the Parquet file of a shard."""
    files, path = open_files(shard.place)
    with files.open(path, "rb") as file:
        return pq.ParquetFile(file).schema_arrow.names


def parquet_rows(shard: Shard, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read some columns of a shard of Parquet: numbers of rows in the file, and their cells."""
    files, path = open_files(shard.place)
    with files.open(path, "rb") as file:
        table = pq.ParquetFile(file)
        stop = table.metadata.num_rows if shard.stop < 0 else shard.stop
        groups, first, position = [], None, 0
        for number in range(table.metadata.num_row_groups):
            count = table.metadata.row_group(number).num_rows
            if position < stop and position + count > shard.start:
                first = position if first is None else first
                groups.append(number)
            position += count
        row = first or 0
        for batch in table.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=list(columns)):
            for cells in batch.to_pylist():
                if shard.start <= row < stop:
                    yield row, cells
                row += 1


def _name_row(cells: dict[str, Any], audio: str, place: str, row: int) -> tuple[str, Any]:
    """Name the recording of a row, and say where it is if that is beside the table."""
    value = cells[audio]
    content = value.get("bytes") if isinstance(value, dict) else value
    path = value.get("path") if isinstance(value, dict) else value
    path = path if isinstance(path, str) else None
    name = cells.get(ID)
    name = str(name) if name is not None else path or f"{place}#{row}"
    if isinstance(content, bytes):
        return name, content
    return name, path and _beside(path, place)


def _beside(path: str, place: str) -> str:
    """Where a file lies that a table names: relative to the table's folder."""
    if is_url(path):
        return path
    if is_url(place):
        return f"{place.rpartition('/')[0]}/{path}"
    return str(named_file(path, Path(place).parent))


def _read_table(shard: Shard, path_column: str) -> Iterator[tuple[str, Any]]:
    files, path = open_files(shard.place)
    with files.open(path, "rb") as file:
        header, _ = next(table_rows(shard.place, file))
        column = header.index(path_column)
        for cells, end in table_rows(shard.place, file, shard.start):
            if len(cells) > column and cells[column].strip():
                name = cells[column].strip()
                yield name_file(name).name, _beside(name, shard.place)
            if end >= shard.stop:
                return
