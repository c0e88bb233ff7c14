"""What a Hub keeps: repositories of the three kinds, their commits, branches, tags and files."""

import hashlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

KINDS = ("model", "dataset", "space")
MAIN = "main"

# What a new repository's .gitattributes names; the Hub's own list is longer.
LARGE_FILES = (
    *("*.arrow", "*.bin", "*.ckpt", "*.ftz", "*.gz", "*.h5", "*.joblib", "*.msgpack", "*.npy"),
    *("*.npz", "*.onnx", "*.parquet", "*.pkl", "*.pt", "*.pth", "*.safetensors", "*.tar", "*.tgz"),
    *("*.zip", "*.zst", "*.flac", "*.mp3", "*.ogg", "*.wav", "*.png", "*.jpg", "*tfevents*"),
)
GIT_ATTRIBUTES = "".join(f"{name} filter=lfs diff=lfs merge=lfs -text\n" for name in LARGE_FILES)


class RefusedError(Exception):
    """An answer other than success: status, message and the Hub's X-Error-Code, if it has one."""

    def __init__(self, status: int, message: str, code: str | None = None, **body):
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body
        self.headers: dict[str, str] = {}


def flag(value: object) -> bool:
    """What a client means by a field's text."""
    return str(value).lower() in ("1", "true")


def git_hash(content: bytes) -> str:
    """The name that git gives to a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """The text that git holds in place of a large file."""
    version = "version https://git-lfs.github.com/spec/v1"
    return f"{version}\noid sha256:{sha256}\nsize {size}\n".encode()


@dataclass(frozen=True)
class StoredFile:
    """A file of a commit: its content's address in the store, and how git and LFS name it."""

    sha256: str
    size: int
    blob_id: str
    large: bool

    @property
    def tag(self) -> str:
        """What the Hub hands out as ETag and compares to skip files that did not change."""
        return self.sha256 if self.large else self.blob_id


class FileStore:
    """Contents by their SHA-256, in a folder."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the content of that hash lies, or would lie."""
        return self.folder / sha256

    def add(self, blocks: Iterable[bytes], expected: str | None = None) -> str:
        """Keep a content and return its SHA-256; refuse it where another hash was announced."""
        digest = hashlib.sha256()
        handle, name = tempfile.mkstemp(dir=self.folder)
        with os.fdopen(handle, "wb") as file:
            for block in blocks:
                digest.update(block)
                file.write(block)
        sha256 = digest.hexdigest()
        if expected is not None and sha256 != expected:
            Path(name).unlink()
            raise RefusedError(400, f"the content has SHA-256 {sha256}, announced was {expected}")
        Path(name).replace(self.path(sha256))
        return sha256

    def large_file(self, sha256: str) -> StoredFile:
        """The stored content as a large file; refuse it where it was never uploaded."""
        if not self.path(sha256).is_file():
            raise RefusedError(400, f"LFS object {sha256} was not uploaded before the commit")
        size = self.path(sha256).stat().st_size
        return StoredFile(sha256, size, git_hash(pointer(sha256, size)), large=True)

    def small_file(self, content: bytes) -> StoredFile:
        """Keep a content that came within a commit."""
        return StoredFile(self.add([content]), len(content), git_hash(content), large=False)

    def open(self, file: StoredFile) -> BinaryIO:
        """Open the content of a file of any commit."""
        return self.path(file.sha256).open("rb")

    def read(self, file: StoredFile) -> bytes:
        """Read the content of a file of any commit."""
        return self.path(file.sha256).read_bytes()


@dataclass(frozen=True)
class Commit:
    """A state of a repository."""

    oid: str
    parent: str | None
    title: str
    message: str
    date: str
    files: dict[str, StoredFile]


def now() -> str:
    """The time as the Hub writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())


@dataclass
class Repository:
    """One repository: its commits, and which of them its branches and tags name."""

    kind: str
    name: str
    private: bool
    created: str = field(default_factory=now)
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(
        self, branch: str, files: dict[str, StoredFile], title: str, message: str = ""
    ) -> Commit:
        """Make files the new state of a branch."""
        parent = self.branches.get(branch)
        oid = hashlib.sha1(os.urandom(20)).hexdigest()
        self.commits[oid] = Commit(oid, parent, title, message, now(), files)
        self.branches[branch] = oid
        return self.commits[oid]

    def resolve(self, revision: str) -> Commit:
        """The commit that a branch, tag, or (shortened) commit name stands for."""
        short = re.sub("^refs/(heads|tags)/", "", revision)
        oid = self.branches.get(short) or self.tags.get(short) or self.branches.get(revision)
        if oid is None and re.fullmatch("[0-9a-f]{7,40}", revision):
            oid = next((name for name in self.commits if name.startswith(revision)), None)
        if oid is None:
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def history(self, revision: str) -> Iterator[Commit]:
        """The commits that led to a revision, newest first."""
        commit: Commit | None = self.resolve(revision)
        while commit is not None:
            yield commit
            commit = self.commits[commit.parent] if commit.parent else None


class Repositories:
    """All repositories of a Hub; who may see and change them."""

    def __init__(self, folder: Path, users: dict[str, str]):
        self.store = FileStore(folder)
        self.users = users  # token -> name
        self.lock = threading.RLock()
        self._all: dict[tuple[str, str], Repository] = {}

    def __iter__(self) -> Iterator[Repository]:
        return iter(list(self._all.values()))

    def visible(self, kind: str, name: str, user: str | None) -> Repository:
        """The repository, if it is there and that user may see it.

        As on the Hub, a private repository is to others as if it were missing, and whoever shows
        no token is told to.
        """
        repository = self._all.get((kind, name))
        if repository is None or (repository.private and name.split("/")[0] != user):
            if user is None:
                raise RefusedError(401, "Invalid username or password.", "RepoNotFound")
            raise RefusedError(404, "Repository not found", "RepoNotFound")
        return repository

    def writable(self, kind: str, name: str, user: str | None) -> Repository:
        """The repository, if that user may change it."""
        repository = self.visible(kind, name, user)
        self.check_owner(name, user)
        return repository

    @staticmethod
    def check_owner(name: str, user: str | None) -> None:
        """Refuse whoever is not the owner of the name's first half."""
        if user is None:
            raise RefusedError(401, "Invalid username or password.")
        if name.split("/")[0] != user:
            raise RefusedError(403, f"You don't have the rights to write under the name {name}")

    def create(self, kind: str, name: str, private: bool) -> Repository:
        """Make a repository with its first commit."""
        with self.lock:
            if (kind, name) in self._all:
                raise RefusedError(409, f"You already created this {kind} repo")
            repository = self._all[kind, name] = Repository(kind, name, private)
            attributes = self.store.small_file(GIT_ATTRIBUTES.encode())
            repository.commit(MAIN, {".gitattributes": attributes}, "initial commit")
        return repository

    def delete(self, repository: Repository) -> None:
        """Forget a repository."""
        with self.lock:
            del self._all[repository.kind, repository.name]
