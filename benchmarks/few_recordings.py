"""Which setup is best for few recordings: RAVDESS, speakers apart, 25, 100 and all clips per class.

Each setup of a YAML file is cross-validated on each number of training clips per class, with the
same seeds, by `dusha cross-validate`, which resumes. The table is written after each of them. A
setup may hold `search`, so that its options are chosen within the training speakers of each fold.
MODEL, BACKBONE and RAVDESS stand for what the command line names; setups with a backbone wait for
one.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks.measuring import write_results
from dusha_ser.cli.program import run_program
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.evaluation.results import metrics_row, read_results
from dusha_ser.evaluation.seeds import read_seeds_result
from dusha_ser.evaluation.ser.ser import SCORES
from dusha_ser.files import safe_name

NAME = "few_recordings"
SETUPS = Path(__file__).with_name(f"{NAME}.yaml")
ALL = "all"
COLUMNS = ["setup", "training clips per class", *SCORES, "seeds", "clips"]


def read_setups(path: Path) -> dict[str, dict]:
    """Read setups by name, each with its options by name.

    Raises:
        WrongUseError: if the file holds anything else.
    """
    setups = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(setups, dict) or not all(isinstance(one, dict) for one in setups.values()):
        raise WrongUseError(f"{path} holds no setups; write names with options below them")
    return setups


def filled(setups: dict[str, dict], named: dict[str, str | None]) -> dict[str, dict]:
    """Put names in the place of what stands for them, and leave out setups that lack one.

    Examples:
        >>> setups = {"large": {"backbone": "BACKBONE"}, "small": {"model_name_or_path": "MODEL"}}
        >>> filled(setups, {"MODEL": "released", "BACKBONE": None})
        {'small': {'model_name_or_path': 'released'}}
    """
    made = {
        name: {key: named.get(str(value), value) for key, value in options.items()}
        for name, options in setups.items()
    }
    return {name: options for name, options in made.items() if None not in options.values()}


def chosen_setups(setups: dict[str, dict], names: Sequence[str] | None) -> dict[str, dict]:
    """Leave out setups that are not named; None: all stay.

    Raises:
        WrongUseError: if a name is unknown.
    """
    if unknown := set(names or ()) - set(setups):
        raise WrongUseError(
            f"there is no setup {', '.join(sorted(unknown))}; take {', '.join(setups)}, of which "
            "those with an encoder need `backbone`"
        )
    return {name: options for name, options in setups.items() if name in (names or setups)}


def as_words(options: dict) -> list[str]:
    """Return options as words of a command line.

    Examples:
        >>> as_words({"setup": "own_recordings", "mixup": 0.2})
        ['--setup=own_recordings', '--mixup=0.2']
    """
    return [f"--{name}={value}" for name, value in options.items()]


def run_setup(words: list[str], folder: Path, clips: str) -> dict:
    """Cross-validate a setup; return its result, the mean over seeds where there are several.

    Raises:
        WorkFailedError: if the command fails; what it has done is kept.
    """
    command = [sys.executable, "-m", "dusha_ser", "cross-validate", *words]
    command += [f"--output_dir={folder}", "--quiet"]
    command += [] if clips == ALL else [f"--train_clips={clips}"]
    if status := subprocess.run(command).returncode:
        raise WorkFailedError(f"status {status} of {' '.join(command[2:])}; start again to resume")
    return next(iter([*read_seeds_result(folder), *read_results(folder)]))


def table_row(setup: str, clips: str, result: dict) -> list:
    """Return the cells of a result."""
    cells = metrics_row(setup, result["test_set"], result["metrics"]).cells
    seeds = result["metrics"].get("seeds", 1)
    return [setup, clips, *cells.values(), seeds, result["metrics"]["count"]]


def main() -> None:
    """Compare all setups on all numbers of clips, and write the table after each."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.few_recordings --ravdess ravdess --model released",
    )
    parser.add_argument("--ravdess", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--model", required=True, help="model that training starts from")
    parser.add_argument("--backbone", help="encoder that is frozen, and that teaches")
    parser.add_argument("--work", type=Path, default=Path("runs", NAME), help="folder for runs")
    parser.add_argument("--setups", type=Path, default=SETUPS, help="YAML file of setups")
    parser.add_argument("--only", nargs="+", help="names of setups to run (default: all)")
    parser.add_argument("--clips", nargs="+", default=["25", "100", ALL], help="per class, or all")
    parser.add_argument("--seeds", default="0,1,2", help="seeds of training, with commas")
    parser.add_argument("--results", type=Path, help="folder for the table")
    parser.add_argument("--jobs", type=int, default=1, help="folds that run at once")
    chosen = parser.parse_args()
    rows: list[list] = []
    named = {"MODEL": chosen.model, "BACKBONE": chosen.backbone, "RAVDESS": str(chosen.ravdess)}
    setups = chosen_setups(filled(read_setups(chosen.setups), named), chosen.only)
    shown = ["--ravdess", "RAVDESS", "--model", "MODEL", "--clips", *chosen.clips]
    shown += ["--seeds", chosen.seeds, *(["--backbone", "BACKBONE"] if chosen.backbone else [])]
    shown += ["--setups", chosen.setups.name] if chosen.setups != SETUPS else []
    shown += ["--only", *chosen.only] if chosen.only else []
    shown += ["--results", str(chosen.results)] if chosen.results else []
    for clips in chosen.clips:
        for setup, options in setups.items():
            words = ["ravdess", f"--data_dir={chosen.ravdess}", f"--seeds={chosen.seeds}"]
            words += [f"--name={setup}", f"--jobs={chosen.jobs}", *as_words(options)]
            folder = chosen.work / f"{safe_name(setup)}-{clips}"
            rows.append(table_row(setup, clips, run_setup(words, folder, clips)))
            print("  ".join(map(str, rows[-1])), flush=True)
            write_results(NAME, {"columns": COLUMNS, "rows": rows}, shown, chosen.results)


if __name__ == "__main__":
    run_program(main)
