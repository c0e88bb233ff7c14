"""Where the members of each archive lie: found once, kept in the cache, dropped when it changes."""

import contextlib
import gzip
import hashlib
import io
import logging
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from filelock import FileLock
from tqdm.auto import tqdm

from dusha_ser.errors import WorkFailedError, WrongUseError

logger = logging.getLogger(__name__)

# What stands at the top of the published archives. Users' copies have outer folders (crowd/,
# dusha/) before these, or lack them; member names are brought to this form.
FOLDERS = (
    "crowd_train",
    "crowd_test",
    "podcast_train",
    "podcast_test",
    "features",
    "paper_setups",
)
TAR_SUFFIX = ".tar"
GZIP_SUFFIXES = (".tgz", ".tar.gz")
# A compressed archive has no places to seek to, so it is uncompressed into the cache, once.
# The published one has 16 MB, some 200 MB uncompressed.
LARGEST_UNCOMPRESSED = 4 * 2**30  # bytes
# Part of an index's file name, so that no index of older code is read: to be raised whenever the
# form of indexes or the rule of corpus_name changes.
INDEX_FORM = 2
DIGEST_SIZE = hashlib.sha256().digest_size


class Index(NamedTuple):
    """Where the members of one archive, or the loose files of one folder, lie.

    Args:
        names: normalised names.
        paths: the archive alone, or a path for each name.
        offsets: first bytes, int64.
        sizes: lengths in bytes, int64.
        archive: the archive as the user knows it; None for loose files.
    """

    names: list[str]
    paths: list[str]
    offsets: np.ndarray
    sizes: np.ndarray
    archive: Path | None = None


def corpus_name(name: str, outside: str = "") -> str:
    """Bring a member's name to the form that the published archives have.

    Args:
        name: the name in an archive, or relative to a folder.
        outside: the name of that folder, or of the archive without its suffix.

    Returns:
        the name from its last folder that is one of FOLDERS on; if it has none of these and
        outside is one, outside comes before it.

    Example:
        >>> corpus_name("./crowd/crowd_train/wavs/1f.wav")
        'crowd_train/wavs/1f.wav'
        >>> corpus_name("wavs/1f.wav", outside="podcast_train")
        'podcast_train/wavs/1f.wav'
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    for start in range(len(parts) - 2, -1, -1):
        if parts[start] in FOLDERS:
            return "/".join(parts[start:])
    return "/".join([outside, *parts] if outside in FOLDERS else parts)


def index_archive(archive: Path, cache_dir: Path, quiet: bool = False) -> Index:
    """Index an archive, or take the index that an earlier run has left in the cache.

    Args:
        archive: a tar archive, or a gzip-compressed one named .tgz or .tar.gz.
        cache_dir: folder for indexes (`index` in it) and uncompressed archives. Where it cannot
            be written, plain archives are indexed on each run.
        quiet: no bars.

    Returns:
        normalised names and places of all members.

    Raises:
        WorkFailedError: the archive is damaged, cut short, no tar, larger than
            LARGEST_UNCOMPRESSED, or holds links, devices or names that lead outside.
        WrongUseError: the archive is compressed and the cache cannot be written.
    """
    archive = archive.resolve()
    state = archive.stat()
    folder = cache_dir / "index"
    place = hashlib.sha256(os.fsencode(archive)).hexdigest()[:16]
    kept = folder / f"{place}-{INDEX_FORM}-{state.st_size:x}-{state.st_mtime_ns:x}.npz"
    compressed = archive.name.endswith(GZIP_SUFFIXES) and _is_gzip(archive)
    plain = kept.with_suffix(TAR_SUFFIX) if compressed else archive
    if (index := _load_index(kept, plain)) is not None:
        return index._replace(archive=archive)
    with _lock(folder / f"{place}.lock") as writable:
        if (index := _load_index(kept, plain)) is not None:
            return index._replace(archive=archive)  # made while this program waited
        for stale in folder.glob(f"{place}-*") if writable else ():
            # Another program may be reading the uncompressed copy: it is replaced, never absent.
            if stale != plain:
                stale.unlink(missing_ok=True)
        if compressed:
            if not writable:
                raise WrongUseError(
                    f"{folder} cannot be written, and {archive} must be uncompressed there; name "
                    "a cache folder that can, or uncompress the archive with gunzip"
                )
            try:
                with _replacing(plain) as unfinished:
                    gunzip(archive, unfinished, LARGEST_UNCOMPRESSED, quiet)
            except OSError as error:
                raise WorkFailedError(
                    f"{archive}: cannot be uncompressed into {folder}: {error.strerror or error}"
                ) from error
        names, offsets, sizes = scan_tar(plain, archive, quiet)
        outside = archive.name.split(".", 1)[0]
        index = Index(
            [corpus_name(name, outside) for name in names],
            [str(plain)],
            np.array(offsets, np.int64),
            np.array(sizes, np.int64),
            archive,
        )
        if writable:
            _keep_index(kept, index, plain.stat().st_size)
    return index


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Let one program at a time in; gives False, and lets all in, where nothing can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held, writable = FileLock(path).acquire(), True
    except OSError:
        held, writable = contextlib.nullcontext(), False
    with held:
        yield writable


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A temporary name beside target, which takes its place once the block ends well."""
    unfinished = target.with_name(f"{target.stem}.{os.getpid()}{target.suffix}.unfinished")
    try:
        yield unfinished
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _keep_index(kept: Path, index: Index, end: int) -> None:
    """Store an index, and behind it its SHA-256."""
    names = "".join(f"{name}\0" for name in index.names).encode("utf-8", "surrogateescape")
    content = io.BytesIO()
    np.savez(
        content,
        names=np.frombuffer(names, np.uint8),
        offsets=index.offsets,
        sizes=index.sizes,
        end=np.array(end, np.int64),
    )
    content.write(hashlib.sha256(content.getbuffer()).digest())
    try:
        with _replacing(kept) as unfinished:
            unfinished.write_bytes(content.getbuffer())
    except OSError as error:  # a full disk, say; the work itself needs no stored index
        logger.warning("the index %s cannot be kept: %s", kept, error)


