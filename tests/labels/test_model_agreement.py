"""How far a crowd's labels and a model agree."""

import numpy as np
import pytest

from dusha_ser.labels.model_agreement import cleanlab_consensus, label_trust


def test_label_trust_when_worked_by_hand():
    votes = np.array([[3, 1, 0], [0, 0, 0], [2, 2, 0]])
    model = np.array([[0.2, 0.7, 0.1], [0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    trust = label_trust(votes, model, np.array([0, 0, 1]))
    assert trust == pytest.approx([4 * 0.2 / (4 * 0.2 + 2 * 0.7 + 1 * 0.1), 0.5, 0.0])


def test_cleanlab_consensus_when_the_model_decides_a_tie():
    pytest.importorskip("cleanlab", reason='pip install -e ".[report]"')
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 60)
    right = random.random((60, 5)) < 0.8
    answers = np.where(right, truth[:, None], random.integers(0, 3, (60, 5))).astype(float)
    answers[0] = [0, 0, 1, 1, np.nan]
    answers[1] = np.nan
    model = np.full((60, 3), 0.1)
    model[np.arange(60), truth] = 0.8
    model[0] = [0.05, 0.9, 0.05]
    label, quality = cleanlab_consensus(answers, model)
    assert (label[0], label[1]) == (1, -1)
    assert np.isnan(quality[1]) and not np.isnan(np.delete(quality, 1)).any()
    assert (label[2:] == truth[2:]).mean() > 0.95
    assert quality[0] < np.nanmedian(quality)


def test_cleanlab_consensus_when_nobody_answered():
    pytest.importorskip("cleanlab", reason='pip install -e ".[report]"')
    label, quality = cleanlab_consensus(np.full((2, 3), np.nan), np.full((2, 2), 0.5))
    assert label.tolist() == [-1, -1]
    assert np.isnan(quality).all()
