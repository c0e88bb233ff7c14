"""Cut the clips of Dusha's podcasts out of files that you have, by the published timings."""

from dusha_ser.cli.program import command, tell
from dusha_ser.collecting.options import PodcastOptions
from dusha_ser.errors import WorkFailedError


@command(
    "dusha collect podcast",
    "dusha collect podcast archives/podcast.tar podcasts --output_dir archives/podcast_audio",
    PodcastOptions,
    resumes=True,
)
def main(options: PodcastOptions) -> None:
    """Cut the podcasts that the command line names."""
    from dusha_ser.collecting.podcasts import MISSING_FILE, cut_podcasts

    counts = cut_podcasts(options)
    wavs = options.output_dir / "wavs"
    tell(options.quiet, f"{counts['cut']} clips cut, {counts['there']} were there: {wavs}")
    if counts["missing"]:
        raise WorkFailedError(
            f"{counts['missing']} clips are missing; see {options.output_dir / MISSING_FILE}"
        )
