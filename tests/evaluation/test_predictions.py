"""Files of predictions: written, read, scored again, refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.evaluation.predictions import (
    Predictions,
    compare_predictions,
    read_predictions,
    score_confident,
    score_predictions,
    write_predictions,
)
from dusha_ser.evaluation.ser.ser import LABELS, PROBABILITY_SCORES, ser_metrics


@pytest.fixture
def predictions():
    generator = np.random.default_rng(0)
    return Predictions(
        labels=LABELS,
        ids=[f"clip {i}" for i in range(60)],
        references=generator.integers(0, 4, 60),
        probabilities=generator.dirichlet(np.ones(4), 60),
        speakers=[f'speaker "{i % 7}", Ъ' for i in range(60)],
        folds=[f"{i % 3}" for i in range(60)],
    )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_write_predictions_is_read_back_whole(predictions, suffix, tmp_path):
    path = tmp_path / "new folder" / f"predictions{suffix}"
    write_predictions(path, predictions)
    back = read_predictions(path)
    assert back.labels == predictions.labels
    assert back.ids == predictions.ids
    assert back.speakers == predictions.speakers
    assert back.folds == predictions.folds
    assert back.references.tolist() == predictions.references.tolist()
    np.testing.assert_allclose(back.probabilities, predictions.probabilities, rtol=1e-8)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_predictions_of_several_labels_are_read_back_and_need_not_sum_to_1(
    predictions, suffix, tmp_path
):
    path = tmp_path / f"predictions{suffix}"
    several = replace(
        predictions, probabilities=np.sqrt(predictions.probabilities), multi_label=True
    )
    write_predictions(path, several)
    back = read_predictions(path)
    assert back.multi_label
    np.testing.assert_allclose(back.probabilities, several.probabilities, rtol=1e-8)
    path.write_text(path.read_text().replace("True", "").replace("true", "false"))
    with pytest.raises(WrongUseError, match="sum to 1.*`multi_label`"):
        read_predictions(path)


@pytest.mark.parametrize("values", ['{"sad": 1.1, "angry": 0.5}', '{"sad": -0.1, "angry": 0.5}'])
def test_predictions_of_several_labels_beyond_0_to_1_are_refused(values, tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_text(
        f'{{"id": "a", "label": "sad", "multi_label": true, "probabilities": {values}}}\n'
    )
    with pytest.raises(WrongUseError, match="0 to 1 each"):
        read_predictions(path)


def test_scores_of_several_labels_have_no_log_loss_and_no_calibration(predictions):
    several = replace(predictions, multi_label=True)
    scores, single = score_predictions(several), score_predictions(predictions)
    assert scores["reliability"] == []
    assert scores["majority"] == single["majority"]
    left_out = {"log_loss", "brier_score", "expected_calibration_error"}
    assert left_out == single["metrics"].keys() - scores["metrics"].keys()
    assert scores["metrics"].items() <= single["metrics"].items()


def test_scores_of_a_calibrated_model_hold_those_without_its_temperature(predictions):
    scores = score_predictions(replace(predictions, temperature=2.0))
    raw = predictions.probabilities**2
    raw = raw / raw.sum(axis=1, keepdims=True)
    expected = score_predictions(replace(predictions, probabilities=raw))
    for name in PROBABILITY_SCORES:
        assert scores["uncalibrated"][name] == pytest.approx(expected["metrics"][name])
    assert scores["uncalibrated"]["reliability"] == expected["reliability"]
    assert scores["temperature"] == 2
    # The order of the clips by confidence is another one, and the predictions are the same.
    assert scores["metrics"]["accuracy"] == expected["metrics"]["accuracy"]
    assert "uncalibrated" not in score_predictions(predictions)


def test_scores_of_confident_predictions_are_those_of_these_clips_alone():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.55, 0.45]])
    speakers = ["x", "x", "y", "y"]
    predictions = Predictions(
        ("no", "yes"), list("abcd"), np.array([0, 0, 1, 1]), probabilities, speakers
    )
    scores = score_confident(predictions, 0.6)
    assert scores["coverage"] == 0.75
    assert scores["metrics"]["accuracy"] == pytest.approx(2 / 3)
    assert scores["metrics"]["count"] == 3 and scores["metrics"]["group_count"] == 2
    assert score_confident(predictions, 0.7)["metrics"]["accuracy"] == 1
    none = score_confident(predictions, 0.95)
    assert none == {"least_confidence": 0.95, "coverage": 0, "metrics": None}
    several = replace(predictions, multi_label=True)
    assert score_confident(several, 0.6)["metrics"]["accuracy"] == pytest.approx(2 / 3)


def test_write_predictions_names_what_people_look_for(predictions, tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, predictions)
    head = path.read_text().splitlines()[0]
    assert head == (
        "id,label,prediction,speaker,fold,"
        "probability_angry,probability_sad,probability_neutral,probability_positive"
    )


def test_write_predictions_when_it_fails_leaves_the_old_file(predictions, tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, predictions)
    before = path.read_bytes()
    broken = Predictions(LABELS, predictions.ids, predictions.references, np.zeros((3, 4)))
    with pytest.raises(IndexError):
        write_predictions(path, broken)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_read_predictions_without_speakers_has_none(predictions, tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, predictions)
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace('"speaker ""2"", Ъ"', "")
    path.write_text("\n".join(lines))
    assert read_predictions(path).speakers is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            '{"id": "a", "label": "sad", "probabilities": {"sad": 0.5, "angry": 0.5}}',
            "line 2.*came",
        ),
        ('{"id": "b", "label": "calm", "probabilities": {"sad": 0.5, "angry": 0.5}}', "'calm'"),
        ('{"id": "b", "label": "sad", "probabilities": {"sad": 1.0}}', "began with sad, angry"),
        ('{"id": "b", "label": "sad", "probabilities": {"sad": 3, "angry": -2}}', "sum to 1"),
        ('{"id": "b", "label": "sad", "probabilities": {"sad": 1e999, "angry": 0}}', "sum to 1"),
        (
            '{"id": "b", "label": "sad", "probabilities": {"sad": "x", "angry": 0}}',
            "line 2 is not a",
        ),
        ('{"id": "b", "label": "sad", "probabilities": [0.5, 0.5]}', "line 2 is not a"),
        ('{"id": "b", "label": "sad", "probabilities": {}}', "has no probabilities"),
        (
            '{"label": "sad", "probabilities": {"sad": 0.5, "angry": 0.5}}',
            "line 2 is not a prediction",
        ),
        ("[1, 2]", "line 2 is not a prediction"),
        ("{", "line 2 is not a prediction"),
    ],
)
def test_read_predictions_refuses_a_bad_row_by_its_line(row, message, tmp_path):
    path = tmp_path / "predictions.jsonl"
    good = {"id": "a", "label": "sad", "probabilities": {"sad": 0.5, "angry": 0.5}}
    path.write_text(json.dumps(good) + "\n" + row + "\n")
    with pytest.raises(WrongUseError, match=message):
        read_predictions(path)


def test_read_predictions_of_a_table_without_probabilities_says_what_it_needs(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("id,label,prediction\na,sad,sad\n")
    with pytest.raises(WrongUseError, match="has no probabilities"):
        read_predictions(path)


def test_read_predictions_of_nothing_says_so(tmp_path):
    with pytest.raises(MissingInputError, match="no file"):
        read_predictions(tmp_path / "predictions.csv")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(WrongUseError, match="holds no predictions"):
        read_predictions(tmp_path / "empty.jsonl")
    with pytest.raises(WrongUseError, match=r"\.csv or \.jsonl"):
        read_predictions(tmp_path / "predictions.parquet")


def test_score_predictions_gives_the_metrics_and_the_majority(predictions, tmp_path):
    scores = score_predictions(predictions)
    expected = ser_metrics(
        predictions.predicted,
        predictions.references,
        predictions.probabilities,
        groups=predictions.speakers,
    )
    assert scores["metrics"] == expected
    assert scores["groups"] == "speakers"
    assert sum(one["count"] for one in scores["reliability"]) == 60
    most = scores["majority"]
    assert most["balanced_accuracy"] == 0.25
    assert (
        most["accuracy"]
        == most["support"][most["label"]] / 60
        == max(most["support"].values()) / 60
    )
    json.dumps(scores, allow_nan=False)


def test_score_predictions_resamples_folds_where_speakers_are_not_known(predictions):
    assert score_predictions(predictions)["metrics"]["group_count"] == 7
    without = replace(predictions, speakers=None)
    scores = score_predictions(without)
    assert (scores["metrics"]["group_count"], scores["groups"]) == (3, "folds")
    alone = score_predictions(replace(without, folds=None))
    assert alone["groups"] is None and "intervals" not in alone["metrics"]


def test_compare_predictions_when_labels_are_in_another_order_goes_by_name():
    generator = np.random.default_rng(0)
    labels, turn = ("angry", "sad", "neutral"), [2, 0, 1]
    first, second = (
        Predictions(
            labels=labels,
            ids=[str(number) for number in range(60)],
            references=np.arange(60) % 3,
            probabilities=generator.dirichlet(np.ones(3), 60),
            speakers=[str(number % 12) for number in range(60)],
        )
        for _ in range(2)
    )
    turned = replace(
        second,
        labels=tuple(labels[number] for number in turn),
        references=np.argsort(turn)[second.references],
        probabilities=second.probabilities[:, turn],
    )
    expected = compare_predictions(first, second, "own")
    np.testing.assert_equal(compare_predictions(first, turned, "own"), expected)
    with pytest.raises(WrongUseError, match="different clips or labels"):
        compare_predictions(first, replace(second, labels=("a", "b", "c")), "own")
