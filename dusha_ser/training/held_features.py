"""Features of clips in memory: read from Arrow, or held whole on the device that trains.

What is held needs no worker processes: batches are gathered there by indices.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import datasets
import numpy as np
import psutil
import pyarrow.compute
import torch

from dusha_ser.errors import WrongUseError

# What may be taken of the memory that is free: the rest is for training itself.
MOST_TAKEN = 0.5
FEATURE_TYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class HeldClip:
    """A clip within held features: length and shape are those of a tensor (frames, mels)."""

    frames: torch.Tensor
    first: int
    length: int

    def __len__(self) -> int:
        return self.length

    @property
    def shape(self) -> tuple[int, int]:
        """Number of frames and of Mel bands."""
        return self.length, self.frames.shape[1]


@dataclass(frozen=True)
class HeldFeatures:
    """The features of all clips of a split.

    Attributes:
        frames: of one clip after the other, (1 + frames, mels); the first row is what padding is.
        firsts: the first row of each clip, and behind them that of the next, (clips + 1,).
    """

    frames: torch.Tensor
    firsts: np.ndarray

    def clip(self, index: int) -> HeldClip:
        """Return one clip, by its number."""
        first, stop = self.firsts[index : index + 2].tolist()
        return HeldClip(self.frames, first, stop - first)


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
        size: of the features, in bytes.
        device: that trains.
        processes: that train on this machine, each of which holds them.

    Returns:
        The device whose memory holds them, None for the disk; and the choice in words, none where
        there was none.

    Raises:
        WrongUseError: if they do not fit where they are wanted.
    """
    on_accelerator = device.type != "cpu"
    free = {"host": psutil.virtual_memory().available // processes}
    if on_accelerator:
        free = {"device": torch.accelerator.get_memory_info(device)[0]} | free
    if wanted == "disk" or (wanted == "auto" and not on_accelerator):
        return None, ""
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
