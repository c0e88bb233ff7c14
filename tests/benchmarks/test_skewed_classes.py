"""A corpus made as skewed as podcasts are."""

import datasets
import numpy as np

from benchmarks.skewed_classes import skew
from dusha_ser.vocabulary import EMOTIONS


def test_classes_are_as_frequent_as_in_podcasts_and_drawn_by_the_seed():
    rows = datasets.Dataset.from_dict(
        {"label": np.repeat(np.arange(4), 300), "number": range(1200)},
        features=datasets.Features(
            label=datasets.ClassLabel(names=list(EMOTIONS)), number=datasets.Value("int64")
        ),
    )
    found = skew(rows, 0)
    # 300 neutral clips times 2,057, 1,170 and 5,909 of 81,104.
    assert np.bincount(found["label"]).tolist() == [8, 4, 300, 22]
    assert found["number"][:] == skew(rows, 0)["number"][:] != skew(rows, 1)["number"][:]
    # A class that would vanish keeps two.
    assert np.bincount(skew(rows.select(range(0, 1200, 30)), 0)["label"]).min() == 2
