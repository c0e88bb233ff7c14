"""Training batches made a few ahead by a thread, and copied to the device while it computes.

They are those that would be made when they are asked for. A thread is enough: what takes time is
done outside of Python's lock.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler, default_convert

from dusha_ser.training.batches import ClipDataset
from dusha_ser.training.sampling import Draw, LengthBatchSampler

AHEAD = 2


@dataclass(eq=False)
class PlannedBatch:
    """The draws of a batch and, once it is begun, the work that makes it."""

    draws: list[Draw]
    work: Future | None = None


class SamplerAhead(Sampler):
    """Gives each batch of a sampler together with those behind it, as lists of planned batches.

    Args:
        sampler: of draws.
        count: of the batches behind.
    """

    def __init__(self, sampler: LengthBatchSampler, count: int = AHEAD):
        self.sampler = sampler
        self.count = count

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]  # of each subclass

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, whose batches come next."""
        self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[PlannedBatch]]:
        planned: deque[PlannedBatch] = deque()
        for draws in self.sampler:
            planned.append(PlannedBatch(draws))
            if len(planned) > self.count:
                yield list(planned)
                planned.popleft()
        while planned:
            yield list(planned)
            planned.popleft()


class BatchesAhead(torch.utils.data.Dataset):
    """Batches as items, each made by a thread from when one before it was asked for.

    A batch that is skipped, as in a run that is resumed, is not made. What the thread raises is
    raised where the batch is asked for.

    Args:
        clips: that batches are made of.
        collate: makes a batch of clips.
        device: that batches are for.
    """

    def __init__(self, clips: ClipDataset, collate: Callable, device: torch.device):
        self.clips = clips
        self.collate = collate
        self.device = device
        # Copies overlap with the arithmetic only on a stream of their own.
        self.stream = None if device.type == "cpu" else torch.Stream(device)
        self.thread = ThreadPoolExecutor(1, "batches")

    def __len__(self) -> int:
        return len(self.clips)

    def __getitems__(self, planned: list[PlannedBatch]) -> dict[str, torch.Tensor]:
        """Return the first of planned batches, and have the others made."""
        works = [self._begin(one) for one in planned]
        batch, copied = works[0].result()
        if copied is not None:
            current = torch.accelerator.current_stream(self.device)
            current.wait_event(copied)
            for values in batch.values():
                # Its memory is not to be used again before this stream is done with it.
                values.record_stream(current)
        return batch

    def _begin(self, planned: PlannedBatch) -> Future:
        planned.work = planned.work or self.thread.submit(self._make, planned.draws)
        return planned.work

    def _make(self, draws: list[Draw]) -> tuple[dict[str, torch.Tensor], torch.Event | None]:
        with self.stream or nullcontext():
            batch = self.collate(self.clips.__getitems__(draws))
            return batch, self.stream.record_event() if self.stream else None


def plan_ahead(
    clips: ClipDataset, sampler: LengthBatchSampler, collate: Callable, device: torch.device
) -> tuple[BatchesAhead, SamplerAhead, Callable]:
    """Return the data set, batch sampler and collator of a DataLoader of batches made ahead."""
    return BatchesAhead(clips, collate, device), SamplerAhead(sampler), default_convert
