"""The comparison of setups on few recordings: its file of setups, and what of it is run."""

import pytest

from benchmarks.few_recordings import SETUPS, as_words, chosen_setups, filled, read_setups
from dusha_ser.cli.train import read_run
from dusha_ser.errors import WrongUseError


def test_setups_are_options_of_training_with_and_without_an_encoder(tmp_path):
    setups = read_setups(SETUPS)
    assert list(filled(setups, {"MODEL": "released", "BACKBONE": None})) == [
        "own_recordings",
        "own_recordings, 1000 steps",
        "own_recordings, searched",
        "own_recordings, in bfloat16",
        "own_recordings, searched in bfloat16",
    ]
    every = filled(setups, {"MODEL": "released", "BACKBONE": "encoder", "RAVDESS": "clips"})
    found = {}
    for name, options in every.items():
        setup = options.pop("setup")
        own = {key: value for key, value in options.items() if not key.startswith("search")}
        _, recipe, _ = read_run("data", setup, as_words(own), tmp_path, quiet=True)
        assert recipe.unlabelled_file == ("clips" if "without labels" in name else None)
        found[name] = recipe.model_name_or_path, recipe.backbone, recipe.teacher_backbone
    assert found == {
        "own_recordings": ("released", None, None),
        "own_recordings, 1000 steps": ("released", None, None),
        "own_recordings, searched": ("released", None, None),
        "own_recordings, in bfloat16": ("released", None, None),
        "own_recordings, searched in bfloat16": ("released", None, None),
        "frozen encoder": (None, "encoder", None),
        "frozen encoder, 2 copies": (None, "encoder", None),
        "own_recordings, taught by it": ("released", None, "encoder"),
        "own_recordings, the rest without labels": ("released", None, "encoder"),
    }


def test_setups_that_are_named_are_run_alone_and_unknown_ones_are_refused():
    setups = {"one": {"seed": 1}, "two": {"seed": 2}}
    assert chosen_setups(setups, None) == setups
    assert chosen_setups(setups, ["two"]) == {"two": {"seed": 2}}
    with pytest.raises(WrongUseError, match="no setup three; take one, two"):
        chosen_setups(setups, ["two", "three"])
