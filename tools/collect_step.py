"""What all steps of tools/collect.py have in common."""

import argparse
from collections.abc import Callable


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
        epilog=f"example: python tools/collect.py {name} {example}",
        allow_abbrev=False,
    )
    step.add_argument("--quiet", action="store_true", help="show no bar and no summary")
    step.set_defaults(run=run)
    return step


def tell(options: argparse.Namespace, text: str) -> None:
    """Print one line, unless the user wants quiet."""
    if not options.quiet:
        print(text)
