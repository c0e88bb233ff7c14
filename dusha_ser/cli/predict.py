"""The command `dusha predict`."""

import sys
import tempfile
from typing import TYPE_CHECKING

from dusha_ser.cli.program import command, hide_bars, on_interrupt, tell, tell_of_shards
from dusha_ser.engines.options import EngineOptions
from dusha_ser.errors import WorkFailedError
from dusha_ser.inference.settings import STANDARD_INPUT, PredictOptions
from dusha_ser.shards.options import ShardOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dusha_ser.audio.finding import AudioFile
    from dusha_ser.timelines.speakers import SpeakerTable
    from dusha_ser.timelines.writing import TimelineWriter

# Speakers that are shown at the end; all of them are in the file.
SHOWN = 20


@command(
    "dusha predict",
    "  dusha predict runs/crowd_large recordings 'more/**/*.flac' --output_file answers.csv\n"
    "  dusha predict model.onnx podcast.mp3 --timeline --vad\n"
    "  dusha predict runs/crowd_large meeting.wav --turns meeting.rttm\n"
    "  dusha predict runs/crowd_large call.mp3 --timeline --merge --export page,srt\n"
    "  dusha predict model.onnx s3://calls/2026 --output_shards s3://calls/emotions",
    PredictOptions,
    ShardOptions,
    EngineOptions,
)
def main(options: PredictOptions, shards: ShardOptions, engine: EngineOptions) -> None:
    """Predict the emotion of audio files: one prediction per file, window, stretch of speech
    or turn of a speaker."""
    hide_bars(options.quiet)
    output = options.output_file or shards.output_shards
    on_interrupt("the same command resumes" if output and not options.overwrite else "")
    if shards.output_shards:
        predict_in_shards(options, shards, engine)
        return
    engine.refuse()
    with tempfile.TemporaryDirectory(prefix="dusha-predict-") as folder:
        from dusha_ser.audio.finding import list_audio_files

        files = list_audio_files(options.inputs, options.path_column, sys.stdin.buffer, folder)
        if options.turns:
            from dusha_ser.audio.finding_turns import with_turns

            files = with_turns(files, options.turns, options.turn_columns)
        writer = make_writer(options, files)
        from dusha_ser.inference.predict_files import predict_files
        from dusha_ser.timelines.speakers import SpeakerTable

        speakers = SpeakerTable(options.same_speakers)
        takers = [writer.take, speakers.add] if writer else []

        def take(rows: list[dict]) -> None:
            for one in takers:
                one(rows)

        failed = predict_files(options, files, take=take)
        if (
            takers
            and options.output_file
            and (options.export or options.speakers_file or not options.quiet)
        ):
            from dusha_ser.timelines.recordings import read_rows

            for rows in read_rows(options.output_file):
                take(rows)
        if writer:
            show_shares(options, writer)
        if options.turns:
            finish_speakers(options, speakers)
        if writer and writer.forms:
            quiet = options.quiet or rows_alone(options)
            tell(quiet, f"wrote {options.output_dir}: {writer.written} files")
    if failed:
        from dusha_ser.audio.problems import count_reasons

        file = options.output_file
        where = f"see the error column of {file}" if file else "their rows say why"
        reasons = count_reasons(failed)
        raise WorkFailedError(f"{len(failed)} of {len(files)} files failed: {reasons}; {where}")
    if options.output_file:
        tell(options.quiet, f"wrote {options.output_file}: {len(files)} files")


def predict_in_shards(options: PredictOptions, shards: ShardOptions, engine: EngineOptions) -> None:
    """Predict into a folder of Parquet shards: this machine's part of it, or a cluster all."""
    if engine.on_ray:
        from dusha_ser.engines.predicting import predict_on_ray

        job, outcome = predict_on_ray(options, shards, engine)
    else:
        from dusha_ser.shards.predicting import predict_shards

        job, outcome = predict_shards(options, shards)
    tell_of_shards(options.quiet, job, outcome)


def make_writer(options: PredictOptions, files: "Sequence[AudioFile]") -> "TimelineWriter | None":
    """Prepare what becomes of timelines, before any work is done; None without timelines."""
    if not options.several_rows:
        return None
    from dusha_ser.timelines.writing import TimelineWriter

    given = [one for one in options.inputs if one != STANDARD_INPUT]
    return TimelineWriter(
        *(files, options.export, options.output_dir),
        *(options.overwrite, options.least_confidence, given),
    )


def rows_alone(options: PredictOptions) -> bool:
    """Whether the screen holds rows for another program, which come alone."""
    return not options.output_file and options.format != "table"


def show_shares(options: PredictOptions, writer: "TimelineWriter") -> None:
    """Show how much of the time is what, in all rows of the output file or the screen."""
    from dusha_ser.tables import screen_table

    if writer.shares.recordings and not rows_alone(options):
        tell(options.quiet, f"\n{screen_table(writer.shares.rows())}")


def finish_speakers(options: PredictOptions, speakers: "SpeakerTable") -> None:
    """Show and write the emotions per speaker, of all rows of the output file or the screen."""
    from dusha_ser.tables import screen_table

    if speakers.has_speakers and not rows_alone(options):
        head, *cells = speakers.cells()
        more = f"and {len(cells) - SHOWN} more speakers\n" if cells[SHOWN:] else ""
        tell(options.quiet, f"\n{screen_table([head, *cells[:SHOWN]])}{more}")
    if options.speakers_file:
        speakers.write(options.speakers_file)
        tell(options.quiet, f"wrote {options.speakers_file}: {len(speakers.speakers)} speakers")
