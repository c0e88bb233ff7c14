"""Subnormal numbers count as 0 wherever something is computed, and are not kept in weights."""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
from onnx import TensorProto, helper, numpy_helper
from small_models import write_recordings
from small_network import random_features, small_classifier
from subnormal_numbers import BITS, count_subnormals, flushes, looking, network, run_and_look

from dusha_ser.audio.finding import AudioFile
from dusha_ser.corpus.named import named_rows
from dusha_ser.demo.answering import Answerer
from dusha_ser.demo.options import DemoOptions
from dusha_ser.experiments.cross_validation import run_fold
from dusha_ser.experiments.folds import Fold
from dusha_ser.experiments.runs import Run
from dusha_ser.inference.loading import load_model
from dusha_ser.inference.onnx_export import export
from dusha_ser.inference.onnx_runtime import OnnxClassifier
from dusha_ser.inference.predict_files import _classify_here, _load_here
from dusha_ser.inference.settings import Settings
from dusha_ser.inference.subnormals import count_dead_channels, flush_subnormals
from dusha_ser.processes import WorkerPool
from dusha_ser.training.options import DataOptions, RecipeOptions, RunOptions
from feature_extraction_dusha import DushaFeatureExtractor

STEP = "--max_steps 1 --per_device_train_batch_size 8 --use_cpu --validation 0"


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    """PyTorch divides work among two threads; each thread of ours has a second one of its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    small_classifier(num_mel_bins=64).save_pretrained(folder)
    DushaFeatureExtractor().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("own"), speakers=4)


@pytest.fixture(scope="module")
def new_process():
    """Run functions in processes that have PyTorch, and none of its threads yet."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["subnormal_numbers", "dusha_ser.experiments.cross_validation"])

    def run(function, *arguments):
        with ProcessPoolExecutor(1, context) as pool:
            return pool.submit(function, *arguments).result()

    return run


def test_flushing_reaches_all_threads_that_start_later():
    assert not flushes()
    with ThreadPoolExecutor() as pool:
        pool.submit(flush_subnormals).result()
        assert pool.submit(flushes).result()
    assert not flushes()


@pytest.mark.parametrize(
    "command",
    [
        "predict {model} {table} --output_file {output}.csv",
        "predict {model} {table} --timeline --output_file {output}.csv",
        "evaluate --models {model} --test_sets {table} --output_dir {output}",
        "collect pseudo-label {clips} --model {model} --number 2 --output_file {output}.csv",
        "export {model} {output}.onnx --one_length",
    ],
    ids=lambda command: command.split(" {")[0],
)
def test_commands_compute_without_subnormals(command, new_process, model, table, tmp_path):
    clips = table.parent / "to_label.csv"
    clips.write_text("id,path\n1,wavs/0_sad_0.wav\n2,wavs/1_sad_0.wav\n")
    output = tmp_path / "out"
    words = command.format(model=model, table=table, clips=clips, output=output).split()
    seen = new_process(run_and_look, *words)
    assert seen["forward"] and all(seen["forward"])


@pytest.mark.parametrize(
    ("command", "steps"),
    [
        ("train --train_file {table}", 1),
        ("cross-validate {table} --folds 2", 2),
        ("evaluate --train_on {table} --test_sets {other}", 1),
    ],
    ids=lambda value: value.split(" {")[0] if isinstance(value, str) else "",
)
def test_training_computes_without_subnormals_forwards_and_backwards(
    command, steps, new_process, model, table, tmp_path
):
    other = write_recordings(tmp_path / "other", speakers=1, duration=0.2)
    words = f"{command} --output_dir {{output}} --model_name_or_path {{model}} {STEP}"
    words = words.format(model=model, table=table, other=other, output=tmp_path / "out").split()
    seen = new_process(run_and_look, *words)
    assert len(seen["forward"]) > steps and all(seen["forward"])
    assert seen["backward"] == [True] * steps


def test_demo_computes_without_subnormals_in_each_visitors_thread(model, table):
    with looking() as seen, ThreadPoolExecutor() as pool:
        answerer = Answerer(DemoOptions(model))
        pool.submit(answerer.answer_file, table.parent / "wavs" / "0_sad_0.wav").result()
    assert seen["forward"] and all(seen["forward"])


