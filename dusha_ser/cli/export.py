"""Export a model folder to ONNX, in floating point or as an 8-bit model."""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from dusha_ser.audio.finding import find_audio_files
from dusha_ser.audio.reading import UnreadableAudioError, read_audio
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.inference.classify import torch_classifier
from dusha_ser.inference.loading import load_model
from modeling_dusha import DushaForAudioClassification

# How far an exported model's probabilities may be from PyTorch's.
TOLERANCE = 1e-4


def read_clips(paths: list[Path], sampling_rate: int, quiet: bool, text: str) -> Iterator:
    """Read sound files one by one, each as (samples,) at the given rate in Hz, under a bar."""
    for path in tqdm(paths, desc=text, unit="clip", disable=quiet):
        try:
            yield read_audio(path, sampling_rate)
        except UnreadableAudioError as error:
            raise WorkFailedError(f"cannot read {path} ({error})") from error


def compare(classify, other, clips: Iterator[np.ndarray]) -> dict[str, float]:
    """Compare two classifiers clip by clip.

    Args:
        classify: a function from clips to probabilities, (clips, labels).
        other: another one.
        clips: each (samples,).

    Returns:
        The number of clips, the largest difference of a probability, and the share of clips
        that got the same label, in [0, 1].
    """
    rows = [(classify([clip])[0], other([clip])[0]) for clip in clips]
    first, second = (np.array(side) for side in zip(*rows, strict=True))
    return {
        "clips": len(rows),
        "largest_difference": float(np.abs(first - second).max()),
        "same_label": float((first.argmax(1) == second.argmax(1)).mean()),
    }


def noise_clips(sampling_rate: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Make clips of rising length to compare with where no real ones were given."""
    generator = np.random.default_rng(seed)
    for seconds in (0.05, 0.5, 1.3, 3.0, 7.1):
        samples = generator.normal(0, 0.1, round(seconds * sampling_rate))
        yield np.cumsum(samples - samples.mean()).astype(np.float32) / 10


def make_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: dusha export runs/sample dusha.onnx --waveform",
    )
    parser.add_argument("model", help="model folder, or name on the Hub")
    parser.add_argument("output_file", type=Path, help="ONNX file to write")
    parser.add_argument(
        "--waveform",
        action="store_true",
        help="put the feature recipe into the graph, which then reads waveforms",
    )
    parser.add_argument(
        "--one_length",
        action="store_true",
        help="hide no padding, which is faster: clips of a batch must be of one length, and "
        "dusha predict classifies them one by one",
    )
    parser.add_argument(
        "--clips",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="sound files and folders of them, which show what the export loses; with --int8 "
        "every second clip calibrates, and the others show it",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="write 8-bit convolutions (static quantisation); needs --clips",
    )
    parser.add_argument("--quiet", action="store_true", help="show no bars")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Export the model that the command line names, and say what the export loses."""
    chosen = make_parser().parse_args(arguments)
    if chosen.int8 and not chosen.clips:
        raise WrongUseError("--int8 needs --clips: some tens of typical clips to calibrate with")
    try:
        from dusha_ser.inference.onnx_export import export, quantise
        from dusha_ser.inference.onnx_runtime import OnnxClassifier
    except ImportError as error:
        raise WrongUseError(f'{error}; install the extra: pip install "dusha-ser[onnx]"') from error
    clips = find_audio_files(chosen.clips) if chosen.clips else []
    calibration, compared = (clips[::2], clips[1::2]) if chosen.int8 else ([], clips)
    if chosen.int8 and not compared:
        raise WrongUseError(
            f"--int8 got {len(clips)} clip; give some tens: every second one calibrates, the "
            "others show what is lost"
        )
    model, extractor = load_model(chosen.model, "cpu")
    if not isinstance(model, DushaForAudioClassification):
        raise WrongUseError(
            f"{chosen.model} is a network of type {model.config.model_type!r}, and this exports "
            "Dusha's; optimum-onnx exports the others"
        )
    rate = extractor.sampling_rate

    chosen.output_file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=chosen.output_file.parent, prefix=".") as folder:
        written = Path(folder) / "float.onnx"
        export(model, extractor, written, chosen.waveform, chosen.one_length)
        if chosen.int8:
            exact, written = written, Path(folder) / "int8.onnx"
            quantise(exact, written, read_clips(calibration, rate, chosen.quiet, "calibrate"))
        with torch.inference_mode():
            result = compare(
                torch_classifier(model, extractor),
                OnnxClassifier(written),
                read_clips(compared, rate, chosen.quiet, "compare")
                if compared
                else noise_clips(rate),
            )
        if not chosen.int8 and result["largest_difference"] > TOLERANCE:
            raise WorkFailedError(
                f"the exported model differs from PyTorch's by {result['largest_difference']:.2g} "
                f"in probability, more than {TOLERANCE:g}; nothing was written"
            )
        written.replace(chosen.output_file)
    size = chosen.output_file.stat().st_size / 1e6
    calibrated = f"calibrated on {len(calibration)} clips; " if calibration else ""
    kind = "other clips" if calibration else "clips" if compared else "made-up clips"
    print(
        f"wrote {chosen.output_file} ({size:.1f} MB); {calibrated}against PyTorch on "
        f"{result['clips']} {kind}: largest difference of a probability "
        f"{result['largest_difference']:.1e}, same label {result['same_label']:.1%}"
    )
