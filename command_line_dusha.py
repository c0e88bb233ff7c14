"""The manners that all programs of this project share: exit statuses and one-line errors."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

DONE = 0
WORK_FAILED = 1
WRONG_USE = 2


class WrongUseError(ValueError):
    """What the user asked for cannot be done; programs end with status 2.

    The message says what came, what is allowed and what to do.
    """


class MissingInputError(WrongUseError, FileNotFoundError):
    """A file or folder that the user named, or that the work needs, is not there; status 2."""


class WorkFailedError(RuntimeError):
    """The work was asked for rightly and failed (network, disk, broken data); status 1."""


def run_program(main: Callable[[], int | None]) -> None:
    """Run a program's main function and leave the interpreter with the status that it earned.

    Args:
        main: the program; its return value is the exit status, None counts as 0.

    Raises:
        SystemExit: always: 0 done, 1 the work failed or was interrupted, 2 wrong use. A defect
            of this software itself keeps its traceback.
    """
    program = os.path.basename(sys.argv[0])  # noqa: PTH119 - argv[0] may be "-c"
    try:
        status = main() or DONE
        sys.stdout.flush()
    except WrongUseError as error:
        status = complain(program, error, WRONG_USE)
    except WorkFailedError as error:
        status = complain(program, error, WORK_FAILED)
    except BrokenPipeError:
        # The reader of our output (head, less) has left; that is no fault of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = WORK_FAILED
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        status = complain(program, error, WORK_FAILED)
    except KeyboardInterrupt:
        status = complain(program, "interrupted", WORK_FAILED)
    sys.exit(status)


def complain(program: str, message: object, status: int) -> int:
    """Write one line to standard error.

    Args:
        program: name of the program, first word of the line.
        message: what came, what is allowed and what to do; its line ends become spaces.
        status: the exit status to hand on.

    Returns:
        status, unchanged.
    """
    print(f"{program}: {' '.join(str(message).split())}", file=sys.stderr)
    return status


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary name that takes the place of a file once the block ends well.

    Whoever reads the file meets the old one or the new one, never half of one. The suffix stays,
    because writers go by it.

    Args:
        path: of the file; its folder is made.

    Yields:
        a name in the same folder; whatever is left of it is removed if the block fails.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def first_line(error: Exception) -> str:
    """Return the first line of a library's message; the rest is advice that does not fit here."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
