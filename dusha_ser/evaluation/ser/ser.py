"""Metrics of speech emotion recognition whose names cannot be taken for one another.

`ser_metrics` is the one implementation that training, evaluation and the `evaluate` module at the
end of this file share. It is one long file that imports no other module of the project, because
`evaluate` copies it alone to its own cache.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import datasets
import evaluate
import numpy as np
import pandas as pd
import scipy.stats
import sklearn.metrics
from numpy.typing import ArrayLike

# Dusha's four emotions in Dusha's order (paper, section 3).
LABELS = ("angry", "sad", "neutral", "positive")
SCORES = ("accuracy", "balanced_accuracy", "f1_macro")
# What probabilities are worth, the lower the better.
PROBABILITY_SCORES = ("log_loss", "brier_score", "expected_calibration_error")
# As many bins as Guo et al. 2017 use.
CALIBRATION_BINS = 15
# SciPy draws as many resamples at once as keep one array of counts below this many numbers.
NUMBERS_AT_ONCE = 4_000_000
# Intervals of fewer groups cover much less than the 95 % that they promise: in a simulation of
# normally distributed results those over ten groups covered 90 %, over five 84 %, over three 76 %.
FEW_GROUPS = 10
# The smallest two-sided p of n exchanges is 2 / 2 ** n: five groups never reach 0.05.
LEAST_GROUPS_FOR_P = 6
# All exchanges of 13 groups are fewer than these.
EXCHANGES = 9999
DESCRIPTION = """\
Accuracy, balanced accuracy (mean recall of the classes) and macro F1 of speech emotion recognition,
recall and precision of each class, the confusion matrix, with probabilities log loss, Brier score
and calibration error, and with groups (speakers) bootstrap intervals that resample speakers, not
clips.
"""
CITATION = """\
@article{guo2017calibration,
  title = {On Calibration of Modern Neural Networks},
  author = {Guo, Chuan and Pleiss, Geoff and Sun, Yu and Weinberger, Kilian Q.},
  year = {2017}
}
"""


@dataclass(frozen=True)
class Bootstrap:
    """A bootstrap that draws groups of clips, not clips.

    Attributes:
        confidence_level: share of the resamples that an interval covers, in (0, 1).
        resamples: how many times the groups are drawn.
        seed: of the draws.
    """

    confidence_level: float = 0.95
    resamples: int = 2000
    seed: int = 0

    def draw(
        self,
        confusions: np.ndarray,
        statistic: Callable[[np.ndarray], np.ndarray],
        strata: Sequence[np.ndarray] = (),
    ) -> dict[str, list[float]]:
        """Draw as many groups as there are, with replacement, and take the statistic of each draw.

        Percentiles rather than SciPy's default BCa, which is undefined where all draws agree (a
        model that makes no mistake).

        Args:
            confusions: clips by group and true and predicted label, (groups, ..., labels, labels).
            statistic: from sums of confusions over groups (resamples, ..., labels, labels) to
                numbers (scores, resamples).
            strata: numbers of groups, at least two in each stratum, which are drawn one stratum
                after the other; all are one where none is given.

        Returns:
            the interval [low, high] of each score.
        """
        drawn = scipy.stats.bootstrap(
            strata or (np.arange(len(confusions)),),
            lambda *drawn, axis: statistic(
                sum(confusions[groups].sum(axis=-confusions.ndim) for groups in drawn)
            ),
            n_resamples=self.resamples,
            batch=max(1, NUMBERS_AT_ONCE // confusions.size),
            vectorized=True,
            confidence_level=self.confidence_level,
            method="percentile",
            rng=np.random.default_rng(self.seed),
        )
        ends = np.stack(drawn.confidence_interval, axis=-1).tolist()
        return dict(zip(SCORES, ends, strict=True))


BOOTSTRAP = Bootstrap()


def ser_metrics(
    predictions: ArrayLike,
    references: ArrayLike,
    probabilities: ArrayLike | None = None,
    groups: Sequence[Hashable] | None = None,
    labels: Sequence[str] = LABELS,
    bootstrap: Bootstrap = BOOTSTRAP,
) -> dict:
    """Compare predicted emotions with true ones.

    A class without a clip among the references has no recall, and a class that was never
    predicted has no precision: both are None, and the class is named in `absent_classes` or
    `unpredicted_classes`. Means are taken over the classes that have a value, as scikit-learn's
    defaults do: `balanced_accuracy` over the classes among the references, `f1_macro` over those
    among references or predictions (a class that is on one side only counts as 0).

    Args:
        predictions: label numbers that the model predicted, (clips,), each in [0, labels).
        references: true label numbers, (clips,), each in [0, labels).
        probabilities: the model's probabilities, (clips, labels), rows summing to 1.
        groups: the speaker (or podcast, or session) of each clip, (clips,); asks for intervals.
        labels: names of the labels in the order of their numbers.
        bootstrap: how the intervals are drawn; `evaluate` takes its fields one by one.

    Returns:
        plain Python numbers, lists and dictionaries by label name:
        `count` clips and `labels`; `accuracy`, `balanced_accuracy` and `f1_macro` in [0, 1];
        `recall`, `precision` and `f1` of each class, in [0, 1] or None; `support`, the clips of
        each class; `confusion_matrix` (true labels, predicted labels) in clips; `absent_classes`
        and `unpredicted_classes`, names; with probabilities `log_loss` in nats, at least 0,
        `brier_score` in [0, 2], the squared distance of a clip's probabilities from the truth
        (Brier 1950), and `expected_calibration_error` in [0, 1]; with groups `group_count`,
        `confidence_level`, `intervals`, [low, high] for each of the three scores, None where there
        is one group only, and `interval_warning`, to be shown beside them, None from ten groups on.

    Raises:
        ValueError: if nothing came, lengths differ, a label number is out of range, two labels
            have one name, a group is missing, or probabilities are not probabilities.

    Examples:
        >>> results = ser_metrics([0, 0, 1, 2], [0, 1, 1, 2], labels=["yes", "no", "both"])
        >>> results["accuracy"], results["recall"]
        (0.75, {'yes': 1.0, 'no': 0.5, 'both': 1.0})
    """
    labels = [str(label) for label in labels]
    if len(set(labels)) < len(labels):
        raise ValueError(f"labels are {labels}; each name must differ from the others")
    references = label_numbers(references, "references", len(labels))
    predictions = label_numbers(predictions, "predictions", len(labels), len(references))
    confusion = sklearn.metrics.confusion_matrix(references, predictions, labels=range(len(labels)))
    values = sklearn.metrics.precision_recall_fscore_support(
        references, predictions, labels=range(len(labels)), zero_division=np.nan
    )
    precision, recall, f1, support = (
        {
            label: None if np.isnan(one) else one
            for label, one in zip(labels, column.tolist(), strict=True)
        }
        for column in values
    )
    predicted = dict(zip(labels, confusion.sum(0).tolist(), strict=True))
    results = {
        "count": len(references),
        "labels": labels,
        **dict(zip(SCORES, scores(confusion).tolist(), strict=True)),
        "recall": recall,
        "precision": precision,
        "f1": f1,
        "support": support,
        "confusion_matrix": confusion.tolist(),
        "absent_classes": [label for label, clips in support.items() if not clips],
        "unpredicted_classes": [label for label, clips in predicted.items() if not clips],
    }
    if probabilities is not None:
        probabilities = checked_probabilities(probabilities, len(references), len(labels))
        results["log_loss"] = float(
            sklearn.metrics.log_loss(references, probabilities, labels=range(len(labels)))
        )
        truth = np.eye(len(labels))[references]
        results["brier_score"] = float(((probabilities - truth) ** 2).sum(axis=1).mean())
        bins = reliability(predictions, references, probabilities)
        results["expected_calibration_error"] = expected_calibration_error(bins)
    if groups is not None:
        confusions = group_confusions(predictions, references, groups, len(labels))
        results["group_count"] = len(confusions)
        results["confidence_level"] = bootstrap.confidence_level
        results["intervals"] = (
            bootstrap.draw(confusions, scores) if len(confusions) > 1 else dict.fromkeys(SCORES)
        )
        results["interval_warning"] = interval_warning(len(confusions))
    return results


def compare_models(
    first: ArrayLike,
    second: ArrayLike,
    references: ArrayLike,
    groups: Sequence[Hashable],
    labels: Sequence[str] = LABELS,
    bootstrap: Bootstrap = BOOTSTRAP,
) -> dict[str, dict]:
    """Compare two models on the same clips, paired by group.

    Intervals come from a bootstrap that draws the same groups for both. The p value is that of the
    exact test of paired exchanges (Fisher, The Design of Experiments, 1935, section 21): if the
    models are equally good, each group's two results might as well have been the other way round.
    All 2 ** groups exchanges count where these are at most 9999, else as many random ones, and the
    data at hand as one more (Phipson and Smyth 2010, "Permutation P-values should never be zero").

    Args:
        first: label numbers that one model predicted, (clips,).
        second: label numbers that the other predicted for the same clips, (clips,).
        references: true label numbers, (clips,).
        groups: the speaker of each clip, (clips,); at least two different ones.
        labels: names of the labels in the order of their numbers.
        bootstrap: how the intervals are drawn; its seed is also that of random exchanges.

    Returns:
        for each of the three scores `first`, `second`, `difference` (second - first, in [-1, 1]),
        its `interval` [low, high], `group_count`, and `p_value`, two-sided, in (0, 1], None below
        six groups, which cannot give 0.05.

    Raises:
        ValueError: as `ser_metrics`, or if all clips are of one group.

    Examples:
        >>> truth, speakers = [0, 1, 2, 3, 0, 1], ["a", "a", "b", "b", "c", "c"]
        >>> result = compare_models([0, 1, 2, 3, 0, 0], truth, truth, speakers)
        >>> round(result["accuracy"]["difference"], 3)
        0.167
    """
    references = label_numbers(references, "references", len(labels))
    confusions = np.stack(
        [
            group_confusions(
                label_numbers(predictions, name, len(labels), len(references)),
                references,
                groups,
                len(labels),
            )
            for name, predictions in (("first", first), ("second", second))
        ],
        axis=1,
    )
    if len(confusions) < 2:
        raise ValueError(
            "all clips are of one group; a bootstrap over groups needs two at least: "
            "give the speaker of each clip"
        )

    def differences(confusion: np.ndarray) -> np.ndarray:
        return np.diff(scores(confusion))[..., 0]

    intervals = bootstrap.draw(confusions, differences)
    p_values: Sequence[float | None] = [None] * len(SCORES)
    if len(confusions) >= LEAST_GROUPS_FOR_P:
        p_values = exchange_test(confusions, bootstrap.seed)
    values = scores(confusions.sum(axis=0)).tolist()
    return {
        name: {
            "first": one,
            "second": other,
            "difference": other - one,
            "interval": intervals[name],
            "p_value": p_value,
            "group_count": len(confusions),
        }
        for name, (one, other), p_value in zip(SCORES, values, p_values, strict=True)
    }


def exchange_test(confusions: np.ndarray, seed: int) -> list[float]:
    """Test whether two models' scores differ; see `compare_models`.

    Args:
        confusions: clips by group, model, true and predicted label, (groups, 2, labels, labels).
        seed: of random exchanges.

    Returns:
        the two-sided p value of each score, (scores,), in (0, 1].
    """
    count, _, *shape = confusions.shape
    totals = confusions.sum(axis=0)
    gains = (confusions[:, 1] - confusions[:, 0]).reshape(count, -1).astype(np.float64)

    def differences(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        # Numbers from `count` on are the second model's groups. (..., groups) becomes (..., scores)
        moved = ((first >= count) @ gains).reshape(*first.shape[:-1], *shape)
        return np.moveaxis(scores(totals[1] - moved) - scores(totals[0] + moved), 0, -1)

    numbers = np.arange(2 * count).reshape(2, count)
    return scipy.stats.permutation_test(
        tuple(numbers),
        differences,
        permutation_type="samples",
        vectorized=True,
        n_resamples=EXCHANGES,
        batch=max(1, NUMBERS_AT_ONCE // numbers.size),
        rng=np.random.default_rng(seed),
    ).pvalue.tolist()


def interval_warning(group_count: int | None, groups: str = "groups") -> str | None:
    """Return what to say beside intervals of fewer than ten groups; None: nothing.

    Args:
        group_count: how many there are; None or 1: there are no intervals.
        groups: what they are, such as speakers.

    Examples:
        >>> interval_warning(4, "speakers")
        'intervals over only 4 speakers are too narrow'
    """
    if group_count is None or not 1 < group_count < FEW_GROUPS:
        return None
    return f"intervals over only {group_count} {groups} are too narrow"


def reliability(
    predictions: ArrayLike,
    references: ArrayLike,
    probabilities: ArrayLike,
    bins: int = CALIBRATION_BINS,
) -> list[dict]:
    """Divide clips into bins by the probability given to their prediction (Guo et al. 2017).

    Args:
        predictions: label numbers that the model predicted, (clips,).
        references: true label numbers, (clips,).
        probabilities: (clips, labels), rows summing to 1.
        bins: how many equally wide bins divide (0, 1]; each includes its upper edge.

    Returns:
        for each bin `low` and `high` (its edges), `count` clips, and, None where it is empty,
        `confidence`, the mean probability, and `accuracy`, the share that is right, in [0, 1].

    Raises:
        ValueError: as `ser_metrics`.

    Examples:
        >>> bins = reliability([0, 0], [0, 1], [[0.9, 0.1], [0.7, 0.3]], bins=2)
        >>> bins[1]["count"], bins[1]["confidence"], bins[1]["accuracy"]
        (2, 0.8, 0.5)
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    label_count = probabilities.shape[-1]
    references = label_numbers(references, "references", label_count)
    predictions = label_numbers(predictions, "predictions", label_count, len(references))
    probabilities = checked_probabilities(probabilities, len(references), label_count)
    confidence = probabilities[np.arange(len(predictions)), predictions]
    edges = (np.arange(bins + 1) / bins).tolist()
    clips = pd.DataFrame({"confidence": confidence, "accuracy": predictions == references})
    grouped = clips.groupby(pd.cut(confidence, edges, include_lowest=True), observed=False)
    means = grouped.mean().astype(object)
    found = means.where(means.notna(), None).assign(
        low=edges[:-1], high=edges[1:], count=grouped.size()
    )
    return found[["low", "high", "count", "confidence", "accuracy"]].to_dict("records")


