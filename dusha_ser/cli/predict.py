"""The command `dusha predict`."""

import sys
import tempfile

from dusha_ser.cli.program import command, hide_bars, on_interrupt, tell
from dusha_ser.errors import WorkFailedError
from dusha_ser.inference.settings import PredictOptions


@command(
    "dusha predict",
    "  dusha predict runs/crowd_large recordings 'more/**/*.flac' --output_file answers.csv\n"
    "  dusha predict model.onnx podcast.mp3 --timeline --vad\n"
    "  dusha predict runs/crowd_large meeting.wav --turns meeting.rttm",
    PredictOptions,
)
def main(options: PredictOptions) -> None:
    """Predict the emotion of audio files: one prediction per file, window, stretch of speech
    or turn of a speaker."""
    hide_bars(options.quiet or options.rank > 0)
    resumes = options.output_file and not options.overwrite
    on_interrupt("the same command resumes" if resumes else "")
    with tempfile.TemporaryDirectory(prefix="dusha-predict-") as folder:
        from dusha_ser.audio.finding import list_audio_files

        files = list_audio_files(options.inputs, options.path_column, sys.stdin.buffer, folder)
        if options.turns:
            from dusha_ser.audio.finding_turns import with_turns

            files = with_turns(files, options.turns, options.turn_columns)
        from dusha_ser.inference.predict_files import predict_files

        failed = predict_files(options, files)
    if options.rank:
        return
    if failed:
        from dusha_ser.audio.problems import count_reasons

        file = options.output_file
        where = f"see the error column of {file}" if file else "their rows say why"
        reasons = count_reasons(failed)
        raise WorkFailedError(f"{len(failed)} of {len(files)} files failed: {reasons}; {where}")
    if options.output_file:
        tell(options.quiet, f"wrote {options.output_file}: {len(files)} files")
