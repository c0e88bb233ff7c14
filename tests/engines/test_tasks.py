"""Jobs of a corpus as tasks of a cluster; tests/integration/test_ray_engine.py has the cluster."""

import itertools
import sys

import pytest

from dusha_ser.engines.options import EngineOptions
from dusha_ser.engines.tasks import choose_mapper, choose_spread, map_on_ray
from dusha_ser.errors import WrongUseError


def test_this_program_does_its_jobs_itself_unless_told():
    assert choose_spread(EngineOptions()) is None
    assert choose_mapper(EngineOptions()) is map


def test_nothing_to_do_needs_no_cluster(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    spread = choose_spread(EngineOptions(engine="ray"), quiet=True)
    spread(iter(()), 0, print)
    with pytest.raises(WrongUseError, match=r'pip install "dusha-ser\[ray\]"'):
        spread(iter([lambda report: None]), 1, print)


def test_few_items_need_no_cluster_and_are_taken_one_by_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    mapper = choose_mapper(EngineOptions(engine="ray"), quiet=True)
    assert list(mapper(str, range(400))) == [str(number) for number in range(400)]
    taken = itertools.count()
    made = map_on_ray(None, True, str, taken, few=5)
    assert [next(made) for _ in range(5)] == list("01234")
    assert next(taken) == 5
    with pytest.raises(WrongUseError, match=r'pip install "dusha-ser\[ray\]"'):
        next(made)
