"""Teachers of folds: who they are, and that none has heard whom a fold tests."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
from small_models import replace_audio, save_model, write_recordings

from dusha_ser.cli import cross_validate
from dusha_ser.corpus.contents import TEACHER_COLUMN, copy_column
from dusha_ser.corpus.named import named_rows
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.evaluation.predictions import Predictions, write_predictions
from dusha_ser.experiments.fold_teachers import teachers_of
from dusha_ser.experiments.folds import make_folds
from dusha_ser.experiments.nested_search import plan_search
from dusha_ser.experiments.runs import HEARD_FILE, heard, read_heard, settings_of
from dusha_ser.storage import read_json, write_json
from dusha_ser.training.options import RecipeOptions
from dusha_ser.training.search_space import read_space
from dusha_ser.training.teacher_models import TeacherModel
from dusha_ser.training.waveforms import WaveformAugmentation


def options_for(data, output_dir, *more):
    arguments = [str(data), "--output_dir", str(output_dir), "--folds", "2", "--quiet", *more]
    options, words = cross_validate.main.make_parser().parse_options(arguments, rest=True)
    cross_validate.read_training(options, words)
    return options


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Clips of four speakers, two of whom each fold tests."""
    return write_recordings(tmp_path_factory.mktemp("own"), speakers=4)


@pytest.fixture(scope="module")
def rows(table):
    return named_rows(str(table))


@pytest.fixture(scope="module")
def large(table, rows, tmp_path_factory):
    """A cross-validation, as its runs leave it: a model of each fold, which heard the others."""
    folder = tmp_path_factory.mktemp("large")
    for seed, fold in enumerate(make_folds(options_for(table, folder), rows)[0]):
        save_model(fold.run.output_dir, seed)
        write_json(fold.run.output_dir / HEARD_FILE, heard(fold.run, fold.splits))
    return folder


def taught_folds(table, rows, folder, *more, **cache):
    words = ("--cache_dir", str(folder / "cache"))
    return make_folds(options_for(table, folder / "small", *words, *more), rows)[0]


@pytest.mark.parametrize("given", ["{large}", "{large}/folds/{{fold}}"])
def test_each_fold_learns_what_its_own_teacher_says(given, table, rows, large, tmp_path, caplog):
    folds = taught_folds(table, rows, tmp_path, "--teacher", given.format(large=large))
    found = []
    for fold in folds:
        own = large / "folds" / fold.name
        assert fold.run.recipe.teacher == (str(own),)
        assert TEACHER_COLUMN not in fold.splits["test"].column_names
        assert len(fold.splits["train"]) == len(fold.splits["test"]) == 8
        alone = taught_folds(table, rows, tmp_path, "--teacher_weight", "0", "--teacher", str(own))
        assert alone[0].run.recipe.teacher == (str(own),)
        found.append(np.array(fold.splits["train"][TEACHER_COLUMN]))
        assert np.isfinite(found[-1]).all()
    assert not any("it is not known" in text for text in caplog.messages)
    # A cache for each teacher, of the clips of one fold.
    assert len(list((tmp_path / "cache" / "dusha_teachers").iterdir())) == 2


def test_each_fold_learns_what_its_own_teacher_says_of_copies(table, rows, large, tmp_path):
    words = ("--teacher", str(large / "folds" / "{fold}"), "--waveform_copies", "2")
    folds = taught_folds(table, rows, tmp_path, *words, "--seeds", "3,4")
    assert [(fold.name, fold.seed) for fold in folds] == [("1", 3), ("2", 3), ("1", 4), ("2", 4)]
    for fold in folds:
        train = fold.splits["train"]
        clips = rows.rows.filter(lambda row, ids=set(train["id"]): row["id"] in ids)
        teacher = TeacherModel(str(large / "folds" / fold.name), str(tmp_path / "cache"))
        for copy in range(2):
            drawn = WaveformAugmentation(2, fold.seed), copy
            said = teacher.classify(clips, "train", None, drawn)
            places = [said.labels.index(label) for label in rows.labels]
            column = copy_column(TEACHER_COLUMN, copy)
            np.testing.assert_allclose(train[column], said.probabilities[:, places], atol=1e-6)
            assert column not in fold.splits["test"].column_names


