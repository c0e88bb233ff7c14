"""Answers of a crowd to labels, by any of several methods, as single, soft or multiple labels."""

import numpy as np

from dusha_ser.errors import WrongUseError
from dusha_ser.labels.crowd_answers import AnswerTable, CrowdAnswers, Posteriors, combine_columns
from dusha_ser.labels.dawid_skene import dawid_skene
from dusha_ser.labels.regularised import regularised_dawid_skene
from dusha_ser.vocabulary import (
    ITERATIONS,
    METHODS,
    THRESHOLD,
    TOLERANCE,
    check_stop,
    check_threshold,
)

# Aggregators that are taken from crowd-kit, by the name of their class there.
CROWD_KIT_CLASSES = {
    "one_coin_dawid_skene": "OneCoinDawidSkene",
    "mace": "MACE",
    "glad": "GLAD",
    "wawa": "Wawa",
    "zero_based_skill": "ZeroBasedSkill",
}
# Of these, the ones that weight each annotator's votes by one number.
SKILL_METHODS = ("wawa", "zero_based_skill")
ESTIMATORS = {"dawid_skene": dawid_skene, "regularised_dawid_skene": regularised_dawid_skene}


def crowd_kit(table: AnswerTable, method: str, iterations: int, seed: int) -> np.ndarray:
    """Aggregate to (rows, columns) with a method of crowd-kit, which may take no such options."""
    try:
        import crowdkit.aggregation
        import pandas
    except ImportError as error:
        raise WrongUseError(
            f"`method={method}` needs crowd-kit, which is not installed ({error}): "
            'pip install "dusha-ser[aggregators]", or take one of '
            f"{', '.join(sorted(set(METHODS) - set(CROWD_KIT_CLASSES)))}"
        ) from error
    aggregator = getattr(crowdkit.aggregation, CROWD_KIT_CLASSES[method])()
    for option, value in {"n_iter": iterations, "random_state": seed}.items():
        if hasattr(aggregator, option):
            setattr(aggregator, option, value)
    answers = table.matrix.tocoo()
    repeats = answers.data.astype(int)
    data = pandas.DataFrame(
        {
            "task": np.repeat(answers.row, repeats),
            "worker": np.repeat(table.pair_annotator[answers.col], repeats),
            "label": np.repeat(table.pair_column[answers.col], repeats),
        }
    )
    # Crowd-kit breaks ties of votes by NumPy's shared generator, which is left as it was.
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        aggregator.fit(data)
    finally:
        np.random.set_state(state)
    if method in SKILL_METHODS:
        # Their predict_proba fails with scikit-learn from 1.7 on; it only weights votes by skill.
        skill = aggregator.skills_.reindex(table.pair_annotator).to_numpy()
        votes = table.matrix @ (table.pair_indicator() * skill[:, None])
        total = combine_columns(np.add, votes)[:, None]
        return np.divide(votes, total, out=table.vote_shares(), where=total > 0)
    found = aggregator.probas_.reindex(
        index=range(len(table.row_task)), columns=range(len(table.column_label)), fill_value=0
    )
    return found.to_numpy(dtype=float)


def aggregate(
    answers: CrowdAnswers,
    method: str = "dawid_skene",
    *,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    quiet: bool = True,
) -> Posteriors:
    """Estimate the probability of each label being the true one, by a method of a given name.

    Args:
        answers: of the crowd; the methods of crowd-kit don't learn from known truths.
        method: a name in METHODS; those in CROWD_KIT_CLASSES need crowd-kit.
        iterations: most iterations to take; majority_vote and wawa take none.
        tolerance: as in `dawid_skene`; the methods of crowd-kit keep their own.
        seed: start of the random numbers of crowd-kit: starting points of mace, and ties between
            votes in wawa and zero_based_skill.
        quiet: no progress bar; only the two Dawid-Skene methods have one.

    Returns:
        The labels and their probabilities; a `DawidSkene` of the two methods of this name.

    Raises:
        WrongUseError: method is unknown, crowd-kit is missing, iterations or tolerance negative.

    Examples:
        >>> answers = CrowdAnswers.from_columns(
        ...     tasks=["a", "a", "a", "b"],
        ...     annotators=["x", "y", "z", "x"],
        ...     labels=["sad", "sad", "angry", "angry"],
        ... )
        >>> found = aggregate(answers, "majority_vote")
        >>> found.labels, found.probabilities.round(2)
        (('angry', 'sad'), array([[0.33, 0.67],
               [1.  , 0.  ]]))
    """
    if method not in METHODS:
        raise WrongUseError(f"`method` is {method!r}: take one of {', '.join(METHODS)}")
    if method in ESTIMATORS:
        return ESTIMATORS[method](answers, iterations, tolerance, quiet)
    check_stop(iterations, tolerance)
    table = answers.table()
    if method == "majority_vote" or not len(table.row_task):
        probabilities = table.vote_shares()
    else:
        probabilities = crowd_kit(table, method, iterations, seed)
    return Posteriors(tuple(answers.labels), table.spread(probabilities))


def single_labels(probabilities: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """Choose the most probable label of each task that is sure enough.

    A probability equal to the threshold is enough; of equal labels the one of lowest number wins.

    Args:
        probabilities: float (tasks, labels), from 0 to 1.
        threshold: least probability, above 0 and at most 1.

    Returns:
        int64 (tasks,); -1 where no label is probable enough.

    Raises:
        WrongUseError: if the threshold is out of range.

    Examples:
        >>> single_labels([[0.1, 0.9], [0.5, 0.5], [0.2, 0.8]], threshold=0.9)
        array([ 1, -1, -1])
    """
    check_threshold("threshold", threshold)
    probabilities = np.asarray(probabilities)
    if not probabilities.size:
        return np.full(len(probabilities), -1)
    # argmax takes the first of equals.
    return np.where(probabilities.max(axis=1) >= threshold, probabilities.argmax(axis=1), -1)


def multi_labels(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Choose all labels of each task that are sure enough: several, one or none.

    A probability equal to the threshold is enough, so labels of equal probability are chosen
    together or not at all.

    Args:
        probabilities: float (tasks, labels), from 0 to 1; probabilities, or shares of votes.
        threshold: least probability, above 0 and at most 1.

    Returns:
        bool (tasks, labels).

    Raises:
        WrongUseError: if the threshold is out of range.

    Examples:
        >>> multi_labels([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]], threshold=0.5)
        array([[ True,  True, False],
               [False, False,  True]])
    """
    check_threshold("threshold", threshold)
    return np.asarray(probabilities) >= threshold
