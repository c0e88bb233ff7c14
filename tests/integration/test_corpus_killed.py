"""Preparation that is killed at any moment, or runs twice at once, ends with the same result."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

from small_corpus import make_clips, wav_bytes, write_corpus  # noqa: E402

KILLS = 4
IN_CACHE = """
import sys
sys.path.insert(0, {repository!r})
import dusha
if __name__ == "__main__":
    dusha.load_dataset("crowd", data_dir=sys.argv[1], cache_dir=sys.argv[2], num_proc=2, quiet=True)
"""


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Some hundred clips of ten seconds: work for about a second, so that kills find some."""
    rng = np.random.default_rng(0)
    clips = make_clips(
        {"crowd_train": 240, "crowd_test": 40, "podcast_train": 8, "podcast_test": 8}
    )
    for clip in clips:
        if clip["wav"]:
            clip["samples"] = 0.1 * rng.standard_normal(160_000)
            clip["wav"] = wav_bytes(clip["samples"])
    return write_corpus(tmp_path_factory.mktemp("archives"), clips)


@pytest.fixture
def in_folder(archives, tmp_path):
    """Start the program that writes a dataset folder with small shards; (start, result)."""
    script = tmp_path / "small_shards.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from dusha_ser.cli import corpus, program\n"
        "from dusha_ser.corpus import parquet_folder\nparquet_folder.SHARD_BYTES = 4e6\n"
        "if __name__ == '__main__':\n    program.run_program(corpus.main)\n"
    )

    def start(result):
        arguments = ["crowd", "--data_dir", archives, "--output_dir", result, "--num_proc", "2"]
        arguments += ["--cache_dir", result.with_name("cache"), "--quiet"]
        return start_process([script, *arguments])

    return start, ".crowd.*/*"


@pytest.fixture
def in_cache(archives, tmp_path):
    script = tmp_path / "in_cache.py"
    script.write_text(IN_CACHE.format(repository=str(REPOSITORY)))
    return lambda result: start_process([script, archives, result]), "dusha/*/*.incomplete/*"


def start_process(arguments):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        # A shell's background job ignores Ctrl-C and hands that on; a user's terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def contents(folder):
    """All that a result consists of; locks, caches of labels and what is left of kills are not."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not path.name.endswith(".lock")
        and not {"clips", "index"} & set(path.relative_to(folder).parts)
    }


def group_members(group):
    """Processes of a group that are alive."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            alive.append(int(stat.parent.name))
    return alive


@pytest.mark.parametrize("kind", ["in_folder", "in_cache"])
def test_preparation_when_killed_again_and_again(kind, request, tmp_path):
    start, unfinished = request.getfixturevalue(kind)
    undisturbed = tmp_path / "undisturbed" / "result"
    process = start(undisturbed)
    assert process.communicate(timeout=120)[1] == ""
    choose = random.Random(kind)
    result = tmp_path / "killed" / "result"
    moments = []
    for _ in range(KILLS):
        process = start(result)
        while process.poll() is None and not list(result.glob(unfinished)):
            time.sleep(0.002)
        time.sleep(choose.uniform(0, 0.3))
        moments.append(len(list(result.glob(unfinished))))
        process.kill()  # the program alone: nobody tells its workers
        process.communicate()
        deadline = time.monotonic() + 10
        while group_members(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not group_members(process.pid), "workers outlived the program"
    assert any(moments), "no kill found work in progress"
    process = start(result)
    assert process.communicate(timeout=120)[1] == ""
    assert process.returncode == 0
    assert contents(result) == contents(undisturbed)


@pytest.mark.parametrize("kind", ["in_folder", "in_cache"])
def test_preparation_when_two_run_at_once(kind, request, tmp_path):
    start, _ = request.getfixturevalue(kind)
    alone, shared = tmp_path / "alone" / "result", tmp_path / "shared" / "result"
    assert start(alone).communicate(timeout=120)[1] == ""
    processes = [start(shared) for _ in range(2)]
    assert [process.communicate(timeout=120)[1] for process in processes] == ["", ""]
    assert [process.returncode for process in processes] == [0, 0]
    assert contents(shared) == contents(alone)


def test_preparation_when_interrupted_by_the_user(in_folder, tmp_path):
    start, unfinished = in_folder
    result = tmp_path / "interrupted" / "result"
    process = start(result)
    while process.poll() is None and not list(result.glob(unfinished)):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: all of the group
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert error.splitlines() == ["dusha: interrupted; the same command resumes"]


def test_preparation_when_workers_are_killed(in_cache, in_folder, archives, tmp_path):
    start, unfinished = in_folder
    result = tmp_path / "killed" / "result"
    process = start(result)
    while process.poll() is None and not list(result.glob(unfinished)):
        time.sleep(0.002)
    # Not Python's own resource tracker, which the system does not take for one that eats memory.
    workers = [
        pid
        for pid in group_members(process.pid)
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert len(error.splitlines()) == 1
    again = start(result)
    assert again.communicate(timeout=120)[1] == ""
    assert datasets.load_dataset(str(result), "crowd", split="train").num_rows == 240
