"""Cut recordings into clips of speech: 16 kHz, 16 bits, named by hash."""

from collections.abc import Sequence

from dusha_ser.cli.program import Parser, hide_bars, on_interrupt, tell
from dusha_ser.collecting.options import Cut, SliceOptions
from dusha_ser.errors import WorkFailedError


def make_parser() -> Parser:
    """Make the parser of `dusha collect slice`."""
    return Parser(
        "dusha collect slice",
        __doc__,
        "dusha collect slice recordings 'more/**/*.mp3' --output_dir clips",
        SliceOptions,
        Cut,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Cut the recordings that the command line names."""
    options, cut = make_parser().parse_options(arguments)
    hide_bars(options.quiet)
    on_interrupt("the same command resumes")
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
