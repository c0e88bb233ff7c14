"""Features of clips in memory: read from Arrow, or held whole on the device that trains.

What is held needs no worker processes: batches are gathered there by indices.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import psutil
import pyarrow.compute
import torch

from dusha_ser.errors import WrongUseError
from dusha_ser.training.augmentation import send

# What may be taken of the memory that is free: the rest is for training itself.
MOST_TAKEN = 0.5
FEATURE_TYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class HeldClip:
    """A clip within held features: length and shape are those of a tensor (frames, mels)."""

    features: "HeldFeatures"
    index: int

    def __len__(self) -> int:
        first, stop = self.features.firsts[self.index : self.index + 2].tolist()
        return stop - first

    @property
    def first(self) -> int:
        """Its first row within the frames of all clips."""
        return int(self.features.firsts[self.index])

    @property
    def shape(self) -> tuple[int, int]:
        """Number of frames and of Mel bands."""
        return len(self), self.features.frames.shape[1]


@dataclass(frozen=True)
class Sharing:
    """How processes share the features of a split: each holds clips that follow each other.

    Attributes:
        parts: the first clip of each process, and behind them the number of clips, int64.
        process: this one, from 0.
        group: of torch.distributed, by which they exchange clips.
    """

    parts: np.ndarray
    process: int
    group: Any

    def owners(self, clips: np.ndarray) -> np.ndarray:
        """Return the process that holds each of some clips, by their numbers, (clips,)."""
        return np.searchsorted(self.parts, clips, side="right") - 1


@dataclass(frozen=True)
class HeldFeatures:
    """The features of all clips of a split, or of the share of one process.

    Attributes:
        frames: of the clips held here, one after the other, (1 + frames, mels); the first row is
            what padding is.
        firsts: the first row of each clip where all are held, and behind them that of the next,
            (clips + 1,).
        sharing: how processes share them; None: all are held here.
        used_on: the device that batches are made on; None: where the frames are.
    """

    frames: torch.Tensor
    firsts: np.ndarray
    sharing: Sharing | None = None
    used_on: torch.device | None = None

    def clip(self, index: int) -> HeldClip:
        """Return one clip, by its number."""
        return HeldClip(self, index)

    def gather(self, wanted: Sequence[np.ndarray], process: int) -> tuple[torch.Tensor, np.ndarray]:
        """Return frames that hold some clips, where batches are made, and each one's first row.

        Where features are shared, all processes call this together.

        Args:
            wanted: by each process, numbers of clips, (clips,).
            process: that calls this.

        Returns:
            Frames (rows, mels), of which the first is what padding is, and the first row of each
            clip that this process wants, (clips,).
        """
        own = wanted[process]
        used_on = self.used_on or self.frames.device
        if self.sharing is None and used_on == self.frames.device:
            return self.frames, self.firsts[own]
        order = np.arange(len(own))
        if self.sharing is None:
            frames = torch.cat([self.frames[:1], *self._clips(own)])
        else:
            # What comes from a process comes in the order in which it is wanted.
            order = np.argsort(self.sharing.owners(own), kind="stable")
            frames = self._exchange(wanted, self.sharing)
        lengths = self._lengths(own[order])
        firsts = np.empty_like(own)
        firsts[order] = 1 + np.cumsum(lengths) - lengths
        return send(frames, used_on), firsts

    def _exchange(self, wanted: Sequence[np.ndarray], sharing: Sharing) -> torch.Tensor:
        """Give each process the clips that it wants of ours, and take ours of each."""
        own = wanted[sharing.process]
        given = [clips[sharing.owners(clips) == sharing.process] for clips in wanted]
        owners = sharing.owners(own)
        taken = [int(self._lengths(own[owners == process]).sum()) for process in range(len(wanted))]
        mels = self.frames.shape[1]
        frames = self.frames.new_empty((1 + sum(taken), mels))
        frames[:1] = self.frames[:1]
        torch.distributed.all_to_all_single(
            frames[1:],
            torch.cat([self.frames[:0], *self._clips(np.concatenate(given))]),
            taken,
            [int(self._lengths(clips).sum()) for clips in given],
            group=sharing.group,
        )
        return frames

    def _lengths(self, clips: np.ndarray) -> np.ndarray:
        return self.firsts[clips + 1] - self.firsts[clips]

    def _clips(self, clips: np.ndarray) -> Iterator[torch.Tensor]:
        """Yield the frames of clips that are held here."""
        before = self.firsts[self.sharing.parts[self.sharing.process]] - 1 if self.sharing else 0
        for first, length in zip(self.firsts[clips] - before, self._lengths(clips), strict=True):
            yield self.frames[first : first + length]


def hold(
    rows: datasets.Dataset,
    column: str,
    lengths: np.ndarray,
    fill: float,
    where: torch.device,
    kind: torch.dtype,
) -> HeldFeatures:
    """Read the features of all rows into memory.

    Args:
        rows: with features, (frames, mels) each.
        column: that holds them.
        lengths: number of frames of each clip, (clips,).
        fill: value of padding, in dB.
        where: the device whose memory holds them.
        kind: their type there.
    """
    firsts = np.concatenate([[1], 1 + np.cumsum(lengths)])
    mels = rows.features[column].shape[1]
    frames = torch.empty((int(firsts[-1]), mels), dtype=kind, device=where)
    frames[0] = fill
    first = 1
    for part in pieces(rows, column):
        frames[first : first + len(part)] = part
        first += len(part)
    return HeldFeatures(frames, firsts)


def hold_share(
    rows: datasets.Dataset,
    column: str,
    lengths: np.ndarray,
    fill: float,
    where: torch.device,
    kind: torch.dtype,
) -> HeldFeatures:
    """Read this process' share of the features into memory, which all processes call together.

    Arguments as of `hold`. Shares are as large as whole clips allow.
    """
    firsts = np.concatenate([[1], 1 + np.cumsum(lengths)])
    count, process = torch.distributed.get_world_size(), torch.distributed.get_rank()
    parts = np.searchsorted(firsts, 1 + (firsts[-1] - 1) * np.arange(count + 1) / count)
    own = range(parts[process], parts[process + 1])
    share = hold(rows.select(own), column, lengths[own.start : own.stop], fill, where, kind)
    # A group of their own: batches are made while gradients are exchanged.
    backend = "gloo" if where.type == "cpu" else None
    group = torch.distributed.new_group(backend=backend)
    return HeldFeatures(share.frames, firsts, Sharing(parts, process, group))


def pieces(rows: datasets.Dataset, column: str) -> Iterator[torch.Tensor]:
    """Yield the frames of all rows, a hundred clips at a time, (frames, mels) float32."""
    for table in rows.select_columns([column]).with_format("arrow").iter(100):
        yield torch.cat(list(tensors(table[column])))


def choose_place(
    wanted: str, size: int, device: torch.device, processes: int = 1
) -> tuple[torch.device | None, str]:
    """Choose where features are held.

    Args:
        wanted: "device", "host", "disk", or "auto": the first of these with room for them; on a
            processor that is the disk, whose pages the system keeps in memory as it can.
        size: of the features that this process is to hold, in bytes.
        device: that trains.
        processes: that share the host's memory.

    Returns:
        The device whose memory holds them, None for the disk; and the choice in words, none where
        there was none.

    Raises:
        WrongUseError: if they do not fit where they are wanted.
    """
    on_accelerator = device.type != "cpu"
    if wanted == "disk" or (wanted == "auto" and not on_accelerator):
        return None, ""
    free = {"host": psutil.virtual_memory().available // processes}
    if on_accelerator:
        free = {"device": torch.accelerator.get_memory_info(device)[0]} | free
    free = least_free(free)
    if wanted != "auto":
        # A processor's own memory is the host's.
        free = {name: room for name, room in free.items() if name == wanted} or free
    gigabytes = f"{size / 1e9:.3g} GB"
    for name, room in free.items():
        if size <= MOST_TAKEN * room:
            place = device if name == "device" else torch.device("cpu")
            where = f"on {device}" if name == "device" else "in the host's memory"
            return place, f"features are held {where}: {gigabytes} of {room / 1e9:.3g} GB free"
    rooms = ", ".join(
        f"{room / 1e9:.3g} GB free in the {name}'s memory" for name, room in free.items()
    )
    if wanted != "auto":
        raise WrongUseError(
            f"`features_in={wanted}` needs {gigabytes}, and there are {rooms}, half of which may "
            "be taken: take `features_in=auto` or `features_type=float16`"
        )
    return None, f"features are read from the disk: they are {gigabytes}, and there are {rooms}"


def least_free(free: dict[str, int]) -> dict[str, int]:
    """Return the free memory of the process that has least, as all are to choose alike."""
    if not torch.distributed.is_initialized():
        return free
    found = [free] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, free)
    return {name: min(one[name] for one in found) for name in free}


def clip_lengths(rows: datasets.Dataset, column: str) -> np.ndarray:
    """Return the length of each clip, in frames or samples, (clips,) int64; no value is read."""
    tables = rows.select_columns([column]).with_format("arrow").iter(1000)
    return np.concatenate([row_lengths(table[column]) for table in tables])


def tensors(column: pyarrow.ChunkedArray) -> Iterator[torch.Tensor]:
    """Yield the rows of a column of Array2D or of lists as (length, width) or (length,) float32.

    They are to be read only: where the column holds float32, they are the mapped file itself.
    """
    width: tuple[int, ...] = ()
    if isinstance(column.type, pyarrow.ExtensionType):
        # As a whole: each piece of it would make the type of `datasets` again, from JSON.
        width, column = column.type.shape[1:], column.cast(column.type.storage_type)
    lengths = row_lengths(column)
    values = pyarrow.compute.list_flatten(column)
    values = pyarrow.compute.list_flatten(values) if width else values
    # Rows lie in pieces one after the other, and none in two.
    pieces = (as_tensor(piece).view(-1, *width) for piece in values.chunks if len(piece))
    held, first = torch.empty(0, *width), 0
    for length in lengths:
        if first == len(held) and length:
            held, first = next(pieces), 0
        yield held[first : first + length]
        first += length


def row_lengths(column: pyarrow.ChunkedArray) -> np.ndarray:
    """Return the lengths of the rows of a column of Array2D or of lists, (rows,) int64."""
    if isinstance(column.type, pyarrow.ExtensionType):
        column = column.cast(column.type.storage_type)
    return pyarrow.compute.list_value_length(column).to_numpy().astype(np.int64)


def as_tensor(values: pyarrow.Array) -> torch.Tensor:
    """Show numbers as a float32 tensor, (numbers,), without a copy where they are float32."""
    if values.type == pyarrow.float32() and not values.null_count:
        return torch.from_dlpack(values)
    return torch.from_numpy(np.array(values.to_numpy(zero_copy_only=False), np.float32))
