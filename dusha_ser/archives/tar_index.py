"""Where the members of each archive lie: found once, kept in the cache, dropped when it changes."""

import contextlib
import gzip
import hashlib
import io
import logging
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock

from dusha_ser.archives.checksums import byte_bar
from dusha_ser.archives.members import Index, corpus_name
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.files import foreign_content, is_hidden
from dusha_ser.storage import replacing

logger = logging.getLogger(__name__)

TAR_SUFFIX = ".tar"
GZIP_SUFFIXES = (".tgz", ".tar.gz")
# What is compressed cannot be read in place; the published archive has some 200 MB uncompressed.
LARGEST_UNCOMPRESSED = 4 * 2**30  # bytes
INDEX_FORM = 3  # part of indexes' file names: raise it when their form or corpus_name changes
DIGEST_SIZE = hashlib.sha256().digest_size
BLOCK = tarfile.BLOCKSIZE  # bytes; headers and bodies start at multiples of it
CHUNK = 2**20  # bytes read at once
LONGEST_NAME = 2**20  # bytes; a damaged size in front of a name could ask for all memory
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
FOLDER_KINDS = (tarfile.DIRTYPE, b"D")  # D: GNU tar's folders of incremental archives
EXTENSIONS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
VOLUME_LABEL = b"V"
NO_BODY = b"123456"  # links, devices, folders and FIFOs, whatever their size field says
REFUSED_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a FIFO",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    b"M": "the rest of a file of another volume",
}
# Archives of other kinds, by their first bytes.
FOREIGN = (
    (b"\x1f\x8b", "is compressed with gzip: uncompress it with gunzip, or name it .tgz"),
    (b"BZh", "is compressed with bzip2: uncompress it with bunzip2"),
    (b"\xfd7zXZ", "is compressed with xz: uncompress it with unxz"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd: uncompress it with unzstd"),
    (b"PK\x03\x04", "is a zip archive: unpack it and give the folder"),
)


def index_archive(archive: Path, cache_dir: Path, quiet: bool = False) -> Index:
    """Index an archive, or take its index from the cache, which plain archives can do without."""
    archive = archive.resolve()
    state = archive.stat()
    folder = cache_dir / "index"
    place = hashlib.sha256(os.fsencode(archive)).hexdigest()[:16]
    # The last time cannot be set back, as that of the content can.
    mark = f"{state.st_size:x}-{state.st_mtime_ns:x}-{state.st_ctime_ns:x}"
    kept = folder / f"{place}-{INDEX_FORM}-{mark}.npz"
    with archive.open("rb") as file:
        compressed = archive.name.endswith(GZIP_SUFFIXES) and file.read(2) == b"\x1f\x8b"
    plain = kept.with_suffix(TAR_SUFFIX) if compressed else archive
    if index := _load_index(kept, plain, archive):
        return index
    with _lock(folder / f"{place}.lock") as writable:
        if index := _load_index(kept, plain, archive):
            return index  # made while this program waited
        for stale in folder.glob(f"{place}-*") if writable else ():
            # Another program may be reading the uncompressed copy: it is replaced, never absent.
            if stale != plain:
                stale.unlink(missing_ok=True)
        if compressed:
            if not writable:
                raise WrongUseError(
                    f"{folder} cannot be written, and {archive} must be uncompressed there: name "
                    "another `cache_dir`, or uncompress the archive with gunzip"
                )
            try:
                with replacing(plain) as unfinished:
                    gunzip(archive, unfinished, LARGEST_UNCOMPRESSED, quiet)
            except OSError as error:
                raise WorkFailedError(
                    f"{archive}: cannot be uncompressed into {folder}: {error.strerror or error}"
                ) from error
        names, offsets, sizes = scan_tar(plain, archive, quiet)
        outside = archive.name.split(".", 1)[0]
        names = [corpus_name(name, outside) for name in names]
        index = Index(names, [str(plain)], np.array(offsets, "i8"), np.array(sizes, "i8"), archive)
        if writable:
            _keep_index(kept, index, plain.stat().st_size)
    return index


def _lock(path: Path) -> contextlib.AbstractContextManager:
    """Let one program at a time in; gives False, and lets all in, if nothing can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path).acquire()
    except OSError:
        return contextlib.nullcontext(False)


def _keep_index(kept: Path, index: Index, end: int) -> None:
    """Store an index, and behind it its SHA-256."""
    text = "".join(f"{name}\0" for name in index.names).encode("utf-8", "surrogateescape")
    names = np.frombuffer(text, np.uint8)
    content = io.BytesIO()
    np.savez(content, names=names, offsets=index.offsets, sizes=index.sizes, end=np.array(end))
    content.write(hashlib.sha256(content.getbuffer()).digest())
    try:
        with replacing(kept) as unfinished:
            unfinished.write_bytes(content.getbuffer())
    except OSError as error:  # a full disk, say; the work itself needs no stored index
        logger.warning("the index %s cannot be kept: %s", kept, error)


def _load_index(kept: Path, plain: Path, archive: Path) -> Index | None:
    """Read a stored index; None if there is no intact one that fits the archive."""
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
            index = Index(names, [str(plain)], arrays["offsets"], arrays["sizes"], archive)
            return index if int(arrays["end"]) == size else None
    except (ValueError, KeyError):  # somebody else's file
        return None


def gunzip(path: Path, target: Path, largest: int, quiet: bool = False) -> None:
    """Uncompress a gzip file of at most `largest` bytes of content."""
    bar = byte_bar(f"Uncompressing {path.name}", None, quiet)
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
        raise _damaged(path, f"is damaged or cut short ({error})") from error


def scan_tar(
    path: Path, called: Path | None = None, quiet: bool = False
) -> tuple[list[str], list[int], list[int]]:
    """Walk the headers of an uncompressed tar archive, named `called` in messages.

    Names come as they stand in it, twice if stored twice, without hidden ones, which macOS adds;
    offsets and sizes are in bytes.
    """
    called = called or path
    found = []
    try:
        with path.open("rb", buffering=0) as file:
            end = os.fstat(file.fileno()).st_size
            with byte_bar(f"Indexing {called.name}", end, quiet) as bar:
                for member in _walk(file, end, called):
                    if not any(map(is_hidden, member[0].split("/"))):
                        found.append(member)
                    bar.update(member[1] - bar.n)
    except OSError as error:
        raise WorkFailedError(f"{called}: cannot be read: {error.strerror or error}") from error
    names, offsets, sizes = zip(*found, strict=True) if found else ((), (), ())
    return list(names), list(offsets), list(sizes)


def _walk(file: BinaryIO, end: int, called: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, offset and size of the regular files of an archive of end bytes.

    tarfile's own walk is not taken: it ends without a word at a damaged or missing header.
    """
    position = 0
    long_name, records = b"", dict[bytes, bytes]()  # what extensions say of the header behind them
    while (block := _read(file, position, BLOCK)) != bytes(BLOCK):
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            raise _not_a_header(block, position, called) from None
        kind, size, body = header.type, header.size, position + BLOCK
        if block[124] < 0x80 and b"_" in block[124:136]:
            size = -1  # Python's octal numbers may have underscores, tar's may not
        if kind not in EXTENSIONS and b"size" in records:
            size = int(records[b"size"]) if re.fullmatch(rb"\d{1,18}", records[b"size"]) else -1
        if kind in NO_BODY:
            size = 0
        if not 0 <= size <= end - body:
            raise _damaged(
                called,
                f"is cut short or damaged: the member at byte {position} has a stated size of "
                f"{size} bytes, but the file ends at byte {end}",
            )
        if kind in EXTENSIONS:
            if size > LONGEST_NAME:
                raise _damaged(called, f"is damaged: a name of {size} bytes at byte {position}")
            if kind == tarfile.GNUTYPE_LONGNAME:
                long_name = _read(file, body, size).split(b"\0", 1)[0]
            elif kind == tarfile.XHDTYPE:
                records = _pax_records(_read(file, body, size), body, called)
        else:
            extended = records.get(b"path") or long_name
            name = extended.decode("utf-8", "surrogateescape") or header.name
            if any(key.startswith(b"GNU.sparse") for key in records):
                kind = tarfile.GNUTYPE_SPARSE
            if kind != VOLUME_LABEL:
                if name.startswith(("/", "\\")) or name[1:2] == ":" or "\0" in name or not name:
                    raise _refused(called, name, "has an absolute or unusable name")
                if ".." in name and ".." in re.split(r"[/\\]", name):
                    raise _refused(called, name, "leads outside the archive")
                if kind not in (*REGULAR, *FOLDER_KINDS):
                    what = REFUSED_KINDS.get(kind, f"of the unknown kind {kind!r}")
                    raise _refused(called, name, f"is {what}")
                if kind in REGULAR and not name.endswith("/"):
                    yield name, body, size
            long_name, records = b"", {}
        position = body + -(-size // BLOCK) * BLOCK
    # A hole in the file looks like an end mark, too.
    for start in range(position, end, CHUNK):
        if any(_read(file, start, CHUNK)):
            raise _damaged(
                called,
                f"continues behind an end mark, after byte {start}: it has a hole, or is several "
                "archives in one",
            )


def _read(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def _pax_records(content: bytes, position: int, called: Path) -> dict[bytes, bytes]:
    """The keys and values of an extended header: lines "LENGTH KEY=VALUE"."""
    records = {}
    start = 0
    while start < len(content) and content[start]:
        begun = re.compile(rb"(\d{1,9}) ([^=]*)=").match(content, start)
        stop = start + int(begun[1]) if begun else 0
        if not begun or not begun.end() < stop <= len(content) or content[stop - 1] != ord("\n"):
            raise _damaged(called, f"has a damaged extended header at byte {position}")
        records[begun[2]] = content[begun.end() : stop - 1]
        start = stop
    return records


def _not_a_header(block: bytes, position: int, called: Path) -> WorkFailedError:
    """The error for a block that should be a header."""
    if position and len(block) == BLOCK:
        return _damaged(called, f"has a damaged header at byte {position}")
    if position:
        end = position + len(block)
        return _damaged(called, f"is cut short: it ends at byte {end}, without an end mark")
    if not block:
        return _damaged(called, "is empty")
    start = block.removeprefix(b"\xef\xbb\xbf").lstrip()
    for mark, what in FOREIGN:
        if start.startswith(mark):
            return WorkFailedError(f"{called}: {what}")
    if foreign := foreign_content(block):
        return WorkFailedError(f"{called}: {foreign}")
    return _damaged(called, f"is not a tar archive (it begins with {block[:16]!r})")


def _refused(archive: Path, name: str, why: str) -> WorkFailedError:
    """The error for a member that an honest archive of this corpus does not have."""
    return WorkFailedError(
        f"{archive}: member {name!r} {why}; nothing of this archive is used: fetch it again from "
        "a source that you trust, or move it out of the folder"
    )


def _damaged(archive: Path, what: str) -> WorkFailedError:
    """The error for a file that is not an intact archive."""
    return WorkFailedError(f"{archive}: {what}; delete it and fetch it again")