def test_worker_processes_of_predictions_compute_without_subnormals(model, table):
    files = [AudioFile("one", str(table.parent / "wavs" / "0_sad_0.wav"))]
    loading = {"device": "cpu", "threads": 2}
    with WorkerPool(1, _load_here, Settings(model), loading) as pool:
        ((row,),) = pool.submit(_classify_here, files).result()
        assert row["error"] is None
        assert pool.submit(flushes).result()


def test_worker_processes_of_folds_compute_without_subnormals(model, table, tmp_path):
    rows = named_rows(str(table))
    splits = {"train": rows.rows.select(range(8)), "test": rows.rows.select(range(8, 12))}
    run = Run(
        DataOptions(rows.name, validation=0),
        RecipeOptions(model_name_or_path=model),
        RunOptions(str(tmp_path / "fold"), max_steps=1, quiet=True),
    )
    with WorkerPool(1, torch.set_num_threads, 2) as pool:
        assert not pool.submit(flushes, 10).result()
        pool.submit(run_fold, Fold("1", run, splits, False)).result()
        assert pool.submit(flushes).result()


def product_of(numbers: int) -> bytes:
    """A model that multiplies samples by 1, with the metadata of an exported one."""
    shape = ["batch", "samples"]
    given, found = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name in ("waveform", "probabilities")
    )
    ones = numpy_helper.from_array(np.ones(numbers, np.float32), "ones")
    node = helper.make_node("Mul", ["waveform", "ones"], ["probabilities"])
    graph = helper.make_graph([node], "product", [given], [found], [ones])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    extractor = DushaFeatureExtractor().to_dict()
    metadata = {"labels": [], "sampling_rate": 16000, "input": "waveform", "one_length": True}
    for name, value in (metadata | {"feature_extractor": extractor}).items():
        model.metadata_props.add(key=name, value=json.dumps(value))
    return model.SerializeToString()


def test_all_threads_of_onnx_runtime_compute_without_subnormals(tmp_path):
    count = 2_000_000
    (tmp_path / "product.onnx").write_bytes(product_of(count))
    # The first session of a process sets its thread, whatever later ones ask for.
    other = onnxruntime.InferenceSession(product_of(3), providers=["CPUExecutionProvider"])
    small = np.full((1, count), BITS, np.int32).view(np.float32)
    classify = OnnxClassifier(tmp_path / "product.onnx", threads=2)
    assert not classify(small).view(np.int32).any()
    with ThreadPoolExecutor() as pool:
        assert not pool.submit(classify, small).result().view(np.int32).any()
    torch.set_flush_denormal(False)
    assert other.run(None, {"waveform": small[:, :3]})[0].view(np.int32).all()


def test_loaded_and_exported_models_hold_no_subnormals_and_predict_the_same(tmp_path):
    changes = {"stage_depths": (1, 1, 1, 1)}
    model = network(share=0.3, **changes).eval()
    features = random_features(2, 40, 64)
    with torch.no_grad():
        expected = model(features).logits
    assert sum(map(count_subnormals, model.state_dict().values())) > 1000
    model.config.save_pretrained(tmp_path)
    safetensors.torch.save_file(
        model.state_dict(), tmp_path / "model.safetensors", {"format": "pt"}
    )
    DushaFeatureExtractor().save_pretrained(tmp_path)
    loaded, extractor = load_model(str(tmp_path), "cpu")
    assert not sum(map(count_subnormals, loaded.state_dict().values()))
    dead = round(0.3 * 4) + round(0.3 * 32) + round(0.3 * 64) + round(0.3 * 128)
    assert count_dead_channels(loaded) == dead
    with torch.no_grad():
        assert (loaded(features).logits - expected).abs().max() == 0.0
    # Folded normalisations make new ones of numbers that are only small.
    with torch.no_grad():
        for block in loaded.dusha.blocks:
            block.depthwise_3x3.normalization.weight[:2] = 1e-30
            block.depthwise_3x3.convolution.weight[:2] *= 1e-9
    export(loaded, extractor, tmp_path / "model.onnx")
    weights = [
        numpy_helper.to_array(one) for one in onnx.load(tmp_path / "model.onnx").graph.initializer
    ]
    assert not sum(count_subnormals(torch.from_numpy(one.copy())) for one in weights)
