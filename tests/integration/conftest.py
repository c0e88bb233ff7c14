"""What the integration tests share: servers on the loopback address, programs run from a shell."""

import os
import re
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import pytest
from file_server import FileServer
from hub_server import HubServer

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SHOWN_LINES = 60
OUT_OF_REACH = re.compile(r"No matching distribution|Connection|Max retries|Temporary failure|SSL")

# The first lines of a program that is to run as if the project were not installed.
WITHOUT_PROJECT = """
import importlib.util, os, sys

sys.meta_path = [finder for finder in sys.meta_path if "editable" not in finder.__module__]
sys.path = [path for path in sys.path if not os.path.exists(os.path.join(path, "setup.cfg"))]
for name in ("modeling_dusha", "configuration_dusha", "feature_extraction_dusha"):
    assert importlib.util.find_spec(name) is None, f"{name} of the project can be imported"
"""


@pytest.fixture
def hub(tmp_path):
    """An empty Hub of one test's own."""
    with HubServer(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def file_server(tmp_path):
    """A server of the files of tmp_path/served."""
    (tmp_path / "served").mkdir()
    with FileServer(tmp_path / "served") as server:
        yield server


@pytest.fixture(scope="session")
def shell():
    """Run Python from a shell and check the exit status."""
    return run_python


@pytest.fixture(scope="session")
def repository():
    """The folder of the project."""
    return REPOSITORY


@pytest.fixture(scope="session")
def without_project():
    """The first lines of a program that is to run as if the project were not installed."""
    return WITHOUT_PROJECT


@pytest.fixture(scope="session")
def python_with(tmp_path_factory):
    """Makes an environment of some packages and nothing else; gives its interpreter."""

    def make(*packages: str) -> Path:
        folder = tmp_path_factory.mktemp("environment")
        venv.create(folder, with_pip=True)
        python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        process = subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *packages], capture_output=True, text=True
        )
        if process.returncode and OUT_OF_REACH.search(process.stderr):
            pytest.skip(f"no package registry is in reach: {process.stderr.splitlines()[-1]}")
        assert process.returncode == 0, process.stderr
        return python

    return make


@pytest.fixture(scope="session")
def out_of_reach():
    """What pip's message has where no package registry is in reach."""
    return OUT_OF_REACH


@pytest.fixture(scope="session")
def ravdess_archives(shared, tmp_path_factory):
    """Real speech written as the four archives that Dusha is published in."""
    folder = tmp_path_factory.mktemp("ravdess")
    run_python(shared / "tools" / "ravdess_as_dusha.py", folder, cwd=folder)
    return folder


def run_python(
    *arguments: object,
    code: str | None = None,
    without_project: bool = False,
    cwd: Path,
    env: dict[str, str] | None = None,
    status: int = 0,
    timeout: float = 280,
) -> subprocess.CompletedProcess:
    """Run this Python with arguments, as a user would from the shell.

    Args:
        *arguments: what stands after `python`.
        code: a program, given by -c before the arguments; it may be indented.
        without_project: whether code is to find the project's modules not importable.
        cwd: the folder to stand in.
        env: the environment; this process's own if missing.
        status: the exit status to expect.
        timeout: limit in seconds.

    Returns:
        The finished process, with its output as text.
    """
    __tracebackhide__ = True
    if code is not None:
        prelude = WITHOUT_PROJECT if without_project else ""
        arguments = ("-c", prelude + textwrap.dedent(code), *arguments)
    process = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=os.environ if env is None else env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if process.returncode != status:
        shown = f"{process.stdout}\n--- standard error\n{process.stderr}".splitlines()
        pytest.fail(
            f"exit status {process.returncode}, not {status}, of python {arguments}\n"
            + "\n".join(shown[-SHOWN_LINES:])
        )
    return process
