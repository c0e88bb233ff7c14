"""The validation split: whole speakers, the same every time, about as large as asked for."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dusha_ser.corpus.validation import carve_validation
from dusha_ser.errors import WrongUseError


def make_rows(speakers, clips_each, seed=0):
    rng = np.random.default_rng(seed)
    sources = np.repeat([f"speaker {i}" for i in range(speakers)], clips_each)
    return pa.table(
        {
            "id": [str(i) for i in range(len(sources))],
            "source_id": sources,
            "domain": np.where(rng.random(len(sources)) < 0.3, "podcast", "crowd"),
            "label": rng.choice(4, len(sources), p=[0.1, 0.1, 0.7, 0.1]),
        }
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(20, 60), st.integers(1, 20), st.floats(0.1, 0.5), st.integers(0, 5))
def test_carve_validation_when_there_are_many_speakers(speakers, clips_each, share, seed):
    rows = make_rows(speakers, clips_each, seed)
    test = rows.slice(0, 3)
    splits = carve_validation({"train": rows, "test": test}, share)
    assert list(splits) == ["train", "validation", "test"]
    assert splits["test"].equals(test)
    train, validation = splits["train"], splits["validation"]
    assert not set(train["source_id"].to_pylist()) & set(validation["source_id"].to_pylist())
    assert sorted(train["id"].to_pylist() + validation["id"].to_pylist(), key=int) == (
        rows["id"].to_pylist()
    )
    assert abs(len(validation) / len(rows) - share) <= 2 / speakers + 0.05
    assert carve_validation({"train": rows}, share)["validation"].equals(validation)


def test_carve_validation_when_classes_are_kept_in_proportion():
    rows = make_rows(200, 20)
    splits = carve_validation({"train": rows}, 0.2)
    for name in ("label", "domain"):
        whole = rows[name].to_pylist()
        part = splits["validation"][name].to_pylist()
        for value in set(whole):
            assert part.count(value) / len(part) == pytest.approx(
                whole.count(value) / len(whole), abs=0.03
            )


def test_carve_validation_when_rows_come_in_another_order():
    rows = make_rows(30, 5)
    backwards = rows.take(pa.array(range(len(rows))[::-1]))
    chosen = [
        set(carve_validation({"train": table}, 0.3)["validation"]["source_id"].to_pylist())
        for table in (rows, backwards)
    ]
    assert chosen[0] == chosen[1]


def test_carve_validation_when_speakers_are_unknown():
    rows = make_rows(10, 4)
    sources = rows["source_id"].to_pylist()
    rows = rows.set_column(1, "source_id", pa.array([None] * 20 + sources[20:], pa.string()))
    splits = carve_validation({"train": rows}, 0.25)
    assert splits["validation"]["source_id"].null_count == 0
    assert splits["train"]["source_id"].null_count == 20


def test_carve_validation_when_all_speakers_have_too_many_clips():
    rows = make_rows(4, 12)
    with pytest.raises(WrongUseError, match="by 4 speakers"):
        carve_validation({"train": rows}, 0.05)
    splits = carve_validation({"train": rows}, 0.05, at_least_one=True)
    assert len(set(splits["validation"]["source_id"].to_pylist())) == 1
    assert len(splits["validation"]) == 12


@pytest.mark.parametrize("speakers", [1, 0])
def test_carve_validation_when_it_cannot_be_done(speakers):
    rows = make_rows(2, 10)
    source = pa.array(["only" if speakers else None] * 20, pa.string())
    rows = rows.set_column(1, "source_id", source)
    with pytest.raises(WrongUseError, match=f"`validation` is 0.2, .* are by {speakers} speakers"):
        carve_validation({"train": rows}, 0.2, at_least_one=True)
    with pytest.raises(WrongUseError, match="the chosen `parts` have no train"):
        carve_validation({"test": rows}, 0.2)
