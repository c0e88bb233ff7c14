"""The model outside PyTorch: one ONNX graph that needs nothing but ONNX Runtime.

A graph reads either features, as DushaFeatureExtractor makes them, or waveforms, with the feature
recipe inside. Its metadata hold all that a program needs to use it: labels, sampling rate, input.
"""

import copy
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxscript
import torch
from tqdm import tqdm

from dusha_ser.audio.problems import SILENT, count_reasons, find_problems
from dusha_ser.audio.reading import UnreadableAudioError, read_audio
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.inference.classify import torch_classifier
from dusha_ser.inference.loading import load_model
from dusha_ser.inference.onnx_networks import (
    FeaturesToProbabilities,
    PooledAttention,
    WaveformToProbabilities,
)
from dusha_ser.inference.onnx_runtime import OUTPUTS, OnnxClassifier
from dusha_ser.inference.settings import ExportOptions
from dusha_ser.inference.subnormals import flush_subnormals
from dusha_ser.inference.timeline import Classify
from dusha_ser.storage import check_file, replacing
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

# The newest that both torch's exporter is tested with and the oldest supported runtime reads.
OPSET = 18
# The first convolutions, which int8 leaves in floating point: the input of the first spans 80 dB,
# and the second looks at four channels, where 8-bit kernels work on sixteen or more at once.
KEPT_CONVOLUTIONS = 2
# How far an exported model's probabilities may be from PyTorch's.
TOLERANCE = 1e-4
# A clip whose samples all stay below 60 dB under full scale holds no speech.
SILENCE = 1e-3
FEWEST_CLIPS = 10  # to calibrate by, without a warning
logger = logging.getLogger(__name__)


def export(
    model: DushaForAudioClassification,
    extractor: DushaFeatureExtractor,
    path: str | Path,
    waveform: bool = False,
    one_length: bool = False,
) -> None:
    """Write a model as one ONNX file of dynamic batch and length.

    Args:
        model: the network.
        extractor: the feature extractor that was saved with it.
        path: file to write.
        waveform: whether the graph reads waveforms, with the feature recipe inside.
        one_length: whether the graph hides no padding, so that all clips of a batch must be of one
            length; it is faster, and OnnxClassifier gives it clips one by one.

    Raises:
        WrongUseError: if waveforms are asked for and the extractor cuts off silence.
    """
    if waveform and extractor.trim_silence is not None:
        raise WrongUseError(
            "this model's features leave out silence (trim_silence), which a graph that reads "
            "waveforms does not: leave out `waveform`; no page can hold this model"
        )
    model = copy.deepcopy(model)
    network: Any = model.dusha
    network.attention = PooledAttention(network.attention)
    # Inputs of a shape that tracing can generalise from, by name, and their dynamic sizes.
    if waveform:
        graph: torch.nn.Module = WaveformToProbabilities(model, extractor)
        clips, lengths = torch.full((2, 48000), 0.1), torch.tensor([48000, 31000])
        sizes = {"waveform": {0: "batch", 1: "samples"}, "lengths": {0: "batch"}}
    else:
        graph = FeaturesToProbabilities(model)
        clips = torch.full((2, 300, model.config.num_mel_bins), -40.0)
        lengths = torch.ones(2, 300, dtype=torch.int64)
        sizes = dict.fromkeys(("input_features", "attention_mask"), {0: "batch", 1: "frames"})
    names = list(sizes)[: 1 if one_length else 2]
    # The exporter says at length that two inputs share a dimension, which is what we want, and
    # that torchvision is not installed.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            graph.eval(),
            (clips, lengths)[: len(names)],
            input_names=names,
            output_names=OUTPUTS,
            dynamic_shapes={name: sizes[name] for name in names},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    labels = [model.config.id2label[number] for number in range(model.config.num_labels)]
    metadata = {
        "labels": labels,
        "problem_type": model.config.problem_type,
        "sampling_rate": extractor.sampling_rate,
        "input": names[0],
        "one_length": one_length,
        "feature_extractor": extractor.to_dict(),
    }
    for name, value in metadata.items():
        program.model.metadata_props[name] = json.dumps(value)
    # Products of dead channels' weights and batch normalisation, which the exporter folds.
    for value in program.model.graph.initializers.values():
        weights = value.const_value.numpy()
        if weights.dtype == np.float32:
            small = np.abs(weights) < np.finfo(np.float32).tiny
            value.const_value = onnxscript.ir.tensor(np.where(small, np.float32(0), weights))
    program.save(path)


