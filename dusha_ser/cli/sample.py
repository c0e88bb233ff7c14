"""The command `dusha sample`."""

import shlex
from dataclasses import dataclass

from dusha_ser.cli.program import command, tell
from dusha_ser.options import option, overwrite, quiet, seed
from dusha_ser.storage import check_folder


@dataclass
class SampleOptions:
    """Where the sample goes and how large it is."""

    output_dir: str = option("folder to write the archives into", positional=True)
    seed: int = seed()
    clips: int = option("number of clips in all four parts", 480)
    overwrite: bool = overwrite()
    quiet: bool = quiet()

    def check(self) -> None:
        """Raise a WrongUseError if the folder cannot be written."""
        check_folder(self.output_dir)


@command(
    "dusha sample",
    "dusha sample sample && dusha corpus crowd --data_dir sample --output_dir dusha",
    SampleOptions,
)
def main(options: SampleOptions) -> None:
    """Write a small synthetic corpus as archives in the published layout."""
    from dusha_ser.corpus.sample import write_sample

    folder = write_sample(
        options.output_dir, options.seed, options.clips, options.quiet, options.overwrite
    )
    print(f"{options.clips} clips written to {folder}")
    words = ["dusha", "corpus", "crowd", "--data_dir", str(folder), "--output_dir", "dusha"]
    tell(options.quiet, f"Next: {shlex.join(words)}")
