"""The command `dusha cross-validate`."""

import shlex
import sys
from collections.abc import Sequence

from dusha_ser.cli.program import command, tell
from dusha_ser.cli.train import read_run
from dusha_ser.experiments.options import CrossValidateOptions

EXAMPLES = """\
  dusha cross-validate iemocap --data_dir IEMOCAP_full_release --output_dir runs/iemocap
  dusha cross-validate clips.csv --folds 5 --output_dir runs/own --num_train_epochs 20 \\
    --model_name_or_path dusha-model
"""


def read_training(options: CrossValidateOptions, words: Sequence[str]) -> None:
    """Read the words that are for `dusha train`."""
    quiet = options.quiet or options.jobs > 1
    options.training = read_run("data", options.setup, words, options.output_dir, quiet)


@command("dusha cross-validate", EXAMPLES, CrossValidateOptions, resumes=True, rest=True)
def main(options: CrossValidateOptions, words: Sequence[str]) -> None:
    """Cross-validate a training setup: models that never heard a speaker test all of its clips.

    Any option of `dusha train` may follow.
    """
    options.command = shlex.join(["dusha", "cross-validate", *sys.argv[1:]])
    read_training(options, words)
    from dusha_ser.experiments.cross_validation import cross_validate

    tables = cross_validate(options, lambda line: tell(options.quiet, line))
    tell(options.quiet, f"\n{tables}\npredictions, metrics and figures: {options.output_dir}")
