"""Members of archives and folders: their names in the corpus, and where their bytes lie."""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from dusha_ser.errors import WorkFailedError
from dusha_ser.vocabulary import PARTS

# The top folders of the published archives. Users' copies have outer folders (crowd/, dusha/)
# before these, or do not have them; member names are brought to this form.
FOLDERS = (*PARTS, "features", "paper_setups")


def corpus_name(name: str, outside: str = "") -> str:
    """Bring a member's name to the form that the published archives have.

    Args:
        name: the name in an archive, or relative to a folder.
        outside: the name of that folder, or of the archive without its suffix.

    Returns:
        The name from its last folder that is one of FOLDERS on; if it has none of these and
        outside is one, outside comes before it.

    Examples:
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


class Index(NamedTuple):
    """Where the members of one archive, or the loose files of one folder, lie.

    Paths are one for each name, or the archive alone, offsets and sizes int64 in bytes; archive is
    as the user knows it, None for loose files.
    """

    names: list[str]
    paths: list[str]
    offsets: np.ndarray
    sizes: np.ndarray
    archive: Path | None = None


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
            Its bytes, exactly `size` of them.

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
            The buffered file, which the caller closes.

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
            self._places |= {name: own[name] for name in own if name not in self._places}
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
            The recording; of several, one of crowd_train, crowd_test, podcast_train or
            podcast_test before others; None if there is none.
        """
        if self._wavs is None:
            wavs = [name for name in self if name.endswith((".wav", ".WAV"))]
            wavs.sort(key=lambda name: name.split("/", 1)[0] not in FOLDERS)
            self._wavs = {name.rsplit("/", 1)[-1][:-4]: name for name in reversed(wavs)}
        return self.get(self._wavs.get(hash_id, ""))
