"""A run learns what is there, nothing from shuffled labels, and how sure it may be."""

import dataclasses
import json

import datasets
import numpy as np
import pytest
import torch
from chance import chance_p_value
from small_models import rows_of
from small_network import one_thread, small_config  # noqa: F401 - a fixture

from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.calibration import fit_temperature
from dusha_ser.labels.crowd_answers import CrowdAnswers
from dusha_ser.labels.likelihoods import answer_log_likelihoods
from dusha_ser.labels.regularised import regularised_dawid_skene
from dusha_ser.training.arguments import DushaTrainingArguments
from dusha_ser.training.options import DataOptions, RecipeOptions
from dusha_ser.training.preparation import prepare
from dusha_ser.training.result import describe_result, final_test
from dusha_ser.training.run import (
    FEWEST_COMPILED_STEPS,
    epochs_ahead,
    fitted,
    make_trainer,
    steps_ahead,
    train,
)
from dusha_ser.vocabulary import ANSWERS
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification, class_probabilities

SEEDS = range(6)
# Of runs that learn nothing, one set of six in a hundred fails this test by chance.
ERROR_RATE = 0.01


@pytest.fixture(scope="module")
def splits():
    return {"train": rows_of(2, 20, seed=1), "test": rows_of(2, 10, seed=2)}


def confusion_of_run(folder, splits, seed, shuffle_labels):
    """Train a network of new weights; return its confusion matrix on the test split."""
    torch.manual_seed(seed)
    DushaForAudioClassification(small_config(num_mel_bins=64)).save_pretrained(folder / "start")
    DushaFeatureExtractor().save_pretrained(folder / "start")
    data = DataOptions(validation=0.2, shuffle_labels=shuffle_labels)
    recipe = RecipeOptions(
        model_name_or_path=str(folder / "start"), frequency_mask=0, time_mask=0, crop=0
    )
    arguments = DushaTrainingArguments(
        str(folder / "model"),
        num_train_epochs=4,
        per_device_train_batch_size=8,
        per_device_eval_batch_size=80,
        learning_rate=1e-2,
        seed=seed,
        disable_tqdm=True,
        use_cpu=True,
        quiet=True,
    )
    # As in `train`, without its files.
    prepared = prepare(data, recipe, arguments, splits)
    trainer = make_trainer(prepared, recipe, arguments)
    trainer.train()
    return np.array(final_test(trainer, prepared).metrics["confusion_matrix"])


def test_runs_on_shuffled_labels_know_no_more_than_chance(tmp_path, splits):
    runs = [confusion_of_run(tmp_path / str(seed), splits, seed, True) for seed in SEEDS]
    assert chance_p_value(runs) > ERROR_RATE


def test_runs_on_true_labels_know_more_than_chance(tmp_path, splits):
    # Half of the runs are enough for the test above to see it.
    runs = [confusion_of_run(tmp_path / str(seed), splits, seed, False) for seed in SEEDS[:3]]
    assert chance_p_value(runs) < ERROR_RATE


def test_network_is_compiled_unasked_only_for_many_steps(tmp_path, splits):
    """As if a GPU were here: what was not chosen is set after the arguments were made."""

    def compiled(asked=None, **options):
        usual = {"num_train_epochs": 3, "per_device_train_batch_size": 8, "use_cpu": True}
        arguments = DushaTrainingArguments(str(tmp_path), torch_compile=asked, **usual | options)
        arguments.torch_compile = asked is not False
        recipe = RecipeOptions()
        prepared = prepare(DataOptions(validation=0), recipe, arguments, dict(splits))
        asked_for = options.get("max_steps", options.get("min_steps", 30))
        assert steps_ahead(arguments, 80) == asked_for
        return fitted(arguments, prepared, recipe).torch_compile

    assert not compiled()
    assert not compiled(max_steps=FEWEST_COMPILED_STEPS - 1)
    assert compiled(max_steps=FEWEST_COMPILED_STEPS)
    assert compiled(min_steps=FEWEST_COMPILED_STEPS)
    assert compiled(asked=True)
    assert not compiled(asked=False, max_steps=FEWEST_COMPILED_STEPS)


