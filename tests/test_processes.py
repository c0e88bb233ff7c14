"""Worker processes end with the program that started them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dusha_ser import processes
from dusha_ser.errors import WorkFailedError
from dusha_ser.processes import SPAWN, WorkerPool

PARENT = """
import os, sys, time
sys.path.insert(0, {folder!r})
from dusha_ser.processes import end_with, workers_end_with_us

if sys.argv[1] == "inside":
    context = workers_end_with_us()
    context.__enter__()
    if len(sys.argv) > 2:
        context.__exit__(None, None, None)
child = os.fork()
if not child:
    if sys.argv[1] == "by hand":
        end_with(os.getppid())
    grandchild = os.fork()
    if grandchild:
        os.write(1, b"%d\\n" % grandchild)  # in one piece, whoever else writes
    time.sleep(60)
    os._exit(0)
os.write(1, b"%d\\n" % child)
time.sleep(60)
"""


def family(*arguments):
    program = PARENT.format(folder=str(Path(processes.__file__).parents[1]))
    parent = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True
    )
    return parent, [int(parent.stdout.readline()) for _ in range(2)]


def is_alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_end(process, seconds=5):
    deadline = time.monotonic() + seconds
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(process)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_workers_when_their_program_is_killed():
    parent, workers = family("inside")
    time.sleep(0.5)
    assert all(map(is_alive, workers)), "they live as long as the program does"
    parent.kill()
    parent.wait()
    assert all(map(wait_for_end, workers))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_end_with_when_called_in_a_worker():
    parent, workers = family("by hand")
    parent.kill()
    parent.wait()
    child = min(workers)
    assert wait_for_end(child)
    for process in filter(is_alive, workers):
        os.kill(process, 9)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_workers_when_forked_outside():
    parent, workers = family("inside", "and left again")
    parent.kill()
    parent.wait()
    time.sleep(1)
    assert all(map(is_alive, workers)), "other people's children are none of our business"
    for process in workers:
        os.kill(process, 9)


# Prints the numbers of its workers, which would sleep for a minute.
POOL = """
import os, sys, time
from dusha_ser.processes import WorkerPool

if __name__ == "__main__":
    with WorkerPool(2, time.sleep, 0) as pool:
        try:
            sleeping = [pool.submit(time.sleep, 60) for _ in range(2)]
            while len(pool._processes) < 2:
                time.sleep(0.01)
            # At the second number the test may interrupt at once, so this stands within.
            for process in pool._processes:
                os.write(1, b"%d\\n" % process)
            sleeping[0].result()
        except KeyboardInterrupt:
            os.write(1, b"interrupted\\n")
            raise SystemExit(130)
"""


@pytest.fixture
def pool_program(tmp_path):
    """A program whose two workers sleep, and their numbers."""
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    program = subprocess.Popen(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": str(Path(processes.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    return program, [int(program.stdout.readline()) for _ in range(2)]


@pytest.mark.parametrize("seconds", [0, 1], ids=["while workers start", "while they work"])
def test_worker_pool_when_interrupted_ends_without_a_word_of_the_workers(seconds, pool_program):
    program, workers = pool_program
    time.sleep(seconds)
    os.killpg(program.pid, signal.SIGINT)  # as Ctrl-C does: all of the group
    output, errors = program.communicate(timeout=30)
    assert (program.returncode, output, errors) == (130, "interrupted\n", "")
    assert not any(map(is_alive, workers))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_worker_pool_when_its_program_is_killed(pool_program):
    program, workers = pool_program
    time.sleep(1)
    assert all(map(is_alive, workers))
    program.kill()
    program.communicate()
    assert all(map(wait_for_end, workers))


def test_worker_pool_prepares_each_process_first():
    counter = SPAWN.Value("q", 5)
    with WorkerPool(2, setattr, counter, "value", 7) as pool:
        assert list(pool.map(abs, [-1, 2])) == [1, 2]
    assert counter.value == 7
    assert not multiprocessing.active_children()


def test_worker_pool_when_the_block_fails_ends_its_processes_at_once():
    before = time.monotonic()
    with pytest.raises(KeyError), WorkerPool(2) as pool:
        pool.submit(time.sleep, 60)
        pool.submit(abs, 1).result()
        raise KeyError
    assert time.monotonic() - before < 30
    assert not multiprocessing.active_children()


def test_worker_pool_when_a_process_is_ended_from_outside_says_what_to_lower():
    with (
        pytest.raises(WorkFailedError, match="ended from outside.*smaller `jobs`"),
        WorkerPool(2, limit="jobs") as pool,
    ):
        pool.submit(os._exit, 1).result()
