"""Memory of the nodes of a cluster of Ray on this machine, for few and many clips.

    python -m benchmarks.ray_memory --clips FOLDER [--model MODEL --sizes N N N]

Taken twice: with as many shapes of a batch kept prepared as the program lets its workers keep, and
with as many as PyTorch keeps by itself.
"""

import argparse
import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from benchmarks.demo_load import save_random_model
from benchmarks.measuring import write_results
from benchmarks.ray_cluster import ENVIRONMENT, Cluster, finish, on_ray, start, write_shards
from dusha_ser.cli.program import run_program
from dusha_ser.engines.cluster import PREPARED_SHAPES

# Clips to take memory at.
SIZES = (1_200, 4_800, 20_000)
# No more with all shapes kept: it is a comparison.
COMPARED = 4_800
SHARD = 200
# As PyTorch does by itself.
MOST_SHAPES = "1024"


@contextlib.contextmanager
def watched(cluster: Cluster) -> Iterator[list[int]]:
    """Look at the memory of nodes twice a second; the most of it is the list's only value."""
    most, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.5):
            most[0] = max(most[0], cluster.memory())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def measure(model: Path, clips: Path, folder: Path, shapes: str) -> int:
    """Classify shards on a cluster; returns the bytes that the fullest node held at most."""
    (name,) = PREPARED_SHAPES
    os.environ[name] = shapes
    with Cluster() as cluster, watched(cluster) as most:
        finish(start(model, clips, folder, *on_ray(cluster)))
    return most[0]


def in_megabytes(found: int | None) -> str | None:
    """Write bytes as the table does.

    Examples:
        >>> in_megabytes(962_000_000)
        '962 MB'
    """
    return None if found is None else f"{found / 1e6:,.0f} MB"


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, help="mono 16 kHz recordings (default: made)")
    parser.add_argument("--model", type=Path, help="model folder or .onnx file (default: random)")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="clips of the jobs")
    parser.add_argument("--folder", type=Path, help="to work in (default: a temporary one)")
    chosen = parser.parse_args()
    # Before Ray is imported.
    os.environ.update(ENVIRONMENT)
    (few,) = PREPARED_SHAPES.values()
    memory: dict[str, dict[str, int]] = {few: {}, MOST_SHAPES: {}}
    with tempfile.TemporaryDirectory(prefix="ray-memory-", dir=chosen.folder) as name:
        folder = Path(name)
        model = chosen.model or save_random_model(folder / "model")
        for count in chosen.sizes:
            clips = write_shards(folder / f"clips {count}", chosen.clips, count, SHARD)
            for shapes, found in memory.items():
                if shapes == MOST_SHAPES and count > COMPARED:
                    continue
                output = folder / f"{shapes} {count}"
                found[str(count)] = measure(model, clips, output, shapes)
                print(memory, flush=True)
    rows = [
        [f"{count:,}", *(in_megabytes(found.get(str(count))) for found in memory.values())]
        for count in chosen.sizes
    ]
    columns = ["clips", f"{few} shapes kept, as here", f"{int(MOST_SHAPES):,}, as in PyTorch"]
    results = {"memory": memory, "table": {"columns": columns, "rows": rows}}
    # Where folders lie is of no interest to others.
    given = ["--clips", "FOLDER"] if chosen.clips else ["--sizes", *map(str, chosen.sizes)]
    print(f"written to {write_results('ray_memory', results, given)}")


if __name__ == "__main__":
    run_program(main)
