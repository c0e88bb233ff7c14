"""What the card of a model states: scores of which clips, terms, and an example that runs."""

import contextlib
import io
import json
import re

import datasets
import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub import ModelCard
from small_models import FEATURE_ROWS
from small_network import save_small_classifier

from dusha_ser.evaluation.ser.ser import LABELS
from dusha_ser.training.arguments import DushaTrainingArguments
from dusha_ser.training.options import DataOptions, RecipeOptions
from dusha_ser.training.origins import Origins, data_origin
from dusha_ser.training.result import describe_result
from dusha_ser.training.run import train
from modeling_dusha import DushaForAudioClassification, class_probabilities


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    """A folder with a small network of Dusha's kind, and no card."""
    return save_small_classifier(tmp_path_factory.mktemp("small") / "model")


def rows_of(clips, speakers):
    """Random features of clips by speakers in turn."""
    generator = np.random.default_rng(clips)
    columns = {
        "id": [f"{clips}_{i}" for i in range(clips)],
        "label": [i % 4 for i in range(clips)],
        "duration": [0.3] * clips,
        "source_id": [f"speaker {i // 4 % speakers}" for i in range(clips)],
        "input_features": [
            (-80 * generator.random((30, 64))).astype("float32") for _ in range(clips)
        ],
    }
    return datasets.Dataset.from_dict(columns, features=FEATURE_ROWS)


def trained(folder, small_model, splits, recipe=None, **data):
    """Train for one step."""
    return train(
        DataOptions(**data),
        RecipeOptions(model_name_or_path=small_model, **(recipe or {})),
        DushaTrainingArguments(
            str(folder), max_steps=1, disable_tqdm=True, use_cpu=True, quiet=True
        ),
        splits,
    )


@pytest.fixture(scope="module")
def tested(tmp_path_factory, small_model):
    """A run with a test split of 24 clips by 3 speakers."""
    folder = tmp_path_factory.mktemp("tested") / "mine"
    splits = {"train": rows_of(32, 4), "test": rows_of(24, 3)}
    return trained(folder, small_model, splits, validation=0)


def test_card_says_how_often_clips_are_heard(tmp_path, small_model, tested):
    splits = {"train": rows_of(32, 4), "test": rows_of(24, 3)}
    recipe = {"frequency_warp": 0.12}
    result = trained(tmp_path / "mine", small_model, splits, recipe, validation=0)
    card = " ".join(ModelCard.load(tmp_path / "mine" / "README.md").text.split())
    assert "must be installed. It hears each clip three times, as it is and with all frequ" in card
    assert "frequencies 12 % higher and lower, and gives the mean. With `frequency_warp` 0" in card
    assert "three times" not in ModelCard.load(tested.output_dir / "README.md").text
    model = DushaForAudioClassification.from_pretrained(result.output_dir)
    assert model.config.frequency_warp == 0.12
    # What was tested is what is saved.
    features = torch.tensor(splits["test"][0]["input_features"]).unsqueeze(0)
    said = class_probabilities(model(features).logits, None)[0]
    expected = torch.from_numpy(result.predictions.probabilities[0]).float()
    assert result.predictions.labels == tuple(model.config.id2label.values())
    torch.testing.assert_close(said, expected)


def test_card_of_a_run_without_test_and_validation_splits_has_no_scores(tmp_path, small_model):
    result = trained(tmp_path / "mine", small_model, {"train": rows_of(16, 4)}, validation=0)
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    assert "model-index" not in card.data.to_dict() and not card.data.metrics
    assert "Not measured: there was neither a test nor a validation split" in card.text
    for words in ("Measured once", "accuracy", "confusion", "| train", "95 %"):
        assert words not in card.text.replace("Not measured", ""), words
    assert not (tmp_path / "mine" / "confusion_matrix.png").exists()
    metrics = json.loads((tmp_path / "mine" / "metrics.json").read_text())
    assert metrics["train"]["count"] == 16 and "test" not in metrics
    assert metrics["note"].startswith("These are scores of training clips")
    assert "These are scores of training clips" in describe_result(result)


