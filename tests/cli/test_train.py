import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
import transformers
import yaml
from huggingface_hub import ModelCard
from own_recordings import write_recordings
from small_models import ON_WAVEFORMS
from small_network import save_small_classifier
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dusha
from dusha_ser.cli import corpus
from dusha_ser.cli.main import main
from dusha_ser.cli.program import run_program
from dusha_ser.cli.train import read_options, read_run
from dusha_ser.corpus.sample import write_sample
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.evaluation.predictions import read_predictions
from dusha_ser.training import preparation
from dusha_ser.training.arguments import make_arguments
from dusha_ser.training.model_card import write_options
from dusha_ser.training.run import train
from dusha_ser.training.setups import SETUPS
from dusha_ser.training.splits import hold_out_validation
from dusha_ser.training.targets import make_targets

NETWORKS = ("wav2vec2", "hubert", "wavlm", "audio-spectrogram-transformer")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """A sample corpus of a few clips, as its archives."""
    return write_sample(tmp_path_factory.mktemp("sample") / "archives", clips=96, quiet=True)


@pytest.fixture(scope="module")
def splits(archives):
    """The crowd of that corpus."""
    return dict(dusha.load_dataset("crowd", data_dir=str(archives), quiet=True))


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    """A folder with a small network of Dusha's kind: a step takes milliseconds."""
    return save_small_classifier(tmp_path_factory.mktemp("small") / "model")


def run(folder, *options, splits=None, tell=None):
    """Train with the options of a command line, in this process."""
    arguments = ["--output_dir", str(folder), "--quiet", "--use_cpu", *map(str, options)]
    if splits is not None:
        arguments = ["--dataset", "sample", "--num_train_epochs", "1", *arguments]
    _, data, recipe, run_options = read_options(arguments)
    return train(data, recipe, make_arguments(run_options), splits, tell)


