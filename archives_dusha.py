"""The archives of the corpus: found, indexed once, their members read in place, never unpacked."""

import io
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from huggingface_hub.constants import HF_HOME

from checksums_dusha import check_file, parse_checksum
from command_line_dusha import MissingInputError, WorkFailedError, WrongUseError
from download_dusha import Mirror, fetch_archives
from index_dusha import FOLDERS, GZIP_SUFFIXES, TAR_SUFFIX, Index, corpus_name, index_archive

logger = logging.getLogger(__name__)

BASE_URL = "https://cdn.chatwm.opensmodel.sberdevices.ru/dusha/"
ARCHIVES = ("crowd.tar", "podcast.tar", "features.tar", "paper_setups.tgz")

# Any of these beginnings of member names shows that an archive's content is there.
CONTENTS = {
    "crowd.tar": ("crowd_train/raw_", "crowd_test/raw_"),
    "podcast.tar": ("podcast_train/raw_", "podcast_test/raw_"),
    "features.tar": ("features/",),
    "paper_setups.tgz": ("paper_setups/",),
}


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the corpus: a stretch of bytes in an archive, or a file of its own.

    Args:
        name: POSIX name in the corpus, such as "crowd_train/wavs/HASH.wav".
        path: the file on disk that holds it.
        offset: its first byte in that file.
        size: its length in bytes.
    """

    name: str
    path: str
    offset: int
    size: int

    def read(self) -> bytes:
        """Read the whole member.

        Returns:
            its bytes, exactly `size` of them.

        Raises:
            WorkFailedError: the file on disk is gone, unreadable, or shorter than when indexed.
        """
        try:
            with Path(self.path).open("rb") as file:
                file.seek(self.offset)
                content = file.read(self.size)
        except OSError as error:
            raise WorkFailedError(f"{self.path}: cannot read {self.name}: {error}") from error
        if len(content) != self.size:
            raise WorkFailedError(
                f"{self.path}: {self.name} had {self.size} bytes when it was indexed, "
                f"{len(content)} are there: the file was changed or cut while in use; start again"
            )
        return content

    def open(self) -> BinaryIO:
        """Open the member as a seekable file of bytes.

        Returns:
            the buffered file, which the caller closes.

        Raises:
            WorkFailedError: the file on disk is gone or unreadable.
        """
        try:
            file = Path(self.path).open("rb", buffering=0)  # noqa: SIM115 - closed by its window
        except OSError as error:
            raise WorkFailedError(f"{self.path}: cannot open {self.name}: {error}") from error
        return io.BufferedReader(_Window(file, self.offset, self.size), 2**16)


class _Window(io.RawIOBase):
    """A stretch of a file, as a file of its own."""

    def __init__(self, file: io.RawIOBase, offset: int, size: int):
        self._file, self._offset, self._size, self._position = file, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"cannot seek to {start + offset}: a file starts at 0")
        self._position = start + offset
        return self._position

    def readinto(self, buffer) -> int:
        room = memoryview(buffer).cast("B")[: max(0, self._size - self._position)]
        self._file.seek(self._offset + self._position)
        count = self._file.readinto(room) or 0
        self._position += count
        return count

    def readall(self) -> bytes:
        # The inherited one reads 8 KiB at a time; one system call gives at most 2 GiB.
        return b"".join(iter(lambda: self.read(max(0, self._size - self._position)), b""))

    def close(self) -> None:
        self._file.close()
        super().close()


class Members(Mapping[str, Member]):
    """All files of the corpus by name, wherever they lie; picklable, in a stable order.

    Where several archives or folders hold a name, the first one wins; where one archive holds a
    name several times, its last does, as when tar unpacks it.

    Args:
        indexes: in order of precedence.
    """

    def __init__(self, indexes: Iterable[Index] = ()):
        self._indexes = list(indexes)
        self._places: dict[str, tuple[int, int]] = {}
        for number, index in enumerate(self._indexes):
            own = {name: (number, row) for row, name in enumerate(index.names)}
            for name, place in own.items():
                self._places.setdefault(name, place)
        self._wavs: dict[str, str] | None = None

    def __getitem__(self, name: str) -> Member:
        number, row = self._places[name]
        index = self._indexes[number]
        path = index.paths[row if len(index.paths) > 1 else 0]
        return Member(name, path, int(index.offsets[row]), int(index.sizes[row]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} files)"

    @property
    def archives(self) -> list[Path]:
        """The archive files among the sources."""
        return [index.archive for index in self._indexes if index.archive is not None]

    def wav(self, hash_id: str) -> Member | None:
        """Find a recording by its clip's hash, in whatever folder or archive it lies.

        Args:
            hash_id: the name of the file without ".wav".

        Returns:
            the recording; where there are several, one of crowd_train, crowd_test,
            podcast_train or podcast_test before others; None where there is none.
        """
        if self._wavs is None:
            wavs = [name for name in self if name.endswith((".wav", ".WAV"))]
            wavs.sort(key=lambda name: name.split("/", 1)[0] not in FOLDERS)
            self._wavs = {name.rsplit("/", 1)[-1][:-4]: name for name in reversed(wavs)}
        name = self._wavs.get(hash_id)
        return None if name is None else self[name]


def open_members(
    paths: Iterable[str | os.PathLike],
    cache_dir: str | os.PathLike | None = None,
    quiet: bool = False,
) -> Members:
    """Open archives and folders of unpacked files, in any mix, for reading members in place.

    Folders are searched through, hidden files left out, for loose files and for archives
    (.tar, .tgz, .tar.gz). Headers of an archive are read once: the index is kept in the cache
    until path, size or time of change of the archive are others.

    Args:
        paths: archives and folders, in order of precedence; within a folder, loose files come
            before archives.
        cache_dir: folder of indexes; None: `dusha` in the Hugging Face cache.
        quiet: no bars.

    Returns:
        all members.

    Raises:
        MissingInputError: a path is not there.
        WorkFailedError: an archive is damaged, cut short, no tar, or holds links, devices or
            names that lead outside.
    """
    cache_dir = cache_folder(cache_dir)
    indexes = []
    for path in map(Path, paths):
        if path.is_dir():
            loose, archives = _search(path)
            indexes.append(loose)
            indexes.extend(index_archive(archive, cache_dir, quiet) for archive in archives)
        elif path.is_file():
            indexes.append(index_archive(path, cache_dir, quiet))
        else:
            raise MissingInputError(
                f"no file or folder {path}; name an archive or a folder that holds archives or "
                "their unpacked files"
            )
    return Members(indexes)


def cache_folder(cache_dir: str | os.PathLike | None) -> Path:
    """The folder for what is worth keeping between runs.

    Args:
        cache_dir: the user's choice, or None.

    Returns:
        cache_dir, or `dusha` in the Hugging Face cache (environment variable HF_HOME).
    """
    return Path(HF_HOME) / "dusha" if cache_dir is None else Path(cache_dir)


def _search(folder: Path) -> tuple[Index, list[Path]]:
    """The loose files of a folder and the archives in it, both in the order of their names."""
    names, paths, sizes, archives = [], [], [], []
    own_name = folder.resolve().name
    seen = set()
    try:
        for root, below, files in os.walk(folder, onerror=_raise, followlinks=True):
            # Users link folders from other disks; a link to an outer folder would never end.
            seen.add(os.path.realpath(root))
            below[:] = sorted(
                name
                for name in below
                if not name.startswith(".") and os.path.realpath(Path(root, name)) not in seen
            )
            for name in sorted(files):
                path = Path(root, name)
                if name.startswith(".") or not path.is_file():
                    continue
                if name.endswith((TAR_SUFFIX, *GZIP_SUFFIXES)):
                    archives.append(path)
                    continue
                names.append(corpus_name(path.relative_to(folder).as_posix(), own_name))
                paths.append(str(path))
                sizes.append(path.stat().st_size)
    except OSError as error:
        raise WorkFailedError(f"{error.filename}: cannot be read: {error.strerror}") from error
    loose = Index(names, paths, np.zeros(len(names), np.int64), np.array(sizes, np.int64))
    return loose, archives


def _raise(error: OSError):
    raise error


def find_archives(
    names: Sequence[str] = ARCHIVES,
    data_dir: str | os.PathLike | None = None,
    base_urls: str | Sequence[str] | None = None,
    cache_dir: str | os.PathLike | None = None,
    checksums: Mapping[str, str] | None = None,
    required: Sequence[str] | None = None,
    quiet: bool = False,
) -> Members:
    """Find the archives that a piece of work needs, in a user's folder or at an address.

    What data_dir holds, packed or unpacked, is not fetched. Without data_dir and base_urls,
    archives are fetched from BASE_URL.

    Args:
        names: archives that are wanted, of ARCHIVES.
        data_dir: folder of archives, of their unpacked files, or of any mix.
        base_urls: addresses of folders of archives, tried in turn.
        cache_dir: folder of downloads and indexes; None: `dusha` in the Hugging Face cache.
        checksums: "sha256:HEX" or "md5:HEX" for names whose content the user knows.
        required: archives that must be there; None: all of names.
        quiet: no bars.

    Returns:
        the members of all that was found, those of data_dir before fetched ones.

    Raises:
        MissingInputError: data_dir or a required archive is not there.
        WrongUseError: what was given as address or checksum cannot be one, or a checksum is of no
            archive.
        WorkFailedError: an archive cannot be fetched, is damaged, or holds what no honest one
            does.
    """
    required = tuple(names if required is None else required)
    cache_dir = cache_folder(cache_dir)
    paths = [] if data_dir is None else [data_dir]
    members = open_members(paths, cache_dir, quiet)
    _compare_checksums(members, checksums or {}, quiet)
    missing = [name for name in names if not holds_archive(members, name)]
    if data_dir is None and not base_urls:
        base_urls = [BASE_URL]
    base_urls = [base_urls] if isinstance(base_urls, str) else base_urls
    if missing and base_urls:
        optional = [name for name in missing if name not in required]
        fetched = fetch_archives(missing, base_urls, cache_dir, checksums, optional, quiet)
        members = open_members([*paths, *fetched.values()], cache_dir, quiet)
        missing = [name for name in missing if not holds_archive(members, name)]
    missing = [name for name in missing if name in required]
    if missing:
        places = [data_dir] if data_dir else [Mirror(url, cache_dir).shown("") for url in base_urls]
        raise MissingInputError(_describe_missing(missing, members, places))
    return members


def _compare_checksums(members: Members, checksums: Mapping[str, str], quiet: bool) -> None:
    """Compare those archives of a user's folder whose checksums are given; refuse other names.

    A misspelt name would else look as if its archive had been compared.
    """
    at_hand = {archive.name: archive for archive in members.archives}
    for name, text in checksums.items():
        checksum = parse_checksum(name, text)
        if name in at_hand:
            check_file(at_hand[name], checksum, quiet)
        elif name not in ARCHIVES:
            known = ", ".join(dict.fromkeys([*ARCHIVES, *at_hand]))
            raise WrongUseError(
                f"a checksum was given of {name}, and there is no such archive: take one of {known}"
            )
        elif holds_archive(members, name):
            logger.warning("%s is unpacked here: its checksum cannot be compared", name)


def _describe_missing(missing: Sequence[str], members: Members, places: Sequence) -> str:
    """Say which archives are missing where, what came instead and what to do."""
    came = ", ".join(map(str, members.archives)) or f"no archive, and {len(members)} loose files"
    wanted = "; ".join(
        f"{name} has files such as {' or '.join(f'{start}...' for start in CONTENTS[name])}"
        for name in missing
    )
    return (
        f"nothing of {' and '.join(missing)} in {' or '.join(map(str, places))} (it has {came}); "
        f"{wanted}. Put these archives, or what is unpacked from them, into one folder and name "
        "it with --data_dir FOLDER, or name an address that has them with --base_url ADDRESS"
    )


def holds_archive(members: Members, name: str) -> bool:
    """Tell whether the content of a published archive is among members.

    Args:
        members: what was found.
        name: one of ARCHIVES.

    Returns:
        whether a member of it is there.
    """
    return any(member.startswith(CONTENTS[name]) for member in members)
