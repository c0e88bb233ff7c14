"""The commands `dusha export` and `dusha export page`."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from dusha_ser.cli.program import command, tell
from dusha_ser.demo.options import PageOptions
from dusha_ser.errors import WrongUseError
from dusha_ser.inference.settings import ExportOptions


@command("dusha export", "dusha export runs/sample dusha.onnx --waveform", ExportOptions)
def main(options: ExportOptions) -> None:
    """Export a model folder to ONNX, in floating point or as an 8-bit model.

    `dusha export page` writes a page for browsers instead, in which the model runs.
    """
    clips = []
    if options.clips:
        from dusha_ser.audio.finding import find_audio_files

        clips = find_audio_files(options.clips)
    with _needs_extra("onnx"):
        from dusha_ser.inference.onnx_export import write_onnx

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


@command(
    "dusha export page",
    "dusha export page runs/sample page",
    PageOptions,
)
def export_page(options: PageOptions) -> None:
    """Write a page in which a model runs, in the browser alone: nothing leaves the machine.

    Any server of files serves it, and a static Space on the Hub; once loaded, it needs no network.
    """
    with _needs_extra("page"):
        from dusha_ser.demo.static_page import write_page

    size = write_page(options)
    folder = shlex.quote(str(options.output_dir))
    tell(
        options.quiet,
        f"wrote {options.output_dir} ({size / 1e6:.1f} MB)\n"
        f"Next: python -m http.server --bind 127.0.0.1 --directory {folder}",
    )


@contextmanager
def _needs_extra(name: str) -> Iterator[None]:
    """Name the extra that brings what cannot be imported."""
    try:
        yield
    except ImportError as error:
        raise WrongUseError(
            f'{error}; install the extra: pip install "dusha-ser[{name}]"'
        ) from error