def program(monkeypatch, capsys, *arguments):
    """Run train.py as from the shell; return its status and what it wrote to stderr."""
    monkeypatch.setattr(sys, "argv", ["dusha", "train", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        run_program(main)
    return caught.value.code, capsys.readouterr()


@pytest.mark.parametrize(
    ("name", "learning_rate", "weighted"),
    [
        ("crowd_large", 1e-3, False),
        ("crowd_medium", 5e-3, False),
        ("crowd_small", 1e-3, False),
        ("crowd_unconfident", 5e-3, False),
        ("podcast_large", 5e-3, True),
        ("podcast_tune", 1e-3, True),
        ("dusha_large", 1e-3, False),
    ],
)
def test_setups_are_the_published_ones(name, learning_rate, weighted):
    _, data, recipe, arguments = read_options([name])
    assert data.dataset == ("podcast_large" if name == "podcast_tune" else name)
    assert arguments.learning_rate == learning_rate
    assert arguments.num_train_epochs == 100
    assert arguments.per_device_train_batch_size == 64
    weights = {"angry": 10, "sad": 20, "neutral": 1, "positive": 5} if weighted else None
    assert recipe.class_weights == weights
    assert recipe.class_weights_in == "sampling"
    assert (recipe.model_name_or_path is None) == (name != "podcast_tune")
    held = yaml.safe_load((SETUPS / f"{name}.yaml").read_text())
    assert set(held) <= {"dataset", "learning_rate", "class_weights", "model_name_or_path"}


def test_read_options_when_the_command_line_overrides_the_setup(tmp_path):
    setup = tmp_path / "mine.yaml"
    setup.write_text("learning_rate: 2e-3\nnum_train_epochs: 7\ndataset: podcast\nbf16: true\n")
    _, data, _, arguments = read_options([str(setup), "--num_train_epochs", "9", "--seed=5"])
    assert (arguments.learning_rate, arguments.num_train_epochs) == (2e-3, 9)
    assert (arguments.seed, arguments.bf16, data.dataset) == (5, True, "podcast")


def test_read_options_when_there_is_no_setup():
    assert read_options([])[1].dataset == "sample"
    assert read_options([])[3].num_train_epochs < 100
    assert read_options(["--dataset", "crowd"])[3].num_train_epochs == 100
    assert read_options(["crowd_small"])[1].dataset == "crowd_small"


def test_options_for_another_command_are_a_line_of_train(tmp_path):
    words = ["--max_steps", "1"]
    data, _, run_options = read_run("clips.csv", None, words, tmp_path / "model", True)
    assert data.dataset == "clips.csv" and run_options.quiet
    assert run_options.output_dir == str(tmp_path / "model") and run_options.max_steps == 1


def test_options_for_another_command_take_a_setup_but_not_its_data(tmp_path):
    setup = tmp_path / "mine.yaml"
    setup.write_text(yaml.safe_dump({"dataset": "crowd", "learning_rate": 0.25, "max_steps": 9}))
    words = ["--max_steps", "1"]
    data, _, run_options = read_run("clips.csv", str(setup), words, tmp_path, True)
    assert data.dataset == "clips.csv" and run_options.learning_rate == 0.25
    assert run_options.max_steps == 1
    with pytest.raises(MissingInputError, match="no setup 'crowd_huge'"):
        read_run("clips.csv", "crowd_huge", words, tmp_path, True)


@pytest.mark.parametrize("option", ["--dataset", "--train_file=x.csv", "--test_file"])
def test_options_for_another_command_refuse_other_data(tmp_path, option):
    with pytest.raises(WrongUseError, match="the data are named already"):
        read_run("clips.csv", None, [option], tmp_path, True)
    with pytest.raises(WrongUseError, match="'extra' belongs to no option"):
        read_run("clips.csv", None, ["extra", "--max_steps"], tmp_path, True)


def test_setup_file_when_it_is_wrong_is_named_with_its_option(tmp_path):
    setup = tmp_path / "mine.yaml"
    for line, words in {
        "learning_rte: 1": "unknown option 'learning_rte'; did you mean learning_rate",
        "learning_rate: fast": "learning_rate: invalid float value: 'fast'",
        "sampler: none_such": "sampler: invalid choice: 'none_such'",
    }.items():
        setup.write_text(f"{line}\n")
        with pytest.raises(WrongUseError, match=rf"mine\.yaml.*{words}"):
            read_options([str(setup)])


def test_list_setups_names_all_of_them(monkeypatch, capsys):
    status, output = program(monkeypatch, capsys, "--list_setups")
    assert status == 0
    names = [line.split()[0] for line in output.out.splitlines()]
    assert names == sorted(path.stem for path in SETUPS.glob("*.yaml"))
    assert len(names) == 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], ["nonsense", "crowd_large", "sample"]),
        (["nonsense.yaml"], ["nonsense.yaml", "crowd_large"]),
        (["--learning_rte", "1"], ["--learning_rte", "learning_rate"]),
        (["--learning_rate", "fast"], ["learning_rate", "fast"]),
        (["--sampler", "none"], ["sampler", "every_clip", "published"]),
        (["--dataset", "crowdd"], ["crowdd", "crowd_large"]),
        (["--dataset", "crowd", "--data_dir", "nowhere"], ["nowhere"]),
        (["--dataset", "raw"], ["raw", "labels"]),
        (["--train_file", "nowhere.csv"], ["nowhere.csv", "path,label"]),
        (["--test_file", "clips.csv"], ["--train_file"]),
        (["--model_name_or_path", "nowhere"], ["nowhere", "model"]),
        (["--validation", "1"], ["validation", "below 1"]),
        (["--num_train_epochs", "0"], ["num_train_epochs"]),
        (["--label_smoothing", "1"], ["label_smoothing is 1.0", "0 to below 1"]),
        (["--mixup", "-1"], ["mixup is -1.0", "at least 0"]),
        (["--learning_rate", "-1"], ["learning_rate is -1.0"]),
        (["--time_mask", "-3"], ["time_mask is -3"]),
        (["--pad_to_multiple_of", "0"], ["pad_to_multiple_of is 0", "at least 1"]),
        (["--per_device_train_batch_size", "0"], ["per_device_train_batch_size is 0"]),
        (["--metric_for_best_model", "uar"], ["'uar'", "balanced_accuracy", "loss"]),
        (["--report_to", "wandbee"], ["wandbee", "tensorboard", "dusha-ser[tracking]"]),
        (["--resume_from_checkpoint", "last"], ["checkpoint", "leave"]),
        (["--resume_from_checkpoint", "nowhere"], ["nowhere", "last"]),
    ],
)
def test_main_when_used_wrongly_ends_with_one_line(
    monkeypatch, capsys, tmp_path, splits, arguments, words
):
    if words[0] in ("nowhere", "checkpoint") and "--dataset" not in arguments:
        # These come to light when the data are there; the sample itself takes long to make.
        monkeypatch.setattr(preparation, "load_splits", lambda *args, **kwargs: splits)
    status, output = program(
        monkeypatch, capsys, *arguments, "--quiet", "--output_dir", tmp_path / "model"
    )
    lines = [line for line in output.err.splitlines() if line.startswith("dusha train: ")]
    assert status == 2
    assert len(lines) == 1 and "Traceback" not in output.err
    for word in words:
        assert word in lines[0]


