"""Figures of results: confusion matrices, calibration, training curves, annotators.

They are made without pyplot, which has global state and may open windows.
"""

import base64
import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dusha_ser.labels.annotator_quality import AnnotatorQuality
from dusha_ser.storage import replacing

DOTS_PER_INCH = 150
# Colours that people with any colour vision tell apart (Okabe and Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Above this share a cell of the map "Blues" is so dark that only white is readable on it.
DARK = 0.55
# Numbers of answers that differ by more than this factor are drawn by their logarithm.
MOST_LINEAR = 20
# More annotators than these are drawn as pixels: as shapes they would make the page megabytes.
MOST_VECTORS = 1000


def draw_confusion(matrices: Mapping[str, dict], title: str = "") -> Figure:
    """Draw confusion matrices by title, as the paper's Figure 3: shares of a label, and clips."""
    figure = Figure(figsize=(0.6 + 4.4 * len(matrices), 4.4), layout="constrained")
    axes = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axis, (name, metrics) in zip(axes, matrices.items(), strict=True):
        counts = np.array(metrics["confusion_matrix"])
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.ndindex(counts.shape):
            text = f"{shares[i, j]:.2f}\n{counts[i, j]:,}" if totals[i, 0] else "no clip"
            colour = "white" if shares[i, j] > DARK else "black"
            axis.text(j, i, text, ha="center", va="center", color=colour, fontsize=9)
        ticks = range(len(counts))
        axis.set_xticks(ticks, metrics["labels"], rotation=30, ha="right", rotation_mode="anchor")
        axis.set_yticks(ticks, metrics["labels"])
        axis.set(xlabel="predicted", ylabel="true")
        axis.set_title(name, fontsize=10)
    figure.suptitle(title)
    return figure


def draw_calibration(models: Mapping[str, Sequence[dict]], title: str = "") -> Figure:
    """Draw how often each model is right by its confidence, from the bins of `reliability`."""
    figure = Figure(figsize=(5, 5.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="perfect")
    for (name, bins), colour in zip(models.items(), itertools.cycle(COLOURS), strict=False):
        points = [(one["confidence"], one["accuracy"]) for one in bins if one["count"]]
        upper.plot(*zip(*points, strict=True), "o-", ms=4, color=colour, label=name, clip_on=False)
        edges = [*(one["low"] for one in bins), bins[-1]["high"]]
        lower.stairs([one["count"] for one in bins], edges, color=colour)
    upper.set(ylabel="share of right predictions", ylim=(0, 1), title=title)
    upper.legend(loc="upper left", fontsize=8, frameon=False)
    lower.set(xlabel="probability of the prediction", ylabel="clips", xlim=(0, 1))
    tidy(upper, lower)
    return figure


def draw_risk_coverage(models: Mapping[str, dict], title: str = "") -> Figure:
    """Draw the risk of each model's most confident predictions, from `measure_confidence`."""
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axis = figure.subplots()
    highest = 0.0
    for (name, measured), colour in zip(models.items(), itertools.cycle(COLOURS), strict=False):
        risks = [1 - one["accuracy"] for one in measured["curve"]]
        label = f"{name}: AURC {measured['aurc']:.3f}"
        axis.plot([one["coverage"] for one in measured["curve"]], risks, color=colour, label=label)
        axis.axhline(risks[-1], color=colour, linestyle=":", linewidth=1)
        highest = max(highest, *risks)
    axis.set(xlabel="coverage: share of the clips, the most confident first", title=title)
    axis.set(ylabel="risk: share of wrong predictions", xlim=(0, 1), ylim=(0, 1.15 * highest or 1))
    axis.legend(loc="lower right", fontsize=8, frameon=False)
    tidy(axis)
    return figure


def draw_curves(log_history: Sequence[dict], title: str = "") -> Figure:
    """Draw loss and, where there are any, scores over the epochs of a Trainer's `log_history`."""
    losses = curves(log_history, {"loss": "training", "eval_loss": "evaluation"})
    names = ("accuracy", "balanced_accuracy", "f1_macro")
    scores = curves(log_history, {f"eval_{name}": name for name in names})
    panels = {"loss": losses} | ({"score": scores} if scores else {})
    figure = Figure(figsize=(4.8 * len(panels), 3.4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (ylabel, lines) in zip(axes, panels.items(), strict=True):
        axis.set_prop_cycle(color=COLOURS)
        for name, points in lines.items():
            marker = "o" if len(points) < 30 else None
            axis.plot(*zip(*points, strict=True), marker=marker, markersize=3, label=name)
        axis.set(xlabel="epoch", ylabel=ylabel)
        if ylabel == "score":
            axis.set_ylim(0, 1)
        if lines:
            axis.legend(fontsize=8, frameon=False)
        tidy(axis)
    figure.suptitle(title)
    return figure


def curves(log_history: Sequence[dict], names: Mapping[str, str]) -> dict[str, list]:
    """Return the (epoch, value) points of each curve by its name, without empty curves."""
    found = {
        shown: [(entry["epoch"], entry[key]) for entry in log_history if key in entry]
        for key, shown in names.items()
    }
    return {shown: points for shown, points in found.items() if points}


def draw_annotators(quality: AnnotatorQuality) -> Figure:
    """Draw information over the number of answers, and control over expected accuracy."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    rasterized = len(quality.answers) > MOST_VECTORS
    dots = {"s": 12, "color": COLOURS[0], "alpha": 0.6, "rasterized": rasterized}
    left.scatter(quality.answers, quality.information, **dots)
    left.set(xlabel="answers", ylabel="information, bits per answer", ylim=(0, None))
    if quality.answers.max() > MOST_LINEAR * max(1, quality.answers.min()):
        left.set_xscale("log")
    known = quality.control_answers > 0
    accuracy = quality.control_accuracy[known]
    intervals = np.array([quality.control_low[known], quality.control_high[known]])
    errors = np.abs(intervals - accuracy)
    style = {"fmt": "o", "markersize": 3, "color": COLOURS[1], "ecolor": "0.85"}
    expected = quality.expected_accuracy[known]
    right.errorbar(expected, accuracy, errors, rasterized=rasterized, **style)
    right.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    right.set(xlabel="expected accuracy", ylabel="accuracy on control tasks")
    right.set(xlim=(0, 1.02), ylim=(-0.02, 1.02))
    tidy(left, right)
    return figure


def tidy(*axes: Axes) -> None:
    """Remove the lines that carry nothing."""
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="0.92", linewidth=0.8)
        axis.set_axisbelow(True)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure to a file, whole or not at all; the file's suffix names the format."""
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=DOTS_PER_INCH)


def svg_uri(figure: Figure) -> str:
    """Return a figure as a data URI, which an HTML page shows without another file."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()
