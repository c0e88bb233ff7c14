"""How far a model's probabilities can be trusted, and the temperature that makes them right."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax

# With fewer clips the temperature is more noise than measurement (docs/decisions.md).
FEWEST_CLIPS = 50
# Where one of these is as likely as what was found, there is no optimum, as of clips all right.
LOWEST, HIGHEST = 0.05, 20.0
# Coverages of the curve of a result: what is stored does not grow with the test set.
COVERAGES = tuple(percent / 100 for percent in range(1, 101))


@dataclass(frozen=True)
class TemperatureFit:
    """A temperature for a model's logits.

    Attributes:
        temperature: to divide logits by; 1 where none could be fitted.
        clips: that it was fitted to.
        problem: why there is none, in words; "": there is.
    """

    temperature: float = 1.0
    clips: int = 0
    problem: str = "none was asked for"


def fit_temperature(
    logits: np.ndarray,
    references: np.ndarray,
    multi_label: bool = False,
    offset: np.ndarray | float = 0.0,
) -> TemperatureFit:
    """Fit the temperature of the greatest likelihood (Guo et al. 2017, section 4.2).

    Args:
        logits: (clips, labels), of clips that the model was not trained on.
        references: their true label numbers, (clips,).
        multi_label: whether each label has a probability of its own, the sigmoid of its logit,
            which is compared with whether it is the true one.
        offset: what is added to divided logits, (labels,), where they were learnt for classes of
            other shares than these clips'.

    Returns:
        The fit; the temperature is 1, and it is said why, for fewer than 50 clips, clips of one
        label, and where the likelihood has no maximum between 0.05 and 20, as for a model that
        makes no mistake.

    Examples:
        >>> logits = np.array([[4.0, 0.0]] * 75 + [[0.0, 4.0]] * 25)
        >>> truth = np.array(([0] * 60 + [1] * 15) + ([1] * 20 + [0] * 5))
        >>> fit = fit_temperature(logits, truth)  # a share of 0.8 is right: log(4) = 4 / T
        >>> round(fit.temperature, 3)
        2.885
        >>> fit_temperature(logits[:10], truth[:10]).problem
        '10 validation clips are too few, at least 50 are needed'
    """
    clips = len(references)
    if clips < FEWEST_CLIPS:
        return TemperatureFit(
            problem=f"{clips} validation clips are too few, at least {FEWEST_CLIPS} are needed"
        )
    if len(np.unique(references)) == 1:
        return TemperatureFit(problem="all validation clips have the same label")
    logits = np.asarray(logits, dtype=np.float64)
    is_true = np.arange(logits.shape[1]) == np.asarray(references)[:, None]

    def loss(logarithm: float) -> float:
        divided = logits / math.exp(logarithm) + offset
        if multi_label:
            return -float(log_expit(np.where(is_true, divided, -divided)).mean())
        return -float(log_softmax(divided, axis=1)[is_true].mean())

    bounds = math.log(LOWEST), math.log(HIGHEST)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    if not found.fun < min(map(loss, bounds)):
        return TemperatureFit(
            problem="no temperature fits the validation clips best, as where every one is right"
        )
    return TemperatureFit(math.exp(found.x), clips, problem="")


def without_temperature(
    probabilities: np.ndarray, temperature: float, multi_label: bool = False
) -> np.ndarray:
    """Return the probabilities that a calibrated model would give without its temperature.

    Args:
        probabilities: (clips, labels), of all labels of the model or of some that sum to 1.
        temperature: that the logits were divided by.
        multi_label: whether each label has a probability of its own.

    Returns:
        (clips, labels) in [0, 1].

    Examples:
        >>> without_temperature(np.array([[0.8, 0.2]]), 2.0).round(4).tolist()
        [[0.9412, 0.0588]]
    """
    if temperature == 1:
        return probabilities
    raised = probabilities**temperature
    others = (1 - probabilities) ** temperature if multi_label else 0
    return raised / (raised + others if multi_label else raised.sum(axis=1, keepdims=True))


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Give the share of wrong predictions among the most confident ones, however many are kept.

    Clips of the same confidence count as in random order.

    Args:
        confidence: probability of each prediction, (clips,).
        right: whether it is right, (clips,) bool.

    Returns:
        (clips,) in [0, 1]: at place k - 1, the risk of the k most confident predictions, whose
        coverage is k / clips (Geifman and El-Yaniv 2017, "Selective classification for deep neural
        networks").

    Examples:
        >>> confidence = np.array([0.9, 0.8, 0.7, 0.7])
        >>> risk_coverage(confidence, np.array([True, False, True, False])).round(3).tolist()
        [0.0, 0.5, 0.5, 0.5]
    """
    levels, numbers = np.unique(-confidence, return_inverse=True)
    ends = np.cumsum(np.bincount(numbers, minlength=len(levels)))
    errors = np.cumsum(np.bincount(numbers, weights=~right, minlength=len(levels)))
    kept = np.arange(1, len(confidence) + 1)
    return np.interp(kept, [0, *ends], [0, *errors]) / kept


def kept_count(coverage: float, clips: int) -> int:
    """Return how many clips are at least this share of all, and one at least."""
    return max(1, math.ceil(round(coverage * clips, 9)))


def measure_confidence(confidence: np.ndarray, right: np.ndarray) -> dict:
    """Measure how well confidence tells right predictions from wrong ones.

    Args:
        confidence: probability of each prediction, (clips,).
        right: whether it is right, (clips,) bool.

    Returns:
        `aurc`, the area under the risk-coverage curve, the mean of `risk_coverage`, in [0, 1], the
        lower the better; and `curve`, for each coverage of 1 to 100 percent the `coverage`, the
        `accuracy` of the most confident predictions, and `least_confidence`, the confidence of the
        least confident of these, which keeps them and those that are equal.

    Examples:
        >>> found = measure_confidence(np.array([0.9, 0.6]), np.array([True, False]))
        >>> found["aurc"], found["curve"][-1]
        (0.25, {'coverage': 1.0, 'accuracy': 0.5, 'least_confidence': 0.6})
    """
    risk, ordered = risk_coverage(confidence, right), np.sort(confidence)[::-1]
    places = {share: kept_count(share, len(confidence)) - 1 for share in COVERAGES}
    return {
        "aurc": float(risk.mean()),
        "curve": [
            {
                "coverage": share,
                "accuracy": 1 - float(risk[place]),
                "least_confidence": float(ordered[place]),
            }
            for share, place in places.items()
        ],
    }


def at_coverage(curve: list[dict], coverage: float) -> dict:
    """Return the entry of a curve of `measure_confidence` for a whole percentage, such as 0.8."""
    return curve[round(100 * coverage) - 1]