def expected_calibration_error(bins: list[dict]) -> float:
    """Mean distance between confidence and accuracy, each bin weighted by its clips.

    Args:
        bins: what `reliability` gives.

    Returns:
        a number in [0, 1]; 0 is perfect.

    Examples:
        >>> bins = reliability([0, 0], [0, 1], [[0.9, 0.1], [0.7, 0.3]])
        >>> round(expected_calibration_error(bins), 6)
        0.4
    """
    filled = [one for one in bins if one["count"]]
    distance = sum(one["count"] * abs(one["confidence"] - one["accuracy"]) for one in filled)
    return distance / sum(one["count"] for one in filled)


def scores(confusion: np.ndarray) -> np.ndarray:
    """Accuracy, balanced accuracy and macro F1 of confusion matrices.

    Args:
        confusion: clips by true and predicted label, (..., labels, labels), at least one clip.

    Returns:
        the three scores, (scores, ...), in [0, 1].

    Example:
        >>> scores(np.array([[3, 1], [0, 1]])).round(3).tolist()
        [0.8, 0.875, 0.762]
    """
    support, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    correct = np.diagonal(confusion, axis1=-2, axis2=-1)
    return np.stack(
        [
            correct.sum(axis=-1) / support.sum(axis=-1),
            mean_of_defined(correct, support),
            mean_of_defined(2 * correct, support + predicted),
        ]
    )