def _load_index(kept: Path, plain: Path) -> Index | None:
    """A stored index; None where there is none that is sound and fits the archive."""
    try:
        stored = kept.read_bytes()
        size = plain.stat().st_size
    except OSError:
        return None
    # The checksums of the zip format leave its own records out, and what a damaged one of these
    # makes of a reader is anything.
    content, digest = stored[:-DIGEST_SIZE], stored[-DIGEST_SIZE:]
    if hashlib.sha256(content).digest() != digest:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            names = arrays["names"].tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
            offsets, sizes, end = arrays["offsets"], arrays["sizes"], int(arrays["end"])
    except (ValueError, KeyError):  # somebody else's file
        return None
    if size != end or not len(names) == len(offsets) == len(sizes):
        return None
    return Index(names, [str(plain)], offsets, sizes)


BLOCK = 512  # bytes; headers and bodies start at multiples of it
CHUNK = 2**20  # bytes read at once where content is read
# Names and pax records are short; a damaged size in front of one could ask for all memory.
LONGEST_NAME = 2**20  # bytes
_EMPTY = bytes(BLOCK)
_REGULAR = (b"0", b"\0", b"7")  # in today's form, in the oldest one, contiguous
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"M": "the rest of a file of another volume",
    b"S": "a sparse file",
}
# What arrives in place of archives, by its first bytes.
_FOREIGN = (
    (b"\x1f\x8b", "is compressed with gzip: uncompress it with gunzip, or name it .tgz"),
    (b"BZh", "is compressed with bzip2: uncompress it with bunzip2"),
    (b"\xfd7zXZ", "is compressed with xz: uncompress it with unxz"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd: uncompress it with unzstd"),
    (b"PK\x03\x04", "is a zip archive: unpack it and give the folder"),
    (b"version https://git-lfs", "is a Git LFS pointer: fetch the file itself with git lfs pull"),
    (b"<", "is a web page that a server or proxy sent in the archive's place: fetch it again"),
)


def scan_tar(
    path: Path, called: Path | None = None, quiet: bool = False
) -> tuple[list[str], list[int], list[int]]:
    """Walk the headers of an uncompressed tar archive, seeking over the bodies.

    Args:
        path: the archive.
        called: its name in messages, where path is a copy in a cache.
        quiet: no bar.

    Returns:
        names as they stand in the archive, offsets of the bodies' first bytes, sizes in bytes;
        in the archive's order. Folders are left out, a name stored twice comes twice.

    Raises:
        WorkFailedError: it is no tar archive, is damaged or cut short, or holds a member that is
            a link or a device or leads outside.
    """
    called = called or path
    names, offsets, sizes = [], [], []
    try:
        with path.open("rb", buffering=0) as file:
            end = os.fstat(file.fileno()).st_size
            bar = tqdm(
                desc=f"Indexing {called.name}",
                total=end,
                unit="B",
                unit_scale=True,
                delay=1,
                disable=quiet,
            )
            with bar:
                for name, offset, size in _walk(file, end, called):
                    names.append(name)
                    offsets.append(offset)
                    sizes.append(size)
                    if len(names) % 1024 == 0:
                        bar.update(offset - bar.n)
                bar.update(end - bar.n)
    except OSError as error:
        raise WorkFailedError(f"{called}: cannot be read: {error.strerror or error}") from error
    return names, offsets, sizes


def gunzip(path: Path, target: Path, largest: int, quiet: bool = False) -> None:
    """Uncompress a gzip file, at most a stated number of bytes.

    Args:
        path: the compressed file.
        target: the file to write.
        largest: bytes that the content may have.
        quiet: no bar.

    Raises:
        WorkFailedError: it is no gzip file, is damaged or cut short, or holds more than largest.
    """
    bar = tqdm(desc=f"Uncompressing {path.name}", unit="B", unit_scale=True, delay=1, disable=quiet)
    try:
        with gzip.open(path) as file, target.open("wb") as output, bar:
            while content := file.read(CHUNK):
                bar.update(len(content))
                if output.tell() + len(content) > largest:
                    raise WorkFailedError(
                        f"{path}: holds more than {largest / 2**30:.0f} GiB uncompressed, which "
                        "no archive of manifests does; if it is right, uncompress it with gunzip"
                    )
                output.write(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, f"is damaged or cut short ({error})") from error


def refuse_outside(name: str, archive: Path) -> None:
    """Refuse a member name that leads outside the folder that it would be unpacked in.

    Args:
        name: the name as it stands in the archive.
        archive: the archive, for the message.

    Raises:
        WorkFailedError: the name is empty, absolute, has a drive, goes up or holds a zero byte.
    """
    if name.startswith(("/", "\\")) or name[1:2] == ":" or "\0" in name or not name:
        raise refused(archive, name, "has an absolute or unusable name")
    if ".." in name and ".." in re.split(r"[/\\]", name):
        raise refused(archive, name, "leads outside the archive")


def refused(archive: Path, name: str, why: str) -> WorkFailedError:
    """The error for a member that an honest archive of this corpus does not have."""
    return WorkFailedError(
        f"{archive}: member {name!r} {why}; nothing of this archive is used: fetch it again from "
        "a source that you trust, or move it out of the folder"
    )


def damaged(archive: Path, what: str) -> WorkFailedError:
    """The error for a file that is no sound archive."""
    return WorkFailedError(f"{archive}: {what}; delete it and fetch it again")


def _walk(file: BinaryIO, end: int, called: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, offset and size of the regular files of an archive of end bytes."""
    position = 0
    long_name, records = b"", {}  # what extension headers say about the header behind them
    while (header := _read(file, position, BLOCK)) != _EMPTY:
        kind, size = _check(header, position, called)
        body = position + BLOCK
        if records and b"size" in records and kind not in b"xgLK":
            size = _number(b"0%o" % int(records[b"size"])) if records[b"size"].isdigit() else -1
        if kind in (b"1", b"2", b"3", b"4", b"5", b"6"):
            size = 0  # these have no body, whatever their size field says
        if not 0 <= size <= end - body:
            raise damaged(
                called,
                f"is cut short or damaged: the member at byte {position} has a stated size of "
                f"{size} bytes, but the file ends at byte {end}",
            )
        position = body + -(-size // BLOCK) * BLOCK
        if kind in (b"x", b"g", b"L", b"K"):
            if size > LONGEST_NAME:
                raise damaged(called, f"is damaged: a name of {size} bytes before byte {position}")
            if kind == b"L":
                long_name = _read(file, body, size).split(b"\0", 1)[0]
            elif kind == b"x":
                records = _pax_records(_read(file, body, size), body, called)
            continue
        name = records.get(b"path") or long_name or _short_name(header)
        name = name.decode("utf-8", "surrogateescape")
        if any(key.startswith(b"GNU.sparse") for key in records):
            kind = b"S"
        long_name, records = b"", {}
        if kind == b"V":  # the label of a volume
            continue
        refuse_outside(name, called)
        if kind in (b"5", b"D") or (kind in _REGULAR and name.endswith("/")):
            continue
        if kind not in _REGULAR:
            raise refused(called, name, f"is {_KINDS.get(kind, f'of the unknown kind {kind!r}')}")
        yield name, body, size
    _check_tail(file, position, end, called)


def _read(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def _check(header: bytes, position: int, called: Path) -> tuple[bytes, int]:
    """The kind and the size (bytes, -1 where unreadable) that a sound header states."""
    if len(header) == BLOCK:
        stored = _number(header[148:156])
        # The sum counts its own field as eight spaces; some old programs added signed bytes.
        total = sum(header) - sum(header[148:156]) + 8 * 32
        if stored == total or stored == total - 256 * _high_bytes(header):
            return header[156:157], _number(header[124:136])
    if position:
        what = (
            f"has a damaged header at byte {position}"
            if len(header) == BLOCK
            else f"is cut short: it ends at byte {position + len(header)}, without an end mark"
        )
    else:
        start = header.removeprefix(b"\xef\xbb\xbf").lstrip()
        what = next((what for mark, what in _FOREIGN if start.startswith(mark)), None)
        if what:
            raise WorkFailedError(f"{called}: {what}")
        what = f"is no tar archive (it begins with {header[:16]!r})" if header else "is empty"
    raise damaged(called, what)


def _high_bytes(header: bytes) -> int:
    return sum(byte > 127 for byte in header[:148] + header[156:])


def _number(field: bytes) -> int:
    """A number field: octal digits, or base 256 where it begins with a set bit; -1 if neither."""
    if field[0] in (0o200, 0o377):
        return int.from_bytes(field[1:]) if field[0] == 0o200 else -1
    digits = field.split(b"\0", 1)[0].strip() or b"0"
    try:
        return int(digits, 8) if digits.isdigit() else -1
    except ValueError:
        return -1


def _short_name(header: bytes) -> bytes:
    """The name that the header itself holds; POSIX splits long ones in two."""
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and header[345]:
        return header[345:500].split(b"\0", 1)[0] + b"/" + name
    return name


def _pax_records(content: bytes, position: int, called: Path) -> dict[bytes, bytes]:
    """The keys and values of an extended header: lines "LENGTH KEY=VALUE"."""
    records = {}
    start = 0
    while start < len(content) and content[start]:
        length, space, _ = content[start : start + 20].partition(b" ")
        stop = start + int(length) if length.isdigit() else start
        line = content[start + len(length) + 1 : stop]
        key, equals, value = line[:-1].partition(b"=")
        if not space or not equals or line[-1:] != b"\n" or stop > len(content):
            raise damaged(called, f"has a damaged extended header at byte {position}")
        records[key] = value
        start = stop
    return records


def _check_tail(file: BinaryIO, position: int, end: int, called: Path) -> None:
    """Refuse content behind the end mark: a hole in the file looks like an end mark, too."""
    while position < end:
        content = _read(file, position, CHUNK)
        if content.count(0) != len(content):
            raise damaged(
                called,
                f"goes on behind an end mark, after byte {position}: it has a hole, or is several "
                "archives in one",
            )
        position += len(content)
