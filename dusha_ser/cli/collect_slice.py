"""Cut recordings into clips of speech: 16 kHz, 16 bits, named by hash."""

from dusha_ser.cli.program import command, tell
from dusha_ser.collecting.options import Cut, SliceOptions
from dusha_ser.errors import WorkFailedError


@command(
    "dusha collect slice",
    "dusha collect slice recordings 'more/**/*.mp3' --output_dir clips",
    SliceOptions,
    Cut,
    resumes=True,
)
def main(options: SliceOptions, cut: Cut) -> None:
    """Cut the recordings that the command line names."""
    from dusha_ser.audio.finding import list_audio_files

    sounds = list_audio_files(options.inputs, options.path_column)
    from dusha_ser.collecting.slicing import RECORDINGS_FILE, slice_recordings

    rows = slice_recordings(sounds, options.output_dir, cut, options.source, options.quiet)
    clips = sum(row["clips"] for row in rows)
    tell(options.quiet, f"{clips} clips of {len(rows)} recordings written to {options.output_dir}")
    if failed := sum(row["error"] is not None for row in rows):
        raise WorkFailedError(
            f"{failed} of {len(rows)} recordings failed; see the error column of "
            f"{options.output_dir / RECORDINGS_FILE}"
        )
