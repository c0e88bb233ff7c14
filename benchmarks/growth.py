"""How cost grows with work, how far it is from this machine's limits, and where the time goes.

    python -m benchmarks growth

For the programs whose comparison with a peer takes long: ours alone, at three sizes each. A limit
is the time that the least of the work takes at the machine's measured peak: reading the file from
disk for answers, going twice over answers and posteriors for an iteration of Dawid-Skene, the
multiply-adds of a step forward and twice as many backward for training.
"""

import functools
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks import answers_to_labels, training_step
from benchmarks.crowds import ANNOTATORS, ANSWERS, CLIPS, simulate_dusha
from benchmarks.limits import (
    disk_speeds,
    memory_bandwidth,
    network_multiply_adds,
    peak_multiply_adds,
)
from benchmarks.measuring import (
    Measurement,
    measure_in_turn,
    measuring_options,
    processors,
    slope,
)
from benchmarks.profiles import python_profile, torch_profile
from dusha_ser.cli.program import run_program
from dusha_ser.errors import WrongUseError
from dusha_ser.labels.dawid_skene import dawid_skene
from dusha_ser.training.normalization import make_precise

SHARES = (0.25, 0.5, 1.0)
FRAMES = (75, 150, 300)
BATCH_SIZE = 16


def sized(scale: float, share: float) -> tuple[int, int, int]:
    """Return a share of Dusha's numbers of answers, clips and annotators."""
    answers, clips, annotators = (
        max(4, round(scale * share * one)) for one in (ANSWERS, CLIPS, ANNOTATORS)
    )
    return answers, clips, annotators


def measure_answers(folder: Path, scale: float) -> dict:
    """Make labels of three corpora of generated answers."""
    sizes, read = {}, disk_speeds(folder)["read"]
    for share in SHARES:
        counts = sized(scale, share)
        corpus = folder / str(share)
        answers_to_labels.write_corpus(corpus, *counts, shuffled=False)
        work = functools.partial(answers_to_labels.label_as_ours, corpus)
        times = measure_in_turn({"ours": work}, 1, False)
        sizes[counts[0]] = times["processor_seconds"]["ours"][0]
    size = sum(path.stat().st_size for path in corpus.rglob("*.jsonl"))
    least = size / read
    return {
        "sizes": sizes,
        "growth": slope(sizes),
        "bytes": size,
        "limit": {"seconds": least, "share_reached": least / times["seconds"]["ours"][0]},
        "profile": python_profile(work),
    }


def measure_dawid_skene(scale: float) -> dict:
    """Run Dawid-Skene over three crowds."""
    sizes = {}
    for share in SHARES:
        answers, tasks, annotators = sized(scale, share)
        crowd = simulate_dusha(answers=answers, tasks=tasks, annotators=annotators)
        work = functools.partial(dawid_skene, crowd.answers)
        found = work()
        times = measure_in_turn({"ours": work}, 1, False)
        sizes[answers] = times["processor_seconds"]["ours"][0] / found.iterations
    own = crowd.answers
    touched = 2 * sum(
        array.nbytes for array in (own.task, own.annotator, own.label, found.probabilities)
    )
    least = touched / memory_bandwidth()
    return {
        "sizes": sizes,
        "growth": slope(sizes),
        "bytes": touched,
        "limit": {"seconds": least, "share_reached": least / sizes[answers]},
        "profile": python_profile(work),
    }


def measure_training(rounds: int) -> dict:
    """Do training steps on clips of three lengths."""
    sizes = {}
    for frames in FRAMES:
        steps = training_step.Steps(rounds, BATCH_SIZE, frames)
        times = training_step.measure({"ours": (training_step.run_ours, {})}, steps)
        sizes[frames] = float(np.median(times["processor_seconds"]["ours"]))
    least = 3 * BATCH_SIZE * network_multiply_adds(FRAMES[-1]) / peak_multiply_adds()
    model = training_step.make_model().to(memory_format=torch.channels_last)  # type: ignore[call-arg]  # typed as unbound
    make_precise(model)
    features = torch.from_numpy(training_step.make_clips(BATCH_SIZE, FRAMES[-1]))
    labels = torch.arange(BATCH_SIZE) % 4
    return {
        "batch_size": BATCH_SIZE,
        "sizes": sizes,
        "growth": slope(sizes),
        "limit": {"seconds": least, "share_reached": least / sizes[FRAMES[-1]]},
        "profile": torch_profile(lambda: model(features, labels=labels).loss.backward()),
    }


def main() -> None:
    """Measure all, print and write the results."""
    parser = measuring_options(__doc__.splitlines()[0], "python -m benchmarks.growth")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="largest size, as a share of Dusha's answers (1)"
    )
    chosen = parser.parse_args()
    if not 0 < chosen.scale <= 1:
        raise WrongUseError(f"--scale is {chosen.scale}; take more than 0 and at most 1")
    training_step.check_rounds(chosen.rounds)
    measurement = Measurement("growth", chosen)
    with processors(1), tempfile.TemporaryDirectory(prefix="growth-") as folder:
        results = {
            "answers to labels": measure_answers(Path(folder), chosen.scale),
            "an iteration of Dawid-Skene": measure_dawid_skene(chosen.scale),
            "training step": measure_training(chosen.rounds),
        }
    for name, found in results.items():
        largest = max(found["sizes"])
        print(
            f"{name}: {found['sizes'][largest]:.3g} s of processor time for {largest:,}, exponent "
            f"{found['growth']['exponent']:.2f}, {found['limit']['share_reached']:.0%} of the limit"
        )
        print("   " + ", ".join(f"{key} {value:.0%}" for key, value in found["profile"].items()))
    print(f"written to {measurement.write(results)}")


if __name__ == "__main__":
    run_program(main)
