"""Many visitors of the demo at once, and many files in one run; longer ones are in benchmarks."""

import pytest

from benchmarks import demo_load, predict_memory

pytestmark = pytest.mark.timeout(900)
# A machine that others use, too, may not answer everybody twice in the seconds that there are.
SECONDS = 20
CLIENTS = 50
MEGABYTE = 2**20


def test_demo_when_fifty_visitors_ask_at_once(tmp_path):
    pytest.importorskip("gradio_client", reason="the demo needs the extra demo")
    seen = demo_load.measure(CLIENTS, SECONDS, tmp_path)
    assert seen["failures"] == 0, seen
    fewest, most = seen["answers_a_visitor"].values()
    assert fewest >= 1, seen
    # First come, first served: nobody is served twice while another waits for the first time.
    assert most - fewest <= max(3, fewest), seen
    assert seen["memory"]["most_in_second_half"] < 1.3 * seen["memory"]["most_in_first_half"], seen


def test_prediction_when_clips_are_many_takes_no_more_memory(tmp_path):
    seen = predict_memory.measure([500, 1500], tmp_path)["clips"]
    assert [one["rows"] for one in seen.values()] == [500, 1500]
    assert seen[1500]["most_memory"] < seen[500]["most_memory"] + 40 * MEGABYTE, seen