def test_few_clips_are_seen_in_as_many_epochs_as_the_least_steps_take(tmp_path, splits):
    def planned(**options):
        usual = {"num_train_epochs": 3, "per_device_train_batch_size": 8, "use_cpu": True}
        arguments = DushaTrainingArguments(str(tmp_path), **usual | options)
        recipe = RecipeOptions()
        prepared = prepare(DataOptions(validation=0), recipe, arguments, dict(splits))
        trainer = make_trainer(prepared, recipe, arguments)
        assert len(trainer.get_train_dataloader()) == 20
        return steps_ahead(trainer.args, 160)

    assert planned() == planned(min_steps=60) == 60
    assert planned(min_steps=61) == 80
    assert planned(min_steps=95) == 100
    # What is asked for in steps is done in these.
    assert planned(min_steps=95, max_steps=7) == 7


def test_epochs_for_the_least_steps_when_an_epoch_is_no_whole_number(tmp_path):
    arguments = DushaTrainingArguments(
        str(tmp_path),
        num_train_epochs=0.5,
        min_steps=100,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=2,
        use_cpu=True,
    )
    # 100 clips are 7 batches, so 4 steps, of which half an epoch has 2.
    epochs = epochs_ahead(arguments, 100)
    assert epochs == 25
    assert steps_ahead(dataclasses.replace(arguments, num_train_epochs=epochs), 100) == 100


def test_chance_p_value_is_the_share_of_namings_with_as_many_hits():
    right = np.eye(4, dtype=int) * 5
    assert chance_p_value([right]) == pytest.approx(1 / 24)
    assert chance_p_value([right, right]) == pytest.approx(1 / 24**2)
    # Two of four right: of 24 namings one has four hits, six have two, eight one, nine none.
    swapped = right[[1, 0, 2, 3]]
    assert chance_p_value([swapped]) == pytest.approx(7 / 24)
    assert chance_p_value([np.full((4, 4), 3)]) == pytest.approx(1)
    # All clips taken for the most frequent label.
    majority = np.zeros((4, 4), int)
    majority[:, 2] = [20, 21, 23, 22]
    assert chance_p_value([majority] * 4) == pytest.approx(1)


def test_chance_p_value_of_models_that_know_nothing_keeps_its_error_rate():
    # Each model takes the clips of an emotion for one label, drawn for it, or spreads them.
    generator = np.random.default_rng(0)
    studies = [
        [generator.multinomial(20, generator.dirichlet(np.full(4, 0.2)), 4) for _ in SEEDS]
        for _ in range(400)
    ]
    assert np.mean([chance_p_value(runs) <= 0.05 for runs in studies]) < 0.08


def test_chance_p_value_sees_models_that_know_a_little():
    generator = np.random.default_rng(0)
    knowing = np.full((4, 4), 0.2) + 0.2 * np.eye(4)  # right in 40 % of the clips
    runs = [np.stack([generator.multinomial(20, row) for row in knowing]) for _ in SEEDS]
    assert chance_p_value(runs) < ERROR_RATE


@pytest.fixture(scope="module")
def doubtful_splits():
    """Clips of which every third has any label, so that no model should be sure."""

    def of(speakers, seed):
        rows = rows_of(2, speakers, seed)
        generator = np.random.default_rng(seed)
        labels = np.array(rows["label"])
        other = generator.random(len(labels)) < 1 / 3
        labels[other] = generator.integers(0, 4, other.sum())
        return rows.remove_columns("label").add_column("label", labels).cast(rows.features)

    return {"train": of(10, 1), "validation": of(10, 2), "test": of(10, 3)}


