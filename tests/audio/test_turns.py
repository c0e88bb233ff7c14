"""Turns as Python holds them, and fitted to a recording."""

import math

import pytest

from dusha_ser.audio.turns import Turn, fit_turns, make_turns
from dusha_ser.errors import WrongUseError


def test_turns_of_python_come_in_the_order_of_time(caplog):
    turns = [Turn(2, 3, "B"), (0, 1.5), [1, 2, "A", "Да."], {"start": 0.5, "end": 1, "words": 1}]
    assert make_turns([*turns, (4, 4)]) == [
        Turn(0, 1.5),
        Turn(0.5, 1),
        Turn(1, 2, "A", "Да."),
        Turn(2, 3, "B"),
    ]
    assert "1 of 5 turns have no length" in caplog.text


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (1.5, "turn 1 is 1.5; give (start, end)"),
        ((1,), "turn 1 is (1,); give (start, end)"),
        ({"start": 1}, "turn 1: its end is None; give a number of seconds"),
        ((2, 1), "turn 1: ends at 1 s, before it begins at 2 s"),
        ((math.inf, math.inf), "turn 1: its start is inf"),
    ],
)
def test_what_is_not_a_turn(turn, message):
    with pytest.raises(WrongUseError) as error:
        make_turns([turn])
    assert message in str(error.value)


def test_turns_are_cut_to_the_recording_and_counted(caplog):
    turns = [Turn(0, 1, "A"), Turn(2, 10.05), Turn(3, math.inf), Turn(4, 12), Turn(10, 11)]
    assert fit_turns(turns, 10.0, "a.wav") == [
        Turn(0, 1, "A"),
        Turn(2, 10),
        Turn(3, 10),
        Turn(4, 10),
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "a.wav: 1 of 5 turns begin after its end at 10.00 s and are left out",
        "a.wav: 1 of 5 turns end after its end at 10.00 s and are cut there",
    ]
    assert fit_turns([], 10.0, "a.wav") == []
    with pytest.raises(WrongUseError, match=r"all 2 turns begin after its end at 0\.50 s; give"):
        fit_turns(turns[1:3], 0.5, "a.wav")
