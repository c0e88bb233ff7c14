"""What is measured of models that hear clips with warped frequencies."""

import shutil

import numpy as np
import pytest
import torch
from small_models import rows_of
from small_network import save_small_classifier

from benchmarks.frequency_warp import find_folds, predict_run, table_rows
from dusha_ser.corpus.named import NamedRows
from dusha_ser.errors import MissingInputError
from dusha_ser.evaluation.predictions import Predictions, write_predictions
from modeling_dusha import DushaForAudioClassification, class_probabilities


@pytest.fixture
def rows():
    """Clips of four speakers."""
    return NamedRows("own", rows_of(2, 4, 0))


@pytest.fixture
def run(rows, tmp_path):
    """A cross-validation with two seeds and two folds, each of which tested half of the clips."""
    clips = np.arange(len(rows.rows))
    for number, seed in enumerate(("seed_1", "seed_2")):
        for fold, tested in (("1", clips[::2]), ("2", clips[1::2])):
            folder = tmp_path / "run" / seed / "folds" / fold
            torch.manual_seed(number)
            save_small_classifier(folder)
            part = rows.rows.select(tested)
            even = np.full((len(tested), 4), 0.25)
            said = Predictions(rows.labels, part["id"][:], np.array(part["label"]), even)
            write_predictions(folder / "predictions.csv", said)
    return tmp_path / "run"


def test_each_clip_is_heard_by_the_model_that_tested_it_with_each_warp(run, rows):
    found = predict_run(run, rows, [0.0, 0.2])
    assert [len(runs) for runs in found] == [2, 2]
    assert sorted(found[0][0].ids) == sorted(rows.rows["id"])
    model = DushaForAudioClassification.from_pretrained(run / "seed_1" / "folds" / "2")
    clip = rows.rows[1]
    place = found[0][0].ids.index(clip["id"])
    for warp, runs in zip((0.0, 0.2), found, strict=True):
        model.config.frequency_warp = warp
        features = torch.tensor(clip["input_features"]).unsqueeze(0)
        expected = class_probabilities(model(features).logits, None)[0].detach()
        order = [model.config.label2id[label] for label in rows.labels]
        np.testing.assert_allclose(runs[0].probabilities[place], expected[order], atol=1e-5)
    first, second = table_rows(run, [0.0, 0.2], found)
    assert first[:2] == ["run", "0"] and second[:2] == ["run", "0.2"]
    assert first[5] == "-" and second[5][0] in "+-" and second[6:] == [2, len(rows.rows)]


def test_run_that_has_not_ended_or_is_none_is_refused(run, tmp_path):
    assert [len(folds) for folds in find_folds(run)] == [2, 2]
    shutil.rmtree(run / "seed_2" / "folds" / "1")
    with pytest.raises(
        MissingInputError, match=r"has not ended, .*: seed_1 2, seed_2 1; resume it"
    ):
        find_folds(run)
    with pytest.raises(MissingInputError, match="holds no models of folds"):
        find_folds(tmp_path / "nothing")
