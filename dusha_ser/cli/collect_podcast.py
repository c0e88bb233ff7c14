"""Cut the clips of Dusha's podcasts out of files that you have, by the published timings."""

from collections.abc import Sequence

from dusha_ser.cli.program import Parser, hide_bars, on_interrupt, tell
from dusha_ser.collecting.options import PodcastOptions
from dusha_ser.errors import WorkFailedError


def make_parser() -> Parser:
    """Make the parser of `dusha collect podcast`."""
    return Parser(
        "dusha collect podcast",
        __doc__,
        "dusha collect podcast archives/podcast.tar podcasts --output_dir archives/podcast_audio",
        PodcastOptions,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Cut the podcasts that the command line names."""
    (options,) = make_parser().parse_options(arguments)
    hide_bars(options.quiet)
    on_interrupt("the same command resumes")
    from dusha_ser.collecting.podcasts import MISSING_FILE, cut_podcasts

    counts = cut_podcasts(options)
    wavs = options.output_dir / "wavs"
    tell(options.quiet, f"{counts['cut']} clips cut, {counts['there']} were there: {wavs}")
    if counts["missing"]:
        raise WorkFailedError(
            f"{counts['missing']} clips are missing; see {options.output_dir / MISSING_FILE}"
        )
