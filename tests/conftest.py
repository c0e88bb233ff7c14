"""What all tests share: caches of their own, a fixed seed, the real data if it is there."""

import os
import random
import sys
import tempfile
from pathlib import Path

# Before any Hugging Face library is imported: no cache of the user's, no call home.
_CACHE = tempfile.mkdtemp(prefix="dusha-tests-")
os.environ.update(
    HF_HOME=_CACHE,
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_XET="1",
    HF_DATASETS_DISABLE_PROGRESS_BARS="1",
    XDG_CACHE_HOME=_CACHE,
    # Threads that spin while they wait make parallel tests five times as long.
    OMP_WAIT_POLICY="PASSIVE",
)

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"
NO_REAL_DATA = "no real data in ../shared"

# The same examples in every run; --hypothesis-profile=default looks for new ones.
hypothesis.settings.register_profile("seeded", derandomize=True)
hypothesis.settings.load_profile("seeded")


@pytest.fixture(autouse=True)
def seeds():
    """Each test starts from the same random state, and with subnormal numbers as numbers."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def shared():
    """The folder of real speech, real answers and released weights, which is not ours to ship."""
    if not (SHARED / "data").is_dir():
        pytest.skip(NO_REAL_DATA)
    return SHARED


def pytest_terminal_summary(terminalreporter):
    """Say in one line how many tests had no real data, instead of one line for each place."""
    skipped = terminalreporter.stats.get("skipped", [])
    without_data = [report for report in skipped if NO_REAL_DATA in str(report.longrepr)]
    if without_data:
        count = len(without_data)
        terminalreporter.write_line(f"{count} test{'s' * (count > 1)} skipped: {NO_REAL_DATA}")
