"""What a loss compares clips with: class numbers, or what the crowd says of them, by its names."""

import logging

import datasets
import numpy as np

from dusha_ser.corpus.contents import TEACHER_COLUMN
from dusha_ser.errors import WrongUseError
from dusha_ser.labels.aggregation import multi_labels
from dusha_ser.training.losses import TeacherLoss
from dusha_ser.training.options import RecipeOptions

logger = logging.getLogger(__name__)
# Losses that learn what the crowd says of the classes; of `other` they learn nothing.
OF_CLASSES = ("soft", "answers")


def make_targets(
    rows: datasets.Dataset, order: np.ndarray, recipe: RecipeOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the loss compares clips with, and how much each clip weighs.

    Args:
        rows: with label and, where the crowd's probabilities are asked for, these.
        order: the model's number of each class of the rows.
        recipe: the kind of loss.

    Returns:
        Class numbers of the model (clips,) int64, or (clips, labels) float32; weights (clips,):
        with `loss=soft` and `loss=answers` how probable it is that a clip has one of the classes,
        and not `other`; with `posterior_weights` how probable its label is; else 1.

    Raises:
        WrongUseError: if the rows have no probabilities, or no log-likelihoods.
    """
    numbers, weights = np.array(rows["label"]), np.ones(len(rows), np.float32)
    if not needs_probabilities(recipe):
        return order[numbers], weights
    probabilities = label_probabilities(rows)
    if recipe.posterior_weights:
        weights = probabilities[np.arange(len(rows)), numbers].astype(np.float32)
    elif recipe.loss in OF_CLASSES:
        weights = probabilities.sum(1).astype(np.float32)
    if recipe.loss == "hard":
        return order[numbers], weights
    if recipe.loss == "multi":
        targets = multi_labels(probabilities, recipe.multi_threshold)
    elif recipe.loss == "answers":
        targets = log_likelihoods(rows)
    else:
        targets = probabilities / probabilities.sum(1, keepdims=True)
    return targets[:, np.argsort(order)].astype(np.float32), weights


def make_teacher_targets(
    rows: datasets.Dataset, order: np.ndarray, unlabelled: int, loss: TeacherLoss
) -> dict[str, np.ndarray]:
    """Return what a loss of teachers compares clips with, by its name in a batch.

    Args:
        rows: with the teachers' probabilities.
        order: the model's number of each class of the rows.
        unlabelled: how many clips, the last ones, have no label.
        loss: that of the teachers.

    Returns:
        `teachers`, (clips, labels) float32 in the order of the model; and, where there are clips
        without labels, `labelled`, (clips,) float32 of 1 and 0.
    """
    column = rows.select_columns([TEACHER_COLUMN]).with_format("numpy")[:][TEACHER_COLUMN]
    softened = loss.soften(np.stack(list(column)))
    targets = {"teachers": softened[:, np.argsort(order)]}
    if unlabelled:
        places = np.arange(len(rows))
        targets["labelled"] = (places < len(rows) - unlabelled).astype(np.float32)
    return targets


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
    return values_of_classes(
        rows,
        "label_probabilities",
        "`loss=soft`, `loss=multi`, `loss=answers` and `posterior_weights` need the crowd's "
        "probabilities of each clip",
    )


def log_likelihoods(rows: datasets.Dataset) -> np.ndarray:
    """Return how probable the answers to each clip are if each class of the rows were the true one.

    Args:
        rows: as of `label_probabilities`, with log_likelihoods in their place.

    Returns:
        (clips, classes) float64, natural logarithms, the largest of each clip being 0.

    Raises:
        WrongUseError: if log-likelihoods or the names of answers are missing.
    """
    values = values_of_classes(
        rows,
        "log_likelihoods",
        "`loss=answers` needs the answers to each clip; prepare the corpus with "
        "`log_likelihoods=True`, or give own recordings an `answers_file`",
    )
    return values - values.max(1, keepdims=True)


def values_of_classes(rows: datasets.Dataset, column: str, need: str) -> np.ndarray:
    """Return (clips, classes) of a column of vectors by answer; `need` says what it is for."""
    names, columns = rows.features["label"].names, rows.column_names
    vectors = list(rows[column]) if column in columns else []
    if not vectors or any(vector is None for vector in vectors):
        raise WrongUseError(f"{need}; the data set has no column {column} with a value in each row")
    answers = list(rows["answers"]) if "answers" in columns else [names] * len(rows)
    values = np.empty((len(rows), len(names)))
    for place, (own, vector) in enumerate(zip(answers, vectors, strict=True)):
        by_name = dict(zip(own or (), vector, strict=False))
        if len(own or ()) != len(vector) or not by_name.keys() >= set(names):
            raise WrongUseError(
                f"a row has {len(vector)} {column} of the answers "
                f"{', '.join(own or ()) or 'unknown'}, and its classes are {', '.join(names)}; the "
                "column `answers` must name them: prepare the data set again"
            )
        values[place] = [by_name[name] for name in names]
    return values


def class_shares(rows: datasets.Dataset, recipe: RecipeOptions) -> np.ndarray:
    """Return how much of each clip is of each class: what class weights in sampling go by.

    Soft targets whose clips are drawn by their labels alone, or not at all, starve rare classes.

    Returns:
        (clips, classes) float64, rows sum to 1: 1 for the clip's label, or with `loss=soft` and
        `loss=answers` the crowd's probabilities, of clips that are not surely `other`.
    """
    if recipe.loss not in OF_CLASSES:
        return np.eye(len(rows.features["label"].names))[np.array(rows["label"])]
    probabilities = label_probabilities(rows)
    return probabilities / probabilities.sum(1, keepdims=True)


def leave_out_uninformative(rows: datasets.Dataset, recipe: RecipeOptions) -> datasets.Dataset:
    """Leave out training clips that a loss can learn nothing from; a warning counts them.

    With `loss=soft` and `loss=answers` these are clips that surely have an answer that is not a
    class, such as `other`; with `posterior_weights` those whose label has the probability 0.
    """
    if not needs_probabilities(recipe):
        return rows
    if recipe.loss == "answers":
        log_likelihoods(rows)  # where they are missing, that is to be said first
    probabilities = label_probabilities(rows)
    useful = np.ones(len(rows), bool)
    if recipe.loss in OF_CLASSES:
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
