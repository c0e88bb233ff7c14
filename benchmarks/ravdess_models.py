"""Models that benchmarks train on clips of RAVDESS, from the released weights, and find again."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import datasets
import numpy as np

from dusha_ser.cli.train import read_run
from dusha_ser.corpus.named import NamedRows, named_rows
from dusha_ser.experiments.runs import Run, is_finished, train_run
from dusha_ser.inference.loading import load_model

SETUP = "own_recordings"
# The last eight actors, four women and four men, are tested on; no choice was made with them.
TEST_ACTORS = tuple(f"{actor:02}" for actor in range(17, 25))


def parse_options(description: str, name: str) -> argparse.Namespace:
    """Read the command line: the corpus, the released weights, where models go, seeds, epochs."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog=f"example: python -m benchmarks.{name} --ravdess RAVDESS --model runs/released",
    )
    parser.add_argument("--ravdess", required=True, help="folder of the corpus")
    parser.add_argument("--model", required=True, help="folder of the released weights, converted")
    parser.add_argument("--output_dir", type=Path, default=Path("runs", name), help="for models")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of training")
    parser.add_argument("--epochs", type=int, default=16, help="times that the clips are seen")
    return parser.parse_args()


def divide(ravdess: str) -> tuple[datasets.Dataset, NamedRows]:
    """Read the clips; return those of the actors to train on, and of those to test on."""
    named = named_rows(f"ravdess={ravdess}")
    tested = np.isin(cast(list[str], named.speakers), TEST_ACTORS)
    train, test = (named.rows.select(np.flatnonzero(where)) for where in (~tested, tested))
    return train, NamedRows("ravdess", test)


def trained(
    folder: Path,
    splits: dict[str, datasets.Dataset],
    start: str,
    words: Sequence[str],
) -> tuple[Any, Any]:
    """Train a model unless the folder holds it; return it and its feature extractor.

    Args:
        folder: of the model.
        splits: train and test.
        start: the folder of the model that training starts from.
        words: options of `dusha train`.
    """
    # Clips are heard once, as where the tables were made.
    always = ["--model_name_or_path", start, "--validation", "0", "--frequency_warp", "0"]
    words = [*always, *words]
    run = Run(*read_run("ravdess", SETUP, words, folder, quiet=True))
    if not is_finished(run, splits):
        train_run(run, splits)
    return load_model(str(folder), "cpu")
