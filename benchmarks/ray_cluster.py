"""A cluster of three Ray nodes on this machine: the rows of one process, whatever is killed.

    python -m benchmarks.ray_cluster [--clips FOLDER --model MODEL --count N --rounds N]

The head runs no tasks, two nodes with one processor each do. Measured are: whether rows are those
of `dusha predict` on this machine to the last byte, also when two nodes and the whole job are
killed with SIGKILL and the job is resumed; one shard of the input is damaged. How fast the cluster
is beside the program on the same processors, in turns. With the default of 20,000 clips it takes
up to an hour on two processors. `benchmarks.ray_memory` takes the memory of nodes.
"""

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psutil
import pyarrow
import pyarrow.parquet as pq

from benchmarks.answers_to_labels import peak_memory
from benchmarks.clips import RATE, make_clip
from benchmarks.clips import read as read_clip
from benchmarks.demo_load import save_random_model
from benchmarks.measuring import write_results
from dusha_ser.audio.finding import find_audio_files
from dusha_ser.audio.reading import encode_wav
from dusha_ser.cli.program import run_program
from dusha_ser.engines.recordings import make_key
from dusha_ser.errors import WorkFailedError
from dusha_ser.shards.options import SHARD_SIZE

# Nodes of Ray on one machine find each other by the loopback address with this setting alone.
ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    # A node that died is noticed after five of these, in place of 15 s.
    "RAY_health_check_period_ms": "1000",
}
SECONDS = (0.8, 1.6)
STORE_BYTES = 256 * 2**20
# Fractions of the parts after which a node is killed, another one, and the job.
KILLS = (0.05, 0.3, 0.5)
EVERY = 0.02
IDS = (250_000, 1_000_000)
LIMIT = 3600


