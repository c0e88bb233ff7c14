"""Options that several commands share: one name, one meaning, and lists of several values."""

import dataclasses

import pytest

from dusha_ser.cli.program import Parser
from dusha_ser.collecting.options import (
    AnswerOptions,
    PromptOptions,
    PseudoLabelOptions,
    SliceOptions,
    TaskOptions,
)
from dusha_ser.errors import WrongUseError
from dusha_ser.experiments.options import CrossValidateOptions, EvaluateOptions
from dusha_ser.inference.settings import PredictOptions
from dusha_ser.options import TableOptions, is_hub_name, read_label_map
from dusha_ser.training.options import DataOptions


def described(kind):
    return {one.name: (one.default, one.metadata) for one in dataclasses.fields(kind)}


def test_options_of_tables_are_the_same_in_all_commands():
    shared = described(TableOptions)
    assert list(shared) == [
        *("path_column", "label_column", "speaker_column", "label_map", "bad_rows")
    ]
    for kind in (DataOptions, EvaluateOptions, CrossValidateOptions, TaskOptions):
        assert {name: described(kind)[name] for name in shared} == shared
    for kind in (PredictOptions, SliceOptions, PseudoLabelOptions):
        assert described(kind)["path_column"] == shared["path_column"]
    for kind in (AnswerOptions, PromptOptions):
        assert described(kind)["label_map"] == shared["label_map"]


@pytest.mark.parametrize("words", [["A=angry, S=sad"], ["A=angry", "--label_map", "S=sad"]])
def test_label_map_when_given_several_pairs_takes_them_all(words):
    (options,) = Parser("try", "", "try", TableOptions).parse_options(["--label_map", *words])
    assert options.meanings == {"A": "angry", "S": "sad"}


def test_read_label_map_when_a_code_has_an_equals_sign_or_is_repeated():
    assert read_label_map(["a=b=sad", "a=b=sad"]) == {"a=b": "sad"}


@pytest.mark.parametrize("pair", ["A", "=sad", "A=", "A=sad"])
def test_read_label_map_when_a_pair_is_wrong_names_it(pair):
    with pytest.raises(WrongUseError, match=f"has {pair!r}; give CODE=LABEL"):
        read_label_map(["A=angry", pair])


LOCAL_NAMES = (
    *("nowhere", "./a/b", "../a", "/nowhere/at/all", "~/model", "a\\b", "runs/a/b", "runs/mine"),
    *(
        "a/weights.pt",
        "a/model.PTH",
        "a/x.ckpt",
        "a/pytorch_model.bin",
        "a/clips.csv",
        "модели/моя",
    ),
)


@pytest.mark.parametrize("name", LOCAL_NAMES)
def test_is_hub_name_when_a_name_looks_local(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert not is_hub_name(name)


@pytest.mark.parametrize("name", ["user/name", "user/dusha-1.5", "user/a_b.c", "A-1/b"])
def test_is_hub_name_when_it_may_be_there_unless_a_folder_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_name(name)
    (tmp_path / name).mkdir(parents=True)
    assert not is_hub_name(name)
