"""What options of training cost or save: steps of our Trainer under each, in turn.

    python -m benchmarks training_options

Each variant is a process of its own that steps when it is its turn, as in training_step, with the
same number of clips a step. Sixteen-bit variants are compared on this machine's processor, which
may have no instructions for them.
"""

import argparse

import numpy as np

from benchmarks.measuring import speedups, write_results
from benchmarks.training_step import EPOCH, WARM_UP, measure, run_ours
from command_line_dusha import WrongUseError, run_program

DEFAULTS = "defaults"
VARIANTS = {
    DEFAULTS: {},
    "--channels_last False": {"channels_last": False},
    "--keep_memory False": {"keep_memory": False},
    "--bf16": {"bf16": True},
    "--fp16": {"fp16": True},
    "--gradient_accumulation_steps 4": {"gradient_accumulation_steps": 4},
    "--average_decay 0.99": {"average_decay": 0.99},
    "--torch_compile": {"torch_compile": True},
}


def main() -> None:
    """Measure all variants in turn, print and write what they cost."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.training_options --frames 150",
    )
    parser.add_argument("--rounds", type=int, default=5, help="steps of each that are timed")
    parser.add_argument("--batch_size", type=int, default=16, help="clips of a step")
    parser.add_argument("--frames", type=int, default=300, help="frames of a clip, 100 a second")
    chosen = parser.parse_args()
    if not 0 < chosen.rounds < EPOCH - WARM_UP:
        raise WrongUseError(f"--rounds is {chosen.rounds}; allowed are 1 to {EPOCH - WARM_UP - 1}")
    if chosen.batch_size < 4 or chosen.batch_size % 4:
        raise WrongUseError(f"--batch_size is {chosen.batch_size}; take a multiple of 4")
    times = measure(
        {name: (run_ours, options) for name, options in VARIANTS.items()},
        chosen.rounds,
        WARM_UP,
        chosen.batch_size,
        chosen.frames,
    )
    by_clock, used = (
        speedups({name: rows[:, column].tolist() for name, rows in times.items()}, DEFAULTS)
        for column in (0, 2)
    )
    found = {
        name: {
            "clips_per_second": chosen.batch_size / float(np.median(rows[:, 0])),
            "times_as_fast": used[name],
            "times_as_fast_by_the_clock": by_clock[name],
        }
        for name, rows in times.items()
    }
    for name, row in found.items():
        print(
            f"{name:<33} {row['clips_per_second']:6.1f} clips/s, {row['times_as_fast']:.2f} times "
            f"as fast as the defaults ({row['times_as_fast_by_the_clock']:.2f} by the clock)"
        )
    results = {"batch_size": chosen.batch_size, "frames": chosen.frames, "variants": found}
    print(f"written to {write_results('training_options', results)}")


if __name__ == "__main__":
    run_program(main)
