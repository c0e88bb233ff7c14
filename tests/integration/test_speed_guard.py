"""No change makes one of the three main ratios of speed fall by more than a fifth.

The ratios are measured as the committed ones were, by benchmarks.guard: small, in processor time,
in rounds that take turns. One has fallen only if the whole interval of its median lies below four
fifths of the committed one, twice.
"""

import functools
import json

import pytest

from benchmarks import guard
from benchmarks.machine import describe
from benchmarks.measuring import RESULTS, has_fallen

COMMITTED = RESULTS / "guard.json"


@pytest.mark.parametrize("name", guard.RATIOS)
def test_ratio_when_measured_small_is_at_least_four_fifths_of_the_committed_one(name):
    if not COMMITTED.is_file():
        pytest.skip("nothing to compare with: `python -m benchmarks guard` on an idle machine")
    committed = json.loads(COMMITTED.read_text())
    kinds = [(one["model"], one["instructions"]) for one in (committed["machine"], describe())]
    if kinds[0] != kinds[1]:
        pytest.skip(f"the committed ratios are of {kinds[0]}, and this is {kinds[1]}")
    measure = functools.partial(guard.measure, name)
    found = has_fallen(measure, committed["ratios"][name]["times_as_fast"])
    assert found is None, f"{found} is below four fifths of {committed['ratios'][name]}"
