"""What a run has found, in words, and the clips that it is tested on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dusha_ser.evaluation.calibration import TemperatureFit
from dusha_ser.evaluation.predictions import Predictions, score_predictions
from dusha_ser.training.result import TrainingResult, describe_result


@pytest.fixture
def result():
    """Four clips by two speakers, three of them right."""
    predictions = Predictions(
        labels=("no", "yes"),
        ids=["a", "b", "c", "d"],
        references=np.array([0, 0, 1, 1]),
        probabilities=np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]),
        speakers=["x", "y", "x", "y"],
    )
    metrics = score_predictions(predictions)["metrics"]
    return TrainingResult(predictions, "test", metrics, 2.0, [], Path("runs/mine"))


def test_description_holds_scores_confusions_and_the_next_steps(result):
    text = describe_result(result)
    assert "epoch 2" in text
    assert "0.750" in text
    assert "true \\ predicted" in text
    for line in (
        "dusha predict runs/mine recording.wav",
        "--model_name_or_path runs/mine --output_dir runs/mine_tuned ",
        "dusha train runs/mine/options.yaml --output_dir runs/mine_again ",
    ):
        assert line in text


def test_description_says_what_the_temperature_did(result):
    predictions = replace(result.predictions, temperature=2.0)
    result.calibration = TemperatureFit(2.0, 120, "")
    result.scores = score_predictions(predictions)
    before = result.scores["uncalibrated"]["log_loss"]
    text = describe_result(result)
    assert "Temperature 2.000, fitted to 120 validation clips: on the test split log loss" in text
    assert f"{before:.3f} before and {result.metrics['log_loss']:.3f} with it" in text
    result.calibration = TemperatureFit(problem="there are no validation clips")
    assert "without a temperature: there are no validation clips." in describe_result(result)


def test_description_names_folders_that_are_not_there(result, tmp_path):
    result.output_dir = tmp_path / "mine"
    (tmp_path / "mine_tuned").mkdir()
    (tmp_path / "mine_tuned_2").mkdir()
    text = describe_result(result)
    assert f"--output_dir {tmp_path / 'mine_tuned_3'} " in text
    assert f"--output_dir {tmp_path / 'mine_again'} " in text


def test_description_when_no_epoch_was_chosen_says_so(result):
    result.best_epoch = None
    assert "the last epoch" in describe_result(result)
