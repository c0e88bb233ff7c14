"""The command `dusha evaluate`."""

import shlex
import sys
from collections.abc import Sequence

from dusha_ser.cli.program import command, tell
from dusha_ser.cli.train import read_run
from dusha_ser.errors import WrongUseError
from dusha_ser.experiments.options import EvaluateOptions

EXAMPLES = """\
  dusha evaluate --models runs/crowd_large runs/podcast_tune --test_sets data/dusha:crowd \\
    data/dusha:podcast --compare crowd_large podcast_tune
  dusha evaluate --train_on crema_d=CREMA-D --test_sets ravdess=RAVDESS --num_train_epochs 30
"""


@command("dusha evaluate", EXAMPLES, EvaluateOptions, resumes=True, rest=True)
def main(options: EvaluateOptions, words: Sequence[str]) -> None:
    """Evaluate models on test sets: predictions, metrics with intervals, one table of all pairs."""
    options.command = shlex.join(["dusha", "evaluate", *sys.argv[1:]])
    if options.train_on:
        folder = options.output_dir
        options.training = read_run("data", options.setup, words, folder, options.quiet)
    elif words:
        raise WrongUseError(f"{words[0]} is unknown without `train_on`; see dusha evaluate --help")
    from dusha_ser.experiments.evaluation import evaluate

    evaluate(options, lambda line: tell(options.quiet, line))
