"""Export a model folder to ONNX, in floating point or as an 8-bit model."""

from collections.abc import Sequence

from dusha_ser.cli.program import Parser, hide_bars, tell
from dusha_ser.errors import WrongUseError
from dusha_ser.inference.settings import ExportOptions


def make_parser() -> Parser:
    """Make the parser of `dusha export`."""
    example = "dusha export runs/sample dusha.onnx --waveform"
    return Parser("dusha export", __doc__, example, ExportOptions)


def main(arguments: Sequence[str] | None = None) -> None:
    """Export the model that the command line names, and print what the export loses."""
    (options,) = make_parser().parse_options(arguments)
    hide_bars(options.quiet)
    clips = []
    if options.clips:
        from dusha_ser.audio.finding import find_audio_files

        clips = find_audio_files(options.clips)
    try:
        from dusha_ser.inference.onnx_files import write_onnx
    except ImportError as error:
        raise WrongUseError(f'{error}; install the extra: pip install "dusha-ser[onnx]"') from error

    result = write_onnx(options, clips)
    size = options.output_file.stat().st_size / 1e6
    calibrated = f"calibrated on {result['calibrated']} clips; " if result["calibrated"] else ""
    kind = "other clips" if result["calibrated"] else "clips" if clips else "made-up clips"
    tell(
        options.quiet,
        f"wrote {options.output_file} ({size:.1f} MB); {calibrated}against PyTorch on "
        f"{result['clips']} {kind}: largest difference of a probability "
        f"{result['largest_difference']:.1e}, same label {result['same_label']:.1%}",
    )
