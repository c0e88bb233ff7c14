"""Run all measurements, or some, and write what they found as one table.

    python -m benchmarks [NAME ...] [--clips FOLDER --model MODEL --folds FOLDER]
    python -m benchmarks --collect

Each program writes benchmarks/results/NAME.json; the table is benchmarks/results.json. All of them
take about two hours where nothing else runs.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.claims import CLAIMS, TABLE, collect
from dusha_ser.cli.program import run_program
from dusha_ser.errors import WorkFailedError, WrongUseError

REPOSITORY = Path(__file__).resolve().parent.parent
# Programs that take --clips, and those that take --model.
WITH_CLIPS = ("log_mel", "files_to_labels", "int8_loss")
WITH_MODEL = ("files_to_labels", "training_step")


# What has no peer: limits, options of training, growth and profiles.
PROGRAMS = (
    "limits",
    *dict.fromkeys(claim.program for claim in CLAIMS),
    *("training_options", "growth", "aggregation_scale"),
)
# It needs --folds, and is left out where they are not given.
WITH_FOLDS = "int8_loss"


def run(name: str, clips: Path | None, model: str | None, folds: Path | None) -> bool:
    """Run one program; returns whether it ended well."""
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    if clips and name in WITH_CLIPS:
        command += ["--clips", str(clips)]
    if model and name in WITH_MODEL:
        command += ["--model", model]
    if name == WITH_FOLDS:
        command += ["--folds", str(folds)]
    print(f"== {name}", flush=True)
    return subprocess.run(command, cwd=REPOSITORY).returncode == 0


def main() -> None:
    """Run the programs that the command line names, and write and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks log_mel training_data",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"programs (default: all): {', '.join(PROGRAMS)}"
    )
    parser.add_argument("--clips", type=Path, help="folder of mono 16 kHz files (default: made)")
    parser.add_argument(
        "--folds", type=Path, help=f"folder of trained folds; with --clips, for {WITH_FOLDS}"
    )
    parser.add_argument("--model", help="folder of a trained model (default: random weights)")
    parser.add_argument(
        "--collect", action="store_true", help="measure nothing; write the table of what is there"
    )
    chosen = parser.parse_args()
    programs = (*PROGRAMS, WITH_FOLDS) if chosen.folds and chosen.clips else PROGRAMS
    if WITH_FOLDS in chosen.names and WITH_FOLDS not in programs:
        raise WrongUseError(f"{WITH_FOLDS} needs --folds and --clips")
    if unknown := set(chosen.names) - set(programs):
        raise WrongUseError(
            f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(programs)}"
        )
    clips, folds = (one and one.resolve() for one in (chosen.clips, chosen.folds))
    names = [] if chosen.collect else chosen.names or programs
    failed = [name for name in names if not run(name, clips, chosen.model, folds)]
    for row in collect():
        print(" | ".join("-" if cell is None else cell for cell in row))
    print(f"written to {TABLE}; the pages take it by python -m benchmarks.page_numbers")
    if failed:
        raise WorkFailedError(f"{', '.join(failed)} failed; what they printed is above")


if __name__ == "__main__":
    run_program(main)
