"""Turn the crowd's answers into the raw layout of the corpus, which `dusha corpus` reads."""

from dusha_ser.cli.program import command, tell
from dusha_ser.collecting.options import AnswerOptions


@command(
    "dusha collect answers",
    "dusha collect answers round1 answers.csv export.json --output_dir collected",
    AnswerOptions,
)
def main(options: AnswerOptions) -> None:
    """Turn the answers that the command line names into raw parts."""
    from dusha_ser.collecting.answers import ANNOTATORS_FILE, collect_answers

    counts = collect_answers(options)
    tell(
        options.quiet,
        f"{counts['answers']} answers to {counts['clips']} clips ({counts['train']} train, "
        f"{counts['test']} test) written to {options.output_dir}; {counts['failed']} of "
        f"{counts['annotators']} annotators failed the exam, whose {counts['left_out']} answers "
        f"are dropped, see {options.output_dir / ANNOTATORS_FILE}; "
        f"{counts['other_tasks']} answers to tasks that are not of this key",
    )
