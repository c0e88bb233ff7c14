"""Inputs of any size cut into shards, the same for all machines, without reading them whole."""

import glob
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet as pq

from dusha_ser.audio.finding import STANDARD_INPUT, AudioFile, audio_suffixes, list_audio_files
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.files import find_files
from dusha_ser.fingerprints import digest
from dusha_ser.shards.sources import (
    LIST,
    PARQUET,
    TABLE,
    TAR,
    Shard,
    TarErrors,
    audio_members,
    changed_input,
    table_rows,
)
from dusha_ser.shards.stores import SCHEME, Store, file_states, is_url, open_files
from dusha_ser.tables import is_table

PARQUET_SUFFIX, TAR_SUFFIXES = ".parquet", (".tar", ".tar.gz", ".tgz")
# Bytes of a table up to which it is read whole, in any encoding and form.
WHOLE_TABLE = 64 * 2**20


def plan_shards(inputs: Sequence[str], size: int, path_column: str, store: Store) -> list[Shard]:
    """Cut inputs into shards of about so many recordings.

    Args:
        inputs: as `audio.finding.list_audio_files` takes them, and Parquet files, tars, folders of
            these, and URLs of all.
        size: recordings of a shard.
        path_column: column of tables that holds paths.
        store: of the job, which gets the list of single files.

    Raises:
        MissingInputError: if an input leads to nothing.
        WrongUseError: if a table has no such column.
    """
    shards: list[Shard] = []
    singles: dict[str, AudioFile] = {}
    for given in inputs:
        for place in find_places(given):
            name = place.lower()
            if name.endswith(PARQUET_SUFFIX):
                shards += _cut_parquet(place, size)
            elif name.endswith(TAR_SUFFIXES):
                shards += _cut_tar(place, size)
            elif is_table(Path(place)) and _is_large(place):
                shards += _cut_table(place, size, path_column)
            elif is_url(place):
                singles.setdefault(place, AudioFile(place, place))
            else:
                for file in list_audio_files([place], path_column):
                    singles.setdefault(file.name, file)
    states = file_states({shard.place for shard in shards})
    shards = [replace(shard, state=states.get(shard.place, "")) for shard in shards]
    return _cut_list(singles.values(), size, store) + shards


def check_inputs(shards: Iterable[Shard], store: Store) -> None:
    """Raise a WrongUseError if a file is another than when the shards were cut.

    A missing file has not changed; reading shows that it is missing.

    Args:
        shards: of a job.
        store: of the job.
    """
    before = {shard.place: shard.state for shard in shards}
    for name in {shard.place for shard in shards if shard.kind == LIST}:
        del before[name]
        lines = (json.loads(line) for line in store.read(name).splitlines())
        before |= {path: state for _, path, state in lines}
    before = {place: state for place, state in before.items() if state}
    for place, state in file_states(before).items():
        if state != before[place]:
            raise WrongUseError(changed_input(place))


def find_places(given: str) -> Iterator[str]:
    """List the files that an input of the command line means, in order.

    Raises:
        MissingInputError: if it leads to nothing.
    """
    if given == STANDARD_INPUT:
        raise WrongUseError("standard input (-) is one input for one machine; name files")
    suffixes = (PARQUET_SUFFIX, *TAR_SUFFIXES)
    if not is_url(given):
        path = Path(given)
        if glob.has_magic(given) and not path.exists():
            # Path.glob takes no pattern that begins at the root.
            matches = sorted(glob.glob(given, recursive=True))  # noqa: PTH207
            if not matches:
                raise MissingInputError(f"nothing matches the pattern {given}")
            for match in matches:
                yield from find_places(match)
            return
        if not path.is_dir():
            yield given
            return
        found = [str(one) for one in find_files(path, []) if str(one).lower().endswith(suffixes)]
        yield from sorted(found)
        known = tuple(audio_suffixes())
        if not found or any(one.suffix.lower() in known for one in find_files(path, [])):
            yield given
        return
    files, path_there = open_files(given)
    scheme = given.partition(SCHEME)[0]
    if any(sign in path_there for sign in "*?["):
        names = files.glob(path_there)
    elif files.isdir(path_there):
        known = (*suffixes, *audio_suffixes())
        names = [one for one in files.find(path_there) if str(one).lower().endswith(known)]
    else:
        names = [path_there]
    if not names:
        raise MissingInputError(
            f"{given} leads to no file; give audio, Parquet files, tars or a table"
        )
    # With its scheme again, also where the file system leaves it out.
    yield from (f"{scheme}{SCHEME}{str(one).lstrip('/')}" for one in sorted(names))