def test_options_are_read_before_anything_heavy_is_imported():
    heavy = ("torch", "transformers", "datasets", "numpy", "pyarrow")
    code = (
        "import sys; from dusha_ser.cli.train import read_options; read_options(['crowd_small']); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_help_shows_each_option_once_in_three_groups_and_the_trainers_when_asked_for(
    monkeypatch, capsys
):
    shown = {}
    for option in ("--help", "--help_all"):
        status, output = program(monkeypatch, capsys, option)
        assert status == 0
        shown[option] = re.findall(r"^  --(\w+)", output.out, re.MULTILINE)
        assert len(set(shown[option])) == len(shown[option])
        titles = re.findall(r"^([a-zA-Z ]+):$", output.out, re.MULTILINE)
        assert set(titles) >= {"data", "recipe", "run"}
    assert 35 <= len(shown["--help"]) <= 50
    assert {"dataset", "sampler", "learning_rate", "quiet"} <= set(shown["--help"])
    assert {"adam_beta1", "torch_compile", "optim", *shown["--help"]} <= set(shown["--help_all"])


@pytest.mark.parametrize("kept", [True, False])
def test_main_when_interrupted_names_the_command_that_resumes(monkeypatch, capsys, tmp_path, kept):
    folder = tmp_path / "model"

    def interrupted(*arguments, **options):
        if kept:
            (folder / "checkpoint-7").mkdir(parents=True)
            (folder / "checkpoint-7" / "trainer_state.json").write_text('{"global_step": 7}')
        raise KeyboardInterrupt

    monkeypatch.setattr("dusha_ser.training.run.train", interrupted)
    words = ("crowd_small", "--output_dir", folder, "--resume_from_checkpoint", "auto")
    status, output = program(monkeypatch, capsys, *words, "--bf16")
    assert status == 130
    advice = "no checkpoint has been kept yet"
    if kept:
        advice = (
            f"resume with dusha train crowd_small --output_dir {folder} --bf16 "
            "--resume_from_checkpoint last"
        )
    assert output.err.splitlines()[-1] == f"dusha train: interrupted; {advice}"


def test_train_when_layers_cannot_be_computed_again(tmp_path, splits, small_model, monkeypatch):
    monkeypatch.setattr(
        "modeling_dusha.DushaPreTrainedModel.supports_gradient_checkpointing", False
    )
    words = ["--gradient_checkpointing", "true", "--output_dir", str(tmp_path), "--quiet"]
    _, data, recipe, options = read_options([*words, "--model_name_or_path", small_model])
    with pytest.raises(WrongUseError, match="`gradient_checkpointing` is not possible with dusha"):
        train(data, recipe, make_arguments(options), splits)


def test_train_tells_what_it_trains_on_and_a_line_per_epoch(tmp_path, splits, small_model):
    words = ("--dataset", "sample", "--output_dir", str(tmp_path), "--num_train_epochs", "2")
    _, data, recipe, options = read_options([*words, "--model_name_or_path", small_model])
    lines = []
    train(data, recipe, make_arguments(options), splits, lines.append)
    assert lines[0].startswith("training on sample: ") and " train clips" in lines[0]
    assert lines[0].endswith(f"model: {tmp_path}")
    told = [line.split() for line in lines[0].splitlines()]
    for split in ("train", "test"):
        names = splits[split].features["label"].names
        assert ["split", "clips", *names] in told
        counts = np.bincount(splits[split]["label"], minlength=len(names))
        if split == "test":
            assert [split, str(len(splits[split])), *map(str, counts)] in told
    assert sum(int(row[1]) for row in told if row[:1] in (["train"], ["validation"])) == len(
        splits["train"]
    )
    number = r"[\d.]+"
    scores = rf"accuracy {number}, balanced_accuracy {number}, f1_macro {number}"
    assert len(lines) == 3
    for epoch, line in enumerate(lines[1:], 1):
        assert re.fullmatch(
            rf"epoch {epoch} of 2: loss {number}; validation loss {number}, {scores}; \d+ s", line
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory, splits, small_model):
    """A run of three epochs on the small corpus."""
    folder = tmp_path_factory.mktemp("finished") / "model"
    options = ("--model_name_or_path", small_model, "--num_train_epochs", 3, "--validation", 0.2)
    return run(folder, *options, "--per_device_train_batch_size", 16, splits=splits)


