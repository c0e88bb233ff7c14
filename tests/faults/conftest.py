"""What fault tests share: programs run in this process as from a shell, and a Hub of their own."""

import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from hub_server import HubServer
from warm_programs import WarmPrograms

from dusha_ser.cli.program import name_command, run_program

REPOSITORY = Path(__file__).resolve().parent.parent.parent
# Fault tests are many and small: threads that wait for each other would take most of the time.
os.environ["OMP_NUM_THREADS"] = "1"


class Ended(NamedTuple):
    """How a program ended: exit status, what it printed, what it complained of."""

    status: int
    output: str
    complaint: str


@pytest.fixture
def program(monkeypatch, capsys):
    """Run a program's main function in this process with a command line.

    A defect keeps its traceback, which fails the test; so does a complaint of several lines, where
    the program ended badly.
    """

    def program(main, *arguments):
        monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
        name_command("dusha")
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_program(main)
        status = ended.value.code
        output, complaint = capsys.readouterr()
        if status:
            said = [line for line in complaint.splitlines() if re.match(r"dusha[ \w-]*: ", line)]
            assert len(said) == 1, complaint
            assert "Traceback" not in complaint
            complaint = said[0]
        return Ended(status, output, complaint)

    return program


@pytest.fixture
def hub(tmp_path):
    """An empty Hub of one test's own."""
    with HubServer(tmp_path / "hub") as server:
        yield server


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """Programs in processes of their own, forked from one that has imported everything."""
    programs = WarmPrograms(tmp_path_factory.mktemp("programs"))
    yield programs
    programs.close()


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """A folder with a small network of Dusha's kind that answers different clips differently."""
    from small_network import small_classifier

    from feature_extraction_dusha import DushaFeatureExtractor

    folder = tmp_path_factory.mktemp("model")
    # Attention over few positions: an hour of sound is to take seconds.
    small_classifier(num_mel_bins=64, stage_strides=(2, 2, 4)).save_pretrained(folder)
    DushaFeatureExtractor().save_pretrained(folder)
    return str(folder)
