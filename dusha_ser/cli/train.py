"""Train a network on Dusha, on its sample, or on anyone's own recordings, with the HF Trainer.

Without arguments it trains on a small synthetic corpus that it makes itself. A setup, by its
name or as a YAML file, holds what differs from the defaults; options come after it.
"""

import sys
from collections.abc import Sequence

from dusha_ser.training.result import describe_result
from dusha_ser.training.run import set_up_logging, train
from dusha_ser.training.setups import describe_setups, read_options


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, train, test once, and say what was found."""
    data, recipe, trainer = read_options(sys.argv[1:] if arguments is None else arguments)
    if recipe.list_setups:
        print(describe_setups())
        return
    set_up_logging(recipe, trainer)
    result = train(data, recipe, trainer)
    if trainer.should_log:
        print(describe_result(result))
