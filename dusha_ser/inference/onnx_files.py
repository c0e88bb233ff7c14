"""Exported models as files: written, and compared with the network that they come from."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from dusha_ser.audio.reading import UnreadableAudioError, read_audio
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.inference.classify import torch_classifier
from dusha_ser.inference.loading import load_model
from dusha_ser.inference.onnx_export import export, quantise
from dusha_ser.inference.onnx_runtime import OnnxClassifier
from dusha_ser.inference.settings import ExportOptions
from dusha_ser.inference.timeline import Classify
from dusha_ser.storage import replacing
from modeling_dusha import DushaForAudioClassification

# How far an exported model's probabilities may be from PyTorch's.
TOLERANCE = 1e-4


def write_onnx(options: ExportOptions, clips: Sequence[Path]) -> dict[str, float]:
    """Export a model, compare it with PyTorch, and put it in its place if it is the same model.

    Args:
        options: which model, where to, and as what.
        clips: audio files; for an 8-bit model every second one calibrates.

    Returns:
        As of `compare`, and as "calibrated" the number of clips that it was calibrated on.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is not Dusha's, or clips are too few.
        WorkFailedError: if a clip cannot be read, or the export differs from the model.
    """
    calibration, compared = (clips[::2], clips[1::2]) if options.int8 else ([], clips)
    if options.int8 and not compared:
        raise WrongUseError(
            f"`int8` got {len(clips)} clip; give some tens: every second one calibrates, the "
            "others show what is lost"
        )
    model, extractor = load_model(options.model, "cpu")
    if not isinstance(model, DushaForAudioClassification):
        raise WrongUseError(
            f"{options.model} is a network of type {model.config.model_type!r}, and this exports "
            "Dusha's; optimum-onnx exports the others"
        )
    rate, quiet, place = extractor.sampling_rate, options.quiet, options.output_file
    with tempfile.TemporaryDirectory() as folder, replacing(place) as unfinished:
        written = Path(folder) / "float.onnx" if options.int8 else unfinished
        export(model, extractor, written, options.waveform, options.one_length)
        if options.int8:
            exact, written = written, unfinished
            quantise(exact, written, _read_clips(calibration, rate, quiet, "calibrate"))
        shown = _read_clips(compared, rate, quiet, "compare") if compared else _noise_clips(rate)
        result = compare(torch_classifier(model, extractor), OnnxClassifier(written), shown)
        if not options.int8 and result["largest_difference"] > TOLERANCE:
            raise WorkFailedError(
                f"the exported model differs from PyTorch's by {result['largest_difference']:.2g} "
                f"in probability, more than {TOLERANCE:g}; nothing was written"
            )
    return result | {"calibrated": len(calibration)}


def compare(first: Classify, second: Classify, clips: Iterable[np.ndarray]) -> dict[str, float]:
    """Compare two classifiers clip by clip.

    Args:
        first: a function from clips to probabilities, (clips, labels).
        second: another one.
        clips: each (samples,).

    Returns:
        The number of clips, the largest difference of a probability, and the fraction of clips
        that got the same label, in [0, 1].
    """
    with torch.inference_mode():
        rows = [(first([clip])[0], second([clip])[0]) for clip in clips]
    ours, theirs = (np.array(side) for side in zip(*rows, strict=True))
    return {
        "clips": len(rows),
        "largest_difference": float(np.abs(ours - theirs).max()),
        "same_label": float((ours.argmax(1) == theirs.argmax(1)).mean()),
    }


def _read_clips(
    paths: Sequence[Path], sampling_rate: int, quiet: bool, text: str
) -> Iterator[np.ndarray]:
    """Read audio files one by one, each as (samples,) at the given rate in Hz, under a bar."""
    for path in tqdm(paths, desc=text, unit="clip", disable=quiet or None):
        try:
            yield read_audio(path, sampling_rate)
        except UnreadableAudioError as error:
            raise WorkFailedError(f"cannot read {path} ({error})") from error


def _noise_clips(sampling_rate: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Make clips of rising length to compare with where no real ones were given."""
    generator = np.random.default_rng(seed)
    for seconds in (0.05, 0.5, 1.3, 3.0, 7.1):
        samples = generator.normal(0, 0.1, round(seconds * sampling_rate))
        yield np.cumsum(samples - samples.mean()).astype(np.float32) / 10
