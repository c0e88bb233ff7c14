"""A recipe's options: what they refuse, and what labels and clips become by them."""

import dataclasses

import pytest
from small_network import small_classifier
from transformers import TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.evaluation.ser.ser import SCORES
from dusha_ser.training import checkpoints, options
from dusha_ser.training.arguments import make_arguments
from dusha_ser.training.batches import (
    ExtractorCollator,
    SpectrogramCollator,
    make_collators,
)
from dusha_ser.training.options import RecipeOptions, RunOptions
from dusha_ser.training.sampling import SAMPLERS
from feature_extraction_dusha import DushaFeatureExtractor


def test_collators_when_published_quirks_are_asked_for_pad_with_what_is_loudest():
    model, extractor = small_classifier(num_mel_bins=64), DushaFeatureExtractor()
    training, evaluation = make_collators(model, extractor, RecipeOptions())
    assert isinstance(training, SpectrogramCollator)
    for collator in (training, evaluation):
        assert (collator.fill, collator.mask) == (-80, True)
    assert evaluation.augmentation is None
    training, evaluation = make_collators(model, extractor, RecipeOptions(published_quirks=True))
    for collator in (training, evaluation):
        assert (collator.fill, collator.mask) == (0, False)
    assert training.augmentation is not None


def test_collators_when_the_network_is_another_one_are_its_extractor():
    model = small_classifier(num_mel_bins=64)
    model.config.model_type = "wav2vec2"
    extractor = DushaFeatureExtractor()
    collators = make_collators(model, extractor, RecipeOptions())
    assert collators == (ExtractorCollator(feature_extractor=extractor),) * 2


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_options_when_out_of_range_are_refused_and_within_are_not(value):
    RecipeOptions(label_smoothing=0.1).check()
    with pytest.raises(WrongUseError, match=f"`label_smoothing` is {value}: take 0 to below 1"):
        RecipeOptions(label_smoothing=value).check()


def test_frozen_blocks_when_there_is_no_model_to_take_them_from():
    with pytest.raises(WrongUseError, match="name one by `model_name_or_path`"):
        RecipeOptions(frozen_blocks=2).check()


@pytest.mark.parametrize("names", [(), ("phone", "phone"), ("noise", "telephone")])
def test_waveform_augmentation_when_it_is_unknown_twice_or_none(names):
    with pytest.raises(WrongUseError, match="take noise, phone, podcast or some of these"):
        RecipeOptions(waveform_copies=1, waveform_augmentation=names).check()


def test_waveform_augmentation_when_there_are_no_copies():
    RecipeOptions(waveform_copies=1, waveform_augmentation=("phone", "noise")).check()
    with pytest.raises(WrongUseError, match="is phone, .* take `waveform_copies=1` or more"):
        RecipeOptions(waveform_augmentation=("phone",)).check()


def test_priors_are_of_one_label_per_clip_and_make_up_for_skew_once():
    RecipeOptions(logit_adjustment=1.0, loss="soft", prior="uniform").check()
    for changes in ({"logit_adjustment": 1.0}, {"prior": "uniform"}):
        (name,) = changes
        with pytest.raises(WrongUseError, match=f"`{name}` is for one label per clip"):
            RecipeOptions(loss="multi", **changes).check()
    with pytest.raises(WrongUseError, match="`class_weights` both make up .* take one"):
        RecipeOptions(logit_adjustment=1.0, class_weights="balanced").check()
    with pytest.raises(WrongUseError, match="than a `teacher` has: take `prior`"):
        RecipeOptions(logit_adjustment=1.0, teacher=("predictions.csv",)).check()
    with pytest.raises(WrongUseError, match="`logit_adjustment` is -1"):
        RecipeOptions(logit_adjustment=-1).check()


def test_names_that_options_repeat_to_be_light_are_those_of_the_modules_they_belong_to():
    assert set(options.SAMPLERS) == set(SAMPLERS)
    assert options.SCORES == SCORES
    assert checkpoints.TRAINER_STATE == TRAINER_STATE_NAME


def test_options_have_a_help_sentence_each():
    for kind in (options.DataOptions, RecipeOptions, RunOptions):
        assert all(one.metadata["help"] for one in dataclasses.fields(kind))


def test_options_of_the_trainer_are_known_without_importing_it():
    """Their names, and the defaults that they have where ours do not differ."""
    names = {one.name for one in dataclasses.fields(options.TrainerOptions)}
    theirs = {one.name: one for one in dataclasses.fields(TrainingArguments) if one.init}
    assert set(theirs) <= names
    found = options.TrainerOptions()
    for name in set(theirs) - {one.name for one in dataclasses.fields(RunOptions)}:
        default = theirs[name].default
        assert getattr(found, name) == ([] if default is dataclasses.MISSING else default), name


def test_arguments_of_the_trainer_take_the_options_of_a_run():
    arguments = make_arguments(options.TrainerOptions(learning_rate=0.5, adam_beta1=0.8, seed=3))
    assert (arguments.learning_rate, arguments.adam_beta1, arguments.seed) == (0.5, 0.8, 3)
    assert arguments.metric_for_best_model == "f1_macro"
    with pytest.raises(WrongUseError, match="fast is not a valid SchedulerType"):
        make_arguments(RunOptions(lr_scheduler_type="fast"))


def test_names_when_folders_are_misspelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("nowhere", "runs/mine", "./a/b", "/nowhere/at/all"):
        with pytest.raises(MissingInputError, match="no data set"):
            options.DataOptions(dataset=name).check_names()
        with pytest.raises(MissingInputError, match="no model"):
            options.RecipeOptions(model_name_or_path=name).check_names()
    for name in ("user/name", "runs"):
        options.DataOptions(dataset=name).check_names()
        options.RecipeOptions(model_name_or_path=name).check_names()
    with pytest.raises(MissingInputError, match=r"no data set 'crowd_smal': did you mean crowd_sm"):
        options.DataOptions(dataset="crowd_smal").check_names()
