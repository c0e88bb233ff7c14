"""The comparison of what is learnt from a crowd: its order, its layer, and its table."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks.crowd_training import Cell, CrowdLayerLoss, all_cells, compare
from benchmarks.label_doubts import load
from dusha_ser.errors import WrongUseError


def test_cells_are_one_seed_of_all_methods_first():
    cells = all_cells()
    assert len({cell.name for cell in cells}) == len(cells) == 51
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    assert [cell.count for cell in cells if cell.method == "truth"] == [3] * 3


@pytest.mark.parametrize("name", ["missing.py", "crowd.txt"])
def test_what_is_no_program_is_refused(name, tmp_path):
    (tmp_path / "crowd.txt").touch()
    with pytest.raises(WrongUseError, match=f"{name}, not a file that ends in .py"):
        load(tmp_path / name)


def test_crowd_layer_loss_is_the_mean_of_the_answers_of_a_clip():
    learning = pytest.importorskip("crowdkit.learning")
    loss = CrowdLayerLoss(learning.CrowdLayer(5, 3))
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    answers = torch.tensor([[0, -1, 4], [-1, 2, -1], [-1, -1, -1]])
    # A layer that has learnt nothing yet gives each annotator the network's probabilities.
    chances = functional.pad(logits.softmax(1), (0, 1)).log_softmax(1)
    expected = [-(chances[0, 0] + chances[0, 4]) / 2, -chances[1, 2], torch.tensor(0.0)]
    torch.testing.assert_close(loss(logits, answers), torch.stack(expected))
    assert loss.factors(answers).tolist() == [1, 1, 1]


def cell_of(predicted):
    return {
        "clips": 8,
        "right_labels": 0.5,
        "references": [0, 1, 2, 3] * 2,
        "predicted": predicted,
        "speakers": ["a"] * 4 + ["b"] * 4,
    }


def test_compare_averages_seeds_and_draws_speakers():
    right, half = [0, 1, 2, 3] * 2, [0, 1, 2, 3, 1, 2, 3, 0]
    table = compare(
        {
            Cell(0, 3, "published"): cell_of(half),
            Cell(1, 3, "published"): cell_of(half),
            Cell(0, 3, "answers"): cell_of(right),
            Cell(1, 3, "answers"): cell_of(half),
        }
    )
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert [row["balanced accuracy"] for row in rows] == [
        "0.500 [0.000, 1.000]", "0.750 [0.500, 1.000]"
    ]  # fmt: skip
    assert rows[1]["of single seeds"] == "0.500 to 1.000" and rows[1]["seeds"] == "2"
    assert rows[0]["more than published labels"] == "-"
    assert rows[1]["more than published labels"] == "+0.250 [+0.000, +0.500]"
    assert rows[0]["more than `loss=answers`"] == "-0.250 [-0.500, +0.000]"
    assert rows[1]["more than `loss=answers`"] == "-"
    assert np.all([row["answers per clip"] == "3" for row in rows])
