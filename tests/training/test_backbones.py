import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
import torch
import transformers
from safetensors.torch import load_file
from small_models import save_encoder, save_model, save_text_classifier, write_recordings

from dusha_ser import EmotionClassifier
from dusha_ser.audio.reading import read_audio
from dusha_ser.cli.main import main as dusha
from dusha_ser.cli.train import read_options
from dusha_ser.corpus.own_recordings import read_recordings
from dusha_ser.demo.answering import Answerer
from dusha_ser.demo.options import DemoOptions
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predictions import read_predictions
from dusha_ser.training import backbones
from dusha_ser.training.arguments import make_arguments
from dusha_ser.training.backbones import FrozenBackbone, load_backbone, settle_seconds
from dusha_ser.training.options import RecipeOptions
from dusha_ser.training.run import train
from dusha_ser.training.teacher_models import TeacherModel

KINDS = ("whisper", "wav2vec2", "hubert", "wavlm")
LABELS = ["angry", "sad", "neutral", "positive"]
CLOSE = 1e-5


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """The folder of a tiny encoder of each kind."""
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: save_encoder(folder / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Sixteen recordings of 0.3 s by four speakers."""
    return write_recordings(tmp_path_factory.mktemp("clips"), duration=0.3)


def run(folder, table, encoder, *options):
    """Train on the recordings with the options of a command line, in this process."""
    arguments = ["backbone", "--train_file", table, "--backbone", encoder, "--output_dir", folder]
    fast = ("--quiet", "--use_cpu", "--num_train_epochs", 3, "--cache_dir", folder.parent / "cache")
    _, data, recipe, run_options = read_options(list(map(str, (*arguments, *fast, *options))))
    return train(data, recipe, make_arguments(run_options))


def served(folder, table):
    """What Transformers' own pipeline gives the recordings, by their ids."""
    classify = transformers.pipeline("audio-classification", str(folder), device="cpu")
    found = {}
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            samples = read_audio(table.parent / row["path"], 16000)
            scores = {one["label"]: one["score"] for one in classify(samples, top_k=None)}
            found[row["path"]] = [scores[label] for label in LABELS]
    return found


def assert_served(result, folder, table, spread=0.01):
    """Compare what training reports, of embeddings, with what the saved model gives recordings."""
    expected, predictions = served(folder, table), result.predictions
    assert list(predictions.labels) == LABELS
    wanted = np.array([expected[name] for name in predictions.ids])
    np.testing.assert_allclose(predictions.probabilities, wanted, atol=CLOSE)
    assert np.ptp(wanted, axis=0).max() > spread
    return wanted


def encoder_weights(folder):
    """The weights of a model apart from those of its classifier."""
    model = transformers.AutoModelForAudioClassification.from_pretrained(folder)
    return {
        name: values
        for name, values in model.state_dict().items()
        if not name.startswith(backbones.HEAD)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_saved_model_gives_recordings_what_embeddings_gave(kind, encoders, table, tmp_path):
    folder = tmp_path / "model"
    result = run(folder, table, encoders[kind], "--average_decay", 0.9)
    assert_served(result, folder, table)
    kept, start = encoder_weights(folder), encoder_weights(encoders[kind])
    for name, values in kept.items():
        # Whisper's positions behind the longest clip are gone.
        assert torch.equal(values, start[name][: len(values)]), name
    assert json.loads((folder / "config.json").read_text())["model_type"] == kind
    assert not list(folder.glob("*.py"))


@pytest.mark.parametrize("kind", ["whisper", "wavlm"])
def test_every_program_serves_the_saved_model(kind, encoders, table, tmp_path):
    folder = tmp_path / "model"
    wanted = assert_served(run(folder, table, encoders[kind]), folder, table)
    output = tmp_path / "out.csv"
    dusha(["predict", str(folder), str(table), "--output_file", str(output), "--quiet"])
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [[float(row[f"probability_{label}"]) for label in LABELS] for row in rows]
    np.testing.assert_allclose(found, wanted, atol=CLOSE)
    dusha(["evaluate", "--models", str(folder), "--test_sets", str(table),
           "--output_dir", str(tmp_path / "results"), "--quiet"])  # fmt: skip
    (file,) = (tmp_path / "results" / "predictions").iterdir()
    evaluated = read_predictions(file)
    np.testing.assert_allclose(evaluated.probabilities, wanted, atol=CLOSE)
    answer = Answerer(DemoOptions(str(folder))).answer_file(table.parent / "wavs/0_angry_0.wav")
    np.testing.assert_allclose(answer.probabilities, wanted[0], atol=CLOSE)


def test_the_best_epoch_of_mixed_clips_is_that_of_the_saved_model(encoders, table, tmp_path):
    folder = tmp_path / "model"
    options = ("--loss", "hard", "--validation", 0.25, "--save_strategy", "epoch", "--mixup", 0.2)
    result = run(folder, table, encoders["whisper"], *options, "--num_train_epochs", 4)
    assert result.best_epoch is not None and result.tested_on == "validation"
    assert_served(result, folder, table)
    # Checkpoints hold no encoder, and are no models: they are gone.
    assert not list(folder.glob("checkpoint-*"))


def test_several_labels_per_clip_are_served_alike(encoders, table, tmp_path):
    answers = tmp_path / "answers.csv"
    lines = [
        f"{row['path']},{who},{row['label'] if who != 'c' else 'sad'}"
        for row in csv.DictReader(table.open(newline=""))
        for who in "abc"
    ]
    answers.write_text("\n".join(["path,annotator,answer", *lines]) + "\n")
    folder = tmp_path / "model"
    options = ("--loss", "multi", "--answers_file", answers)
    wanted = assert_served(run(folder, table, encoders["whisper"], *options), folder, table)
    assert np.ptp(wanted.sum(1)) > 0.01
    emotions = EmotionClassifier(folder)
    (emotion,) = emotions.predict([table.parent / "wavs/0_angry_0.wav"])
    np.testing.assert_allclose(list(emotion.probabilities.values()), wanted[0], atol=CLOSE)


def test_recordings_that_whisper_cannot_hear_in_one_are_heard_in_pieces(encoders, table, tmp_path):
    folder = tmp_path / "model"
    run(folder, table, encoders["whisper"])  # of 1 second
    waves = [read_audio(path, 16000)[:4000] for path in sorted(table.parent.glob("wavs/*.wav"))]
    samples = np.concatenate(waves[:9])  # 2.25 seconds
    soundfile.write(tmp_path / "long.wav", samples, 16000, "FLOAT")
    pipeline = transformers.pipeline("audio-classification", str(folder), device="cpu")

    def expected(parts):
        found = [{one["label"]: one["score"] for one in pipeline(one)} for one in parts]
        return np.array([[scores[label] for label in LABELS] for scores in found])

    # Three pieces of 0.75 seconds, whatever is longer: the recording, or a window of a timeline.
    pieces = expected(np.split(samples, 3))
    assert np.ptp(pieces, axis=0).max() > 0.01
    emotions = EmotionClassifier(folder)
    whole = emotions.predict(tmp_path / "long.wav")
    answer = Answerer(DemoOptions(str(folder))).answer_file(tmp_path / "long.wav")
    columns = [f"probability_{label}" for label in LABELS]
    (window,) = emotions.timeline((samples, 16000))[columns].to_numpy()
    for found in (list(whole.probabilities.values()), answer.probabilities, window):
        np.testing.assert_allclose(found, pieces.mean(0), atol=CLOSE)
    # Windows that it hears in one are not cut.
    output = tmp_path / "windows.csv"
    dusha(["predict", str(folder), str(tmp_path / "long.wav"), "--output_file", str(output),
           "--timeline", "--window", "0.75", "--hop", "0.75", "--quiet"])  # fmt: skip
    with output.open(newline="") as file:
        windows = [[float(row[column]) for column in columns] for row in csv.DictReader(file)]
    np.testing.assert_allclose(windows, pieces, atol=CLOSE)


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2"])
def test_the_saved_model_teaches(kind, encoders, table, tmp_path):
    folder, cache = tmp_path / "model", str(tmp_path / "cache")
    wanted = assert_served(run(folder, table, encoders[kind]), folder, table)
    rows = read_recordings(table)
    said = TeacherModel(str(folder), cache).classify(rows, "train")
    assert list(said.labels) == LABELS
    np.testing.assert_allclose(said.probabilities, wanted, atol=CLOSE)


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2"])
def test_finetuned_encoders_change_and_are_served_alike(kind, encoders, table, tmp_path):
    folder = tmp_path / "model"
    options = ("--finetune_backbone", "--num_train_epochs", 1, "--learning_rate", 1e-4)
    assert_served(run(folder, table, encoders[kind], *options), folder, table, spread=0)
    start = encoder_weights(encoders[kind])
    changed = {
        name
        for name, values in encoder_weights(folder).items()
        if not torch.equal(values, start[name][: len(values)])
    }
    assert any("layers.0" in name for name in changed)
    # What reads waveforms stays, and so do Whisper's positions, which are sines.
    assert not any("feature_extractor" in name or "embed_positions" in name for name in changed)


def test_embeddings_are_means_of_the_encoders_layers(encoders, table):
    recipe = RecipeOptions(backbone=encoders["wavlm"])
    model, extractor = load_backbone(recipe, LABELS)
    samples = read_audio(next(table.parent.glob("wavs/*.wav")), 16000)
    inputs = extractor(samples, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        layers = model.eval()(**inputs, output_hidden_states=True).hidden_states
    found = FrozenBackbone(model, recipe, torch.device("cpu"))(inputs["input_values"][0].numpy())
    assert found.shape == (3, 16)
    np.testing.assert_allclose(found, [layer[0].mean(0) for layer in layers], atol=1e-6)


@pytest.fixture
def computed(monkeypatch):
    """Counts the clips that an encoder computes."""
    calls = []
    compute = FrozenBackbone.__call__
    monkeypatch.setattr(
        FrozenBackbone, "__call__", lambda self, inputs: calls.append(1) or compute(self, inputs)
    )
    return calls


def test_embeddings_when_nothing_changed_are_taken_from_the_cache(
    encoders, table, tmp_path, computed
):
    first = run(tmp_path / "first", table, encoders["whisper"])
    # The first clip is computed twice, to know the shape.
    assert len(computed) == 17
    again = run(tmp_path / "again", table, encoders["whisper"])
    assert len(computed) == 18
    np.testing.assert_array_equal(first.predictions.probabilities, again.predictions.probabilities)


@pytest.mark.parametrize("change", ["weights", "seconds", "code"])
def test_embeddings_when_the_encoder_its_seconds_or_the_code_changed(
    change, encoders, table, tmp_path, computed, monkeypatch
):
    encoder, options = tmp_path / "encoder", []
    shutil.copytree(encoders["whisper"], encoder)
    run(tmp_path / "first", table, encoder)
    computed.clear()
    if change == "weights":
        save_encoder(encoder, "whisper", seed=1)
    elif change == "seconds":
        options = ["--backbone_seconds", 2]
    else:
        monkeypatch.setattr(backbones, "code_digest", lambda *names: "another")
    folder = tmp_path / "again"
    assert_served(run(folder, table, encoder, *options), folder, table)
    assert len(computed) == 17


def test_folds_share_the_embeddings_of_all_clips(encoders, table, tmp_path, computed, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    output = tmp_path / "folds"
    dusha(["cross-validate", str(table), "--setup", "backbone", "--backbone", encoders["whisper"],
           "--num_train_epochs", "2", "--use_cpu", "--cache_dir", str(tmp_path / "cache"),
           "--output_dir", str(output), "--quiet"])  # fmt: skip
    assert len(computed) == 17
    folders = sorted((output / "folds").iterdir())
    assert len(folders) == 4
    for folder in folders:
        predictions = read_predictions(folder / "predictions.csv")
        expected = served(folder, table)
        wanted = [expected[name] for name in predictions.ids]
        np.testing.assert_allclose(predictions.probabilities, wanted, atol=CLOSE)


@pytest.mark.parametrize("kind", ["whisper", "wavlm"])
def test_the_classifier_learns_copies_of_clips_by_their_embeddings(
    kind, encoders, table, tmp_path, computed
):
    changes, counts = {"none": (), "noisy": ("--waveform_copies", 2)}, {}
    for name, options in changes.items():
        computed.clear()
        folder = tmp_path / name
        assert_served(run(folder, table, encoders[kind], *options), folder, table)
        counts[name] = len(computed)
    # The clips' own embeddings are in the cache.
    assert counts == {"none": 17, "noisy": 1 + 2 * 16}
    weights = [load_file(tmp_path / name / "model.safetensors") for name in changes]
    assert not torch.equal(weights[0]["classifier.weight"], weights[1]["classifier.weight"])


def test_copies_that_are_slower_are_heard_to_their_end():
    rows = datasets.Dataset.from_dict({"duration": [0.5, 2.8]})
    recipe = RecipeOptions(backbone="a/b")
    assert settle_seconds(recipe, [rows]).backbone_seconds == 3
    assert settle_seconds(replace(recipe, waveform_copies=1), [rows]).backbone_seconds == 4


def test_whisper_hears_the_longest_clip_and_no_silence_behind_it(encoders, table, tmp_path):
    run(tmp_path / "model", table, encoders["whisper"])
    model = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path / "model")
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "model")
    assert model.config.max_source_positions == 50
    assert (extractor.chunk_length, extractor.n_samples, extractor.nb_max_frames) == (1, 16000, 100)


def test_load_backbone_when_clips_are_longer_than_the_encoder_hears(encoders, caplog):
    recipe = RecipeOptions(backbone=encoders["whisper"], backbone_seconds=5)
    model, extractor = load_backbone(recipe, LABELS)
    assert "up to 5 seconds, and the encoder hears 2: longer clips are cut" in caplog.text
    assert (model.config.max_source_positions, extractor.chunk_length) == (100, 2)


def test_load_backbone_when_a_classifier_was_trained_on_it_makes_another(encoders, table, tmp_path):
    run(tmp_path / "model", table, encoders["hubert"])
    recipe = RecipeOptions(backbone=str(tmp_path / "model"))
    model, _ = load_backbone(recipe, ["joy", "fear"])
    assert list(model.config.id2label.values()) == ["joy", "fear"]
    assert model.classifier.weight.shape[0] == 2
    np.testing.assert_allclose(model.layer_weights.detach(), 1 / 3)


def test_load_backbone_when_it_is_not_an_encoder(tmp_path):
    for name in (save_model(tmp_path / "dusha"), save_text_classifier(tmp_path / "text", LABELS)):
        with pytest.raises(WrongUseError, match=r"is (dusha|bert), and `backbone` takes encoders"):
            load_backbone(RecipeOptions(backbone=name), LABELS)


def test_load_backbone_when_weights_are_missing(encoders, tmp_path):
    folder = Path(shutil.copytree(encoders["whisper"], tmp_path / "encoder"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"encoder_layers": 3}))
    with pytest.raises(
        WrongUseError, match=r"15 weights of the encoder .* such as encoder\.layers"
    ):
        load_backbone(RecipeOptions(backbone=str(folder)), LABELS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finetune_backbone": True}, "`finetune_backbone` is for a `backbone`"),
        ({"backbone_seconds": 3}, "`backbone_seconds` is for a `backbone`"),
        ({"backbone": "a/b", "model_name_or_path": "c/d"}, "both name what training starts from"),
        ({"backbone": "a/b", "frozen_blocks": 1}, "`frozen_blocks` is for Dusha's network"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(WrongUseError, match=message):
        RecipeOptions(**options).check()
