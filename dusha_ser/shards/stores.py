"""A folder on a disk or in an object store, whose files are there whole or not at all."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec

from dusha_ser.errors import WrongUseError
from dusha_ser.fingerprints import digest
from dusha_ser.storage import create_file, replacing

# What stands before the path of a URL.
SCHEME = "://"
# What stores say of a file that changes with its content, the best of it first.
MARKS = ("ETag", "etag", "blob_id", "md5Hash", "LastModified", "last_modified", "mtime", "created")
# Of more files in a folder than these, the folder is listed.
LISTED = 20


def is_url(place: str) -> bool:
    """Tell a URL, such as s3://bucket/folder, from a path of this machine."""
    return SCHEME in place


def open_files(place: str) -> tuple[Any, str]:
    """Return what reads and writes a path or URL, an fsspec file system, and the path in it.

    Raises:
        WrongUseError: if nothing is known of such URLs, or a package is missing for them.
    """
    try:
        return fsspec.core.url_to_fs(place)
    except (ImportError, ValueError) as error:
        raise WrongUseError(
            f"{place} cannot be read or written: {error}; local paths and what fsspec knows are "
            'allowed, s3:// by pip install "dusha-ser[s3]", gs:// by pip install gcsfs'
        ) from error


def file_states(places: Iterable[str]) -> dict[str, str]:
    """Return what changes with the content of files, by path or URL; nothing of missing files.

    It is the size with a tag of the content, where a store has one, or the time of the last change.
    """
    states: dict[str, str] = {}
    remote: dict[str, list[str]] = {}
    for place in places:
        if is_url(place):
            remote.setdefault(place.rpartition("/")[0], []).append(place)
            continue
        with contextlib.suppress(OSError, ValueError):  # such as a name with a zero byte
            told = Path(place).stat()
            states[place] = f"{told.st_size:x}-{told.st_mtime_ns:x}"
    for folder, own in remote.items():
        files, path = open_files(folder)
        files.invalidate_cache()
        found: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(FileNotFoundError):
            if len(own) > LISTED:
                found = {_last(one["name"]): one for one in files.ls(path, detail=True)}
        for place in own:
            with contextlib.suppress(FileNotFoundError):
                info = found.get(_last(place)) or files.info(open_files(place)[1])
                marks = [str(info[name]).strip('"') for name in MARKS if info.get(name)]
                states[place] = digest(info.get("size"), *marks[:1])
    return states


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


class Store:
    """A folder of files, here or in an object store.

    Args:
        place: path, or URL that fsspec knows.

    Raises:
        WrongUseError: if nothing is known of such URLs, or a package is missing for them.
    """

    def __init__(self, place: str):
        self.place = str(place)
        self.files, self.root = open_files(self.place)
        self.folder = None if is_url(self.place) else Path(self.place)

    def __str__(self) -> str:
        return self.place

    def path(self, name: str) -> str:
        """The path of a file as its file system has it."""
        return f"{self.root.rstrip('/')}/{name}"

    def names(self, folder: str = "") -> list[str]:
        """The names of what is in the folder, or in one below it, in order."""
        self.files.invalidate_cache()
        try:
            found = self.files.ls(self.path(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(one).rstrip("/").rpartition("/")[2] for one in found)

    def exists(self, name: str) -> bool:
        """Tell whether a file is there."""
        self.files.invalidate_cache()
        return self.files.exists(self.path(name))

    def read(self, name: str) -> bytes:
        """Read a file; raises a FileNotFoundError."""
        return self.files.cat_file(self.path(name))

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Write a file whole or not at all: it takes its place when the block ends well.

        Yields:
            A local file to write.
        """
        if self.folder is not None:
            with replacing(self.folder / name) as unfinished:
                yield unfinished
            return
        with tempfile.TemporaryDirectory(prefix="dusha-shard-") as folder:
            unfinished = Path(folder) / "file"
            yield unfinished
            # A store shows an object when all of it has come.
            self.files.put_file(str(unfinished), self.path(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, whole or not at all."""
        if self.folder is None:
            self.files.pipe_file(self.path(name), content)
            return
        with replacing(self.folder / name) as unfinished:
            unfinished.write_bytes(content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file unless it is there; of several programs that try, one succeeds.

        A store that cannot tell them apart may let several succeed.
        """
        try:
            if self.folder is None:
                self.files.pipe_file(self.path(name), content, mode="create")
                return True
        except FileExistsError:
            return False
        return create_file(self.folder / name, content)

    def remove(self, name: str) -> None:
        """Remove a file; one that is missing is no error."""
        with contextlib.suppress(FileNotFoundError):
            self.files.rm_file(self.path(name))
