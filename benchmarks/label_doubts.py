"""Wrong labels of a crowd: how many answers prevent them, and how many of them are found again.

    python -m benchmarks.label_doubts --crowd PROGRAM --work FOLDER

PROGRAM simulates a crowd about real clips with a known truth (functions `annotators` and `clips`).
FOLDER holds archives/, what it wrote (truth.csv among it), corpus/, prepared from that by `dusha
corpus all`, and folds/ of `dusha cross-validate corpus:all:train`. Clips get answers of people in
random order: either all clips the same number, or three each and then further ones only where
`collect tasks --more` orders them.
"""

import argparse
import csv
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.measuring import write_results
from dusha_ser.cli.program import run_program
from dusha_ser.collecting.further import sure_clips
from dusha_ser.collecting.options import MoreOptions
from dusha_ser.errors import WrongUseError
from dusha_ser.labels.aggregation import aggregate
from dusha_ser.labels.crowd_answers import CrowdAnswers
from dusha_ser.reports.labels import judge_labels
from dusha_ser.vocabulary import ANSWERS

SEEDS = 5
FIRST = 3
UNIFORM = range(FIRST, 16)
BUDGETS = (8, 12, 16)
HEARD = (10, 20, 30, 50)


def load(path: Path) -> ModuleType:
    """Import a program by its path.

    Raises:
        WrongUseError: if it is none in Python.
    """
    specification: Any = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or not path.is_file():
        raise WrongUseError(f"`crowd` is {path}, not a file that ends in .py: name a program")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def draw_answers(program: ModuleType, most: int, seed: int) -> tuple[np.ndarray, ...]:
    """Draw who answers what to each clip, in order: truth (clips,), and two (clips, most)."""
    random = np.random.default_rng(seed)
    matrices = np.array([matrix for _, _, matrix in program.annotators(random)])
    truth = np.array([ANSWERS.index(clip["emotion"]) for clip in program.clips()])
    people = random.random((len(truth), len(matrices))).argsort(axis=1)[:, :most]
    cumulative = matrices[people, truth[:, None]].cumsum(axis=2)
    given = (random.random((*people.shape, 1)) > cumulative[:, :, :-1]).sum(axis=2)
    return truth, people, given


def label_accuracy(
    counts: np.ndarray, truth: np.ndarray, people: np.ndarray, given: np.ndarray
) -> float:
    """Aggregate the first `counts` answers to each clip; return the share of right labels."""
    used = np.arange(people.shape[1]) < counts[:, None]
    clip = np.nonzero(used)[0]
    names = range(len(truth)), range(people.max() + 1), ANSWERS
    answers = CrowdAnswers(clip, people[used], given[used], *names)
    found = aggregate(answers, "regularised_dawid_skene")
    return float((found.probabilities.argmax(axis=1) == truth).mean())


def ask_more(budget: int, people: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Order further answers as `collect tasks` does; return the number of them by clip."""
    more = MoreOptions(budget=budget)
    counts = np.full(len(people), FIRST)
    while True:
        counted = [
            (str(clip), str(people[clip, place]), ANSWERS[given[clip, place]])
            for clip, count in enumerate(counts)
            for place in range(count)
        ]
        sure = sure_clips(counted, more)
        unsure = np.array([str(clip) not in sure for clip in range(len(counts))])
        asked = unsure & (counts + more.further <= budget)
        if not asked.any():
            return counts
        counts[asked] += more.further


def compare_orders(program: ModuleType) -> dict:
    """Measure accuracy by answers per clip, both ways, as means over seeds."""
    uniform, further = np.zeros(len(UNIFORM)), np.zeros((len(BUDGETS), 2))
    for seed in range(SEEDS):
        truth, people, given = draw_answers(program, max(*UNIFORM, *BUDGETS), seed)
        for place, count in enumerate(UNIFORM):
            counts = np.full(len(truth), count)
            uniform[place] += label_accuracy(counts, truth, people, given) / SEEDS
        for place, budget in enumerate(BUDGETS):
            counts = ask_more(budget, people, given)
            accuracy = label_accuracy(counts, truth, people, given)
            further[place] += np.array([counts.mean(), accuracy]) / SEEDS
    rows = []
    for budget, (answers, accuracy) in zip(BUDGETS, further, strict=True):
        # The curve of equal numbers is all but monotone; a maximum so far makes it so.
        same = float(np.interp(accuracy, np.maximum.accumulate(uniform), UNIFORM))
        more = "" if accuracy <= uniform.max() else "more than "
        rows.append(
            [f"{budget}", f"{accuracy:.3f}", f"{answers:.1f}", f"{more}{same:.1f}"]
            + [f"{1 - answers / same:.0%}"]
        )
    columns = ["budget", "right labels", "answers per clip", "the same number for all", "saved"]
    return {
        "clips": len(truth),
        "seeds": SEEDS,
        "uniform": dict(zip(map(str, UNIFORM), uniform.round(4).tolist(), strict=True)),
        "columns": columns,
        "rows": rows,
    }


def find_wrong(corpus: str, predictions: Path, truth: dict[str, str]) -> dict:
    """Count wrong labels among the first clips of the report, by what orders them."""
    found: dict[str, np.ndarray] = {}
    wrong = np.array([])
    for sort in ("trust", "cleanlab"):
        judged = judge_labels(corpus, predictions, sort)
        labels = np.array(judged.names)[judged.label]
        wrong = labels != np.array([truth[clip] for clip in judged.ids])
        found[sort] = wrong
        rows = np.arange(len(wrong))
        if sort == "trust":
            for name, given in {"crowd": judged.crowd, "model": judged.model}.items():
                score = given[rows, judged.label]
                found[name] = wrong[np.argsort(score, kind="stable")]
    names = {
        "trust": "trust (the report's order)",
        "cleanlab": "cleanlab's consensus",
        "model": "the model's probability alone",
        "crowd": "the crowd's probability alone",
    }
    return {
        "clips": len(wrong),
        "wrong": int(wrong.sum()),
        "columns": ["order", *(f"first {count}" for count in HEARD)],
        "rows": [
            [title, *(int(found[name][:count].sum()) for count in HEARD)]
            for name, title in names.items()
        ],
    }


def join(files: list[Path], place: Path) -> Path:
    """Put the predictions of folds together in one file."""
    lines = [file.read_text().splitlines() for file in files]
    place.write_text("\n".join([lines[0][0], *(line for own in lines for line in own[1:])]) + "\n")
    return place


def main() -> None:
    """Measure both, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crowd", type=Path, required=True, help="program that simulates a crowd")
    parser.add_argument("--work", type=Path, required=True, help="archives/, corpus/ and folds/")
    chosen = parser.parse_args()
    archives, folds = chosen.work / "archives", chosen.work / "folds" / "folds"
    with (archives / "truth.csv").open(newline="") as file:
        truth = {row["hash_id"]: row["emotion"] for row in csv.DictReader(file)}
    predictions = join(sorted(folds.glob("*/predictions.csv")), chosen.work / "predictions.csv")
    results = {
        "more": compare_orders(load(chosen.crowd)),
        "wrong_labels": find_wrong(f"{chosen.work / 'corpus'}:all:train", predictions, truth),
    }
    shown = ["--crowd", "PROGRAM", "--work", "FOLDER"]
    print(write_results("label_doubts", results, shown))


if __name__ == "__main__":
    run_program(main)