def test_train_gives_predictions_and_metrics_of_the_test_set(finished, splits):
    assert finished.tested_on == "test"
    assert finished.predictions.ids == list(splits["test"]["id"])
    assert finished.predictions.references.tolist() == list(splits["test"]["label"])
    right = finished.predictions.predicted == finished.predictions.references
    assert finished.metrics["accuracy"] == pytest.approx(right.mean())
    assert finished.metrics["group_count"] == len(set(splits["test"]["source_id"]))
    assert set(finished.metrics["intervals"]) == {"accuracy", "balanced_accuracy", "f1_macro"}


def test_train_keeps_the_best_epoch(finished):
    scores = {
        entry["epoch"]: entry["eval_f1_macro"]
        for entry in finished.log_history
        if "eval_f1_macro" in entry
    }
    assert len(scores) == 3
    assert scores[finished.best_epoch] == max(scores.values())
    for name in ("accuracy", "balanced_accuracy", "f1_macro"):
        assert all(0 <= e[f"eval_{name}"] <= 1 for e in finished.log_history if "eval_loss" in e)


def test_train_leaves_everything_beside_the_model(finished):
    folder = finished.output_dir
    files = {path.name for path in folder.iterdir()}
    assert files >= {
        "model.safetensors",
        "config.json",
        "preprocessor_config.json",
        "modeling_dusha.py",
        "configuration_dusha.py",
        "feature_extraction_dusha.py",
        "training_args.bin",
        "options.yaml",
        "metrics.json",
        "test_predictions.csv",
        "curves.png",
        "confusion_matrix.png",
        "README.md",
    }
    read = read_predictions(folder / "test_predictions.csv")
    np.testing.assert_allclose(read.probabilities, finished.predictions.probabilities, atol=1e-6)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] == finished.metrics["accuracy"]


def test_card_has_the_results_for_the_hub(finished):
    card = ModelCard.load(finished.output_dir / "README.md")
    results = {result.metric_type: result for result in card.data.eval_results}
    for name in ("accuracy", "balanced_accuracy", "f1_macro"):
        assert results[name].metric_value == finished.metrics[name]
        assert results[name].dataset_split == "test"
        interval = finished.metrics["intervals"][name]
        assert results[name].metric_args["confidence_interval"] == interval
    for words in ("What it is for", "Limits", "Licence", "trust_remote_code=True"):
        assert words in card.text


def test_saved_model_answers_in_the_stock_pipeline_as_in_the_test(finished, splits):
    classify = transformers.pipeline("audio-classification", str(finished.output_dir))
    row = splits["test"][0]
    samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32")
    answers = classify({"raw": samples, "sampling_rate": rate})
    found = {answer["label"]: answer["score"] for answer in answers}
    expected = dict(
        zip(finished.predictions.labels, finished.predictions.probabilities[0], strict=True)
    )
    for label, value in expected.items():
        assert found[label] == pytest.approx(value, abs=1e-4)


def test_options_file_repeats_the_run(finished, small_model, splits, tmp_path):
    _, data, recipe, arguments = read_options([str(finished.output_dir / "options.yaml")])
    assert (arguments.num_train_epochs, data.validation) == (3, 0.2)
    assert recipe.model_name_or_path == small_model
    arguments.output_dir = str(tmp_path / "again")
    again = train(data, recipe, make_arguments(arguments), splits)
    np.testing.assert_array_equal(
        again.predictions.probabilities, finished.predictions.probabilities
    )


