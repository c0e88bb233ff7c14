"""Turn the weights that the paper's authors released into a model folder of Transformers."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from dusha_ser.inference.released_weights import read_checkpoint, write_model


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert a checkpoint named on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: dusha convert released_checkpoint.pt dusha-model",
    )
    parser.add_argument("checkpoint", type=Path, help="the released weights, a .pt state dict")
    parser.add_argument("output_dir", type=Path, help="model folder to write")
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    options = parser.parse_args(arguments)
    if options.quiet:
        disable_progress_bar()
    write_model(read_checkpoint(options.checkpoint), options.output_dir)
    print(f"wrote {options.output_dir}")
