"""What is wrong with recordings, counted by reason."""

import numpy as np
import pytest

from dusha_ser.audio.problems import count_reasons, find_problem, find_problems, settle_problems
from dusha_ser.audio.reading import encode_wav
from dusha_ser.errors import MissingInputError, WrongUseError

NOISE = encode_wav(np.random.default_rng(0).normal(0, 0.1, 1600))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (NOISE, None),
        (encode_wav(np.append(np.zeros(16000 * 30), 0.1)), None),
        (encode_wav(np.zeros(1600)), "is silent from beginning to end"),
        (encode_wav(np.zeros(0)), "holds no samples"),
        ("missing.wav", "there is no such file"),
    ],
    ids=["noise", "quiet", "silent", "blank", "missing"],
)
def test_find_problem_of_one_recording(source, reason):
    assert find_problem(source) == reason


def test_find_problems_of_many_keeps_their_order():
    sources = [(str(number), NOISE if number % 3 else b"") for number in range(200)]
    assert list(find_problems(iter(sources))) == [str(number) for number in range(0, 200, 3)]


def test_count_reasons_names_a_few():
    reasons = {f"{number}.wav": "is empty" for number in range(7)} | {"x.wav": "is silent"}
    assert count_reasons(reasons) == (
        '7 x "is empty" (0.wav, 1.wav, 2.wav, 3.wav, 4.wav, ...); 1 x "is silent" (x.wav)'
    )


def test_settle_problems_when_there_are_some(caplog):
    settle_problems({}, 2, "error")
    problems = {"a.wav": "is empty"}
    with pytest.raises(WrongUseError, match="1 of 2 recordings cannot be used: .*bad_rows=skip"):
        settle_problems(problems, 2, "error")
    with pytest.raises(WrongUseError, match="1 of 1 recordings"):
        settle_problems(problems, 1, "skip")
    with pytest.raises(MissingInputError):
        settle_problems({"a.wav": "there is no such file"}, 2, "error")
    assert not caplog.messages
    settle_problems(problems, 2, "skip")
    assert "they are left out" in caplog.text


def test_count_reasons_of_many_kinds_counts_the_others():
    shown = count_reasons({f"{number}.wav": f"is broken in way {number}" for number in range(9)})
    assert shown.endswith('1 x "is broken in way 5" (5.wav); 3 other reasons')