@pytest.mark.parametrize(
    "chosen",
    [
        [],
        ["--save_strategy", "no"],
        ["--save_strategy", "steps", "--save_steps", "7"],
        ["--bf16", "--report_to", "tensorboard,trackio", "--class_weights", "balanced"],
        ["--base_url", "http://a.example/,http://b.example/", "--label_map", "A=angry,S=sad"],
        ["--lr_scheduler_kwargs", '{"num_cycles": 2}', "--label_names", "labels", "weights"],
        ["--use_cpu", "--dataloader_num_workers", "2", "--report_to", "none", "--seed", "7"],
    ],
    ids=" ".join,
)
def test_options_file_holds_what_was_chosen_and_nothing_of_the_machine(chosen, tmp_path):
    given = ["--dataset", "crowd", "--num_train_epochs", "3", *chosen]
    _, *options = read_options(given)
    data, recipe, run_options = options
    arguments = make_arguments(run_options)
    path = tmp_path / "options.yaml"
    write_options(path, (data, recipe, arguments.given))
    written = yaml.safe_load(path.read_text())
    names = {word.removeprefix("--") for word in given if word.startswith("--")}
    assert set(written) == names
    # On any machine, what is read is what was chosen.
    _, *again = read_options([str(path)])
    assert again == options


def test_options_file_of_a_run_holds_what_was_chosen(finished):
    written = yaml.safe_load((finished.output_dir / "options.yaml").read_text())
    derived = {"dataloader_pin_memory", "disable_tqdm", "logging_dir", "eval_steps", "run_name"}
    assert not derived & set(written)
    # Chosen by `run`, above.
    assert written["use_cpu"] is True


def test_validation_has_other_speakers_than_train(splits):
    _, data, _, _ = read_options(["--validation", "0.25"])
    chosen = hold_out_validation(splits, data.validation)
    train_speakers = set(chosen["train"]["source_id"])
    assert train_speakers.isdisjoint(chosen["validation"]["source_id"])
    assert len(chosen["train"]) + len(chosen["validation"]) == len(splits["train"])
    assert 0.1 < len(chosen["validation"]) / len(splits["train"]) < 0.4
    assert hold_out_validation(splits, 0.25, on_test=True)["validation"] is splits["test"]


@pytest.mark.parametrize(
    "options",
    [
        ["--loss", "soft", "--label_smoothing", "0.1"],
        ["--loss", "multi"],
        ["--posterior_weights", "--class_weights", "balanced", "--class_weights_in", "loss"],
        ["--sampler", "published", "--class_weights", "angry=10,sad=20,neutral=1,positive=5"],
        ["--published_quirks"],
        ["--validation", "0"],
        ["--bf16"],
        ["--gradient_accumulation_steps", "2", "--pad_to_multiple_of", "32"],
        ["--mixup", "0.4", "--features_in", "host"],
    ],
    ids=lambda options: " ".join(options[:2]),
)
def test_train_when_options_are_used(tmp_path, splits, small_model, options):
    result = run(tmp_path, "--model_name_or_path", small_model, *options, splits=splits)
    assert np.isfinite(result.predictions.probabilities).all()
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    quirks = "--published_quirks" in options
    assert config.use_attention_mask != quirks
    assert extractor.padding_value == (0.0 if quirks else -80.0)
    assert (config.problem_type == "multi_label_classification") == ("multi" in options)
    assert (result.best_epoch is None) == (options == ["--validation", "0"])


def test_train_as_on_a_gpu_predicts_what_it_does_from_the_disk(tmp_path, splits, small_model):
    """Features held, batches of few lengths, evaluation in batches: the same clips and masks."""
    start = ("--model_name_or_path", small_model)
    disk = run(tmp_path / "disk", *start, splits=splits)
    said = []
    held = run(
        tmp_path / "held",
        *(*start, "--features_in", "host", "--features_type", "float32", "--few_lengths"),
        *("--per_device_eval_batch_size", "16"),
        splits=splits,
        tell=said.append,
    )
    assert sum(line.startswith("features are held in the host's memory") for line in said) == 1
    assert held.predictions.ids == disk.predictions.ids
    np.testing.assert_allclose(
        held.predictions.probabilities, disk.predictions.probabilities, atol=1e-3
    )


@pytest.mark.parametrize("loss", ["multi", "hard"])
def test_train_reports_what_the_pipeline_predicts(tmp_path, splits, small_model, loss):
    options = ["--model_name_or_path", small_model, "--loss", loss]
    result = run(tmp_path, *options, splits=splits)
    classify = transformers.pipeline("audio-classification", str(tmp_path), device="cpu")
    labels = list(result.predictions.labels)
    for row, reported in zip(splits["test"], result.predictions.probabilities[:4], strict=False):
        samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32")
        assert rate == 16000
        found = {one["label"]: one["score"] for one in classify(samples)}
        np.testing.assert_allclose(reported, [found[label] for label in labels], atol=1e-5)
    written = read_predictions(tmp_path / "test_predictions.csv")
    np.testing.assert_allclose(written.probabilities, result.predictions.probabilities, rtol=1e-8)
    metrics = json.loads((tmp_path / "metrics.json").read_text())["test"]
    assert written.multi_label == (loss == "multi") == ("log_loss" not in metrics)


