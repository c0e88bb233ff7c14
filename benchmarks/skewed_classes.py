"""Classes as skewed as in Dusha's podcasts: logits adjusted in training, after it, and not at all.

    python -m benchmarks.skewed_classes --ravdess FOLDER --model MODEL --seeds 0 1 2 3

Of sixteen actors of RAVDESS all neutral clips are trained on, and of the other emotions as many as
the shares of the podcasts leave, at random. Of eight other actors all clips are tested on: as they
are, where emotions are nearly as frequent, and with each class weighing as much as in podcasts.
"""

from fractions import Fraction
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from benchmarks.measuring import RESULTS
from benchmarks.ravdess_models import divide, parse_options, trained
from dusha_ser.cli.program import run_program
from dusha_ser.corpus.named import NamedRows
from dusha_ser.evaluation.predict_rows import predict_rows
from dusha_ser.evaluation.results import write_table
from dusha_ser.evaluation.ser.ser import SCORES, scores
from dusha_ser.inference.class_prior import assume_prior
from dusha_ser.tables import screen_table

COMMAND = (
    "python -m benchmarks.skewed_classes --ravdess ravdess --model runs/released --seeds 0 1 2 3"
)
# Clips of the podcasts (the Dusha paper, table 1).
PODCASTS = {"angry": 2057, "sad": 1170, "neutral": 81104, "positive": 5909}
TRAININGS: dict[str, list[str]] = {
    "as they are": [],
    "balanced sampling": ["--class_weights", "balanced"],
    "adjusted in training": ["--logit_adjustment", "1"],
}
AFTER = "adjusted after training"


def skew(rows: datasets.Dataset, seed: int) -> datasets.Dataset:
    """Keep all neutral clips, and of other classes as many as podcasts have for each neutral one.

    A seed draws which; of each class at least two are kept.
    """
    names, labels = rows.features["label"].names, np.array(rows["label"])
    rng = np.random.default_rng(seed)
    kept = []
    for number, name in enumerate(names):
        clips = np.flatnonzero(labels == number)
        share = Fraction(PODCASTS[name], PODCASTS["neutral"])
        wanted = max(2, round(share * int((labels == names.index("neutral")).sum())))
        kept.append(rng.choice(clips, wanted, replace=False))
    return rows.select(np.sort(np.concatenate(kept)))


def measure(model: Any, extractor: Any, test: NamedRows) -> np.ndarray:
    """Score a model on balanced and on skewed classes, (2, scores)."""
    predictions = predict_rows(model, extractor, test, quiet=True)
    confusion = np.zeros((len(test.labels),) * 2)
    np.add.at(confusion, (predictions.references, predictions.predicted), 1)
    recalls = confusion / confusion.sum(axis=1, keepdims=True)
    shares = np.array([PODCASTS[label] for label in test.labels])
    skewed = recalls * (shares / shares.sum())[:, None]
    return np.array([scores(one) for one in (confusion, skewed)])


def measure_seed(
    seed: int, train: datasets.Dataset, test: NamedRows, start: str, epochs: int, folder: Path
) -> dict[str, np.ndarray]:
    """Train and test all models of a seed; return the scores of each, (2, scores)."""
    splits = {"train": skew(train, seed), "test": test.rows}
    found = {}
    for name, words in TRAININGS.items():
        words = [*words, "--num_train_epochs", str(epochs), "--seed", str(seed)]
        place = folder / f"{name.replace(' ', '_')}_{seed}"
        model, extractor = trained(place, splits, start, words)
        found[name] = measure(model, extractor, test)
        if name == "as they are":
            assume_prior(model.config, "uniform")
            found[AFTER] = measure(model, extractor, test)
    return found


def main() -> None:
    """Train and test, print and write the table."""
    options = parse_options(__doc__.splitlines()[0], "skewed_classes")
    train, test = divide(options.ravdess)
    found: dict[str, list[np.ndarray]] = {}
    for seed in options.seeds:
        counts = np.bincount(skew(train, seed)["label"], minlength=len(test.labels)).tolist()
        print(f"seed {seed}: trained on", dict(zip(test.labels, counts, strict=True)), flush=True)
        measured = measure_seed(
            seed, train, test, options.model, options.epochs, options.output_dir
        )
        for name, one in measured.items():
            found.setdefault(name, []).append(one)
    table = [["logits", "classes tested on", *SCORES, "balanced accuracy by seed"]]
    for name, values in found.items():
        for number, classes in enumerate(("nearly even", "as in podcasts")):
            own = np.array([one[number] for one in values])
            by_seed = ", ".join(f"{one:.3f}" for one in own[:, SCORES.index("balanced_accuracy")])
            table.append([name, classes, *(f"{mean:.3f}" for mean in own.mean(axis=0)), by_seed])
    print(screen_table(table))
    file = RESULTS / "skewed_classes.json"
    write_table(file, COMMAND, table)
    print(f"written to {file}")


if __name__ == "__main__":
    run_program(main)
