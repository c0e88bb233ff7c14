"""Batches of training clips a second: this project's cache against a .npy file a clip.

    python -m benchmarks.training_data

The published code keeps the features of each clip in a file of its own, (1, 64, frames), and loads
them by np.load in one worker of a DataLoader. Ours are in the Arrow file that `dusha train` makes,
read through ClipDataset and SpectrogramCollator in the training process itself. Both give batches
of 64 clips in random order, padded to the longest. Before a cold round the system forgets the
content of all files of both.
"""

import argparse
import tempfile
import time
from pathlib import Path

import datasets
import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.limits import forget
from benchmarks.measuring import processor_seconds, slope, speedups, write_results
from benchmarks.profiles import torch_profile
from dusha_ser.cli.program import run_program
from dusha_ser.training.batches import ClipDataset, SpectrogramCollator
from dusha_ser.training.sampling import EveryClipSampler
from dusha_ser.training.trainer import keep_freed_memory

MELS = 64
BATCH = 64
STARTS = ("cold", "warm")


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


def batches_of_peer(paths: list[Path]) -> DataLoader:
    """Return a loader of the published kind."""
    return DataLoader(
        FileAClip(paths), batch_size=BATCH, shuffle=True, num_workers=1, collate_fn=pad
    )


def batches_of_ours(table: datasets.Dataset, seconds: list[float]) -> DataLoader:
    """Return a loader as DushaTrainer makes it, without augmentation, which the peer lacks."""
    return DataLoader(
        ClipDataset(table, "input_features", np.zeros(len(table), dtype=np.int64)),
        batch_sampler=EveryClipSampler(seconds, batch_size=BATCH),
        collate_fn=SpectrogramCollator(),
    )


def run_through(loader: DataLoader) -> tuple[float, float]:
    """Take an epoch's batches; return seconds by the clock, and of processor time."""
    started, began = time.perf_counter(), processor_seconds()
    for _ in loader:
        pass
    return time.perf_counter() - started, processor_seconds() - began


def measure(folder: Path, count: int, rounds: int) -> dict:
    """Measure both from cold and warm starts; returns seconds and how they compare."""
    paths, table, seconds = write_clips(folder, count)
    loaders = {
        "np.load, one worker": lambda: batches_of_peer(paths),
        "ours": lambda: batches_of_ours(table, seconds),
    }
    files = [*paths, *(Path(entry["filename"]) for entry in table.cache_files)]
    times, used = ({start: {name: [] for name in loaders} for start in STARTS} for _ in range(2))
    for _ in range(rounds):
        for name, make in loaders.items():
            for path in files:
                forget(path)
            for start in STARTS:
                by_clock, by_processor = run_through(make())
                times[start][name].append(by_clock)
                used[start][name].append(by_processor)
    sizes = {}
    for size in (count // 4, count // 2, count):
        part = batches_of_ours(table.select(range(size)), seconds[:size])
        sizes[size] = min(run_through(part)[1] for _ in range(3))
    return {
        "bytes": sum(path.stat().st_size for path in paths),
        "seconds": times,
        "processor_seconds": used,
        **{
            name: {start: speedups(rows, "np.load, one worker") for start, rows in kind.items()}
            for name, kind in {
                "times_as_fast": times,
                "times_as_little_processor_time": used,
            }.items()
        },
        "clips_a_second": {
            start: {name: count / float(np.median(row)) for name, row in rows.items()}
            for start, rows in times.items()
        },
        "sizes": sizes,
        "growth": slope(sizes),
        "profile": torch_profile(lambda: run_through(batches_of_ours(table, seconds))),
    }


def main() -> None:
    """Write the clips, measure, print and write the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.training_data --clips 500 --rounds 1",
    )
    parser.add_argument("--clips", type=int, default=4000, help="number of clips")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each that are timed")
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: temporary)")
    chosen = parser.parse_args()
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    # As DushaTrainer does.
    keep_freed_memory()
    with tempfile.TemporaryDirectory(prefix="training-data-", dir=chosen.folder) as folder:
        found = measure(Path(folder), chosen.clips, chosen.rounds)
    for start in STARTS:
        for name, speed in found["clips_a_second"][start].items():
            ratio = found["times_as_fast"][start][name]
            less = found["times_as_little_processor_time"][start][name]
            print(
                f"{start} {name:<20} {speed:8.0f} clips/s, {ratio:5.2f} times as fast "
                f"({less:.2f} in processor time)"
            )
    print(f"written to {write_results('training_data', {'clips': chosen.clips, **found})}")


if __name__ == "__main__":
    run_program(main)