def mean_of_defined(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Mean of the ratios (..., labels) whose denominator is above 0, (...)."""
    defined = denominator > 0
    ratio = np.divide(numerator, denominator, out=np.zeros(defined.shape), where=defined)
    return ratio.sum(axis=-1) / defined.sum(axis=-1)


def group_confusions(
    predictions: np.ndarray,
    references: np.ndarray,
    groups: Sequence[Hashable],
    label_count: int,
) -> np.ndarray:
    """The confusion matrix of each group in order of appearance, (groups, labels, labels)."""
    if len(groups) != len(references):
        raise ValueError(f"{len(groups)} groups came for {len(references)} references")
    numbers, found = pd.factorize(pd.Series(list(groups), dtype=object))
    if (numbers < 0).any():
        raise ValueError(
            f"groups has no value for clip {int(np.argmin(numbers))}; give each clip a group, "
            "the clip's own number where its speaker is not known"
        )
    shape = (len(found), label_count, label_count)
    cells = np.ravel_multi_index((numbers, references, predictions), shape)
    return np.bincount(cells, minlength=np.prod(shape)).reshape(shape)


def label_numbers(
    values: ArrayLike, name: str, label_count: int, length: int | None = None
) -> np.ndarray:
    """Label numbers as a checked int64 array, (clips,)."""
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; it must be one label number per clip")
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} holds {array.dtype} values such as {array[0]!r}; "
            f"give label numbers, integers from 0 to {label_count - 1}"
        )
    if length is not None and len(array) != length:
        raise ValueError(f"{len(array)} {name} came for {length} references")
    if array.min() < 0 or array.max() >= label_count:
        wrong = array[(array < 0) | (array >= label_count)][0]
        raise ValueError(
            f"{name} holds the label {wrong}; {label_count} labels allow 0 to {label_count - 1}: "
            "give the names of all labels as `labels`"
        )
    return array.astype(np.int64)


def checked_probabilities(probabilities: ArrayLike, length: int, label_count: int) -> np.ndarray:
    """Probabilities as a float64 array (clips, labels) whose rows sum to 1."""
    array = np.asarray(probabilities, dtype=np.float64)
    if array.shape != (length, label_count):
        raise ValueError(
            f"probabilities has shape {array.shape}; {length} clips and {label_count} labels "
            f"need {(length, label_count)}"
        )
    sums = array.sum(axis=1, keepdims=True)
    # Half-precision softmax and five printed decimals stay well within a thousandth.
    wrong = ~((array >= 0).all(axis=1) & (np.abs(sums[:, 0] - 1) < 1e-3))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(
            f"probabilities of clip {i} are {array[i].tolist()}; "
            "they must be at least 0 and sum to 1: are these logits?"
        )
    return array / sums


class SpeechEmotionRecognition(evaluate.Metric):
    """`ser_metrics` as an `evaluate` module.

    Examples:
        >>> ser = evaluate.load("dusha_ser/evaluation/ser")  # from the folder of the project
        >>> results = ser.compute(predictions=[0, 1, 2, 2], references=[0, 1, 1, 2])
        >>> results["accuracy"], results["recall"]["sad"], results["absent_classes"]
        (0.75, 0.5, ['positive'])
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=ser_metrics.__doc__,
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
            reference_urls=["https://arxiv.org/abs/2212.12266", "https://arxiv.org/abs/1706.04599"],
        )

    def _compute(
        self, predictions, references, probabilities=None, groups=None, labels=LABELS, **bootstrap
    ) -> dict:
        options = Bootstrap(**bootstrap)
        return ser_metrics(predictions, references, probabilities, groups, labels, options)
