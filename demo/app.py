"""The demo of a Space: the same as the command `dusha demo`, with the model in this folder."""

import sys
from pathlib import Path

from dusha_ser.cli.main import main
from dusha_ser.cli.program import run_program

MODEL = Path(__file__).with_name("model")

if __name__ == "__main__":
    given = ["--model", str(MODEL)] if MODEL.is_dir() else []
    run_program(lambda: main(["demo", *given, *sys.argv[1:]]))
