"""The command `dusha`, which hands the rest of its command line to a subcommand."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from dusha_ser.cli.program import run_program

# Before PyTorch starts its threads: those that wait for each other must sleep, not spin. Beside
# other programs spinning made a step five times as long; alone it gains nothing measurable.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Each is a module of this package, whose main takes the arguments after the name.
COMMANDS = {
    "corpus": "write configurations of the corpus as a dataset folder",
    "sample": "write the synthetic sample corpus as archives",
    "train": "train a model",
    "predict": "predict the emotion of audio files",
    "evaluate": "evaluate models on test sets",
    "cross-validate": "cross-validate a training setup",
    "collect": "build a corpus of your own",
    "report": "write a report on a corpus, its annotators or results",
    "convert": "turn the released weights into a model folder",
    "export": "export a model to ONNX",
    "demo": "serve a page that predicts emotions",
}


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Run the subcommand that the command line names."""
    parser = argparse.ArgumentParser(prog="dusha", description=__doc__, allow_abbrev=False)
    listed = "; ".join(f"{name}: {meaning}" for name, meaning in COMMANDS.items())
    parser.add_argument("command", choices=COMMANDS, help=listed)
    parser.add_argument("options", nargs=argparse.REMAINDER, help="of the command")
    chosen = parser.parse_args(arguments)
    sys.argv = [f"dusha {chosen.command}", *chosen.options]
    module = importlib.import_module(f"dusha_ser.cli.{chosen.command.replace('-', '_')}")
    return module.main()


def run() -> None:
    """Run the command and leave the interpreter with its status."""
    run_program(main)
