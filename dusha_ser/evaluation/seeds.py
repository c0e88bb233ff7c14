"""Runs that differ in their seed only, as one result: mean, spread of the seeds, intervals."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dusha_ser.evaluation.predictions import Predictions
from dusha_ser.evaluation.ser.ser import (
    BOOTSTRAP,
    SCORES,
    group_confusions,
    interval_warning,
    scores,
)
from dusha_ser.storage import read_json

# Beside the results of each seed.
SEEDS_FILE = "seeds.json"


def seed_metrics(runs: Sequence[Predictions]) -> dict:
    """Average the scores of runs with different seeds on the same clips.

    An interval is of the mean over seeds: speakers are drawn, each with its clips in all runs, so
    it holds what other speakers would change, and of what other seeds would change only the rest
    that the mean leaves. `standard_deviation` is that of a single run.

    Args:
        runs: predictions of the same clips in the same order, at least two.

    Returns:
        `count` clips, `seeds`, each of SCORES as the mean over runs, in [0, 1];
        `standard_deviation`, over runs (n - 1), by score; `groups`, what is drawn, speakers or
        folds, None where neither is known; with groups `group_count`, `intervals` and
        `interval_warning`, as of `ser_metrics`.

    Examples:
        >>> truth, other = np.array([0, 1]), np.array([[1.0, 0], [1, 0]])
        >>> runs = [Predictions(("a", "b"), ["1", "2"], truth, one) for one in (np.eye(2), other)]
        >>> found = seed_metrics(runs)
        >>> found["accuracy"], round(found["standard_deviation"]["accuracy"], 3)
        (0.75, 0.354)
    """
    first = runs[0]
    names, groups = known_groups(first)
    confusions = run_confusions(runs, groups)
    values = scores(confusions.sum(axis=0))
    found = {
        "count": len(first.ids),
        "seeds": len(runs),
        **dict(zip(SCORES, values.mean(axis=1).tolist(), strict=True)),
        "standard_deviation": dict(zip(SCORES, values.std(axis=1, ddof=1).tolist(), strict=True)),
        "groups": names if groups else None,
    }
    if groups:
        # The draw sums over groups, and the mean is over the runs, the last axis that is left.
        found["group_count"] = len(confusions)
        found["intervals"] = (
            BOOTSTRAP.draw(confusions, lambda drawn: scores(drawn).mean(axis=-1))
            if len(confusions) > 1
            else dict.fromkeys(SCORES)
        )
        found["interval_warning"] = interval_warning(len(confusions), names)
    return found


def seed_differences(runs: Sequence[Predictions], others: Sequence[Predictions]) -> dict:
    """Say by how much runs of one model are better than runs of another, on the same clips.

    An interval is of the difference of the means over seeds; speakers are drawn as in
    `seed_metrics`, each with its clips in all runs of both models.

    Args:
        runs: predictions of one model, of each seed.
        others: predictions of the other, of the same clips in the same order.

    Returns:
        Each of SCORES as the difference, in [-1, 1]; `intervals`, None where there are not two
        groups to draw from.

    Examples:
        >>> truth, other = np.array([0, 1]), np.array([[1.0, 0], [1, 0]])
        >>> both = [Predictions(("a", "b"), ["1", "2"], truth, one) for one in (np.eye(2), other)]
        >>> seed_differences(both[:1], both[1:])["accuracy"]
        0.5
    """
    groups = known_groups(runs[0])[1]
    confusions = run_confusions([*runs, *others], groups)

    def gained(drawn: np.ndarray) -> np.ndarray:
        values = scores(drawn)
        return values[..., : len(runs)].mean(axis=-1) - values[..., len(runs) :].mean(axis=-1)

    values = gained(confusions.sum(axis=0)).tolist()
    found: dict = dict(zip(SCORES, values, strict=True))
    found["intervals"] = BOOTSTRAP.draw(confusions, gained) if len(confusions) > 1 else None
    return found


def known_groups(predictions: Predictions) -> tuple[str, list[str] | None]:
    """Return what intervals are over, speakers or else folds, and of each clip which one."""
    if predictions.speakers is not None:
        return "speakers", predictions.speakers
    return "folds", predictions.folds


def run_confusions(runs: Sequence[Predictions], groups: Sequence[str] | None) -> np.ndarray:
    """Count clips by group, run, true and predicted label, (groups, runs, labels, labels)."""
    groups = groups or [""] * len(runs[0].ids)
    counts = [
        group_confusions(run.predicted, run.references, groups, len(run.labels)) for run in runs
    ]
    return np.stack(counts, axis=1)


def seeds_folds_table(results: Sequence[dict]) -> list[list[str]]:
    """Return the cells of a table with one row per fold: mean and deviation over seeds.

    The last row is the mean of these means and their deviation over folds.
    """
    table = [["fold", "clips", *SCORES]]
    means = []
    for fold in results[0]["folds"]:
        metrics = [result["folds"][fold]["metrics"] for result in results]
        values = np.array([[one[score] for score in SCORES] for one in metrics])
        means.append(values.mean(axis=0))
        table.append([fold, f"{metrics[0]['count']:,}", *spread_cells(values)])
    table.append(["mean ± sd", "", *spread_cells(np.array(means))])
    return table


def spread_cells(values: np.ndarray) -> list[str]:
    """Return mean and standard deviation (n - 1) over the rows of (rows, scores), as cells."""
    pairs = zip(values.mean(axis=0), values.std(axis=0, ddof=1), strict=True)
    return [f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in pairs]


def noise_sentence(metrics: dict) -> str:
    """Say how much of a difference is noise, by what `seed_metrics` returned."""
    deviations = metrics["standard_deviation"]
    parts = [f"{deviations[score]:.3f} in {score}" for score in SCORES]
    text = (
        f"A run of another seed differs by a standard deviation of {', '.join(parts)}, as measured "
        f"over {metrics['seeds']} seeds"
    )
    if metrics.get("intervals") and all(metrics["intervals"].values()):
        wide = max((high - low) / 2 for low, high in metrics["intervals"].values())
        text += f"; other {metrics['groups']} change the mean over seeds by up to ±{wide:.3f}"
    return f"{text}. A smaller difference between two results is noise."


def read_seeds_result(folder: Path) -> list[dict]:
    """Read the mean over seeds of a folder of `dusha cross-validate`; empty where there is none."""
    return [read_json(folder / SEEDS_FILE)] if (folder / SEEDS_FILE).is_file() else []
