"""Clips in batches of similar length, and files in groups that are written together."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from dusha_ser.audio.finding import AudioFile
from dusha_ser.inference.settings import WINDOW
from dusha_ser.inference.timeline import Classify

BATCH_SIZE = 16
# These are for batches of this size, and as many times more for larger ones.
# Files that are read, classified and written together: at most this many, or this many bytes.
GROUP_FILES = 64
GROUP_BYTES = 32 * 2**20
# Clips that wait for others of their length: at most this many batches, or this many seconds.
WAITING_BATCHES = 8
WAITING_SECONDS = 240
# Windows of a timeline on a processor, in seconds: they are of one length, so that waiting gains
# nothing, and an hour takes little more memory than a minute.
TIMELINE_SECONDS = 40
Rows = list[list[dict]]
Item = TypeVar("Item")


class ModelFailedError(RuntimeError):
    """The model failed on a clip; the message says why."""


def checked_probabilities(classify: Classify, clips: list[np.ndarray]) -> np.ndarray:
    """Classify clips; NaN, infinity and the model's own errors become a ModelFailedError."""
    try:
        probabilities = classify(clips)
    except (RuntimeError, ValueError) as error:
        raise ModelFailedError(f"the model failed: {' '.join(str(error).split())}") from error
    if not np.isfinite(probabilities).all():
        raise ModelFailedError("the model's probabilities are NaN or infinite")
    return probabilities


class WaitingClips:
    """Clips, up to `longest` seconds each, classified in batches of similar length.

    No more than `at_once` seconds wait or make a batch; None: what is usual for batch_size.
    """

    def __init__(
        self,
        classify: Classify,
        sampling_rate: int,
        batch_size: int,
        longest: float,
        at_once: float | None = None,
    ):
        self.classify = classify
        self.batch_size = batch_size
        # A batch of the longest clips takes no more memory than one of windows.
        seconds = max(longest, at_once or batch_size * WINDOW)
        self.batch_samples = round(seconds * sampling_rate)
        waiting = at_once or _times(batch_size) * WAITING_SECONDS
        self.most_samples = round(waiting * sampling_rate)
        self._clips: dict[object, np.ndarray] = {}
        self._sizes: dict[object, int] = {}
        self._samples = 0
        self._results: dict[object, np.ndarray | ModelFailedError] = {}

    def add(self, key: object, clip: np.ndarray, size: int | None = None) -> None:
        """Take one clip (samples,) under a key of its own; of features, its size in samples."""
        self._clips[key] = clip
        self._sizes[key] = len(clip) if size is None else size
        self._samples += self._sizes[key]
        enough = WAITING_BATCHES * self.batch_size
        if len(self._clips) >= enough or self._samples >= self.most_samples:
            self.flush()

    def flush(self) -> None:
        """Classify all waiting clips."""
        batch: list[object] = []
        for key in sorted(self._clips, key=self._sizes.__getitem__):
            # This clip is the longest of its batch so far.
            padded = self._sizes[key] * (len(batch) + 1)
            if batch and (len(batch) == self.batch_size or padded > self.batch_samples):
                self._classify(batch)
                batch = []
            batch.append(key)
        if batch:
            self._classify(batch)
        self._clips, self._sizes, self._samples = {}, {}, 0

    def _classify(self, batch: list[object]) -> None:
        try:
            rows = checked_probabilities(self.classify, [self._clips[key] for key in batch])
            self._results |= zip(batch, rows, strict=True)
        except ModelFailedError as error:
            if len(batch) == 1:
                self._results[batch[0]] = error
                return
            # One clip must not spoil the others' predictions.
            for key in batch:
                self._classify([key])

    def probabilities(self, key: object) -> np.ndarray:
        """The probabilities (labels,) of a clip after a flush; raises its ModelFailedError."""
        result = self._results[key]
        if isinstance(result, ModelFailedError):
            raise result
        return result


def _times(batch_size: int) -> int:
    return max(1, batch_size // BATCH_SIZE)


def make_groups(
    files: Iterable[AudioFile], batch_size: int = BATCH_SIZE
) -> Iterator[list[AudioFile]]:
    """Cut a list of files into groups; see `cut_groups`."""
    return cut_groups(files, lambda file: file_size(file.path), batch_size)


def file_size(path: str) -> int:
    """The bytes of a file; 0 if it is not there."""
    return Path(path).stat().st_size if Path(path).is_file() else 0


def cut_groups(
    items: Iterable[Item], size_of: Callable[[Item], int], batch_size: int = BATCH_SIZE
) -> Iterator[list[Item]]:
    """Cut recordings into groups of up to 64 or 32 MB; equal lists give equal groups.

    Batches of 32 clips and more make them as many times larger.
    """
    times = _times(batch_size)
    group: list[Item] = []
    size = 0
    for item in items:
        own = size_of(item)
        if group and (len(group) == times * GROUP_FILES or size + own > times * GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(item)
        size += own
    if group:
        yield group