def test_targets_when_the_crowd_is_not_sure(splits):
    _, _, recipe, _ = read_options(["--loss", "soft", "--posterior_weights"])
    order = np.array([2, 0, 3, 1])
    targets, weights = make_targets(splits["train"], order, recipe)
    probabilities = np.array(splits["train"]["label_probabilities"])
    shares = probabilities[:, :4] / probabilities[:, :4].sum(1, keepdims=True)
    np.testing.assert_allclose(targets[:, order], shares, atol=1e-6)
    labels = np.array(splits["train"]["label"])
    np.testing.assert_allclose(weights, probabilities[np.arange(len(labels)), labels], rtol=1e-6)
    recipe.loss = "multi"
    targets, _ = make_targets(splits["train"], np.arange(4), recipe)
    np.testing.assert_array_equal(targets, probabilities[:, :4] >= 0.3)
    with pytest.raises(WrongUseError, match="label_probabilities"):
        make_targets(splits["train"].remove_columns("label_probabilities"), order, recipe)


@pytest.mark.parametrize("name", ["crowd_soft", "crowd_answers"])
def test_setups_of_the_crowds_doubt_train_on_all_clips(tmp_path, archives, small_model, name):
    method = "regularised_dawid_skene"
    sure = dusha.load_dataset("crowd", data_dir=str(archives), quiet=True, method=method)
    said = []
    result = run(
        tmp_path / "model",
        *(name, "--data_dir", archives, "--model_name_or_path", small_model),
        *("--cache_dir", tmp_path / "cache", "--max_steps", 2, "--validation", 0),
        tell=said.append,
    )
    count = int(re.search(r"([0-9,]+) train clips", said[0])[1].replace(",", ""))
    # More clips are trained on, and no test clip is there that its label does not keep.
    assert count > len(sure["train"])
    assert set(result.predictions.ids) == set(sure["test"]["id"])


def test_train_when_tensorboard_is_asked_for_gets_the_curves(tmp_path, splits, small_model):
    options = ("--report_to", "tensorboard", "--num_train_epochs", 2)
    result = run(tmp_path, "--model_name_or_path", small_model, *options, splits=splits)
    (written,) = tmp_path.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(written)).Reload()
    logged = [entry["eval_f1_macro"] for entry in result.log_history if "eval_f1_macro" in entry]
    told = [event.value for event in events.Scalars("eval/f1_macro")]
    assert told == pytest.approx(logged, rel=1e-6) and len(told) == 2
    assert len(events.Scalars("train/loss")) == 2


def test_early_stopping_ends_a_run_that_gets_no_better(tmp_path, splits, small_model, capsys):
    options = ("--learning_rate", 0, "--num_train_epochs", 9, "--patience", 2)
    result = run(tmp_path, "--model_name_or_path", small_model, *options, splits=splits)
    epochs = [entry["epoch"] for entry in result.log_history if "eval_loss" in entry]
    assert epochs == [1, 2, 3]
    # Quiet: what the Trainer logs goes to the curves, not to the screen.
    assert "loss" not in capsys.readouterr().out


def test_train_on_own_recordings_when_labels_are_other_ones(tmp_path, small_model):
    table = write_recordings(tmp_path / "train", ["no", "yes", "maybe"], count=12)
    test_table = write_recordings(tmp_path / "test", ["yes", "no"], count=4)
    cache = tmp_path / "cache"
    options = ("--train_file", table, "--test_file", test_table, "--cache_dir", cache)
    more = ("--num_train_epochs", 1, "--validation", 0.3, "--model_name_or_path", small_model)
    result = run(tmp_path / "model", *options, *more)
    assert result.predictions.labels == ("maybe", "no", "yes")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "model")
    assert config.id2label == {0: "maybe", 1: "no", 2: "yes"}
    caches = {path: path.stat().st_mtime_ns for path in cache.rglob("*.arrow")}
    assert len(caches) == 2
    run(tmp_path / "again", *options, *more)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.arrow")} == caches
    assert not list((tmp_path / "model").glob("checkpoint-*"))
    with pytest.raises(WrongUseError, match="in both"):
        run(tmp_path / "both", "--train_file", table, "--test_file", table)


