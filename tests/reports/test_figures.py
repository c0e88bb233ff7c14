"""Pictures hold the numbers that they were given."""

import base64
import xml.etree.ElementTree as ElementTree

import matplotlib.image
import numpy as np
import pytest

from dusha_ser.evaluation.calibration import measure_confidence
from dusha_ser.evaluation.ser.ser import reliability, ser_metrics
from dusha_ser.reports.figures import (
    draw_calibration,
    draw_confusion,
    draw_curves,
    draw_risk_coverage,
    save_figure,
    svg_uri,
)


def texts(axis):
    return [text.get_text() for text in axis.texts]


def test_draw_confusion_shows_share_and_count_of_each_cell():
    metrics = ser_metrics([0, 0, 1, 2, 2], [0, 1, 1, 2, 2])
    figure = draw_confusion({"crowd": metrics, "podcast": metrics}, "a model")
    first, second = figure.axes
    assert texts(first) == texts(second)
    shown = np.array(texts(first)).reshape(4, 4)
    assert shown[1].tolist() == ["0.50\n1", "0.50\n1", "0.00\n0", "0.00\n0"]
    assert shown[3].tolist() == ["no clip"] * 4
    assert [label.get_text() for label in first.get_yticklabels()] == metrics["labels"]
    assert first.get_title() == "crowd"
    assert first.get_ylabel() == "true"


def test_draw_calibration_puts_points_at_confidence_and_accuracy():
    bins = reliability([0, 0, 1], [0, 1, 1], [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    upper, lower = draw_calibration({"a model": bins}).axes
    x, y = upper.lines[1].get_data()
    assert x == pytest.approx([0.6, 0.9])
    assert y == pytest.approx([1.0, 0.5])
    assert lower.patches[0].get_data().values.sum() == 3


def test_draw_risk_coverage_shows_the_share_of_wrong_predictions_that_are_kept():
    measured = measure_confidence(np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 1, 0, 0], bool))
    (axis,) = draw_risk_coverage({"a model": measured}).axes
    curve, without = axis.lines
    risks = dict(zip(*curve.get_data(), strict=True))
    assert [risks[share] for share in (0.25, 0.5, 0.75, 1.0)] == pytest.approx([0, 0, 1 / 3, 0.5])
    assert without.get_ydata() == [0.5, 0.5]
    assert curve.get_label() == "a model: AURC 0.208"


def test_draw_curves_separates_losses_from_scores():
    history = [
        {"epoch": 0.5, "loss": 1.2, "step": 1},
        {"epoch": 1.0, "eval_loss": 1.1, "eval_f1_macro": 0.4, "eval_accuracy": 0.5},
        {"epoch": 1.0, "train_loss": 1.0, "train_runtime": 3.0},
    ]
    losses, scores = draw_curves(history).axes
    assert [line.get_label() for line in losses.lines] == ["training", "evaluation"]
    assert losses.lines[0].get_data()[1] == [1.2]
    assert [line.get_label() for line in scores.lines] == ["accuracy", "f1_macro"]
    assert len(draw_curves([{"epoch": 1.0, "loss": 1.0}]).axes) == 1


def test_save_figure_writes_a_png_and_nothing_beside_it(tmp_path):
    path = tmp_path / "folder" / "confusion.png"
    save_figure(draw_confusion({"crowd": ser_metrics([0, 1], [0, 1])}), path)
    image = matplotlib.image.imread(path)
    assert image.shape[0] > 300 and image[..., :3].std() > 0.05
    assert list(path.parent.iterdir()) == [path]


def test_svg_uri_holds_a_picture_that_needs_no_file():
    address = svg_uri(draw_curves([{"epoch": 1.0, "loss": 1.0}]))
    head, content = address.split(",")
    assert head == "data:image/svg+xml;base64"
    assert ElementTree.fromstring(base64.b64decode(content)).tag.endswith("svg")
