"""Run all measurements, or some, in one sitting and write what they found as one table.

    python -m benchmarks [--clips FOLDER --model MODEL --folds FOLDER]
    python -m benchmarks --resume
    python -m benchmarks --collect

Each program writes benchmarks/results/NAME.json; the table is benchmarks/results.json, and takes
only what was measured in the last sitting. A sitting has two hours and one machine, on which
nothing else runs.
"""

import argparse
import datetime
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.claims import CLAIMS, collect, read_sitting
from benchmarks.machine import describe
from benchmarks.measuring import REPOSITORY, RESULTS, SITTING
from dusha_ser.cli.program import run_program
from dusha_ser.errors import WorkFailedError, WrongUseError

# Programs that take --clips, and those that take --model.
WITH_CLIPS = ("log_mel", "files_to_labels", "int8_loss")
WITH_MODEL = ("log_mel", "files_to_labels", "training_step")
# It needs --folds and --clips, and is left out where they are not given.
WITH_FOLDS = "int8_loss"
PROGRAMS = (
    "limits",
    *dict.fromkeys(claim.program for claim in CLAIMS),
    # What has no peer: growth with profiles, options of training, memory of large crowds.
    *("growth", "training_options", "aggregation_scale"),
    # What tests compare with.
    "guard",
)
MINUTES = 120
# What shows that a program works, on any machine in a minute; never written to benchmarks/results.
SMALL = {
    "aggregation_scale": "--answers 20000 40000 --methods dawid_skene",
    "answers_to_labels": "--answers 20000 --clips 3000 --annotators 200 --rounds 2",
    "dawid_skene": "--answers 20000 --tasks 3000 --annotators 200",
    "files_to_labels": "--limit 8 --rounds 2",
    "download": "--gigabytes 0.05 --rounds 1",
    "first_answer": "--rounds 1",
    "guard": "--rounds 2",
    "growth": "--scale 0.01 --rounds 1",
    "log_mel": "--limit 8",
    "long_recording": "--minutes 0.5 --rounds 2",
    "prepare_archive": "--gigabytes 0.3 --rounds 1 --quiet",
    "training_data": "--clips 128 --rounds 2",
    "training_options": "--frames 32 --rounds 1",
    "training_step": "--batch_size 4 --frames 64 --rounds 2",
}


def command_of(name: str, chosen: argparse.Namespace) -> list[str]:
    """Make a program's command line of the options of all."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--results_dir", str(chosen.results_dir)]
    if chosen.small:
        command += SMALL.get(name, "").split()
    for option, programs in {
        "clips": WITH_CLIPS,
        "model": WITH_MODEL,
        "folds": (WITH_FOLDS,),
    }.items():
        value = getattr(chosen, option)
        if value and name in programs:
            command += [f"--{option}", str(Path(value).resolve())]
    return command + (["--allow_load"] if chosen.allow_load else [])


def begin(chosen: argparse.Namespace) -> tuple[str, dict[str, dict]]:
    """Begin a sitting or return to the last one.

    Args:
        chosen: options of the command line.

    Returns:
        Its name, the time at which it began, and what it has measured so far.

    Raises:
        WrongUseError: if there is none to return to, or it was on another machine.
    """
    if not chosen.resume:
        now = datetime.datetime.now(datetime.UTC)
        return now.isoformat(timespec="seconds"), {}
    began, found = read_sitting(chosen.results_dir)
    if began is None:
        raise WrongUseError(f"{chosen.results_dir} holds no sitting; run without `resume`")
    here = describe()
    for name, one in found.items():
        if one["machine"]["model"] != here["model"]:
            raise WrongUseError(
                f"{name} was measured on {one['machine']['model']}, and this is {here['model']}; "
                "a table is of one machine: run without `resume`"
            )
    return began, found


def run_all(names: list[str], chosen: argparse.Namespace) -> list[str]:
    """Run programs one after another while the sitting has time; returns what went wrong."""
    began, found = begin(chosen)
    environment = os.environ | {SITTING: began}
    left = 60 * (chosen.minutes - sum(one["minutes"] for one in found.values()))
    problems = []
    for name in names:
        if name in found:
            print(f"== {name}: measured in this sitting", flush=True)
            continue
        if left <= 0:
            problems.append(f"{name}: no time left")
            continue
        print(f"== {name} ({left / 60:.0f} minutes left)", flush=True)
        started = time.monotonic()
        try:
            subprocess.run(
                command_of(name, chosen), cwd=REPOSITORY, env=environment, timeout=left, check=True
            )
        except subprocess.TimeoutExpired:
            problems.append(f"{name}: no time left")
        except subprocess.CalledProcessError as error:
            problems.append(f"{name}: exit status {error.returncode}")
        left -= time.monotonic() - started
    return problems


def options() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks --clips ravdess --model runs/released",
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
        "--resume", action="store_true", help="measure what the last sitting has not measured"
    )
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"of a sitting, at most ({MINUTES})"
    )
    parser.add_argument(
        "--allow_load",
        action="store_true",
        help="measure beside other programs, too; the table then counts nothing as measured",
    )
    parser.add_argument(
        "--small", action="store_true", help="small sizes, to see that all works; needs results_dir"
    )
    parser.add_argument(
        "--results_dir", type=Path, default=RESULTS, help="where to write (benchmarks/results)"
    )
    parser.add_argument(
        "--collect", action="store_true", help="measure nothing; write the table of what is there"
    )
    return parser


def main() -> None:
    """Run the programs that the command line names, and write and print the table."""
    chosen = options().parse_args()
    chosen.results_dir = chosen.results_dir.resolve()
    if chosen.small and chosen.results_dir == RESULTS:
        raise WrongUseError("`small` sizes are not for the table: name another `results_dir`")
    with_folds = chosen.folds and chosen.clips
    programs = [name for name in PROGRAMS if with_folds or name != WITH_FOLDS]
    if WITH_FOLDS in chosen.names and not with_folds:
        raise WrongUseError(f"{WITH_FOLDS} needs --folds and --clips")
    if unknown := set(chosen.names) - set(programs):
        raise WrongUseError(
            f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(programs)}"
        )
    problems = [] if chosen.collect else run_all(chosen.names or programs, chosen)
    for row in collect(chosen.results_dir):
        print(" | ".join("-" if cell is None else cell for cell in row))
    print(
        f"written to {chosen.results_dir.with_suffix('.json')}; "
        "the pages take it by python -m benchmarks.page_numbers"
    )
    if problems:
        raise WorkFailedError(f"{'; '.join(problems)}. `resume` measures what is missing")


if __name__ == "__main__":
    run_program(main)