def test_train_on_answers_to_own_recordings(tmp_path, small_model):
    table = write_recordings(tmp_path / "train", ["no", "yes"], count=12)
    answers = tmp_path / "train" / "answers.csv"
    rows = [
        f"{clip}.flac,{who},{('no', 'yes', 'other')[clip % 2 if who != 'c' else 2]}"
        for clip in range(12)
        for who in "abc"
    ]
    answers.write_text("\n".join(["path,annotator,answer", *rows]) + "\n")
    options = ("--train_file", table, "--cache_dir", tmp_path / "cache", "--validation", 0)
    more = ("--num_train_epochs", 1, "--model_name_or_path", small_model, "--loss", "answers")
    result = run(tmp_path / "model", *options, *more, "--answers_file", answers)
    assert result.predictions.labels == ("no", "yes")
    with pytest.raises(WrongUseError, match="needs the answers to each clip.*`answers_file`"):
        run(tmp_path / "without", *options, *more)


def test_train_when_the_folder_holds_a_run_that_did_not_end(tmp_path, splits, small_model):
    checkpoint = tmp_path / "checkpoint-7"
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text('{"global_step": 7}')
    with pytest.raises(WrongUseError, match=r"checkpoint-7.*last.*`output_dir`"):
        run(tmp_path, "--model_name_or_path", small_model, splits=splits)
    (checkpoint / "trainer_state.json").unlink()
    options = ("--keep_checkpoints", "--resume_from_checkpoint", "auto")
    run(tmp_path, "--model_name_or_path", small_model, *options, splits=splits)
    longer = run(
        tmp_path,
        *("--model_name_or_path", small_model, "--resume_from_checkpoint", "auto"),
        *("--num_train_epochs", 2),
        splits=splits,
    )
    assert [entry["epoch"] for entry in longer.log_history if "eval_loss" in entry] == [1, 2]


