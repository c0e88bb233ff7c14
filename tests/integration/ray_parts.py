"""Slices recordings and labels the clips on a cluster, a node of which is killed during each.

Then it prepares a corpus there.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

from benchmarks.ray_cluster import ENVIRONMENT, Cluster

# Before Ray is imported.
os.environ.update(ENVIRONMENT)


def kill_at_first_part(cluster, output, killed):
    """Kill a node when a part is there; notes how many are."""
    while not (there := len(list(output.glob("part-*")))):
        time.sleep(0.01)
    cluster.kill_node()
    killed[output.name] = there


def main():
    """Work in a folder with recordings and a model; prints how many parts there were at kills."""
    from dusha_ser.cli.main import main as dusha

    # Ray's nodes were started elsewhere, as on other machines.
    folder = Path.cwd()
    Path("elsewhere").mkdir()
    os.chdir("elsewhere")
    killed = {}
    with Cluster() as cluster:
        os.chdir(folder)
        label = ["pseudo-label", "slices", "--model", "model", "--number", "4", "--device", "cpu"]
        label += ["--output_file", "picked/picked.csv", "--shard_size", "1"]
        cut = ["slice", "recordings", "--shard_size", "1"]
        for words, output in ((cut, "slices"), (label, "scores")):
            given = cluster, Path(output), killed
            killer = threading.Thread(target=kill_at_first_part, args=given)
            killer.start()
            more = ["--output_shards", output, "--engine", "ray", "--address", cluster.address]
            dusha(["collect", *words, *more, "--quiet"])
            killer.join()
            # Another one comes where signals may be set.
            cluster.nodes.append(cluster.cluster.add_node(**cluster.common))
        words = ["corpus", "crowd", "--data_dir", "archives", "--cache_dir", "cache", "--quiet"]
        words += ["--input_features", "--output_dir", "corpus"]
        dusha([*words, "--engine", "ray", "--address", cluster.address])
    print(json.dumps(killed))


if __name__ == "__main__":
    sys.exit(main())
