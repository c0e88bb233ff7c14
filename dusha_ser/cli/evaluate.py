"""Evaluate models on test sets: predictions, metrics with intervals, one table of all pairs."""

import shlex
import sys
from collections.abc import Sequence

from dusha_ser.cli.program import Parser, hide_bars, on_interrupt, tell
from dusha_ser.cli.train import read_run
from dusha_ser.errors import WrongUseError
from dusha_ser.experiments.options import EvaluateOptions

EXAMPLES = """\
  dusha evaluate --models runs/crowd_large runs/podcast_tune --test_sets data/dusha:crowd \\
    data/dusha:podcast --compare crowd_large podcast_tune
  dusha evaluate --train_on crema_d=CREMA-D --test_sets ravdess=RAVDESS --num_train_epochs 30
"""


def make_parser() -> Parser:
    """Make the parser of `dusha evaluate`."""
    return Parser("dusha evaluate", __doc__, EXAMPLES, EvaluateOptions)


def read_options(arguments: Sequence[str]) -> EvaluateOptions:
    """Read a command line; what is not known here is for `dusha train`."""
    options, words = make_parser().parse_options(arguments, rest=True)
    options.command = shlex.join(["dusha", "evaluate", *arguments])
    if options.train_on:
        folder = options.output_dir
        options.training = read_run("data", options.setup, words, folder, options.quiet)
    elif words:
        raise WrongUseError(f"{words[0]} is unknown without `train_on`; see dusha evaluate --help")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate each model on each test set and print the table."""
    options = read_options(sys.argv[1:] if arguments is None else arguments)
    hide_bars(options.quiet)
    on_interrupt("the same command resumes")
    from dusha_ser.experiments.evaluation import evaluate

    evaluate(options, lambda line: tell(options.quiet, line))