def _cut_parquet(place: str, size: int) -> list[Shard]:
    files, path = open_files(place)
    try:
        with files.open(path, "rb") as file:
            groups = pq.ParquetFile(file).metadata
            counts = [groups.row_group(n).num_rows for n in range(groups.num_row_groups)]
    except FileNotFoundError as error:
        raise MissingInputError(f"no such file: {place}") from error
    except (pyarrow.ArrowException, OSError):
        return [Shard(PARQUET, place)]  # reading it says why
    # At the ends of row groups, which are read whole, but for those larger than a shard.
    ends, begin, position = [0], 0, 0
    for count in counts:
        if position > begin and position + count - begin > size:
            ends.append(position)
            begin = position
        while position + count - begin > size:
            count -= begin + size - position
            begin = position = begin + size
            ends.append(begin)
        position += count
    if position > begin:
        ends.append(position)
    return [Shard(PARQUET, place, *pair) for pair in zip(ends, ends[1:], strict=False)]


def _cut_tar(place: str, size: int) -> list[Shard]:
    """Cut a plain tar of this machine by members; others are read from end to end anyway."""
    if is_url(place) or not place.lower().endswith(TAR_SUFFIXES[0]):
        return [Shard(TAR, place)]
    try:
        members = audio_members(place, read=False)
        starts = [one.offset for number, one in enumerate(members) if number % size == 0]
    except FileNotFoundError as error:
        raise MissingInputError(f"no such file: {place}") from error
    except TarErrors:
        return [Shard(TAR, place)]  # reading it says why
    return [Shard(TAR, place, *pair) for pair in zip(starts, [*starts[1:], -1], strict=True)]


def _is_large(place: str) -> bool:
    return is_url(place) or (Path(place).is_file() and Path(place).stat().st_size > WHOLE_TABLE)


def _cut_table(place: str, size: int, path_column: str) -> list[Shard]:
    files, path = open_files(place)
    try:
        with files.open(path, "rb") as file:
            rows = table_rows(place, file)
            header, begin = next(rows, ([], 0))
            if path_column not in header:
                raise WrongUseError(
                    f"{place} has the columns {', '.join(header)} and not {path_column!r}; name "
                    "the one that holds paths with `path_column`"
                )
            ends, end = [begin], begin
            for number, (_, end) in enumerate(rows, start=1):
                if number % size == 0:
                    ends.append(end)
            ends += [end] if end > ends[-1] else []
    except FileNotFoundError as error:
        raise MissingInputError(f"no such file: {place}") from error
    return [Shard(TABLE, place, *pair) for pair in zip(ends, ends[1:], strict=False)]


def _cut_list(files: Iterable[AudioFile], size: int, store: Store) -> list[Shard]:
    """Write single files as a list into the job, so that all machines have the same one."""
    places = {
        file.name: file.path if is_url(file.path) else str(Path(file.path).absolute())
        for file in files
    }
    if not places:
        return []
    states = file_states(places.values())
    lines = [json.dumps([name, path, states.get(path, "")]) for name, path in places.items()]
    content = [f"{line}\n".encode() for line in lines]
    name = f"_files-{digest(lines)}.jsonl"
    store.write(name, b"".join(content))
    ends = [0]
    for first in range(0, len(content), size):
        ends.append(ends[-1] + sum(map(len, content[first : first + size])))
    # The job may lie elsewhere for another machine.
    return [Shard(LIST, name, *pair) for pair in zip(ends, ends[1:], strict=False)]
