"""`python -m dusha_ser` is the command `dusha`."""

import sys
from pathlib import Path

# Python looks first in the folder where the user stands. A dataset folder `dusha` there would hide
# the module `dusha` of an editable installation.
if Path("dusha").is_dir() and not Path("dusha.py").is_file():
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path.cwd()]

from dusha_ser.cli.main import run  # noqa: E402

if __name__ == "__main__":
    run()
