"""What a search may choose from: the file, its errors, and options with other values."""

import pytest

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.training.options import DataOptions, RecipeOptions, RunOptions
from dusha_ser.training.search_space import (
    SPACES,
    SearchOptions,
    read_space,
    with_options,
)
from dusha_ser.training.setups import find_setup, read_setup, setup_names

GROUPS = (DataOptions(), RecipeOptions("model"), RunOptions("out"))


def space_of(tmp_path, text):
    (tmp_path / "space.yaml").write_text(text)
    return read_space(str(tmp_path / "space.yaml"), GROUPS)


@pytest.mark.parametrize("name", setup_names(SPACES))
def test_shipped_spaces_have_values_of_their_setup_and_others(name):
    space, setup = read_space(name, GROUPS), read_setup(find_setup(name))
    for option, allowed in space.choices.items():
        if isinstance(allowed, list):
            assert len(allowed) > 1
            if option in setup:
                assert setup[option] in allowed
    assert not space.of_inputs


def test_read_space_takes_numbers_as_their_options_do(tmp_path):
    text = "learning_rate: {low: 1e-4, high: 1e-2, log: true}\nfrozen_blocks: {low: 0, high: 12}\n"
    text += "mixup: [0, 0.2]\nloss: [hard, soft]\nequal_lengths: [true, false]\n"
    space = space_of(tmp_path, text + "class_weights: [null, balanced]\ntrim_silence: [30]\n")
    assert space.choices == {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "frozen_blocks": {"low": 0, "high": 12},
        "mixup": [0.0, 0.2],
        "loss": ["hard", "soft"],
        "equal_lengths": [True, False],
        "class_weights": [None, "balanced"],
        "trim_silence": [30.0],
    }
    assert isinstance(space.choices["mixup"][0], float)
    assert space.of_inputs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rates: [1]", "unknown option 'learning_rates'.*did you mean learning_rate"),
        ("seed: [1, 2]", "the option 'seed', which no search changes"),
        ("mixup: 0.2", "mixup is 0.2; give a list of values, or a range"),
        ("mixup: []", "give a list of values"),
        ("mixup: {low: 0.1}", "give a list of values"),
        ("mixup: {low: 0.5, high: 0.1}", "mixup goes from 0.5 to 0.1"),
        ("frozen_blocks: [many]", "frozen_blocks is 'many', which is not a value"),
        ("mixup: [much]", "mixup is 'much', which is not a value"),
        ("loss: [hard, harder]", "loss is 'harder'; take hard, soft"),
        ("label_smoothing: [0, 2]", "`label_smoothing` is 2.0: take 0 to below 1"),
        ("label_smoothing: {low: 0, high: 2}", "`label_smoothing` is 2.0"),
        ("- mixup", "holds no options"),
    ],
)
def test_read_space_names_what_is_wrong(tmp_path, text, message):
    with pytest.raises(WrongUseError, match=message):
        space_of(tmp_path, text)


def test_read_space_of_another_name_says_which_there_are():
    with pytest.raises(MissingInputError, match="no space 'own_recording'; did you mean own_rec"):
        read_space("own_recording", GROUPS)


def test_with_options_changes_the_dataclass_that_has_them():
    data, recipe, run = with_options(GROUPS, {"validation": 0.5, "mixup": 0.2, "crop": 3})
    assert (data.validation, recipe.crop, run.mixup) == (0.5, 3, 0.2)
    assert (recipe.model_name_or_path, run.output_dir) == ("model", "out")
    assert GROUPS[0].validation == 0.1


def test_options_of_a_search_are_checked():
    SearchOptions().check_search()
    with pytest.raises(WrongUseError, match="`search` is -1; it must be at least 0"):
        SearchOptions(search=-1).check_search()
    with pytest.raises(WrongUseError, match="`search_folds` is 0"):
        SearchOptions(search_folds=0).check_search()
