"""When a ratio of speed counts as fallen."""

import pytest

from benchmarks import guard


@pytest.mark.parametrize(
    ("highs", "rounds", "fell"),
    [
        ([2.41], [7], False),
        ([2.39, 2.5], [7, 14], False),
        ([2.39, 2.39], [7, 14], True),
    ],
)
def test_fallen_when_both_intervals_lie_below_four_fifths(highs, rounds, fell, monkeypatch):
    tried, found = [], iter(highs)

    def measure(name, count):
        tried.append(count)
        return {"high": next(found)}

    monkeypatch.setattr(guard, "measure", measure)
    assert (guard.fallen("files to labels", 3.0) is not None) == fell
    assert tried == rounds
