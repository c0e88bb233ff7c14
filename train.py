"""Train a network: the same as the command `dusha train`."""

import sys

from dusha_ser.cli.main import main
from dusha_ser.cli.program import run_program

if __name__ == "__main__":
    sys.exit(run_program(lambda: main(["train", *sys.argv[1:]])))
