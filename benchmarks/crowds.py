"""Crowds whose truth is known: simulated ones, and real ones from tables of their answers."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from dusha_ser.archives.find import find_archives
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.labels.answers import code_answers, read_answers
from dusha_ser.labels.crowd_answers import CrowdAnswers
from dusha_ser.vocabulary import ANSWERS as LABELS

# The paper's counts; that of annotators is a guess, for it does not say.
ANSWERS, CLIPS, ANNOTATORS = 1_715_301, 303_963, 8_000
LABEL_COUNT = 5
# Table 2 of the Dusha paper, all of it: angry, sad, neutral, positive, other.
SHARES = {
    "Dusha's": np.array([19177, 24486, 187954, 21355, 1877]) / 254849,
    "even": np.full(LABEL_COUNT, 1 / LABEL_COUNT),
}


@dataclass(frozen=True)
class Crowd:
    """Answers and truth.

    Attributes:
        answers: of the crowd, with no truth known.
        truth: int64 (tasks,), -1 where it is not known.
    """

    answers: CrowdAnswers
    truth: np.ndarray


def mixed(random: np.random.Generator) -> tuple[float, float]:
    """Draw a careful, a hasty or, one in fifteen, a guessing annotator."""
    kind = random.random()
    if kind > 14 / 15:
        return 1 / LABEL_COUNT, 1e6
    return (random.uniform(0.75, 0.95) if kind < 0.6 else random.uniform(0.5, 0.7)), 2.0


def careful(random: np.random.Generator) -> tuple[float, float]:
    """Draw an annotator who is mostly right."""
    return random.beta(20, 3), 2.0


def poor(random: np.random.Generator) -> tuple[float, float]:
    """Draw an annotator who is as often wrong as right."""
    return random.uniform(0.3, 0.7), 2.0


def biased(random: np.random.Generator) -> tuple[float, float]:
    """Draw an annotator who takes each emotion for one certain other."""
    return random.uniform(0.6, 0.9), 0.3


# How an annotator is drawn: how often right, and how evenly wrong answers spread (the parameter
# of a Dirichlet distribution; all alike if large).
KINDS: dict[str, Callable[[np.random.Generator], tuple[float, float]]] = {
    "mixed": mixed,
    "careful": careful,
    "poor": poor,
    "biased": biased,
}


def simulate_crowd(
    kind: str,
    *,
    seed: int,
    answers_an_annotator: float,
    answers_a_task: int = 5,
    tasks: int = 600,
    shares: str = "Dusha's",
) -> Crowd:
    """Simulate a crowd of one kind.

    Args:
        kind: a name in KINDS.
        seed: start of the random numbers.
        answers_an_annotator: how many answers each annotator gives on average.
        answers_a_task: number of annotators of each task, all different.
        tasks: number of tasks.
        shares: a name in SHARES, how often each label is true.

    Returns:
        The crowd.
    """
    random = np.random.default_rng(seed)
    truth = random.choice(LABEL_COUNT, size=tasks, p=SHARES[shares])
    annotators = max(answers_a_task, round(tasks * answers_a_task / answers_an_annotator))
    confusion = np.empty((annotators, LABEL_COUNT, LABEL_COUNT))
    for own in confusion:
        accuracy, evenness = KINDS[kind](random)
        own[:] = random.dirichlet(np.full(LABEL_COUNT, evenness), size=LABEL_COUNT)
        np.fill_diagonal(own, 0)
        own *= (1 - accuracy) / np.maximum(own.sum(axis=1, keepdims=True), 1e-12)
        np.fill_diagonal(own, accuracy)
    task = np.repeat(np.arange(tasks), answers_a_task)
    annotator = np.concatenate(
        [random.choice(annotators, size=answers_a_task, replace=False) for _ in range(tasks)]
    )
    cumulative = confusion[annotator, truth[task]].cumsum(axis=1)
    label = (random.random((len(task), 1)) > cumulative[:, :-1]).sum(axis=1)
    names = range(tasks), range(annotators), LABELS
    return Crowd(CrowdAnswers(task, annotator, label, *names), truth)


def simulate_dusha(answers: int, tasks: int, annotators: int, seed: int = 0) -> Crowd:
    """Simulate a crowd of any size fast, in random order; annotators are right or guess.

    Args:
        answers: number of answers, at least one a task.
        tasks: number of tasks.
        annotators: number of annotators; some answer a thousand times as often as others.
        seed: start of the random numbers.

    Returns:
        The crowd.
    """
    random = np.random.default_rng(seed)
    truth = random.choice(LABEL_COUNT, size=tasks, p=SHARES["Dusha's"])
    task = np.r_[np.arange(tasks), random.integers(tasks, size=answers - tasks)]
    shares = 1 / (np.arange(annotators) + 20)
    annotator = random.choice(annotators, size=answers, p=shares / shares.sum())
    right = random.random(answers) < random.beta(6, 2, annotators)[annotator]
    label = np.where(right, truth[task], random.integers(LABEL_COUNT, size=answers))
    order = random.permutation(answers)
    names = range(tasks), range(annotators), LABELS
    return Crowd(CrowdAnswers(task[order], annotator[order], label[order], *names), truth)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a CSV file with a header.

    Raises:
        MissingInputError: if there is no such file.
    """
    if not path.is_file():
        raise MissingInputError(f"there is no file {path}: give the folder that holds it")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_crowd(folder: Path) -> Crowd:
    """Read answers and truth as the truth-inference benchmark of Zheng et al. (2017) has them.

    Args:
        folder: holds answers.csv (question, worker, answer) and truth.csv (question, truth);
            answers are numbers from 0.

    Returns:
        The crowd.

    Raises:
        MissingInputError: if a file is missing.
        WrongUseError: if a column is missing or an answer is not a number.
    """
    rows, known = read_table(folder / "answers.csv"), read_table(folder / "truth.csv")
    try:
        tasks, task = np.unique([row["question"] for row in rows], return_inverse=True)
        annotators, annotator = np.unique([row["worker"] for row in rows], return_inverse=True)
        label = np.array([int(row["answer"]) for row in rows])
        truth = {row["question"]: int(row["truth"]) for row in known}
    except (KeyError, ValueError) as error:
        raise WrongUseError(
            f"{folder}: answers.csv needs the columns question, worker and answer, truth.csv "
            f"question and truth, answers as numbers from 0: {error!r}"
        ) from error
    labels = tuple(map(str, range(max(label.max(), *truth.values()) + 1)))
    names = cast(Sequence, tasks), cast(Sequence, annotators), labels
    answers = CrowdAnswers(task, annotator, label, *names)
    return Crowd(answers, np.array([truth.get(name, -1) for name in tasks]))


def read_archives(folder: Path, labels: tuple[str, ...]) -> Crowd:
    """Read answers from archives in Dusha's layout, and the truth that lies beside them.

    Args:
        folder: holds crowd.tar, podcast.tar and truth.csv (hash_id, emotion).
        labels: the answers that annotators could give.

    Returns:
        The crowd.

    Raises:
        MissingInputError: if a file is missing.
    """
    members = find_archives(("crowd.tar", "podcast.tar"), data_dir=folder, quiet=True)
    table, _ = read_answers(members, labels=labels, quiet=True)
    answers = code_answers(table, labels).with_truth(None)
    truth = {
        row["hash_id"]: labels.index(row["emotion"]) for row in read_table(folder / "truth.csv")
    }
    return Crowd(answers, np.array([truth.get(name, -1) for name in answers.tasks]))