def trained(folder, splits, epochs, learning_rate=2e-2, **recipe):
    """Train a network; after a dozen epochs it is too sure."""
    torch.manual_seed(0)
    DushaForAudioClassification(small_config(num_mel_bins=64)).save_pretrained(folder / "start")
    DushaFeatureExtractor().save_pretrained(folder / "start")
    recipe = RecipeOptions(
        model_name_or_path=str(folder / "start"), frequency_mask=0, time_mask=0, crop=0, **recipe
    )
    arguments = DushaTrainingArguments(
        str(folder / "model"),
        num_train_epochs=epochs,
        per_device_train_batch_size=8,
        per_device_eval_batch_size=80,
        learning_rate=learning_rate,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        disable_tqdm=True,
        use_cpu=True,
        quiet=True,
    )
    return train(DataOptions(), recipe, arguments, splits)


def test_run_fits_a_temperature_to_validation_clips_and_saves_it(tmp_path, doubtful_splits):
    result = trained(tmp_path, doubtful_splits, epochs=12)
    fit = result.calibration
    assert fit.temperature > 1.1 and fit.clips == 80 and not fit.problem
    model = DushaForAudioClassification.from_pretrained(tmp_path / "model").eval()
    assert model.config.temperature == fit.temperature == result.predictions.temperature
    model.config.temperature = 1.0
    raw = {}
    with torch.no_grad():
        for split in ("validation", "test"):
            clips = torch.tensor(np.array(doubtful_splits[split]["input_features"]))
            raw[split] = model(clips).logits
    truth = {split: torch.tensor(rows["label"]) for split, rows in doubtful_splits.items()}
    again = fit_temperature(raw["validation"].numpy(), truth["validation"].numpy())
    assert fit.temperature == pytest.approx(again.temperature, rel=1e-3)
    expected = class_probabilities(raw["test"] / fit.temperature, None)
    np.testing.assert_allclose(result.predictions.probabilities, expected, atol=1e-5)
    # On clips that had no part in it, as intended.
    before = torch.nn.functional.cross_entropy(raw["test"], truth["test"]).item()
    written = json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert written["uncalibrated"]["log_loss"] == pytest.approx(before, rel=1e-3)
    assert written["test"]["log_loss"] < before
    assert written["calibration"] == {
        "temperature": fit.temperature, "clips": 80, "problem": ""
    }  # fmt: skip
    card = (tmp_path / "model" / "README.md").read_text()
    right = (expected.argmax(1) == truth["test"]).numpy()
    surest = np.argsort(-expected.max(1).values.numpy(), kind="stable")[:64]
    assert f"Accuracy at 80 % coverage: {right[surest].mean():.3f}." in card
    assert f"Temperature {fit.temperature:.3f}, fitted to 80 validation clips" in card


def test_run_that_is_told_not_to_calibrate_has_no_temperature(tmp_path, doubtful_splits):
    result = trained(tmp_path, doubtful_splits, epochs=1, calibrate=False)
    config = DushaForAudioClassification.from_pretrained(tmp_path / "model").config
    assert config.temperature == result.predictions.temperature == 1
    assert "none was asked for" in (tmp_path / "model" / "README.md").read_text()


def test_run_never_fits_a_temperature_to_test_clips(tmp_path, doubtful_splits):
    splits = {name: doubtful_splits[name] for name in ("train", "test")}
    result = trained(tmp_path, splits, epochs=1, published_quirks=True)
    assert result.calibration.problem == "the validation clips are those of the test"
    assert result.predictions.temperature == 1


def with_answers(rows, seed):
    """Replace labels by answers: of every three, one by somebody who always says the next class."""
    random = np.random.default_rng(seed)
    truth = np.array(rows["label"])
    careful = np.where(random.random((2, len(rows))) < 0.8, truth, random.integers(0, 4, len(rows)))
    answers = CrowdAnswers(
        np.tile(np.arange(len(rows)), 3),
        np.repeat([0, 1, 2], len(rows)),
        np.concatenate([*careful, (truth + 1) % 4]),
        *(range(len(rows)), "xyz", ANSWERS),
    )
    found = regularised_dawid_skene(answers)
    wrong = rows.remove_columns("label").add_column("label", ((truth + 1) % 4).tolist())
    for name, values in {
        "answers": [list(ANSWERS)] * len(rows),
        "label_probabilities": found.probabilities.tolist(),
        "log_likelihoods": answer_log_likelihoods(answers, found).tolist(),
    }.items():
        wrong = wrong.add_column(name, values)
    return wrong.cast_column("label", rows.features["label"])