def test_teacher_that_heard_what_a_fold_tests_is_refused(table, rows, large, tmp_path):
    other = str(large / "folds" / "1")
    words = r"has learnt from 2 speakers, such as 'speaker \d', that fold 2 tests"
    with pytest.raises(WrongUseError, match=words):
        taught_folds(table, rows, tmp_path, "--teacher", other)
    # Without speakers, by the clips.
    known = read_json(large / "folds" / "1" / HEARD_FILE)
    model = tmp_path / "model"
    save_model(model)
    write_json(model / HEARD_FILE, known | {"speakers": []})
    with pytest.raises(WrongUseError, match="has learnt from 8 clips that fold 2 tests"):
        taught_folds(table, rows, tmp_path, "--teacher", str(model))


def test_teachers_of_the_same_folds_are_taken_where_two_folds_have_the_same_recording(tmp_path):
    table = write_recordings(tmp_path / "own", speakers=4)
    first, second = make_folds(options_for(table, tmp_path / "first"), named_rows(str(table)))[0]
    one, other = (table.parent / fold.splits["test"]["id"][0] for fold in (first, second))
    shutil.copyfile(one, other)
    rows, large = named_rows(str(table)), tmp_path / "large"
    for fold in make_folds(options_for(table, large), rows)[0]:
        save_model(fold.run.output_dir)
        write_json(fold.run.output_dir / HEARD_FILE, heard(fold.run, fold.splits))
    folds = taught_folds(table, rows, tmp_path, "--teacher", str(large))
    assert [len(fold.splits["train"][TEACHER_COLUMN]) for fold in folds] == [8, 8]
    # One that heard the other recordings that a fold tests, too, is refused.
    known = read_json(large / "folds" / "1" / HEARD_FILE)
    write_json(large / "folds" / "2" / HEARD_FILE, known | {"speakers": []})
    with pytest.raises(WrongUseError, match="has learnt from 7 clips that fold 2 tests"):
        taught_folds(table, rows, tmp_path, "--teacher", str(large))


def test_teacher_that_learnt_from_one_that_heard_a_speaker_has_heard_it(
    table, rows, large, tmp_path
):
    fold, _ = make_folds(options_for(table, tmp_path), rows)[0]
    alone = heard(fold.run, fold.splits)
    assert alone == read_heard(str(large / "folds" / "1"))
    assert len(alone["clips"]) == 8 and len(alone["speakers"]) == 2
    run = fold.run
    for changes in (
        {"model_name_or_path": str(large / "folds" / "2")},
        {"teacher": (str(large / "folds" / "2"),)},
    ):
        both = heard(replace(run, recipe=replace(run.recipe, **changes)), fold.splits)
        assert set(both["speakers"]) == {f"own/speaker {one}" for one in range(4)}
        assert len(both["clips"]) == 16


def test_teacher_of_which_nothing_is_known_is_warned_of_once(table, rows, tmp_path, caplog):
    save_model(tmp_path / "model")
    taught_folds(table, rows, tmp_path, "--teacher", str(tmp_path / "model"))
    warnings = [text for text in caplog.messages if "it is not known what the teacher" in text]
    assert len(warnings) == 1
    assert len(list((tmp_path / "cache" / "dusha_teachers").iterdir())) == 1


def test_predictions_of_several_folds_are_refused_as_a_teacher(table, rows, tmp_path):
    path = tmp_path / "predictions.csv"
    labels = ("angry", "sad", "neutral", "positive")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "fold", *(f"probability_{label}" for label in labels)])
        writer.writerows([name, "1", 0.25, 0.25, 0.25, 0.25] for name in rows.rows["id"])
    with pytest.raises(WrongUseError, match="most of them have heard the clips that fold 1 tests"):
        taught_folds(table, rows, tmp_path, "--teacher", str(path))


def test_teachers_of_a_fold_that_are_missing_are_named(large, tmp_path):
    with pytest.raises(WrongUseError, match="has the folds 1, 2 and not 3: its folds must be"):
        teachers_of(RecipeOptions(teacher=(str(large),)), "3", 0)
    recipe = RecipeOptions(teacher=("a/{fold}.csv", "b/c"))
    assert teachers_of(recipe, "x y", 0) == ("a/x_y.csv", "b/c")


