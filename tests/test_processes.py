"""Worker processes end with the program that started them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dusha_ser import processes

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
