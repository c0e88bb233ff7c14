"""Training runs on given rows: what decides them, and when they are done."""

from dataclasses import replace

import pytest
import yaml
from small_models import save_model, write_recordings

from dusha_ser.corpus.named import named_rows
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.experiments.runs import (
    FINISHED_FILE,
    SETTINGS_FILE,
    Run,
    is_finished,
    settings_of,
    split_options,
    train_run,
    with_inputs,
)
from dusha_ser.storage import write_json


@pytest.fixture
def run(tmp_path):
    return Run("clips.csv", None, ("--max_steps", "1"), tmp_path / "model", True)


@pytest.fixture
def splits(tmp_path):
    rows = named_rows(str(write_recordings(tmp_path, speakers=2))).rows
    return {"train": rows.select(range(4)), "test": rows.select(range(4, 8))}


def test_arguments_are_a_line_of_train(run):
    data, recipe, arguments = run.parsed()
    assert data.dataset == "clips.csv" and recipe.quiet
    assert arguments.output_dir == str(run.output_dir) and arguments.max_steps == 1


def test_arguments_take_a_setup_but_not_its_data(run, tmp_path):
    setup = tmp_path / "mine.yaml"
    setup.write_text(yaml.safe_dump({"dataset": "crowd", "learning_rate": 0.25, "max_steps": 9}))
    data, _, arguments = replace(run, setup=str(setup)).parsed()
    assert data.dataset == "clips.csv" and arguments.learning_rate == 0.25
    assert arguments.max_steps == 1
    with pytest.raises(MissingInputError, match="no setup 'crowd_huge'"):
        replace(run, setup="crowd_huge").parsed()


@pytest.mark.parametrize("option", ["--dataset", "--train_file=x.csv", "--test_file"])
def test_arguments_refuse_other_data(run, option):
    with pytest.raises(WrongUseError, match="the data are named already"):
        replace(run, options=(option,)).arguments()


def test_settings_of_a_run_change_with_what_decides_its_result(run, splits, tmp_path):
    before = settings_of(run, splits)
    assert settings_of(replace(run, output_dir=tmp_path / "moved", quiet=False), splits) == before
    assert settings_of(replace(run, options=("--max_steps", "2")), splits) != before
    assert settings_of(replace(run, setup="crowd_small"), splits) != before
    assert settings_of(run, splits | {"train": splits["test"]}) != before
    relabelled = splits["train"].map(lambda row: {"label": 0})
    assert settings_of(run, splits | {"train": relabelled}) != before


def test_is_finished_only_with_the_same_settings(run, splits):
    assert not is_finished(run, splits)
    write_json(run.output_dir / FINISHED_FILE, settings_of(run, splits))
    assert is_finished(run, splits)
    assert not is_finished(replace(run, options=()), splits)


def test_train_run_leaves_a_folder_alone_that_is_not_its_own(run, splits):
    run.output_dir.mkdir()
    (run.output_dir / "thesis.txt").write_text("ten years")
    with pytest.raises(WrongUseError, match="give --overwrite to lose it"):
        train_run(run, splits)
    write_json(run.output_dir / SETTINGS_FILE, {"other": "settings"})
    with pytest.raises(WrongUseError, match="not made with these options"):
        train_run(run, splits)
    assert (run.output_dir / "thesis.txt").read_text() == "ten years"


def test_with_inputs_computes_features_of_dushas_network_with_its_own_extractor(
    run, splits, tmp_path
):
    rows = with_inputs(splits["train"], run)
    assert "audio" not in rows.column_names
    assert len(rows[0]["input_features"][0]) == 64
    model = save_model(tmp_path / "start")
    named = replace(run, options=("--model_name_or_path", model))
    again = with_inputs(splits["train"], named)
    assert again[0]["input_features"] == rows[0]["input_features"]


def test_with_inputs_refuses_wrong_options_before_it_computes_anything(run, splits):
    for options in (("--label_smoothing", "2"), ("--frozen_blocks", "3")):
        with pytest.raises(WrongUseError, match=options[0].removeprefix("--")):
            with_inputs(splits["train"].select_columns(["label"]), replace(run, options=options))


def test_split_options_refuses_what_belongs_to_no_option():
    assert split_options(["--max_steps", "1"]) == ("--max_steps", "1")
    with pytest.raises(WrongUseError, match="'extra' belongs to no option"):
        split_options(["extra", "--max_steps"])
