"""Write annotation tasks with control tasks among them, and an exam to pass first."""

from collections.abc import Sequence

from dusha_ser.cli.program import Parser, hide_bars, tell
from dusha_ser.collecting.options import TaskOptions
from dusha_ser.errors import WorkFailedError


def make_parser() -> Parser:
    """Make the parser of `dusha collect tasks`."""
    return Parser(
        "dusha collect tasks",
        __doc__,
        "dusha collect tasks clips/picked.csv --known known.csv --output_dir round1 --audio_url "
        "https://a-bucket.example/round1/",
        TaskOptions,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tasks that the command line asks for."""
    (options,) = make_parser().parse_options(arguments)
    hide_bars(options.quiet)
    from dusha_ser.collecting.tasks import CLIP, CONTROL, EXAM, KEY_FILE, UPLOAD, write_tasks

    counts = write_tasks(options)
    tell(
        options.quiet,
        f"{counts[CLIP]} clips, {counts[CONTROL]} control tasks and an exam of {counts[EXAM]} in "
        f"{options.output_dir / UPLOAD}; {counts['repeated']} clips left out that are known or "
        f"come twice; keep {options.output_dir / KEY_FILE} to yourself",
    )
    if counts["unreadable"]:
        raise WorkFailedError(
            f"{counts['unreadable']} clips of {options.clips} cannot be read and became no tasks"
        )
