"""Batches of training clips a second: this project's cache against one .npy file per clip.

    python -m benchmarks.training_data

The published code keeps the features of each clip in a file of its own, (1, 64, frames), and loads
them by np.load. Ours are in the Arrow file that `dusha train` makes, read through ClipDataset and
SpectrogramCollator. Both give the very same batches in the same order, 64 clips of similar length,
padded to the longest, with the same number of worker processes: none, or one. As people do, the
peer's clips are shuffled and its one worker pads what comes. Before a cold round the system forgets
the content of all files of both.
"""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.limits import forget
from benchmarks.measuring import (
    Measurement,
    compare,
    measure_in_turn,
    measuring_options,
    print_pairs,
    processors,
    slope,
)
from benchmarks.profiles import torch_profile
from dusha_ser.cli.program import run_program
from dusha_ser.training.batches import ClipDataset, SpectrogramCollator
from dusha_ser.training.sampling import EveryClipSampler
from dusha_ser.training.trainer import keep_freed_memory

MELS = 64
BATCH = 64
PEER, USUAL, OURS = "np.load", "np.load, shuffled, one worker", "ours"


class FileAClip(torch.utils.data.Dataset):
    """Features as published: a .npy file a clip.

    Args:
        paths: of the files, (1, mels, frames) each.
    """

    def __init__(self, paths: list[Path]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(np.load(self.paths[index], allow_pickle=False))


def pad(clips: list[torch.Tensor]) -> torch.Tensor:
    """Pad (1, mels, frames) to the longest with zeros, as published."""
    longest = max(clip.shape[2] for clip in clips)
    return torch.stack(
        [torch.nn.functional.pad(clip, (0, longest - clip.shape[2])) for clip in clips]
    )


def write_clips(folder: Path, count: int) -> tuple[list[Path], datasets.Dataset, list[float]]:
    """Write the features of clips of Dusha's lengths in both forms; return them and lengths."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(410), 0.45, count), 30, 2000).astype(int)
    (folder / "features").mkdir()
    paths = []

    def rows():
        for number, frames in enumerate(lengths):
            clip = (-80 * rng.random((frames, MELS))).astype(np.float32)
            paths.append(folder / "features" / f"{number:06d}.npy")
            np.save(paths[-1], clip.T[None])
            yield {"input_features": clip}

    column = datasets.Array2D((None, MELS), "float32")
    table = datasets.Dataset.from_generator(
        rows,
        features=datasets.Features({"input_features": column}),
        cache_dir=str(folder / "cache"),
        writer_batch_size=100,
    )
    return paths, table, (lengths / 100).tolist()


def same_batches(seconds: list[float]) -> list[list[int]]:
    """Draw an epoch's batches as `dusha train` does, once, for both sides."""
    sampler = EveryClipSampler(seconds, batch_size=BATCH)
    return [[draw.index for draw in batch] for batch in sampler]


def batches_of_peer(paths: list[Path], batches: list[list[int]], workers: int = 0) -> DataLoader:
    """Return a loader of one file per clip."""
    return DataLoader(FileAClip(paths), batch_sampler=batches, num_workers=workers, collate_fn=pad)


def batches_of_people(paths: list[Path]) -> DataLoader:
    """Return a loader of the published kind."""
    return DataLoader(
        FileAClip(paths), batch_size=BATCH, shuffle=True, num_workers=1, collate_fn=pad
    )


def batches_of_ours(
    table: datasets.Dataset, batches: list[list[int]], workers: int = 0
) -> DataLoader:
    """Return a loader as DushaTrainer makes it, without augmentation, which the peer lacks."""
    return DataLoader(
        ClipDataset(table, "input_features", np.zeros(len(table), dtype=np.int64)),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=SpectrogramCollator(),
    )


def run_through(make: Callable[[], DataLoader]) -> None:
    """Make a loader and take an epoch's batches."""
    for _ in make():
        pass


def measure(folder: Path, count: int, rounds: int) -> dict:
    """Measure both from warm and cold starts; returns seconds and how they compare."""
    paths, table, seconds = write_clips(folder, count)
    batches = same_batches(seconds)

    def variants(workers: int) -> dict[str, Callable[[], None]]:
        makers = {
            PEER: functools.partial(batches_of_peer, paths, batches, workers),
            OURS: functools.partial(batches_of_ours, table, batches, workers),
        }
        if workers:
            makers[USUAL] = functools.partial(batches_of_people, paths)
        return {name: functools.partial(run_through, make) for name, make in makers.items()}

    def forget_all() -> None:
        for path in [*paths, *(Path(entry["filename"]) for entry in table.cache_files)]:
            forget(path)

    measured = {
        "warm, no worker": measure_in_turn(variants(0), rounds),
        "warm, one worker": measure_in_turn(variants(1), rounds),
        "cold, no worker": measure_in_turn(variants(0), rounds, before=forget_all),
    }
    pairs = {
        name: pair
        for kind, times in measured.items()
        for name, pair in compare(times, {kind: (PEER, OURS)}).items()
    }
    usual = compare(measured["warm, one worker"], {"warm, as people do": (USUAL, OURS)})
    sizes = {}
    for size in (count // 4, count // 2, count):
        part = table.select(range(size)), same_batches(seconds[:size])
        work = {"": lambda part=part: run_through(lambda: batches_of_ours(*part))}
        sizes[size] = min(measure_in_turn(work, 3)["processor_seconds"][""])
    return {
        "pairs": pairs | usual,
        "bytes": sum(path.stat().st_size for path in paths),
        "measured": measured,
        "clips_a_second": {
            kind: {name: count / float(np.median(row)) for name, row in times["seconds"].items()}
            for kind, times in measured.items()
        },
        "sizes": sizes,
        "growth": slope(sizes),
        "profile": torch_profile(lambda: run_through(lambda: batches_of_ours(table, batches))),
    }


def main() -> None:
    """Write the clips, measure, print and write the comparison."""
    parser = measuring_options(
        __doc__.splitlines()[0],
        "python -m benchmarks.training_data --clips 500 --rounds 7 --allow_load",
    )
    parser.add_argument("--clips", type=int, default=4000, help="number of clips")
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: temporary)")
    chosen = parser.parse_args()
    measurement = Measurement("training_data", chosen)
    datasets.disable_progress_bars()
    # As DushaTrainer does.
    keep_freed_memory()
    with (
        processors(1),
        tempfile.TemporaryDirectory(prefix="training-data-", dir=chosen.folder) as folder,
    ):
        found = measure(Path(folder), chosen.clips, chosen.rounds)
    print_pairs(found["pairs"])
    print(f"written to {measurement.write({'clips': chosen.clips, **found})}")


if __name__ == "__main__":
    run_program(main)
