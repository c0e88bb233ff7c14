"""The command `dusha convert`."""

from dataclasses import dataclass
from pathlib import Path

from dusha_ser import options as shared
from dusha_ser.cli.program import command, tell
from dusha_ser.errors import MissingInputError
from dusha_ser.options import option
from dusha_ser.storage import check_folder


@dataclass
class ConvertOptions:
    """What to convert, and where to."""

    checkpoint: Path = option("the released weights, a .pt state dict", positional=True)
    output_dir: Path = option("model folder to write", positional=True)
    overwrite: bool = shared.overwrite()
    quiet: bool = shared.quiet()

    def check(self) -> None:
        """Raise a WrongUseError if there is nothing to read, or something where to write."""
        if not self.checkpoint.is_file():
            raise MissingInputError(
                f"no such file: {self.checkpoint}; give the released weights (a .pt file)"
            )
        check_folder(self.output_dir, self.overwrite, finished="*")


@command("dusha convert", "dusha convert released_checkpoint.pt dusha-model", ConvertOptions)
def main(options: ConvertOptions) -> None:
    """Turn the weights that the paper's authors released into a model folder of Transformers."""
    from dusha_ser.inference.released_weights import read_checkpoint, write_model

    released = read_checkpoint(options.checkpoint)
    dead = write_model(released, options.output_dir, options.overwrite)
    note = f"; {dead} channels are dead in these weights" if dead else ""
    tell(options.quiet, f"wrote {options.output_dir}{note}")
