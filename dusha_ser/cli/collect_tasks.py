"""Write annotation tasks with control tasks among them, and an exam to pass first."""

from dusha_ser.cli.program import command, tell
from dusha_ser.collecting.options import TaskOptions
from dusha_ser.errors import WorkFailedError


@command(
    "dusha collect tasks",
    "dusha collect tasks clips/picked.csv --known known.csv --output_dir round1 --audio_url "
    "https://a-bucket.example/round1/",
    TaskOptions,
)
def main(options: TaskOptions) -> None:
    """Write the tasks that the command line asks for."""
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
