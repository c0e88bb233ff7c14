"""The project's programs in processes of their own, without the seconds that imports take.

One process imports everything, once; each program is a fork of it, from its `main` to its exit
status. It can be killed at a moment (`Program.kill`), or kills itself by SIGKILL in
front of its n-th change of a file in the folder where it runs (`kill_at`). It can run without
root's rights, and under other constants, such as smaller shards.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
IMPORTED = (
    *(
        "dusha",
        "dusha_ser.archives.mirrors",
        "dusha_ser.cli.train",
        "dusha_ser.cli.predict",
        "soundfile",
        "scipy.io",
    ),
    *("sklearn.metrics", "matplotlib.pyplot", "transformers.trainer"),
    "transformers.models.auto.modeling_auto",
)
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass
class Program:
    """A program that runs.

    Args:
        owner: who started it.
        pid: its process number.
        folder: where its output, errors and number of changes go.
    """

    owner: "WarmPrograms"
    pid: int
    folder: Path

    def kill(self):
        """Kill it and what it started, by the signal that nobody can catch."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self):
        """Its exit status, the negative number of a signal where that ended it."""
        return self.owner.ask({"wait": self.pid})

    @property
    def output(self):
        return (self.folder / "output").read_text(errors="surrogateescape")

    @property
    def errors(self):
        return (self.folder / "errors").read_text(errors="surrogateescape")

    @property
    def changes(self):
        """How many changes of files it made, if it came to its end."""
        return int((self.folder / "changes").read_text())


class WarmPrograms:
    """Starts programs.

    Args:
        folder: for their output.
    """

    def __init__(self, folder):
        self.folder, self.started = folder, 0
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.ask(None)  # it answers when all is imported

    def ask(self, question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, main, *arguments, cwd, constants=None, kill_at=None, powerless=False):
        """Start a program.

        Args:
            main: "MODULE.FUNCTION", such as "dusha_ser.cli.train.main".
            arguments: of its command line.
            cwd: the folder where it runs; changes of files in it are counted.
            constants: values by "MODULE.NAME".
            kill_at: number of the change of a file in front of which it kills itself.
            powerless: whether it is without root's right to read and write what others own.

        Returns:
            The Program.
        """
        self.started += 1
        folder = self.folder / f"program{self.started}"
        folder.mkdir()
        question = {
            "main": main,
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd),
            "folder": str(folder),
            "constants": constants or {},
            "kill_at": kill_at,
            "powerless": powerless,
        }
        return Program(self, self.ask(question), folder)

    def run(self, main, *arguments, **options):
        """Run a program to its end; returns the Program and its exit status."""
        program = self.start(main, *arguments, **options)
        return program, program.wait()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def serve():
    """Answer questions until there are no more; in a forked process, return what it is to do."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # else the collector writes to, and so copies, all memory of each process
    for line in sys.stdin:
        question = json.loads(line)
        if question is None:
            answer = True
        elif "wait" in question:
            answer = os.waitstatus_to_exitcode(os.waitpid(question["wait"], 0)[1])
        else:
            answer = os.fork()
            if not answer:
                return question
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    return None


def become(question):
    """Be the program that was asked for."""
    os.setsid()
    # An interrupt from the keyboard is for whoever runs the tests.
    for number, name in ((1, "output"), (2, "errors")):
        place = os.open(Path(question["folder"], name), os.O_WRONLY | os.O_CREAT, 0o666)
        os.dup2(place, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(question["cwd"])
    module, _, function = question["main"].rpartition(".")
    sys.argv = [f"{module.rpartition('.')[2]}.py", *question["arguments"]]
    for name, value in question["constants"].items():
        owner, _, name = name.rpartition(".")
        setattr(importlib.import_module(owner), name, value)
    changes = os.open(Path(question["folder"], "changes"), os.O_WRONLY | os.O_CREAT, 0o666)
    count_changes(question["cwd"], question["kill_at"], changes)
    if question["powerless"]:
        give_up_rights()
    from dusha_ser.cli.program import run_program

    try:
        run_program(getattr(importlib.import_module(module), function))
    except SystemExit as end:
        sys.stderr.flush()
        # To take all of PyTorch apart would last longer than most of the programs do here.
        os._exit(end.code)


def give_up_rights():
    """Lose all capabilities (capset, linux/capability.h); who is not root has none to lose."""
    header, none = struct.pack("Ii", 0x20080522, 0), bytes(24)
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


def count_changes(folder, kill_at, place):
    """Write the number of changes of files in a folder to an open file; die before the n-th."""
    count = 0

    def look(event, arguments):
        nonlocal count
        if event in CHANGES or (event == "open" and (arguments[2] or 0) & WRITES):
            path = arguments[0]
            if isinstance(path, (str, bytes)) and Path(os.fsdecode(path)).is_relative_to(folder):
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
                os.pwrite(place, b"%d" % count, 0)

    sys.addaudithook(look)


def fetch():
    """Fetch an archive: address, folder for downloads."""
    from dusha_ser.archives.mirrors import fetch_archives
    from dusha_ser.archives.transfer import Patience

    url, folder = sys.argv[1:]
    fetch_archives(["crowd.tar"], url, folder, quiet=True, patience=Patience(first_wait=0.01))


def load():
    """Prepare a configuration in the cache: archives, cache."""
    import dusha

    archives, cache = sys.argv[1:]
    dusha.load_dataset("crowd", data_dir=archives, cache_dir=cache, quiet=True)


if __name__ == "__main__":
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests" / "faults")]
    if (asked := serve()) is not None:
        become(asked)
