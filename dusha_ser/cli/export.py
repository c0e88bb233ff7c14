"""The command `dusha export`."""

from dusha_ser.cli.program import command, tell
from dusha_ser.errors import WrongUseError
from dusha_ser.inference.settings import ExportOptions


@command("dusha export", "dusha export runs/sample dusha.onnx --waveform", ExportOptions)
def main(options: ExportOptions) -> None:
    """Export a model folder to ONNX, in floating point or as an 8-bit model."""
    clips = []
    if options.clips:
        from dusha_ser.audio.finding import find_audio_files

        clips = find_audio_files(options.clips)
    try:
        from dusha_ser.inference.onnx_export import write_onnx
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
