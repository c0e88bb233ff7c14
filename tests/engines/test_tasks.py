"""Jobs of a corpus as tasks of a cluster; tests/integration/test_ray_engine.py has the cluster."""

import sys

import pytest

from dusha_ser.engines.options import EngineOptions
from dusha_ser.engines.tasks import choose_spread
from dusha_ser.errors import WrongUseError


def test_this_program_does_its_jobs_itself_unless_told():
    assert choose_spread(EngineOptions()) is None


def test_nothing_to_do_needs_no_cluster(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    spread = choose_spread(EngineOptions(engine="ray"), quiet=True)
    spread(iter(()), 0, print)
    with pytest.raises(WrongUseError, match=r'pip install "dusha-ser\[ray\]"'):
        spread(iter([lambda report: None]), 1, print)