def write_shards(folder: Path, source: Path | None, count: int, size: int) -> Path:
    """Write short clips of recordings as Parquet shards, the second of which is damaged.

    The last shard also holds the first clip, and another one under the second one's id.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    if source:
        recordings = [read_clip(path) for path in find_audio_files([source])]
    else:
        recordings = [make_clip(rng, 4.0) for _ in range(20)]
    folder.mkdir(parents=True)
    earliest: dict[str, list] = {}
    for first in range(0, count, size):
        rows: dict[str, list] = {"id": [], "audio": []}
        for number in range(first, min(first + size, count)):
            recording = recordings[rng.integers(len(recordings))]
            length = min(len(recording), round(rng.uniform(*SECONDS) * RATE))
            begin = rng.integers(len(recording) - length + 1)
            # As long as hashes of clips are.
            rows["id"].append(f"{number:032x}")
            rows["audio"].append(encode_wav(recording[begin : begin + length]))
        earliest = earliest or rows
        if first + size >= count:
            rows["id"] += earliest["id"][:2]
            rows["audio"] += [earliest["audio"][0], rows["audio"][0]]
        pq.write_table(pyarrow.table(rows), folder / f"{first // size:05d}.parquet")
    second = folder / "00001.parquet"
    second.write_bytes(second.read_bytes()[: second.stat().st_size // 2])
    return folder


@dataclass
class Cluster:
    """Three nodes, one of which is the head; a node dies with all that runs there."""

    nodes: list[Any] = field(default_factory=list)

    def __enter__(self) -> "Cluster":
        from ray.cluster_utils import Cluster as RayCluster

        common: dict[str, Any] = {
            "node_ip_address": "127.0.0.1",
            "object_store_memory": STORE_BYTES,
        }
        self.common = common | {"num_cpus": 1}
        head = common | {"num_cpus": 0, "include_dashboard": False}
        self.cluster = RayCluster(initialize_head=True, head_node_args=head)
        try:
            self.nodes = [self.cluster.add_node(**self.common) for _ in range(2)]
        except BaseException:
            self.cluster.shutdown()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.cluster.shutdown()

    @property
    def address(self) -> str:
        """Where the head is."""
        return self.cluster.address

    def processes(self, node: Any) -> list[psutil.Process]:
        """What runs on a node: its raylet and the workers that it started."""
        found = []
        for own in node.live_processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                one = psutil.Process(own[1].pid)
                found += [one, *one.children(recursive=True)]
        return found

    def kill_node(self) -> None:
        """Kill the older of the nodes, as a machine dies."""
        node = self.nodes.pop(0)
        for process in self.processes(node):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.cluster.remove_node(node, allow_graceful=False)

    def replace_node(self) -> None:
        """Kill the older of the nodes, and add one."""
        self.kill_node()
        self.nodes.append(self.cluster.add_node(**self.common))

    def memory(self) -> int:
        """What the processes of the fullest node hold in bytes, without the shared object store.

        The store takes STORE_BYTES at most, and is among the shared pages of each process.
        """
        held = [0]
        for node in self.nodes:
            held.append(0)
            for process in self.processes(node):
                with contextlib.suppress(psutil.NoSuchProcess):
                    told = process.memory_info()
                    held[-1] += told.rss - told.shared
        return max(held)


def start(model: Path, clips: Path, output: Path, *more: str) -> subprocess.Popen:
    """Start `dusha predict` into a folder of shards."""
    words = ["predict", str(model), str(clips), "--output_shards", str(output), "--quiet", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "dusha_ser", *words],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(program: subprocess.Popen) -> None:
    """Wait for a program; a damaged shard and an id of two clips are status 1, and a line."""
    told, _ = program.communicate(timeout=LIMIT)
    if program.returncode != 1 or "2 of" not in told:
        raise WorkFailedError(f"dusha predict ended with {program.returncode}: {told[-2000:]}")


def on_ray(cluster: Cluster) -> tuple[str, ...]:
    """Return the options for a job on a cluster."""
    return "--engine", "ray", "--address", cluster.address


def read_rows(folder: Path) -> pyarrow.Table:
    """Read all rows of a job, in the order of their ids."""
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    return pyarrow.concat_tables(tables).sort_by("id").combine_chunks()


def run_killed(cluster: Cluster, job: Callable[[], subprocess.Popen], output: Path, parts: int):
    """Run a job while two nodes and then itself are killed, and resume it.

    Returns:
        How many parts were there at each kill.
    """
    program, killed = job(), []
    kills = [cluster.replace_node, cluster.replace_node, program.kill]
    for share, kill in zip(KILLS, kills, strict=True):
        while (there := len(list(output.glob("*.parquet")))) < max(1, share * parts):
            if program.poll() is not None:
                finish(program)
                raise WorkFailedError("the job ended before it was killed; give more clips")
            time.sleep(EVERY)
        kill()
        killed.append(there)
    program.communicate()
    if program.returncode != -signal.SIGKILL:
        raise WorkFailedError("the job ended before it was killed; give more clips")
    finish(job())
    return killed


def measure_ids(count: int) -> dict[str, int]:
    """Let Ray load ids as where a job is resumed; bytes of its array, and of this process."""
    from ray.data.checkpoint.checkpoint_filter import convert_and_sort_checkpointed_ids

    keys = [make_key(number // SHARD_SIZE, f"{number:032x}") for number in range(count)]
    table = pyarrow.table({"id": keys})
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_memory()
    _, size = cast(Any, convert_and_sort_checkpointed_ids)._function(table, "id")
    return {"array": int(size), "grown": peak_memory() - before}


def ids_alone(count: int) -> dict[str, int]:
    """Do `measure_ids` in a process of its own."""
    code = f"from benchmarks.ray_cluster import measure_ids; print(measure_ids({count}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    import ast

    return ast.literal_eval(done.stdout.splitlines()[-1])


def measure_speed(
    folder: Path, model: Path, clips: Path, cluster: Cluster, rounds: int
) -> dict[str, Any]:
    """Classify by the program with two processes and on the cluster, in turns."""
    seconds: dict[str, list[float]] = {"one machine": [], "ray": []}
    at_work: dict[str, list[float]] = {"one machine": [], "ray": []}
    for number in range(rounds):
        for name, more in (("one machine", ("--num_proc", "2")), ("ray", on_ray(cluster))):
            began, output = time.perf_counter(), folder / f"{name} {number}"
            finish(start(model, clips, output, *more))
            seconds[name].append(round(time.perf_counter() - began, 2))
            written = [part.stat().st_mtime for part in output.glob("*.parquet")]
            at_work[name].append(round(max(written) - min(written), 2))
    return {
        "seconds": seconds,
        "seconds_from_first_to_last_part": at_work,
        "ray_beside": beside(seconds),
        "ray_beside_from_first_to_last_part": beside(at_work),
    }


def beside(seconds: dict[str, list[float]]) -> float:
    """Say how fast the cluster is beside the program, as the median over the pairs."""
    pairs = zip(seconds["one machine"], seconds["ray"], strict=True)
    return round(statistics.median(one / ray for one, ray in pairs), 3)


def make_table(results: dict[str, Any]) -> dict[str, Any]:
    """Return the columns and rows that pages show."""
    killed, speed = results["killed"], results.get("speed", {})
    there = ", ".join(str(one) for one in killed["parts_at_kills"])
    rows = [
        ["clips, files", f"{results['clips']:,}, {killed['parts']}"],
        ["files there when a node, another one and the job were killed", there],
        ["rows those of one process, byte for byte", "yes" if killed["same_rows"] else "no"],
        ["ids in more than one row", str(killed["ids_twice"])],
        ["rows of errors: a damaged file, an id of two clips", str(killed["rows_of_errors"])],
    ]
    if speed:
        whole, working = speed["ray_beside"], speed["ray_beside_from_first_to_last_part"]
        rows += [
            ["speed beside the program with two processes", f"{whole:.2f}"],
            ["the same from the first file to the last", f"{working:.2f}"],
        ]
    return {"columns": ["what", "measured"], "rows": rows}


def measure(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure all that is asked for."""
    model = chosen.model or save_random_model(folder / "model")
    clips = write_shards(folder / "clips", chosen.clips, chosen.count, chosen.shard_size)
    finish(start(model, clips, folder / "one"))
    expected = read_rows(folder / "one")
    results: dict[str, Any] = {"clips": chosen.count, "rows": expected.num_rows}
    parts = len(list(clips.iterdir()))
    with Cluster() as cluster:
        output = folder / "killed"
        killed = run_killed(
            cluster, lambda: start(model, clips, output, *on_ray(cluster)), output, parts
        )
        rows = read_rows(output)
        results["killed"] = {
            "parts_at_kills": killed,
            "parts": parts,
            "same_rows": rows.equals(expected),
            "ids_twice": rows.num_rows - len(rows["id"].unique()),
            "rows_of_errors": rows.num_rows - rows["error"].null_count,
        }
        print(results, flush=True)
        if chosen.rounds:
            results["speed"] = measure_speed(folder, model, clips, cluster, chosen.rounds)
            results["same_rows"] = read_rows(folder / "ray 0").equals(expected)
            print(results["speed"], flush=True)
    results["table"] = make_table(results)
    return results


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.ray_cluster --count 2000 --shard_size 50 --rounds 1",
    )
    parser.add_argument("--clips", type=Path, help="mono 16 kHz recordings (default: made)")
    parser.add_argument("--model", type=Path, help="model folder or .onnx file (default: random)")
    parser.add_argument("--count", type=int, default=20_000, help="clips to classify")
    parser.add_argument("--shard_size", type=int, default=200, help="clips of a shard")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs whose time is taken")
    parser.add_argument("--folder", type=Path, help="to work in (default: a temporary one)")
    parser.add_argument("--output_file", type=Path, help="also write the results to this file")
    chosen = parser.parse_args()
    # Before Ray is imported.
    os.environ.update(ENVIRONMENT)
    with tempfile.TemporaryDirectory(prefix="ray-cluster-", dir=chosen.folder) as folder:
        results = measure(chosen, Path(folder))
    if chosen.output_file:
        import json

        chosen.output_file.write_text(json.dumps(results, indent=2) + "\n")
        return
    # Where folders lie is of no interest to others.
    given = ["--clips", "FOLDER"] if chosen.clips else ["--count", str(chosen.count)]
    print(f"written to {write_results('ray_cluster', results, given)}")


if __name__ == "__main__":
    run_program(main)