def test_card_of_a_run_without_a_test_split_says_what_its_scores_were_chosen_on(
    tmp_path, small_model
):
    splits = {"train": rows_of(16, 4), "validation": rows_of(8, 2)}
    result = trained(tmp_path / "mine", small_model, splits)
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    assert "Measured on the validation split (8 clips of 2 speakers)" in card.text
    assert "There is no test split" in card.text and "was chosen: expect less" in card.text
    assert {one.dataset_split for one in card.data.eval_results} == {"validation"}
    assert "There is no test split" in describe_result(result)


def test_card_of_a_run_that_chose_on_its_test_split_does_not_say_measured_once(
    tmp_path, small_model
):
    splits = {"train": rows_of(16, 4), "test": rows_of(8, 2)}
    result = trained(tmp_path / "mine", small_model, splits, recipe={"published_quirks": True})
    text = (tmp_path / "mine" / "README.md").read_text()
    assert "Measured on the test split (8 clips of 2 speakers)" in text
    assert "was chosen on the test split itself: expect less." in text
    assert "once" not in text and "was chosen on the test split itself" in describe_result(result)


def test_card_of_a_run_with_a_test_split_counts_its_clips_and_speakers(tested):
    card = ModelCard.load(tested.output_dir / "README.md")
    assert (
        "Measured once, at the end, on the test split (24 clips of 3 speakers), with the last epoch"
        in card.text
    )
    assert "intervals over only 3 speakers are too narrow" in card.text
    for one in card.data.eval_results:
        assert one.metric_args["speakers"] == 3
        assert one.metric_args["warning"] == "intervals over only 3 speakers are too narrow"
    assert (
        tested.note == ""
        and json.loads((tested.output_dir / "metrics.json").read_text())["note"] == ""
    )


def test_card_of_given_rows_and_an_unknown_base_leaves_licence_and_language_open(tested):
    card = ModelCard.load(tested.output_dir / "README.md")
    fields = card.data.to_dict()
    assert not {"license", "license_name", "language", "datasets", "base_model"} & set(fields)
    assert "a model on disk: no licence is known" in card.text
    assert "licence of the weights is therefore not stated" in card.text
    assert "Dusha" not in card.text.split("## What it is for")[1].replace(
        "DushaForAudioClassification", ""
    )
    assert "Russian" not in card.text


def test_card_of_a_data_set_in_a_folder_has_its_terms(tmp_path, small_model):
    folder = tmp_path / "korean"
    for split, rows in {"train": rows_of(16, 4), "test": rows_of(8, 2)}.items():
        rows.to_parquet(folder / f"{split}-00000.parquet")
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\nlanguage: ko\n---\n")
    base = save_small_classifier(tmp_path / "base")
    (tmp_path / "base" / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    trained(tmp_path / "mine", base, None, dataset=str(folder), validation=0)
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    assert (card.data.license, card.data.language) == ("cc-by-4.0", ["ko"])
    assert "The weights are under cc-by-4.0." in card.text
    assert "the data set korean" in card.text and str(tmp_path) not in card.text


def test_model_of_the_synthetic_sample_is_under_the_licence_of_the_code():
    origins = Origins(data_origin(DataOptions(), {"train": rows_of(4, 1)}), None)
    assert origins.license == {"license": "apache-2.0"}


@pytest.mark.parametrize("rate", [16000, 44100])
def test_example_of_the_card_runs_where_ffmpeg_is_not_installed(tested, rate, monkeypatch):
    text = (tested.output_dir / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tested.output_dir.parent)
    monkeypatch.setenv("PATH", "")
    samples = 0.1 * np.random.default_rng(0).normal(size=(rate // 2, 2))
    soundfile.write("recording.wav", samples, rate)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    predictions = eval(printed.getvalue())
    assert {one["label"] for one in predictions} == set(LABELS)
    assert sum(one["score"] for one in predictions) == pytest.approx(1, abs=1e-4)
