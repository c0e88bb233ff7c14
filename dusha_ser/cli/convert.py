"""The command `dusha convert`."""

from dataclasses import dataclass
from pathlib import Path

from dusha_ser import options as shared
from dusha_ser.cli.program import command, tell
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.options import option


@dataclass
class ConvertOptions:
    """What to convert, and where to."""

    checkpoint: Path = option("the released weights, a .pt state dict", positional=True)
    output_dir: Path = option("model folder to write", positional=True)
    quiet: bool = shared.quiet()

    def check(self) -> None:
        """Raise a WrongUseError if there is nothing to read, or something where to write."""
        if not self.checkpoint.is_file():
            raise MissingInputError(
                f"no such file: {self.checkpoint}; give the released weights (a .pt file)"
            )
        folder = self.output_dir
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise WrongUseError(f"{folder} exists and is not an empty folder; name another one")


@command("dusha convert", "dusha convert released_checkpoint.pt dusha-model", ConvertOptions)
def main(options: ConvertOptions) -> None:
    """Turn the weights that the paper's authors released into a model folder of Transformers."""
    from dusha_ser.inference.released_weights import read_checkpoint, write_model

    dead = write_model(read_checkpoint(options.checkpoint), options.output_dir)
    note = f"; {dead} channels are dead in these weights" if dead else ""
    tell(options.quiet, f"wrote {options.output_dir}{note}")
