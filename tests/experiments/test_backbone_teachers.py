"""A teacher on a large encoder, trained first: the same clips, its own folder, never twice."""

import csv
import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from safetensors.torch import load_file
from small_models import save_encoder, write_recordings
from small_network import save_small_classifier

from dusha_ser.cli import cross_validate
from dusha_ser.cli.main import main as dusha
from dusha_ser.cli.program import run_program
from dusha_ser.cli.train import read_options
from dusha_ser.corpus.contents import TEACHER_COLUMN
from dusha_ser.corpus.named import named_rows
from dusha_ser.corpus.own_recordings import read_recordings
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predictions import Probabilities, read_predictions
from dusha_ser.experiments.backbone_teachers import divide_teacher, teacher_run
from dusha_ser.experiments.folds import make_folds
from dusha_ser.experiments.runs import Run, read_heard, train_run
from dusha_ser.storage import read_json
from dusha_ser.training.arguments import make_arguments
from dusha_ser.training.options import DataOptions, RecipeOptions, RunOptions
from dusha_ser.training.preparation import prepare
from dusha_ser.training.teacher_models import TOLD_FOLDER, TeacherModel, versions
from dusha_ser.training.teachers import teacher_names
from dusha_ser.training.waveforms import WaveformAugmentation

LABELS = ("angry", "sad", "neutral", "positive")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Sixteen clips of four speakers."""
    return write_recordings(tmp_path_factory.mktemp("clips"), duration=0.3)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoders") / "large", "wav2vec2")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return save_small_classifier(tmp_path_factory.mktemp("small") / "model")


@pytest.fixture(scope="module")
def words(table, encoder, small, tmp_path_factory):
    """A run of a step whose teacher is trained first, in the words of `dusha train`."""
    return (
        *("--train_file", table, "--teacher_backbone", encoder, "--model_name_or_path", small),
        *("--max_steps", 1, "--validation", 0.25, "--use_cpu", "--quiet", "--seed", 7),
        *("--cache_dir", tmp_path_factory.mktemp("cache")),
    )


def train(*words):
    return dusha(["train", *map(str, words)])


def status_of(command):
    """Train as from the shell: the exit status, and what is said of an interruption."""
    errors = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, pytest.raises(SystemExit) as caught:
        patched.setattr(sys, "argv", ["dusha", "train", *map(str, command)])
        patched.setattr(sys, "stderr", errors)
        run_program(dusha)
    return caught.value.code, errors.getvalue().strip().partition("interrupted; ")[2]


def weights(folder):
    return {name: one.numpy() for name, one in load_file(folder / "model.safetensors").items()}


def places(folder):
    """Where the files of a folder are on the disk, and since when."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def interrupted(*arguments, **options):
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def trained(words, tmp_path_factory):
    """The folder of a run that trained its teacher first, and was interrupted twice."""
    folder = tmp_path_factory.mktemp("trained") / "taught"
    command = (*words, "--output_dir", folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("dusha_ser.experiments.runs.train", interrupted)
        assert status_of(command) == (130, "no checkpoint has been kept yet")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("dusha_ser.training.run.train", interrupted)
        advice = f"the same command resumes with the teacher in {folder / 'teacher'}"
        assert status_of(command) == (130, advice)
    before = places(folder / "teacher")
    assert not (folder / "model.safetensors").exists()
    assert status_of(command) == (0, "")
    assert places(folder / "teacher") == before
    return folder


def test_both_models_are_those_of_two_commands(trained, words, encoder, table, tmp_path):
    own = trained / "teacher"
    alone = ("--validation", 0.25, "--seed", 7, "--use_cpu", "--quiet", "--cache_dir", tmp_path)
    train(
        *("backbone", "--backbone", encoder, "--train_file", table, *alone),
        *("--output_dir", tmp_path / "large"),
    )
    for name, values in weights(tmp_path / "large").items():
        np.testing.assert_array_equal(values, weights(own)[name], err_msg=name)
    others = [word for word in words if word not in ("--teacher_backbone", encoder)]
    train(*others, "--teacher", own, "--output_dir", tmp_path / "small")
    for name, values in weights(tmp_path / "small").items():
        np.testing.assert_array_equal(values, weights(trained)[name], err_msg=name)


def test_teacher_is_a_model_of_its_own_that_heard_the_same_clips(trained, table, tmp_path):
    own = trained / "teacher"
    assert (own / "preprocessor_config.json").is_file()
    assert json.loads((own / "config.json").read_text())["model_type"] == "wav2vec2"
    assert "# teacher\n" in (own / "README.md").read_text()
    # Validation is the same whole speaker, on whom both are measured.
    measured = [
        read_predictions(folder / "validation_predictions.csv") for folder in (own, trained)
    ]
    assert measured[0].ids == measured[1].ids and len(measured[0].ids) == 4
    assert len(set(measured[0].speakers)) == 1
    output = tmp_path / "said.csv"
    dusha(["predict", str(own), str(table), "--output_file", str(output), "--quiet"])
    with output.open(newline="") as file:
        said = {row["id"]: [float(row[f"probability_{one}"]) for one in LABELS]
                for row in csv.DictReader(file)}  # fmt: skip
    expected = np.array([said[name] for name in measured[0].ids])
    order = [measured[0].labels.index(label) for label in LABELS]
    np.testing.assert_allclose(measured[0].probabilities[:, order], expected, atol=1e-5)
    # So are those that the small network learns.
    _, data, recipe, run = read_options(["--train_file", str(table), "--validation", "0"])
    recipe = replace(recipe, teacher=(str(own),))
    rows = prepare(data, recipe, make_arguments(run)).splits["train"]
    columns = [LABELS.index(label) for label in rows.features["label"].names]
    expected = np.array([said[name] for name in rows["id"]])[:, columns]
    np.testing.assert_allclose(rows[TEACHER_COLUMN], expected, atol=1e-5)


def test_card_names_the_encoder_and_options_repeat_the_run(trained, encoder):
    card = (trained / "README.md").read_text()
    words = "the teacher large with a classifier trained on the same clips: 0.5 of the loss"
    assert words in card and str(Path(encoder).parent) not in card
    names = read_json(trained / "metrics.json")["teachers"]["names"]
    assert names == ["large with a classifier trained on the same clips"]
    options = yaml.safe_load((trained / "options.yaml").read_text())
    assert options["teacher_backbone"] == encoder and "teacher" not in options
    _, *given = read_options([str(trained / "options.yaml")])
    own = teacher_run(Run(*given))
    assert own.options.output_dir == str(Path(given[2].output_dir, "teacher"))
    assert own.options.seed == 7 and own.options.learning_rate != 0 and own.options.max_steps == -1
    assert own.recipe.class_weights == "balanced" and own.data is given[0]


def test_teacher_of_other_options_is_replaced_only_when_told(words, trained, tmp_path):
    folder = tmp_path / "taught"
    shutil.copytree(trained / "teacher", folder / "teacher")
    command = (*words, "--output_dir", folder)
    before = places(folder / "teacher")
    for other in (("--seed", "8"), ("--validation", "0")):
        with pytest.raises(WrongUseError, match="teacher holds .* made with these options; name"):
            train(*command, *other)
    encoder = save_encoder(tmp_path / "other", "wav2vec2", seed=1)
    with pytest.raises(WrongUseError, match=r"teacher holds .* with this starting model; name an"):
        train(*command, "--teacher_backbone", encoder)
    assert places(folder / "teacher") == before
    # A finished network is in the way before its teacher is trained.
    shutil.copy(trained / "model.safetensors", folder)
    with pytest.raises(WrongUseError, match=r"taught already holds model\.safetensors; name an"):
        train(*command, "--teacher_backbone", encoder)
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("dusha_ser.training.run.train", interrupted)
        train(*command, "--teacher_backbone", encoder, "--overwrite")
    other, own = weights(folder / "teacher"), weights(trained / "teacher")
    assert not all(np.array_equal(other[name], own[name]) for name in own)


def test_what_is_the_users_stays(words, tmp_path):
    for folder in (tmp_path / "theirs", tmp_path / "ours"):
        (folder / "teacher").mkdir(parents=True)
        (folder / "teacher" / "thesis.txt").write_text("ten years")
    # A run that has not ended.
    (tmp_path / "ours" / "settings.json").write_text("{}")
    for more in ((), ("--overwrite",)):
        with pytest.raises(WrongUseError, match="holds teacher, which this program did not"):
            train(*words, "--output_dir", tmp_path / "theirs", *more)
        with pytest.raises(WrongUseError, match=r"teacher (already )?holds (thesis|something)"):
            train(*words, "--output_dir", tmp_path / "ours", *more)
    for folder in (tmp_path / "theirs", tmp_path / "ours"):
        assert [one.name for one in (folder / "teacher").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--teacher_weight", "0"], "with --teacher_weight 0 nothing is learnt from it"),
        (["--loss", "multi"], "--loss multi gives each class a probability of its own"),
        (["--logit_adjustment", "1"], "--logit_adjustment learns logits of other shares"),
        (["--teacher_backbone", "nowhere"], "no model 'nowhere'"),
        (["--push_to_hub"], "--push_to_hub would push the teacher in .*--exclude 'teacher/"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_the_teacher(more, message, words, tmp_path):
    with pytest.raises(WrongUseError, match=message):
        train(*words, "--output_dir", tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()


def test_backbone_has_no_teacher_on_another(encoder, table, tmp_path):
    command = ("--train_file", table, "--output_dir", tmp_path / "out", "--backbone", encoder)
    with pytest.raises(WrongUseError, match="give one of the two"):
        train(*command, "--teacher_backbone", encoder)


def test_teacher_of_an_earlier_run_is_not_pushed(trained, words):
    others = [word for word in words if word != "--teacher_backbone" and "large" not in str(word)]
    with pytest.raises(WrongUseError, match="would push the teacher in"):
        train(*others, "--output_dir", trained, "--push_to_hub", "--overwrite")


def test_programs_that_train_no_teacher_say_so(words, table, tmp_path):
    options = [str(word) for word in words[2:]]
    with pytest.raises(WrongUseError, match="is for `dusha train` and `dusha cross-validate`"):
        dusha(["evaluate", "--train_on", str(table), "--test_sets", str(table),
               "--output_dir", str(tmp_path), *options])  # fmt: skip


def test_names_are_of_all_teachers():
    recipe = RecipeOptions(teacher=("user/one", "out/teacher/folds/1"), teacher_backbone="a/b")
    assert recipe.own_teacher == "out/teacher/folds/1"
    assert teacher_names(recipe) == ["user/one", "a/b with a classifier trained on the same clips"]
    assert replace(recipe, teacher=("user/one",)).own_teacher is None


def options_for(words, output_dir, *more):
    data, *rest = map(str, words[1:])
    arguments = [data, "--output_dir", str(output_dir), "--folds", "2", *rest, *more]
    options, words = cross_validate.main.make_parser().parse_options(arguments, rest=True)
    cross_validate.read_training(options, words)
    return options


def test_teachers_of_folds_hear_what_the_folds_learn(words, tmp_path):
    options = options_for(words, tmp_path, "--seeds", "3,4", "--train_clips", "1", "--name", "net")
    large, small = divide_teacher(options)
    assert (large.output_dir, large.name) == (tmp_path / "teacher", "net: large")
    assert small.training[1].teacher == (str(tmp_path / "teacher"),)
    rows = named_rows(options.data, options=options)
    untaught = replace(small.training[1], teacher=(), teacher_backbone=None)
    small.training = (small.training[0], untaught, small.training[2])
    pairs = [make_folds(one, rows)[0] for one in (large, small)]
    for one, two in zip(*pairs, strict=True):
        assert (one.name, one.seed) == (two.name, two.seed)
        assert one.run.options.seed == two.run.options.seed == one.seed
        for split in ("train", "test"):
            assert one.splits[split]["id"] == two.splits[split]["id"]
        assert len(one.splits["train"]) == 4
    with pytest.raises(WrongUseError, match="has heard all of these: choose the options without"):
        divide_teacher(options_for(words, tmp_path, "--search", "2"))


def test_one_command_cross_validates_both(words, tmp_path):
    folder = tmp_path / "small"
    command = ["cross-validate", *map(str, words[1:]), "--folds", "2", "--output_dir", str(folder)]
    dusha([*command, "--table", str(tmp_path / "table.json")])
    for place, title in ((folder, "small"), (folder / "teacher", "small: large")):
        assert (place / "results.md").read_text().startswith(f"# {title} on clips.csv, 2 folds")
    text = (folder / "results.md").read_text()
    assert "Each model also learnt the probabilities of the teacher large with a class" in text
    assert len(read_json(tmp_path / "table.json")["rows"]) == 2
    for fold in ("1", "2"):
        own, taught = folder / "teacher" / "folds" / fold, folder / "folds" / fold
        tested = set(read_predictions(taught / "predictions.csv").speakers)
        known = read_heard(str(own))
        assert len(known["speakers"]) == 2
        assert not {f"clips/{one}" for one in tested} & set(known["speakers"])
        assert read_heard(str(taught)) == known
    with pytest.raises(WrongUseError, match=r"teacher/folds/1 holds something that was not"):
        dusha([*command, "--seed", "9"])


@pytest.fixture
def heard(monkeypatch):
    """How many clips teachers have heard, in turn."""
    counts, hear = [], TeacherModel._hear
    monkeypatch.setattr(
        TeacherModel,
        "_hear",
        lambda self, rows, *more: counts.append(len(rows)) or hear(self, rows, *more),
    )
    return counts


def test_teacher_tells_of_what_it_learnt_without_hearing_it_again(words, table, heard, tmp_path):
    folder, cache = tmp_path / "small", str(tmp_path / "cache")
    command = ["cross-validate", *map(str, words[1:]), "--folds", "2", "--output_dir", str(folder)]
    dusha([*command, "--waveform_copies", "1", "--validation", "0", "--cache_dir", cache])
    assert not heard
    own, forgetful = folder / "teacher" / "folds" / "1", tmp_path / "forgetful"
    shutil.copytree(own, forgetful, ignore=shutil.ignore_patterns(TOLD_FOLDER))
    rows = read_recordings(table)
    tested = set(read_predictions(own / "predictions.csv").ids)
    learnt = rows.select([n for n, name in enumerate(rows["id"]) if name not in tested])
    for copy in versions(WaveformAugmentation(1, 7)):
        # Of another cache, which a machine may have lost.
        teachers = (TeacherModel(str(one), str(tmp_path / "new")) for one in (own, forgetful))
        known = next(teachers).classify(learnt, "train", copy=copy)
        assert not heard
        asked = next(teachers).classify(learnt, "train", copy=copy)
        assert heard == [8]
        assert known.labels == asked.labels and known.ids == asked.ids
        np.testing.assert_allclose(known.probabilities, asked.probabilities, atol=1e-5)
        heard.clear()
    # What it did not learn, it must hear.
    TeacherModel(str(own), cache).classify(rows, "train")
    assert heard == [8]


def test_clips_whose_start_alone_was_heard_are_heard_again(table, heard, tmp_path):
    (tmp_path / "long").mkdir()
    tables = [table, write_recordings(tmp_path / "long", duration=1.2)]
    rows = datasets.concatenate_datasets([read_recordings(one) for one in tables])
    same_ids, rows = rows, rows.remove_columns("id").add_column("id", list(map(str, range(32))))
    recipe = RecipeOptions(
        backbone=save_encoder(tmp_path / "whisper", "whisper"), backbone_seconds=1
    )
    options = RunOptions(output_dir=str(tmp_path / "out"), max_steps=1, quiet=True)
    run = Run(DataOptions(validation=0, cache_dir=str(tmp_path / "cache")), recipe, options)
    assert train_run(run, {"train": rows}).told.ids == rows["id"][:16]
    teacher = TeacherModel(options.output_dir, run.data.cache_dir)
    teacher.classify(rows, "train")
    assert heard == [16]
    # Two clips of one id cannot be told apart.
    told = Path(options.output_dir, TOLD_FOLDER)
    before = sorted(told.rglob("*.parquet"))
    teacher.remember(same_ids, Probabilities(LABELS, same_ids["id"][:16], np.full((16, 4), 0.25)))
    assert len(before) == 1 and sorted(told.rglob("*.parquet")) == before
    options = replace(options, output_dir=str(tmp_path / "other"))
    assert (
        train_run(replace(run, options=options), {"train": rows.select(range(16, 32))}).told is None
    )


def test_teacher_learns_from_the_copies_that_it_is_to_tell_of():
    changes = {"waveform_copies": 3, "waveform_augmentation": ("noise", "phone")}
    recipe = RecipeOptions(teacher_backbone="a/b", **changes)
    found = teacher_run(Run(DataOptions(), recipe, RunOptions(output_dir="runs/small"))).recipe
    assert {name: getattr(found, name) for name in changes} == changes
    assert found.backbone == "a/b" and found.teacher_backbone is None
