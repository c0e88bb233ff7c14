"""Training by two processes on one machine, started by torchrun and by accelerate."""

import json

import datasets
import numpy as np
import pytest
import torch
from own_recordings import write_recordings
from small_models import FEATURE_ROWS
from small_network import small_config

from dusha_ser.corpus.named import named_rows
from dusha_ser.evaluation.predict_rows import predict_rows
from dusha_ser.evaluation.predictions import read_predictions
from dusha_ser.inference.loading import load_model
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

pytestmark = pytest.mark.timeout(900)
LABELS = ["angry", "sad", "neutral", "positive"]
LAUNCHERS = {
    "torchrun": ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2),
    "accelerate": (
        # It means several processes; without a GPU they meet over gloo. Its --cpu asks for MPI.
        *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", 2),
        *("--num_machines", 1, "--mixed_precision", "no", "--dynamo_backend", "no"),
        *("--main_process_port", 0),
    ),
}


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Options of a run on 96 + 21 recordings, which two processes cannot share evenly."""
    folder = tmp_path_factory.mktemp("two")
    table = write_recordings(folder / "train", LABELS, 96, "abcdefgh")
    test_table = write_recordings(folder / "test", LABELS, 21, "xyz")
    torch.manual_seed(0)
    DushaForAudioClassification(small_config(num_mel_bins=64)).save_pretrained(folder / "small")
    DushaFeatureExtractor().save_pretrained(folder / "small")
    return (
        *("--train_file", table, "--test_file", test_table, "--cache_dir", folder / "cache"),
        *("--model_name_or_path", folder / "small", "--learning_rate", "1e-2", "--quiet"),
        # So few steps jump at this rate: what is compared is where they settle.
        *("--lr_scheduler_type", "cosine", "--average_decay", "0.8", "--num_train_epochs", "16"),
        *("--validation", "0.2", "--crop", "10"),
        *("--frequency_mask", "0", "--time_mask", "0"),
    )


@pytest.fixture(scope="module")
def alone(options, shell, repository, tmp_path_factory):
    """The folder of the run by one process."""
    folder = tmp_path_factory.mktemp("alone")
    shell(
        *("-m", "dusha_ser", "train", *options, "--per_device_train_batch_size", "16"),
        *("--output_dir", folder / "model"),
        cwd=folder,
    )
    return folder / "model"


@pytest.mark.parametrize("launcher", list(LAUNCHERS))
def test_two_processes_train_as_one_does(launcher, options, alone, shell, repository, tmp_path):
    done = shell(
        *(*LAUNCHERS[launcher], "-m", "dusha_ser", "train", *options),
        *("--per_device_train_batch_size", "8", "--output_dir", tmp_path / "model"),
        cwd=tmp_path,
    )
    # One of the two speaks.
    assert done.stdout.count("true \\ predicted") == 1
    metrics, expected = (
        json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path / "model", alone)
    )
    assert metrics["clips"] == expected["clips"]
    steps = [
        [entry["step"] for entry in one["log_history"] if "eval_loss" in entry]
        for one in (metrics, expected)
    ]
    assert steps[0] == steps[1]
    # Each clip once and in order, although 21 clips are no multiple of two.
    predictions = read_predictions(tmp_path / "model" / "test_predictions.csv")
    assert predictions.ids == read_predictions(alone / "test_predictions.csv").ids
    right = predictions.predicted == predictions.references
    assert metrics["test"]["accuracy"] == pytest.approx(right.mean())
    assert expected["test"]["accuracy"] >= 0.9
    assert metrics["test"]["accuracy"] >= 0.9


def test_model_of_two_processes_answers_as_they_did(options, shell, repository, tmp_path):
    """What the processes gathered is what one process computes from the saved model."""
    shell(
        *(*LAUNCHERS["torchrun"], "-m", "dusha_ser", "train", *options, "--max_steps", "3"),
        *("--per_device_train_batch_size", "8", "--output_dir", tmp_path / "model"),
        cwd=tmp_path,
    )
    gathered = read_predictions(tmp_path / "model" / "test_predictions.csv")
    test_table = options[options.index("--test_file") + 1]
    model, extractor = load_model(str(tmp_path / "model"), "cpu")
    computed = predict_rows(model, extractor, named_rows(str(test_table)), quiet=True)
    assert computed.ids == gathered.ids
    assert computed.references.tolist() == gathered.references.tolist()
    np.testing.assert_allclose(computed.probabilities, gathered.probabilities, atol=1e-5)


def random_rows(count):
    """Clips of 15 to 90 frames by eight speakers."""
    generator = np.random.default_rng(0)
    columns = {name: [] for name in FEATURE_ROWS}
    for number in range(count):
        frames = int(generator.integers(15, 90))
        columns["id"].append(str(number))
        columns["label"].append(number % 4)
        columns["duration"].append(frames / 100)
        columns["source_id"].append(f"speaker {number % 8}")
        columns["input_features"].append((-80 * generator.random((frames, 64))).astype("float32"))
    return datasets.Dataset.from_dict(columns, features=FEATURE_ROWS)


def test_two_processes_hold_half_of_the_features_each_and_make_the_batches_of_one(
    shell, repository, tmp_path
):
    """To the last bit, mixed with clips of the other process, too; and they train on them."""
    random_rows(64).save_to_disk(tmp_path / "rows")
    torch.manual_seed(0)
    DushaForAudioClassification(small_config(num_mel_bins=64)).save_pretrained(tmp_path / "small")
    DushaFeatureExtractor().save_pretrained(tmp_path / "small")
    program = repository / "tests" / "integration" / "note_batches.py"
    found = {}
    for name, launcher, size in (("one", (), 8), ("two", LAUNCHERS["torchrun"], 4)):
        folder = tmp_path / name
        folder.mkdir()
        shell(*launcher, program, tmp_path / "rows", tmp_path / "small", folder, size, cwd=tmp_path)
        paths = sorted(folder.glob("*.pt"))
        found[name] = [torch.load(path, weights_only=True) for path in paths]
    (alone,), (first, second) = found["one"], found["two"]

    assert len(alone["batches"]) == 2
    for whole, *parts in zip(
        *(sum(one["batches"], []) for one in (alone, first, second)), strict=True
    ):
        for name, values in whole.items():
            for process, part in enumerate(parts):
                assert torch.equal(part[name], values[process::2]), name

    frames = [one["frames"] for one in (alone, first, second)]
    assert frames[1]["train"] + frames[2]["train"] == frames[0]["train"]
    # Whole clips, of which none is longer than this.
    assert abs(frames[1]["train"] - frames[2]["train"]) <= 2 * 90
    assert frames[0]["validation"] == frames[1]["validation"] == frames[2]["validation"]
    assert first["said"].startswith("features are held in the host's memory: ")
    for name, values in first["weights"].items():
        assert torch.equal(values, second["weights"][name]), name
