"""Tests of exported models: parity with PyTorch, metadata, 8-bit convolutions, wrong files."""

import copy
import sys

import numpy as np
import onnx
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from configuration_dusha import DushaConfig
from dusha_ser import EmotionClassifier
from dusha_ser.audio.finding import find_audio_files
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.inference.classify import torch_classifier
from dusha_ser.inference.onnx_export import (
    compare,
    export,
    first_convolutions,
    heard,
    quantise,
    write_onnx,
)
from dusha_ser.inference.onnx_runtime import OnnxClassifier
from dusha_ser.inference.settings import ExportOptions
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

KINDS = ("features", "waveform", "features_one_length", "waveform_one_length")


def clip(size, seed=0):
    generator = np.random.default_rng(seed)
    tone = np.sin(np.arange(size) * generator.uniform(0.05, 0.5))
    return (0.3 * tone + 0.05 * generator.standard_normal(size)).astype(np.float32)


@pytest.fixture(scope="module")
def extractor():
    return DushaFeatureExtractor()


@pytest.fixture(scope="module")
def model():
    """A small network whose weights matter: all of it is random, attention included."""
    torch.manual_seed(0)
    config = DushaConfig(
        stage_channels=(8, 16, 16), stage_depths=(1, 2, 2), stage_strides=(1, 2, 2),
        expansion_ratios=(1, 2, 2), hidden_size=16, attention_size=4,
    )  # fmt: skip
    model = DushaForAudioClassification(config).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.05, 0.2)
    model.dusha.attention.gamma.data.fill_(0.7)
    model.classifier.weight.data *= 10
    return model