def contents(folder):
    """The bytes of all files of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_train_when_a_model_is_there_replaces_it_only_when_told(
    tmp_path, splits, small_model, monkeypatch, capsys
):
    folder, options = tmp_path / "model", ("--model_name_or_path", small_model, "--max_steps", 1)
    folder.mkdir()
    (folder / "slurm-1.out").write_text("what the scheduler writes")
    run(folder, *options, splits=splits)
    before = contents(folder)
    in_the_way = pytest.raises(WrongUseError, match=r"holds model\.safetensors; name .*=True")
    for more in ((), ("--resume_from_checkpoint", "auto")):
        with in_the_way:
            run(folder, *options, *more, splits=splits)
    words = ("--dataset", "sample", "--output_dir", folder, *options)
    status, output = program(monkeypatch, capsys, *words)
    assert status == 2 and "--overwrite" in output.err
    status, output = program(monkeypatch, capsys, *words, "--resume_from_checkpoint", "auto")
    assert status == 0
    assert output.out == f"{folder}: finished before (--overwrite trains it again)\n"
    assert contents(folder) == before

    def fail(*arguments):
        raise KeyboardInterrupt

    # It stays whole until the new one is.
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("dusha_ser.training.run.final_test", fail)
        run(folder, *options, "--overwrite", "--seed", 1, splits=splits)
    assert contents(folder) == before
    run(folder, *options, "--overwrite", "--seed", 1, splits=splits)
    after = contents(folder)
    assert after.keys() == before.keys()
    assert after["model.safetensors"] != before["model.safetensors"]
    assert "overwrite" not in (folder / "options.yaml").read_text()
    assert not list(folder.glob("checkpoint-*"))


@pytest.mark.parametrize("place", ["start", "start/tuned", "start/../start", "."])
def test_train_when_the_model_to_start_from_would_be_written_into(place, tmp_path, small_model):
    shutil.copytree(small_model, tmp_path / "start")
    before = contents(tmp_path / "start")
    for more in ((), ("--overwrite",), ("--overwrite", "--resume_from_checkpoint", "auto")):
        with pytest.raises(WrongUseError, match=r"would write into it: .* such as \S+/start_tuned"):
            options = ("--model_name_or_path", tmp_path / "start", *more)
            # Only models are there, so nothing else is in the way.
            run(tmp_path / place, "--dataset", "sample", *options)
    assert contents(tmp_path / "start") == before
    assert [path.name for path in tmp_path.iterdir()] == ["start"]


def test_train_when_the_folder_is_somebody_elses_refuses(tmp_path, small_model):
    (tmp_path / "README.md").write_text("my project")
    for more in ((), ("--overwrite",)):
        with pytest.raises(WrongUseError, match=r"holds README\.md, which this program did not"):
            run(tmp_path, "--dataset", "sample", "--model_name_or_path", small_model, *more)
    assert contents(tmp_path) == {"README.md": b"my project"}


@pytest.fixture(scope="module")
def other_networks(tmp_path_factory):
    """Tiny random models of other kinds, with their own feature extractors, as folders."""
    common = ON_WAVEFORMS | {"num_hidden_layers": 1, "classifier_proj_size": 8}
    spectrogram = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_length": 128,
        "num_mel_bins": 16,
    }
    extractors = {
        "audio-spectrogram-transformer": transformers.ASTFeatureExtractor(
            num_mel_bins=16, max_length=128
        )
    }
    folders = {}
    for kind in NETWORKS:
        values = spectrogram if kind in extractors else common
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(kind, num_labels=4, **values)
        model = transformers.AutoModelForAudioClassification.from_config(config)
        folders[kind] = tmp_path_factory.mktemp("networks") / kind
        model.save_pretrained(folders[kind])
        extractor = extractors.get(kind) or transformers.Wav2Vec2FeatureExtractor(
            return_attention_mask=True
        )
        extractor.save_pretrained(folders[kind])
    return folders


@pytest.mark.parametrize("kind", NETWORKS)
def test_train_when_the_network_is_another_one(tmp_path, splits, other_networks, kind):
    few = {split: rows.select(range(12)) for split, rows in splits.items()}
    result = run(
        tmp_path,
        *("--model_name_or_path", other_networks[kind], "--validation", 0),
        *("--per_device_train_batch_size", 4, "--per_device_eval_batch_size", 4),
        splits=few,
    )
    assert np.isfinite(result.predictions.probabilities).all()
    modes = {name: (tmp_path / name).stat().st_mode for name in ("model.safetensors", "README.md")}
    assert len(set(modes.values())) == 1, modes
    model = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert model.config.model_type == kind
    assert list(model.config.id2label.values()) == ["angry", "sad", "neutral", "positive"]
    start = transformers.AutoModelForAudioClassification.from_pretrained(other_networks[kind])
    assert (
        not torch.equal(model.classifier.weight, start.classifier.weight)
        if kind != ("audio-spectrogram-transformer")
        else not torch.equal(model.classifier.dense.weight, start.classifier.dense.weight)
    )
    classify = transformers.pipeline("audio-classification", str(tmp_path))
    assert len(classify({"raw": np.zeros(8000, np.float32), "sampling_rate": 16000})) == 4


def test_the_ten_lines_of_a_stock_user(archives, tmp_path, monkeypatch):
    """No class of ours beyond the model's own; the data set folder is what dusha.py writes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys,
        "argv",
        ["dusha.py", "crowd", "--data_dir", str(archives), "--output_dir", "dusha", "--quiet"],
    )
    corpus.main()
    lines = TEN_LINES.replace("num_train_epochs=10", "max_steps=2")
    variables = {}
    exec(TEN_LINES_IMPORTS + lines, variables)
    trainer = variables["trainer"]
    assert type(trainer) is transformers.Trainer
    losses = [entry["train_loss"] for entry in trainer.state.log_history if "train_loss" in entry]
    assert len(losses) == 1 and 0 < losses[0] < 3


TEN_LINES_IMPORTS = """\
import io, soundfile, datasets
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaConfig, DushaForAudioClassification
"""
TEN_LINES = """\
data = datasets.load_dataset("dusha", "crowd").cast_column("audio", datasets.Audio(decode=False))
extractor, model = DushaFeatureExtractor(), DushaForAudioClassification(DushaConfig())


def features(clips):
    sounds = [soundfile.read(io.BytesIO(audio["bytes"]))[0] for audio in clips["audio"]]
    return extractor(sounds, sampling_rate=16000)


data = data.map(features, batched=True, remove_columns=["audio"])
arguments = TrainingArguments("my-model", num_train_epochs=10, learning_rate=1e-3)
trainer = Trainer(model, arguments, DataCollatorWithPadding(extractor), data["train"])
trainer.train()
"""
