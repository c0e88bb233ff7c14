"""Training runs on given rows: what decides them, and when they are done."""

from dataclasses import replace
from pathlib import Path

import pytest
from small_models import replace_audio, save_model, write_recordings

from dusha_ser.corpus.named import named_rows
from dusha_ser.errors import WrongUseError
from dusha_ser.experiments import runs
from dusha_ser.experiments.runs import (
    DECISIVE,
    FINISHED_FILE,
    SETTINGS_FILE,
    Run,
    is_finished,
    settings_of,
    train_run,
    with_inputs,
)
from dusha_ser.storage import write_json
from dusha_ser.training.options import DataOptions, RecipeOptions, RunOptions


@pytest.fixture
def run(tmp_path):
    return Run(
        DataOptions("clips.csv"),
        RecipeOptions(),
        RunOptions(str(tmp_path / "model"), max_steps=1, quiet=True),
    )


def with_options(run, **changes):
    """The same run with other options of the Trainer."""
    return replace(run, options=replace(run.options, **changes))


def inputs_of(run, splits):
    """The splits as the folds of a cross-validation have them."""
    return {split: with_inputs(rows, run) for split, rows in splits.items()}


@pytest.fixture
def splits(tmp_path):
    rows = named_rows(str(write_recordings(tmp_path, speakers=2))).rows
    return {"train": rows.select(range(4)), "test": rows.select(range(4, 8))}


def test_settings_of_a_run_change_with_what_decides_its_result(run, splits, tmp_path):
    before = settings_of(run, splits)
    assert (
        settings_of(with_options(run.moved(tmp_path / "moved", "other name"), quiet=False), splits)
        == before
    )
    assert settings_of(with_options(run, max_steps=2), splits) != before
    assert settings_of(replace(run, recipe=RecipeOptions(crop=3)), splits) != before
    assert settings_of(run, splits | {"train": splits["test"]}) != before
    answers = tmp_path / "answers.csv"
    answers.write_text("path,annotator,answer\na.wav,x,sad\n")
    answered = replace(run, data=replace(run.data, answers_file=str(answers)))
    judged = settings_of(answered, splits)
    answers.write_text("path,annotator,answer\na.wav,x,angry\n")
    assert settings_of(answered, splits) != judged
    for change in ({"label": 0}, {"source_id": "somebody"}, {"domain": "other"}):
        changed = splits["train"].map(lambda row, change=change: change)
        assert settings_of(run, splits | {"train": changed}) != before


def test_settings_of_a_run_change_with_audio_that_has_the_same_name_size_and_time(run, splits):
    before = settings_of(run, splits), settings_of(run, inputs_of(run, splits))
    replace_audio(Path(splits["test"][2]["audio"]["path"]))
    assert settings_of(run, splits)["clips"] != before[0]["clips"]
    assert settings_of(run, inputs_of(run, splits))["clips"] != before[1]["clips"]


def test_settings_of_a_run_change_with_the_content_of_its_starting_model(run, splits, tmp_path):
    def settings_from(model):
        return settings_of(replace(run, recipe=RecipeOptions(model)), splits)

    before = settings_from(save_model(tmp_path / "start"))
    assert before != settings_of(run, splits)
    assert settings_from(save_model(tmp_path / "moved")) == before
    after = settings_from(save_model(tmp_path / "start", seed=1))
    assert {name for name in after if after[name] != before[name]} == {"model"}


def test_settings_of_a_run_change_with_the_code(run, splits, monkeypatch):
    before = settings_of(run, splits)
    monkeypatch.setattr(runs, "CODE", ("dusha_ser.errors",))
    assert settings_of(run, splits)["code"] != before["code"]


def test_is_finished_only_with_the_same_settings(run, splits):
    assert not is_finished(run, splits)
    write_json(run.output_dir / FINISHED_FILE, settings_of(run, splits))
    assert is_finished(run, splits)
    assert not is_finished(with_options(run, max_steps=-1), splits)


def test_train_run_leaves_a_folder_alone_that_is_not_its_own(run, splits):
    run.output_dir.mkdir()
    (run.output_dir / "thesis.txt").write_text("ten years")
    with pytest.raises(WrongUseError, match="give `overwrite=True` to lose it"):
        train_run(run, splits)
    write_json(run.output_dir / SETTINGS_FILE, {"other": "settings"})
    with pytest.raises(WrongUseError, match="not made with these options"):
        train_run(run, splits)
    for name, words in DECISIVE.items():
        write_json(run.output_dir / SETTINGS_FILE, settings_of(run, splits) | {name: "other"})
        with pytest.raises(WrongUseError, match=f"not made with {words};"):
            train_run(run, splits)
    for name in (SETTINGS_FILE, "thesis.txt"):
        assert (run.output_dir / name).is_file()
    (run.output_dir / SETTINGS_FILE).unlink()
    with pytest.raises(WrongUseError, match=r"holds thesis\.txt, which this program did not write"):
        train_run(run, splits, overwrite=True)
    assert (run.output_dir / "thesis.txt").read_text() == "ten years"
    assert [path.name for path in run.output_dir.iterdir()] == ["thesis.txt"]


def test_with_inputs_computes_features_of_dushas_network_with_its_own_extractor(
    run, splits, tmp_path
):
    rows = with_inputs(splits["train"], run)
    assert "audio" not in rows.column_names
    assert len(rows[0]["input_features"][0]) == 64
    model = save_model(tmp_path / "start")
    named = replace(run, recipe=RecipeOptions(model))
    again = with_inputs(splits["train"], named)
    assert again[0]["input_features"] == rows[0]["input_features"]


def test_with_inputs_refuses_wrong_options_before_it_computes_anything(run, splits):
    for options in ({"label_smoothing": 2}, {"frozen_blocks": 3}):
        with pytest.raises(WrongUseError, match=next(iter(options))):
            wrong = replace(run, recipe=RecipeOptions(**options))
            with_inputs(splits["train"].select_columns(["label"]), wrong)
