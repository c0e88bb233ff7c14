"""Tests of what is measured of the demo."""

import subprocess
import sys

import pytest

from benchmarks.demo_load import read_answer, resident_memory
from dusha_ser.errors import WorkFailedError


def test_memory_of_a_demo_that_lives_is_known_and_of_one_that_ended_is_not():
    with subprocess.Popen([sys.executable], stdin=subprocess.PIPE) as demo:
        assert 1e5 < resident_memory(demo) < 1e9
        demo.communicate(b"raise SystemExit(3)")
        with pytest.raises(WorkFailedError, match=r"the demo ended with 3 while visitors asked"):
            resident_memory(demo)


def test_answer_is_the_probabilities_of_the_page():
    page = '<td data-probability="0.25">25 %</td><td data-probability="0.75">75 %</td>'
    assert read_answer(page) == [0.25, 0.75]
    assert read_answer("<p>nothing was heard</p>") == []