@pytest.fixture(scope="module")
def files(model, extractor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    for name in KINDS:
        kinds = {"waveform": "waveform" in name, "one_length": "one_length" in name}
        export(model, extractor, folder / f"{name}.onnx", **kinds)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def exported(files, request):
    return OnnxClassifier(files / f"{request.param}.onnx")


@settings(deadline=None, max_examples=25)
@given(sizes=st.lists(st.integers(1, 50_000), min_size=1, max_size=4))
def test_probabilities_equal_pytorch_when_clips_have_any_length(exported, model, extractor, sizes):
    clips = [clip(size, seed=size) for size in sizes]
    expected = torch_classifier(model, extractor)(clips)
    np.testing.assert_allclose(exported(clips), expected, atol=1e-4)


def test_probabilities_equal_pytorch_when_the_clip_is_special(exported, model, extractor):
    clips = [np.zeros(4000), np.ones(3001), np.clip(20 * clip(5000), -1, 1), np.ones(1)]
    clips = [samples.astype(np.float32) for samples in clips]
    expected = torch_classifier(model, extractor)(clips)
    np.testing.assert_allclose(exported(clips), expected, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_emotion_classifier_gives_what_it_gives_with_pytorch(
    files, kind, model, extractor, tmp_path
):
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    clips = [(clip(size, seed=size), 48000) for size in (9000, 60_000, 400_000)]
    expected = EmotionClassifier(tmp_path, "cpu").predict(clips)
    found = EmotionClassifier(files / f"{kind}.onnx").predict(clips)
    for one, other in zip(found, expected, strict=True):
        assert (one.label, one.duration) == (other.label, other.duration)
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


@pytest.mark.parametrize("kind", [{}, {"waveform": True}, {"one_length": True}])
def test_model_that_warps_frequencies_answers_the_same_when_exported(
    model, extractor, tmp_path, kind
):
    clips = [clip(size, seed=size) for size in (9000, 30_000)]
    warping = copy.deepcopy(model)
    # Its answers hang on little changes: without a warp, the first clip's classes are as probable.
    warping.classifier.weight.data *= 20
    with torch.no_grad():
        warping.classifier.bias -= warping(
            **extractor(clips[0], 16000, return_tensors="pt")
        ).logits[0]
    plain = torch_classifier(warping, extractor)(clips)
    warping.config.frequency_warp = 0.2
    expected = torch_classifier(warping, extractor)(clips)
    assert np.abs(expected - plain).max() > 1e-3
    export(warping, extractor, tmp_path / "model.onnx", **kind)
    np.testing.assert_allclose(OnnxClassifier(tmp_path / "model.onnx")(clips), expected, atol=1e-4)
    # The first two of a hearing's convolutions stay in floating point in all three.
    graph = onnx.load(tmp_path / "model.onnx").graph
    kept = first_convolutions(graph, 2)
    names = [node.name for node in graph.node if node.op_type == "Conv"]
    assert kept == [name for place, name in enumerate(names) if place % (len(names) // 3) < 2]


def test_answers_differ_between_clips(exported):
    answers = exported([clip(20_000, seed=seed) for seed in range(4)])
    assert np.ptp(answers, axis=0).max() > 0.01


def test_metadata_tell_labels_and_rate(exported):
    assert exported.labels == ["angry", "sad", "neutral", "positive"]
    assert exported.sampling_rate == 16000


def test_graph_holds_only_standard_operators(files):
    for path in files.glob("*.onnx"):
        graph = onnx.load(path)
        onnx.checker.check_model(graph)
        assert {entry.domain for entry in graph.opset_import} <= {"", "ai.onnx"}
        assert not graph.functions


def test_int8_model_is_smaller_and_close(files, tmp_path):
    clips = [clip(24_000, seed=seed) for seed in range(12)]
    quantise(files / "waveform.onnx", tmp_path / "int8.onnx", clips[::2])
    exact, quantised = (
        OnnxClassifier(files / "waveform.onnx"),
        OnnxClassifier(tmp_path / "int8.onnx"),
    )
    assert quantised.labels == exact.labels
    nodes = onnx.load(tmp_path / "int8.onnx").graph.node
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in nodes}
    eight_bit = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    in_float = [node for node in convolutions if node.input[1] not in eight_bit]
    assert in_float == convolutions[:2]
    result = compare(exact, quantised, iter(clips[1::2]))
    assert result["clips"] == 6
    assert 0 < result["largest_difference"] < 0.2


def test_quantising_refuses_silence_and_warns_of_some_and_of_few_clips(files, tmp_path, caplog):
    silent = np.full(8000, 9e-4, np.float32)
    with pytest.raises(WrongUseError, match="all 3 clips to calibrate by are silent.*`clips`"):
        quantise(files / "waveform.onnx", tmp_path / "int8.onnx", [silent] * 3)
    assert not (tmp_path / "int8.onnx").exists()
    assert not caplog.messages
    quantise(files / "waveform.onnx", tmp_path / "int8.onnx", [silent, clip(8000), clip(4000)])
    assert caplog.messages == [
        "1 of the 3 clips to calibrate by are silent",
        "3 clips to calibrate by are few; give some tens",
    ]
    caplog.clear()
    assert len(list(heard([clip(800)] * 10, "calibrate", 10))) == 10
    assert not caplog.messages


def test_export_of_8_bits_when_what_it_is_compared_by_is_silent_writes_nothing(
    model, extractor, tmp_path
):
    model.save_pretrained(tmp_path / "model")
    extractor.save_pretrained(tmp_path / "model")
    clips = [tmp_path / f"{number}.wav" for number in range(4)]
    for number, path in enumerate(clips):
        soundfile.write(path, np.zeros(8000) if number % 2 else clip(8000, number), 16000)
    options = ExportOptions(str(tmp_path / "model"), tmp_path / "int8.onnx", int8=True, quiet=True)
    with pytest.raises(WrongUseError, match="all 2 clips to compare by are silent"):
        write_onnx(options, clips)
    assert not list(tmp_path.glob("*.onnx"))


def test_quantising_leaves_the_modules_of_this_project_to_be_found(files, tmp_path):
    before = list(sys.path)
    quantise(files / "waveform.onnx", tmp_path / "int8.onnx", [np.ones(1600, np.float32)])
    assert sys.path == before


def test_opening_refuses_when_the_file_is_missing_or_not_ours(tmp_path):
    with pytest.raises(MissingInputError, match="no such file"):
        OnnxClassifier(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(WrongUseError, match="not an ONNX model"):
        OnnxClassifier(tmp_path / "text.onnx")


def test_compare_counts_equal_labels_and_the_largest_difference():
    def first(clips):
        return np.array([[0.9, 0.1]])

    def second(clips):
        return np.array([[0.9, 0.1]]) if clips[0][0] else np.array([[0.4, 0.6]])

    result = compare(first, second, iter([np.ones(1), np.zeros(1)]))
    assert result == {"clips": 2, "largest_difference": pytest.approx(0.5), "same_label": 0.5}


def test_find_audio_files_searches_folders_and_names_what_is_missing(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("deep/a.wav", "b.flac", "notes.txt"):
        (tmp_path / name).touch()
    found = find_audio_files([tmp_path])
    assert [path.name for path in found] == ["b.flac", "a.wav"]
    with pytest.raises(MissingInputError, match="no such file or folder"):
        find_audio_files([tmp_path / "missing"])
    with pytest.raises(MissingInputError, match="no audio files"):
        find_audio_files([tmp_path / "notes.txt"])


def test_export_of_waveforms_refuses_what_cuts_off_silence(model, tmp_path):
    trimming = DushaFeatureExtractor(trim_silence=40)
    with pytest.raises(WrongUseError, match="leave out `waveform`"):
        export(model, trimming, tmp_path / "model.onnx", waveform=True)
