"""The demo of a Space: the same as the command `dusha demo`, with the model in this folder."""

import os
import sys
from pathlib import Path

from dusha_ser.cli.main import main
from dusha_ser.cli.program import run_program

MODEL = Path(__file__).with_name("model")

if __name__ == "__main__":
    if MODEL.is_dir() and not os.environ.get("DUSHA_MODEL"):
        os.environ["DUSHA_MODEL"] = str(MODEL)
    run_program(lambda: main(["demo", *sys.argv[1:]]))
