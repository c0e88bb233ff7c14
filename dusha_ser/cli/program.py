"""The manners that all programs of this project share: exit statuses and one-line errors."""

import argparse
import os
import sys
from collections.abc import Callable

from dusha_ser.errors import WorkFailedError, WrongUseError

DONE = 0
WORK_FAILED = 1
WRONG_USE = 2


def run_program(main: Callable[[], int | None]) -> None:
    """Run a program's main function and leave the interpreter with the status that it earned.

    Args:
        main: the program; its return value is the exit status, None counts as 0.

    Raises:
        SystemExit: always: 0 done, 1 the work failed or was interrupted, 2 wrong use. A defect
            of this software itself keeps its traceback.
    """
    try:
        status = main() or DONE
        sys.stdout.flush()
    except WrongUseError as error:
        status = complain(error, WRONG_USE)
    except WorkFailedError as error:
        status = complain(error, WORK_FAILED)
    except BrokenPipeError:
        # The reader of our output (head, less) has left; that is no fault of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = WORK_FAILED
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        status = complain(error, WORK_FAILED)
    except KeyboardInterrupt:
        status = complain("interrupted", WORK_FAILED)
    sys.exit(status)


def complain(message: object, status: int) -> int:
    """Write one line to standard error.

    Args:
        message: what came, what is allowed and what to do; its line ends become spaces.
        status: the exit status to hand on.

    Returns:
        status, unchanged.
    """
    program = os.path.basename(sys.argv[0])  # noqa: PTH119 - argv[0] may be "-c"
    print(f"{program}: {' '.join(str(message).split())}", file=sys.stderr)
    return status


def tell(options: argparse.Namespace, text: str) -> None:
    """Print one line, unless the user wants quiet."""
    if not options.quiet:
        print(text)


def add_step(steps, name: str, run: Callable, description: str, example: str):
    """Add the parser of a step.

    Args:
        steps: of the program.
        name: of the step.
        run: does it, given the parsed options.
        description: one sentence.
        example: what stands after the step's name.

    Returns:
        The parser.
    """
    step = steps.add_parser(
        name,
        help=description[0].lower() + description[1:].rstrip("."),
        description=description,
        epilog=f"example: dusha collect {name} {example}",
        allow_abbrev=False,
    )
    step.add_argument("--quiet", action="store_true", help="show no bar and no summary")
    step.set_defaults(run=run)
    return step
