"""Claims of shards: one owner each, given back, and taken over from programs that are gone."""

import os
import socket
import subprocess
import sys
import time

import psutil
import pytest

from dusha_ser.shards.claims import FOLDER, Claims
from dusha_ser.shards.stores import Store


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def test_a_claim_has_one_owner_until_it_is_given_back(store):
    with Claims(store) as first, Claims(store) as second:
        assert first.take("3")
        assert not second.take("3")
        assert second.take("4")
        first.release("3")
        assert second.take("3")
    assert store.names(FOLDER) == []


def test_a_claim_of_a_program_that_was_killed_is_taken_over_at_once(store):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert not psutil.pid_exists(done.pid)
    store.write(f"{FOLDER}/0", f"{socket.gethostname()} {done.pid} ab 1.000\n".encode())
    with Claims(store) as claims:
        assert claims.take("0")


def test_a_claim_of_another_machine_is_taken_over_when_it_stays_as_it_is(store):
    store.write(f"{FOLDER}/0", b"elsewhere 1 ab 1.000\n")
    with Claims(store, expiry=0.0) as claims:
        assert not claims.take("0")
        store.write(f"{FOLDER}/0", b"elsewhere 1 ab 2.000\n")
        assert not claims.take("0")
        time.sleep(0.01)
        assert claims.take("0")


def test_a_claim_of_a_container_that_was_started_again_is_taken_over_at_once(store):
    store.write(f"{FOLDER}/0", f"{socket.gethostname()} {os.getpid()} ab 1.000\n".encode())
    with Claims(store) as claims:
        assert claims.take("0")


def test_claims_are_rewritten(store):
    with Claims(store, beat=0.01) as claims:
        assert claims.take("0")
        before = store.read(f"{FOLDER}/0")
        deadline = time.monotonic() + 60
        while store.read(f"{FOLDER}/0") == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
