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
    """Bring a member's name to the published form: from its last folder that is in FOLDERS on.

    If it has none of these, `outside` comes first where that is one: the name of the folder that
    name is relative to, or of the archive without its suffix.

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
    """Where the members of one archive, or the loose files of one folder, lie."""

    names: list[str]
    paths: list[str]  # one for each name, or the archive alone
    offsets: np.ndarray  # int64, bytes
    sizes: np.ndarray  # int64, bytes
    archive: Path | None = None  # as the user knows it; None for loose files


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the corpus: a stretch of bytes in an archive, or a file of its own."""

    name: str  # POSIX name in the corpus, such as "crowd_train/wavs/HASH.wav"
    path: str  # the file on disk that holds it
    offset: int  # its first byte in that file
    size: int  # bytes

    def read(self) -> bytes:
        """Read all of its bytes; WorkFailedError if these are not there any more."""
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
        """Open it as a seekable, buffered file; WorkFailedError if that is not there any more."""
        try:
            return io.BufferedReader(_Window(self.path, self.offset, self.size), 2**16)
        except OSError as error:
            raise WorkFailedError(f"{self.path}: cannot open {self.name}: {error}") from error


class _Window(io.FileIO):
    """A stretch of a file, as a file of its own."""

    # By `readinto`; FileIO's own read to the end of the file.
    readall = io.RawIOBase.readall
    read = io.RawIOBase.read  # type: ignore[assignment]  # typeshed has no None for its size

    def __init__(self, path: str, offset: int, size: int):
        super().__init__(path)
        self._offset, self._size = offset, size
        self.seek(0)

    def tell(self) -> int:
        return super().tell() - self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = offset + (0, self.tell(), self._size)[whence]
        if start < 0:
            raise ValueError(f"cannot seek to {start}: a file starts at 0")
        return super().seek(self._offset + start) - self._offset

    def readinto(self, buffer) -> int:
        return super().readinto(memoryview(buffer).cast("B")[: max(0, self._size - self.tell())])


class Members(Mapping[str, Member]):
    """All files of the corpus by name, wherever they lie; picklable, in a stable order.

    The first index that holds a name wins, in an archive its last member of that name, as when tar
    unpacks it.
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
        """Find a clip's recording, hash_id.wav, wherever it lies; in one of FOLDERS first."""
        if self._wavs is None:
            wavs = [name for name in self if name.endswith((".wav", ".WAV"))]
            wavs.sort(key=lambda name: name.split("/", 1)[0] not in FOLDERS)
            self._wavs = {name.rsplit("/", 1)[-1][:-4]: name for name in reversed(wavs)}
        return self.get(self._wavs.get(hash_id, ""))
