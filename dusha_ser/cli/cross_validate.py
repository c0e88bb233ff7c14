"""Cross-validate a training setup: models that never heard a speaker test all of its clips."""

import shlex
import sys
from collections.abc import Sequence

from dusha_ser.cli.program import Parser, hide_bars, on_interrupt, tell
from dusha_ser.cli.train import read_run
from dusha_ser.experiments.options import CrossValidateOptions

EXAMPLES = """\
  dusha cross-validate iemocap --data_dir IEMOCAP_full_release --output_dir runs/iemocap
  dusha cross-validate clips.csv --folds 5 --output_dir runs/own --num_train_epochs 20 \\
    --model_name_or_path dusha-model
"""


def make_parser() -> Parser:
    """Make the parser of `dusha cross-validate`."""
    description = f"{__doc__}\n\nAny option of `dusha train` may follow."
    return Parser("dusha cross-validate", description, EXAMPLES, CrossValidateOptions)


def read_options(arguments: Sequence[str]) -> CrossValidateOptions:
    """Read a command line; what is not known here is for `dusha train`."""
    options, words = make_parser().parse_options(arguments, rest=True)
    options.command = shlex.join(["dusha", "cross-validate", *arguments])
    quiet = options.quiet or options.jobs > 1
    options.training = read_run("data", options.setup, words, options.output_dir, quiet)
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Divide the rows, run the folds, put the results together."""
    options = read_options(sys.argv[1:] if arguments is None else arguments)
    hide_bars(options.quiet)
    on_interrupt("the same command resumes")
    from dusha_ser.experiments.cross_validation import cross_validate

    tables = cross_validate(options, lambda line: tell(options.quiet, line))
    tell(options.quiet, f"\n{tables}\npredictions, metrics and figures: {options.output_dir}")
