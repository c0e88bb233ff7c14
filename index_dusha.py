"""Where the members of each archive lie: found once, kept in the cache, dropped when it changes."""

import contextlib
import hashlib
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock

from command_line_dusha import WorkFailedError, WrongUseError
from tar_dusha import gunzip, scan_tar

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
