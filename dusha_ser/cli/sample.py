"""Write a small synthetic corpus as archives in the published layout."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from dusha_ser.cli.program import Parser


@dataclass
class SampleOptions:
    """Where the sample goes and how large it is."""

    output_dir: str = field(
        metadata={"help": "folder to write the archives into", "positional": True}
    )
    seed: int = field(default=0, metadata={"help": "seed of all random choices"})
    clips: int = field(default=480, metadata={"help": "number of clips in all four parts"})
    quiet: bool = field(default=False, metadata={"help": "show no progress bar"})


def make_parser() -> Parser:
    """Make the parser of `dusha sample`."""
    return Parser(
        "dusha sample",
        __doc__,
        "dusha sample sample && dusha corpus crowd --data_dir sample --output_dir dusha",
        SampleOptions,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a sample corpus."""
    (options,) = make_parser().parse_options(arguments)
    from dusha_ser.corpus.sample import write_sample

    folder = write_sample(options.output_dir, options.seed, options.clips, options.quiet)
    print(f"{options.clips} clips written to {folder}")
