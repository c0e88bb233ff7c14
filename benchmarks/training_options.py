"""What options of training cost or save: steps of our Trainer under each, in turn.

    python -m benchmarks training_options

Each variant is a process of its own that steps when it is its turn, as in training_step, with the
same number of clips a step. Sixteen-bit variants are compared on this machine's processor, which
may have no instructions for them.
"""

from benchmarks.measuring import Measurement, compare, print_pairs
from benchmarks.training_step import Steps, check_rounds, measure, run_ours, step_options
from dusha_ser.cli.program import run_program
from dusha_ser.errors import WrongUseError

DEFAULTS = "defaults"
VARIANTS: dict[str, dict] = {
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
    parser = step_options(
        __doc__.splitlines()[0], "python -m benchmarks.training_options --frames 150", 16
    )
    chosen = parser.parse_args()
    check_rounds(chosen.rounds)
    if chosen.batch_size < 4 or chosen.batch_size % 4:
        raise WrongUseError(f"--batch_size is {chosen.batch_size}; take a multiple of 4")
    measurement = Measurement("training_options", chosen)
    times = measure(
        {name: (run_ours, options) for name, options in VARIANTS.items()},
        Steps(chosen.rounds, chosen.batch_size, chosen.frames),
    )
    pairs = compare(times, {name: (DEFAULTS, name) for name in VARIANTS if name != DEFAULTS})
    print_pairs(pairs)
    results = {"batch_size": chosen.batch_size, "frames": chosen.frames, "pairs": pairs, **times}
    print(f"written to {measurement.write(results)}")


if __name__ == "__main__":
    run_program(main)
