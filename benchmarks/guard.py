"""Three ratios measured small, in processor time: what tests compare with what was committed.

    python -m benchmarks.guard

Files to labels, a training step and answers to labels, each beside its plain peer, on one thread,
in short rounds that take turns. Such a ratio holds beside other programs, too, and says nothing of
the ratio at full size: it is compared with itself alone, on processors with the same instructions.
"""

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import answers_to_labels, files_to_labels, training_step
from benchmarks.clips import wav_files
from benchmarks.measuring import (
    FEWEST_ROUNDS,
    Measurement,
    measure_in_turn,
    measuring_options,
    paired_ratio,
    processors,
)
from dusha_ser.cli.program import run_program

CLIPS, ANSWERS = 6, (6000, 1000, 60)
STEPS: dict[str, Any] = {"batch_size": 8, "frames": 100, "warm_up": 4}


def files(folder: Path, rounds: int) -> dict:
    """Classify a few synthetic clips by librosa and the plain network, and by ours."""
    paths = wav_files(folder, None, CLIPS)
    sides = files_to_labels.make_sides(folder, None, [files_to_labels.read(paths[0])] * 10)
    ways = files_to_labels.one_thread(paths, sides)
    peer, ours = files_to_labels.PLAIN, files_to_labels.FLOAT
    used = measure_in_turn({name: ways[name] for name in (peer, ours)}, rounds)
    return paired_ratio(*(used["processor_seconds"][name] for name in (peer, ours)))


def step(folder: Path, rounds: int) -> dict:
    """Step the plain loop and our Trainer, each in its process."""
    ways: dict[str, tuple[Callable, dict]] = {
        "peer": (training_step.run_plain, {}),
        "ours": (training_step.run_ours, {}),
    }
    times = training_step.measure(ways, training_step.Steps(rounds, **STEPS))
    return paired_ratio(*(times["processor_seconds"][name] for name in ("peer", "ours")))


def answers(folder: Path, rounds: int) -> dict:
    """Make labels of a few answers by json, pandas and crowd-kit, and by ours."""
    corpus = folder / "answers"
    answers_to_labels.write_corpus(corpus, *ANSWERS, shuffled=False)
    ways = {
        "peer": functools.partial(answers_to_labels.label_as_people, corpus),
        "ours": functools.partial(answers_to_labels.label_as_ours, corpus),
    }
    used = measure_in_turn(ways, rounds)["processor_seconds"]
    return paired_ratio(used["peer"], used["ours"])


RATIOS: dict[str, Callable[[Path, int], dict]] = {
    "files to labels": files,
    "training step": step,
    "answers to labels": answers,
}


def measure(name: str, rounds: int = FEWEST_ROUNDS) -> dict:
    """Measure one of the ratios.

    Args:
        name: one of RATIOS.
        rounds: how often each side is measured.

    Returns:
        What `paired_ratio` says of the processor times.
    """
    # For the processes that step, which read it when they start.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        with processors(1), tempfile.TemporaryDirectory(prefix="guard-") as folder:
            return RATIOS[name](Path(folder), rounds)
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def main() -> None:
    """Measure the ratios, print and write them."""
    parser = measuring_options(__doc__.splitlines()[0], "python -m benchmarks.guard", rounds=17)
    chosen = parser.parse_args()
    measurement = Measurement("guard", chosen)
    ratios = {name: measure(name, chosen.rounds) for name in RATIOS}
    for name, found in ratios.items():
        print(f"{name}: {found}")
    print(f"written to {measurement.write({'ratios': ratios})}")


if __name__ == "__main__":
    run_program(main)
