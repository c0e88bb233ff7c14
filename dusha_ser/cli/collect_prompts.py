"""Turn texts into recording tasks for acted speech, each with a pair of emotions."""

from dusha_ser.cli.program import command, tell
from dusha_ser.collecting.options import PromptOptions


@command(
    "dusha collect prompts",
    "dusha collect prompts texts.csv --output_file prompts.csv --number 1000",
    PromptOptions,
)
def main(options: PromptOptions) -> None:
    """Turn the texts that the command line names into recording tasks."""
    from dusha_ser.collecting.prompts import make_prompts, read_texts, write_prompts

    prompts = make_prompts(*read_texts(options), options.number, options.seed)
    write_prompts(options.output_file, prompts)
    tell(options.quiet, f"{len(prompts)} recording tasks written to {options.output_file}")
