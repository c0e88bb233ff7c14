"""Files read by worker processes, for one process that classifies their clips on an accelerator."""

import ctypes
import queue
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dusha_ser.audio.finding import AudioFile
from dusha_ser.inference.batching import Rows
from dusha_ser.inference.clips import ClipReader, Recording, load_reader, read_into
from dusha_ser.inference.settings import Settings
from dusha_ser.processes import LOOK_EVERY, SPAWN, WorkerPool

if TYPE_CHECKING:
    # They import PyTorch, which workers are spared.
    from dusha_ser.inference.audio_files import FileClassifier, Group

# Samples that are sent at once: about a minute.
SLOT_SAMPLES = 2**20


class Slots:
    """Shared memory for clips on their way: a queue would copy each of them three times."""

    def __init__(self, count: int, size: int):
        self.size = size
        self.memory = SPAWN.RawArray(ctypes.c_float, count * size)
        self.free = SPAWN.SimpleQueue()
        self.sent = SPAWN.Queue()
        for number in range(count):
            self.free.put(number)

    def __getitem__(self, number: int) -> np.ndarray:
        """The samples (size,) of a slot."""
        return np.ctypeslib.as_array(self.memory).reshape(-1, self.size)[number]


class Sender:
    """What a worker has read of a group, slot by slot."""

    def __init__(self, slots: Slots, group: int):
        self.slots, self.group = slots, group
        self._begin()

    def _begin(self) -> None:
        self._slot: int | None = None
        self._used = 0
        self._what: list[int | np.ndarray | Recording] = []

    def add(self, clip: np.ndarray) -> None:
        """Send the next clip (samples,) of the recording that ends next."""
        if len(clip) > self.slots.size:
            self._what.append(clip)
            return self.send()
        if self._used + len(clip) > self.slots.size:
            self.send()
        if self._slot is None:
            self._slot = self.slots.free.get()
        self.slots[self._slot][self._used : self._used + len(clip)] = clip
        self._used += len(clip)
        self._what.append(len(clip))
        return None

    def end(self, recording: Recording) -> None:
        """Send a recording when all its clips were."""
        self._what.append(recording)

    def send(self) -> None:
        """Send sizes of clips in the slot, clips that fit into none, and ended recordings."""
        self.slots.sent.put((self.group, self._slot, self._what))
        self._begin()


@dataclass
class Opened:
    """A group that is read, and its rows when all of it was."""

    files: int
    group: "Group"
    reading: Future
    rows: Rows | None = None


def classify_decoded(
    classifier: "FileClassifier", groups: Iterable[Sequence[AudioFile]], num_proc: int
) -> Iterator[Rows]:
    """Classify groups of files that worker processes read, resample and cut into clips.

    Batches are made of a group alone, so rows are those of `classifier(group)` for each. At most
    2 * num_proc groups are ahead of the one whose rows come next.

    Args:
        classifier: stays in this process; no worker has a model.
        groups: of files.
        num_proc: number of workers.

    Yields:
        The rows of each group, in order.

    Raises:
        WorkFailedError: if a worker was ended from outside.
    """
    slots = Slots(2 * num_proc, SLOT_SAMPLES)
    told = classifier.settings, classifier.sampling_rate, slots
    with WorkerPool(num_proc, _prepare, *told) as pool:
        opened: dict[int, Opened] = {}
        for number, files in enumerate(groups):
            reading = pool.submit(_read_here, number, files)
            opened[number] = Opened(len(files), classifier.open_group(), reading)
            if len(opened) > 2 * num_proc:
                yield _oldest(opened, classifier, slots)
        while opened:
            yield _oldest(opened, classifier, slots)


def _oldest(opened: dict[int, Opened], classifier: "FileClassifier", slots: Slots) -> Rows:
    """Classify what comes of any group until the rows of the oldest are there; they leave."""
    oldest = min(opened)
    while (rows := opened[oldest].rows) is None:
        try:
            number, slot, what = slots.sent.get(timeout=LOOK_EVERY)
        except queue.Empty:
            for one in opened.values():
                if one.reading.done():
                    one.reading.result()  # raises what ended a worker
            continue
        one, first = opened[number], 0
        for item in what:
            if isinstance(item, Recording):
                one.group.end(item)
            elif isinstance(item, np.ndarray):
                one.group.add(item)
            else:
                one.group.add(slots[slot][first : first + item].copy())
                first += item
        if slot is not None:
            slots.free.put(slot)
        if len(one.group.recordings) == one.files:
            one.rows = classifier.rows(one.group.finish())
    del opened[oldest]
    return rows


_reader: ClipReader
_slots: Slots


def _prepare(settings: Settings, sampling_rate: int, slots: Slots) -> None:
    global _reader, _slots
    _reader, _slots = load_reader(settings, sampling_rate), slots


def _read_here(number: int, files: Sequence[AudioFile]) -> None:
    sender = Sender(_slots, number)
    read_into(sender, _reader, [(file.name, file.path, file.turns) for file in files])
    sender.send()