def quantise(path: str | Path, quantised_path: str | Path, clips: Iterable[np.ndarray]) -> None:
    """Turn the convolutions of an exported model into 8-bit ones (static quantisation).

    Weights get a scale for each channel; the ranges of activations are a mean of those that the
    calibration clips give. Attention, head and feature recipe stay in floating point, and so do
    the first two convolutions (KEPT_CONVOLUTIONS). It is faster only in graphs of one length,
    where convolutions follow each other.

    Args:
        path: file that `export` wrote.
        quantised_path: file to write.
        clips: some tens of typical clips, each (samples,) in [-1, 1] at the model's rate.

    Raises:
        WrongUseError: if all clips are silent; some, or fewer than ten clips, are a warning.
    """
    own_path = list(sys.path)
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # It adds a folder whose modules, metrics among them, hide those of an editable installation.
    sys.path[:] = own_path
    classifier = OnnxClassifier(path)
    inputs = (classifier.inputs([clip]) for clip in heard(clips, "calibrate", FEWEST_CLIPS))

    class Reader(quantization.CalibrationDataReader):
        def get_next(self):
            return next(inputs, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        quantization.quantize_static(
            str(prepared),
            str(quantised_path),
            Reader(),
            # The sums and bounds between convolutions, too: else each is turned to floats and back.
            op_types_to_quantize=["Conv", "Add", "Clip"],
            nodes_to_exclude=first_convolutions(graph, KEPT_CONVOLUTIONS),
            per_channel=True,
            # Seven bits a weight: where a processor has no instruction for 8-bit sums, those of
            # two products of eight would overflow.
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            # Of the ranges that clips have, a moving average: one odd clip would coarsen all.
            extra_options={"CalibMovingAverage": True, "CalibMovingAverageConstant": 0.01},
        )
    # It leaves the metadata behind.
    model = onnx.load(quantised_path)
    known = {entry.key for entry in model.metadata_props}
    for entry in onnx.load(path, load_external_data=False).metadata_props:
        if entry.key not in known:
            model.metadata_props.add(key=entry.key, value=entry.value)
    onnx.save(model, quantised_path)


def first_convolutions(graph: Any, count: int) -> list[str]:
    """Name the first convolutions of a graph, by their weights: each hearing of a clip has them.

    Args:
        graph: of `onnx`.
        count: of convolutions with different weights.
    """
    weights = {one.name: one.raw_data for one in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    kept = list(dict.fromkeys(weights[node.input[1]] for node in convolutions))[:count]
    return [node.name for node in convolutions if weights[node.input[1]] in kept]


def heard(clips: Iterable[np.ndarray], purpose: str, fewest: int = 0) -> Iterator[np.ndarray]:
    """Pass clips (samples,) on, and see at their end that they can tell something of a model.

    On silence an 8-bit model gives the same label as any other.

    Raises:
        WrongUseError: if all clips are silent.
    """
    count = silent = 0
    for clip in clips:
        count += 1
        silent += bool(np.abs(clip).max(initial=0) < SILENCE)
        yield clip
    if silent == count:
        raise WrongUseError(
            f"all {count} clips to {purpose} by are silent; give `clips` like those to classify"
        )
    if silent:
        logger.warning("%d of the %d clips to %s by are silent", silent, count, purpose)
    if count < fewest:
        logger.warning("%d clips to %s by are few; give some tens", count, purpose)


def write_onnx(options: ExportOptions, clips: Sequence[Path]) -> dict[str, float]:
    """Export a model, compare it with PyTorch, and put it in its place if it is the same model.

    Args:
        options: which model, where to, and as what.
        clips: audio files; for an 8-bit model every second one calibrates.

    Returns:
        As of `compare`, and as "calibrated" the number of clips that it was calibrated on.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is not Dusha's, or clips are too few, or silent.
        WorkFailedError: if a clip cannot be read, or the export differs from the model.
    """
    flush_subnormals()
    check_file(options.output_file, options.overwrite)
    calibration, compared = (clips[::2], clips[1::2]) if options.int8 else ([], clips)
    if options.int8 and not compared:
        raise WrongUseError(
            f"`int8` got {len(clips)} clip; give some tens: every second one calibrates, the "
            "others show what is lost"
        )
    model, extractor = load_model(options.model, "cpu", prior=options.prior)
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
        if options.int8:
            shown = heard(shown, "compare")
        result = compare(torch_classifier(model, extractor), OnnxClassifier(written), shown)
        if not options.int8 and result["largest_difference"] > TOLERANCE:
            raise WorkFailedError(
                f"the exported model differs from PyTorch's by {result['largest_difference']:.2g} "
                f"in probability, more than {TOLERANCE:g}; nothing was written"
            )
    return result | {"calibrated": len(calibration)}


def compare(first: Classify, second: Classify, clips: Iterable[np.ndarray]) -> dict[str, float]:
    """Compare two classifiers clip by clip, each (samples,).

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
            found = find_problems((str(one), one) for one in paths)
            problems = {name: reason for name, reason in found.items() if reason != SILENT}
            raise WorkFailedError(
                f"{len(problems)} of {len(paths)} clips cannot be read: {count_reasons(problems)}"
            ) from error


def _noise_clips(sampling_rate: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Make clips of rising length to compare with where no real ones were given."""
    generator = np.random.default_rng(seed)
    for seconds in (0.05, 0.5, 1.3, 3.0, 7.1):
        samples = generator.normal(0, 0.1, round(seconds * sampling_rate))
        yield np.cumsum(samples - samples.mean()).astype(np.float32) / 10