def test_teachers_of_several_seeds_teach_those_of_their_seed(tmp_path):
    for seed in (0, 1):
        (tmp_path / f"seed_{seed}" / "folds" / "a").mkdir(parents=True)
    found = teachers_of(RecipeOptions(teacher=(str(tmp_path),)), "a", 1)
    assert found == (str(tmp_path / "seed_1" / "folds" / "a"),)


def test_teacher_of_a_fold_that_is_not_there_is_missing(table, rows, tmp_path):
    with pytest.raises(MissingInputError, match="no model"):
        taught_folds(table, rows, tmp_path, "--teacher", str(tmp_path / "{fold}"))


def test_settings_of_a_fold_change_with_what_its_teacher_says(table, rows, large, tmp_path):
    def settings(*more):
        return [settings_of(one.run, one.splits) for one in taught_folds(table, rows, *more)]

    before = settings(tmp_path, "--teacher", str(large))
    assert settings(tmp_path, "--teacher", f"{large}/folds/{{fold}}") == before
    other = save_model(tmp_path / "other", seed=9)
    after = settings(tmp_path, "--teacher", other)
    for one, two in zip(before, after, strict=True):
        assert {name for name in one if one[name] != two[name]} == {"clips"}
    weighed = settings(tmp_path, "--teacher", str(large), "--teacher_weight", "0.3")
    assert {name for name in weighed[0] if weighed[0][name] != before[0][name]} == {"options"}


def test_settings_of_a_fold_change_with_what_a_table_says_of_copies(table, rows, tmp_path):
    ids = list(map(str, rows.rows["id"]))
    ids, said, found = [*ids, *(f"{name} of copy 1" for name in ids)], tmp_path / "said.csv", []
    for share in (0.5, 0.7):
        values = np.full((len(ids), 4), 0.25)
        values[len(ids) // 2 :] = [share, 1 - share, 0, 0]
        write_predictions(said, Predictions(rows.labels, ids, np.zeros(len(ids), int), values))
        words = ("--teacher", str(said), "--waveform_copies", "1")
        folds = taught_folds(table, rows, tmp_path, *words)
        found.append([settings_of(fold.run, fold.splits)["clips"] for fold in folds])
    assert not set(found[0]) & set(found[1])


def test_unlabelled_clips_join_each_fold_unless_it_tests_them(table, rows, large, tmp_path):
    more = write_recordings(tmp_path / "more", speakers=1, duration=0.2)
    more.write_text(more.read_text().replace("speaker 0", "somebody else"))
    words = ("--teacher", str(large), "--unlabelled_file")
    folds = taught_folds(table, rows, tmp_path, *words, str(more))
    said = [np.array(fold.splits["unlabelled"][TEACHER_COLUMN]) for fold in folds]
    assert said[0].shape == (4, 4)
    assert not np.array_equal(*said)
    before = [settings_of(fold.run, fold.splits) for fold in folds]
    replace_audio(tmp_path / "more" / "wavs" / "0_sad_0.wav")
    folds = taught_folds(table, rows, tmp_path, *words, str(more))
    assert settings_of(folds[0].run, folds[0].splits) != before[0]
    # Of the corpus itself, it learns those that it does not test, and nobody whom it tests.
    folds = taught_folds(table, rows, tmp_path, *words, str(table))
    for fold in folds:
        assert fold.splits["unlabelled"]["id"][:] == fold.splits["train"]["id"][:]
    # Nor does a trial of a search learn what scores it.
    options = options_for(table, tmp_path / "searched", "--search", "2", "--search_folds", "2")
    (tmp_path / "space.yaml").write_text("mixup: [0, 0.2]")
    space = read_space(str(tmp_path / "space.yaml"), options.training)
    for part in plan_search(options, folds[0], space).search.parts:
        assert len(part["validation"]) == 4
        assert part["unlabelled"]["id"][:] == part["train"]["id"][:]
    names = [fold.splits["test"]["source_id"][0] for fold in folds]
    more.write_text(more.read_text().replace("somebody else", names[0]))
    with pytest.raises(WrongUseError, match="all 4 unlabelled clips are tested, or of speakers wh"):
        taught_folds(table, rows, tmp_path, *words, str(more))
