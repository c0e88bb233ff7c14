"""Turn texts into recording tasks for acted speech, each with a pair of emotions."""

from collections.abc import Sequence

from dusha_ser.cli.program import Parser, hide_bars, tell
from dusha_ser.collecting.options import PromptOptions


def make_parser() -> Parser:
    """Make the parser of `dusha collect prompts`."""
    return Parser(
        "dusha collect prompts",
        __doc__,
        "dusha collect prompts texts.csv --output_file prompts.csv --number 1000",
        PromptOptions,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Turn the texts that the command line names into recording tasks."""
    (options,) = make_parser().parse_options(arguments)
    hide_bars(options.quiet)
    from dusha_ser.collecting.prompts import make_prompts, read_texts, write_prompts

    prompts = make_prompts(*read_texts(options), options.number, options.seed)
    write_prompts(options.output_file, prompts)
    tell(options.quiet, f"{len(prompts)} recording tasks written to {options.output_file}")