def train_of_answers(folder, splits, loss, **options):
    torch.manual_seed(0)
    DushaForAudioClassification(small_config(num_mel_bins=64)).save_pretrained(folder / "start")
    DushaFeatureExtractor().save_pretrained(folder / "start")
    recipe = RecipeOptions(
        model_name_or_path=str(folder / "start"), loss=loss, class_weights="balanced",
        frequency_mask=0, time_mask=0, crop=0,
    )  # fmt: skip
    arguments = DushaTrainingArguments(
        str(folder / "model"), num_train_epochs=4, per_device_train_batch_size=8,
        learning_rate=1e-2, disable_tqdm=True, use_cpu=True, quiet=True, **options,
    )  # fmt: skip
    return train(DataOptions(validation=0), recipe, arguments, splits)


def test_answers_teach_the_classes_where_the_labels_are_wrong(tmp_path, splits):
    # The labels of these clips are all wrong: whatever is learnt comes from the answers.
    doubtful = splits | {"train": with_answers(splits["train"], 0)}
    result = train_of_answers(tmp_path, doubtful, "answers")
    assert result.metrics["accuracy"] > 0.6


def test_answers_and_mixup_are_refused_together(tmp_path, splits):
    with pytest.raises(WrongUseError, match="`mixup` mixes the labels.*`loss=answers`"):
        train_of_answers(tmp_path, splits, "answers", mixup=0.4)


@pytest.fixture(scope="module")
def skewed_splits():
    """Clips that tell nothing of their labels, seven in ten of which are neutral."""

    def of(speakers, seed):
        rows = rows_of(2, speakers, seed)
        generator = np.random.default_rng(seed)
        labels = generator.choice(4, len(rows), p=[0.1, 0.1, 0.7, 0.1])
        clips = generator.normal(-50, 10, (len(rows), 24, 64)).clip(-80, 0).astype("float32")
        columns = rows.to_dict() | {"label": labels.tolist(), "input_features": list(clips)}
        return datasets.Dataset.from_dict(columns, features=rows.features)

    return {"train": of(25, 1), "validation": of(10, 2), "test": of(10, 3)}


@pytest.mark.parametrize(
    ("changes", "even"),
    [
        ({}, False),
        ({"logit_adjustment": 1.0}, True),
        ({"prior": "uniform", "label_smoothing": 0.1}, True),
        ({"logit_adjustment": 1.0, "prior": "angry=1,sad=1,neutral=7,positive=1"}, False),
    ],
    ids=str,
)
def test_run_on_skewed_classes_predicts_for_the_prior_that_it_says(
    tmp_path, skewed_splits, changes, even
):
    result = trained(tmp_path, skewed_splits, epochs=3, learning_rate=5e-3, **changes)
    config = DushaForAudioClassification.from_pretrained(tmp_path / "model").config
    shares = np.bincount(skewed_splits["train"]["label"], minlength=4) / 200
    wanted = np.full(4, 0.25) if even else shares
    np.testing.assert_allclose(config.class_prior, wanted, atol=0.05)
    # Where nothing is known, probabilities are the prior.
    found = result.predictions.probabilities.mean(axis=0)
    np.testing.assert_allclose(found, config.class_prior, atol=0.12)
    assert (config.logit_bias is None) == ("prior" not in changes)
    card = (tmp_path / "model" / "README.md").read_text()
    said = (
        f"Predictions assume these shares of the classes: angry {100 * config.class_prior[0]:.1f} %"
    )
    assert said in card and said in describe_result(result)


def test_run_refuses_a_prior_before_it_trains(tmp_path, skewed_splits):
    with pytest.raises(WrongUseError, match="`prior` is happy=1: give uniform"):
        trained(tmp_path, skewed_splits, epochs=1, prior="happy=1")
    assert not (tmp_path / "model" / "model.safetensors").exists()
