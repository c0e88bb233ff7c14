"""The demo of a Space: as `dusha demo`, with the model and the examples in this folder."""

import os
import sys
from pathlib import Path

from dusha_ser.cli.main import main
from dusha_ser.cli.program import run_program

MODEL = Path(__file__).with_name("model")
EXAMPLES = Path(__file__).with_name("examples")

if __name__ == "__main__":
    if MODEL.is_dir() and not os.environ.get("DUSHA_MODEL"):
        os.environ["DUSHA_MODEL"] = str(MODEL)
    examples = ["--examples", str(EXAMPLES)] if EXAMPLES.is_dir() else []
    run_program(lambda: main(["demo", *examples, *sys.argv[1:]]))
