"""What a loss compares clips with: class numbers, or the crowd's probabilities by their names."""

import logging

import datasets
import numpy as np

from dusha_ser.errors import WrongUseError
from dusha_ser.labels.aggregation import multi_labels
from dusha_ser.training.options import RecipeOptions

logger = logging.getLogger(__name__)


def make_targets(
    rows: datasets.Dataset, order: np.ndarray, recipe: RecipeOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the loss compares clips with, and how much each clip weighs.

    Args:
        rows: with label and, where the crowd's probabilities are asked for, these.
        order: the model's number of each class of the rows.
        recipe: the kind of loss.

    Returns:
        Class numbers of the model (clips,) int64, or (clips, labels) float32; weights (clips,).

    Raises:
        WrongUseError: if the rows have no probabilities.
    """
    numbers, weights = np.array(rows["label"]), np.ones(len(rows), np.float32)
    if not needs_probabilities(recipe):
        return order[numbers], weights
    probabilities = label_probabilities(rows)
    if recipe.posterior_weights:
        weights = probabilities[np.arange(len(rows)), numbers].astype(np.float32)
    if recipe.loss == "hard":
        return order[numbers], weights
    if recipe.loss == "multi":
        targets = multi_labels(probabilities, recipe.multi_threshold)
    else:
        targets = probabilities / probabilities.sum(1, keepdims=True)
    return targets[:, np.argsort(order)].astype(np.float32), weights


def needs_probabilities(recipe: RecipeOptions) -> bool:
    """Return whether the loss needs the crowd's probabilities of each clip."""
    return recipe.loss != "hard" or recipe.posterior_weights


def label_probabilities(rows: datasets.Dataset) -> np.ndarray:
    """Return how probable each class of the rows is, by the name of its answer.

    Args:
        rows: with label, label_probabilities and `answers`, the names of these in their order;
            without `answers` they are the classes themselves.

    Returns:
        (clips, classes) float64; the rest of a row, up to 1, is that of answers that are not a
        class, such as `other`.

    Raises:
        WrongUseError: if probabilities or the names of answers are missing.
    """
    names, columns = rows.features["label"].names, rows.column_names
    vectors = list(rows["label_probabilities"]) if "label_probabilities" in columns else []
    if not vectors or any(vector is None for vector in vectors):
        raise WrongUseError(
            "`loss=soft`, `loss=multi` and `posterior_weights` need the crowd's probabilities of "
            "each clip; the data set has no column label_probabilities with a value in each row"
        )
    answers = list(rows["answers"]) if "answers" in columns else [names] * len(rows)
    probabilities = np.empty((len(rows), len(names)))
    for place, (own, vector) in enumerate(zip(answers, vectors, strict=True)):
        chances = dict(zip(own or (), vector, strict=False))
        if len(own or ()) != len(vector) or not chances.keys() >= set(names):
            raise WrongUseError(
                f"a row has {len(vector)} label_probabilities of the answers "
                f"{', '.join(own or ()) or 'unknown'}, and its classes are {', '.join(names)}; the "
                "column `answers` must name them: prepare the data set again"
            )
        probabilities[place] = [chances[name] for name in names]
    return probabilities


def leave_out_uninformative(rows: datasets.Dataset, recipe: RecipeOptions) -> datasets.Dataset:
    """Leave out training clips that a loss can learn nothing from; a warning counts them.

    With `loss=soft` these are clips that surely have an answer that is not a class, such as
    `other`; with `posterior_weights` those whose label has the probability 0.
    """
    if not needs_probabilities(recipe):
        return rows
    probabilities = label_probabilities(rows)
    useful = np.ones(len(rows), bool)
    if recipe.loss == "soft":
        useful &= probabilities.sum(1) > 0
    if recipe.posterior_weights:
        useful &= probabilities[np.arange(len(rows)), np.array(rows["label"])] > 0
    if useful.all():
        return rows
    found = (
        f"{len(rows) - int(useful.sum())} of {len(rows)} training clips have only answers that are "
        "not one of the classes"
    )
    if not useful.any():
        raise WrongUseError(f"{found}; nothing can be learnt from their probabilities: `loss=hard`")
    logger.warning("%s and are left out", found)
    return rows.select(np.flatnonzero(useful))
