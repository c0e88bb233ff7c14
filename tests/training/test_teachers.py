"""Teachers: whose probabilities they are, what is kept of them, and what a run learns from them."""

import json
from dataclasses import replace

import datasets
import numpy as np
import pytest
import soundfile
import torch
from small_models import (
    FEATURE_ROWS,
    replace_audio,
    save_lively_model,
    save_model,
    write_recordings,
)
from small_network import one_thread, save_small_classifier  # noqa: F401 - a fixture

from dusha_ser import EmotionClassifier
from dusha_ser.audio.reading import read_audio
from dusha_ser.cli.main import main as dusha
from dusha_ser.corpus.contents import TEACHER_COLUMN
from dusha_ser.corpus.own_recordings import read_recordings
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.evaluation.predictions import Predictions, Probabilities, write_predictions
from dusha_ser.training import teacher_models
from dusha_ser.training.arguments import DushaTrainingArguments
from dusha_ser.training.options import DataOptions, RecipeOptions
from dusha_ser.training.preparation import prepare
from dusha_ser.training.run import make_trainer, train
from dusha_ser.training.teacher_models import TeacherModel
from dusha_ser.training.teacher_tables import TeacherTable
from dusha_ser.training.teachers import TEACHER_FEATURE, add_teachers, by_class, mean_probabilities
from dusha_ser.training.unlabelled import join_unlabelled, read_unlabelled
from dusha_ser.training.waveforms import WaveformAugmentation

LABELS = ("angry", "sad", "neutral", "positive")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Sixteen recordings of four speakers, and as many of others without labels."""
    folder = tmp_path_factory.mktemp("own")
    write_recordings(folder / "more", speakers=4, duration=0.2)
    return write_recordings(folder, speakers=4)


@pytest.fixture(scope="module")
def model(table, tmp_path_factory):
    """A teacher that says something else of each clip."""
    clips = [read_audio(path, 16000) for path in sorted(table.parent.glob("wavs/*.wav"))]
    return save_lively_model(tmp_path_factory.mktemp("teacher") / "model", clips)


@pytest.fixture
def options(tmp_path):
    """Options of data whose caches are this test's."""
    return DataOptions(cache_dir=str(tmp_path / "cache"), validation=0)


def taught(model, **changes):
    return RecipeOptions(teacher=(model,), **changes)


def column(splits, split="train"):
    return np.array(splits[split][TEACHER_COLUMN])


def test_probabilities_of_a_model_are_those_that_it_predicts(table, model, options):
    rows = read_recordings(table)
    found = column(add_teachers({"train": rows}, options, taught(model)))
    emotions = EmotionClassifier(model).predict([row["audio"]["path"] for row in rows])
    expected = [[one.probabilities[label] for label in LABELS] for one in emotions]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.std(0).min() > 0.05


def test_probabilities_of_features_alone_are_those_that_the_model_predicts(
    table, model, options, tmp_path
):
    data = replace(options, train_file=str(table))
    arguments = DushaTrainingArguments(str(tmp_path / "model"), use_cpu=True, quiet=True)
    ready = prepare(data, RecipeOptions(), arguments).splits["train"]
    rows = read_recordings(table)
    found, expected = (
        column(add_teachers({"train": one}, options, taught(model))) for one in (ready, rows)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_probabilities_of_several_teachers_are_their_mean_logarithms_made_to_sum_to_one():
    first, second = np.array([[0.6, 0.3, 0.1]]), np.array([[0.2, 0.7, 0.1]])
    geometric = np.sqrt(first * second)
    np.testing.assert_allclose(
        mean_probabilities([first, second]), geometric / geometric.sum(), rtol=1e-12
    )
    assert np.isfinite(mean_probabilities([first, np.array([[0.0, 0.0, 1.0]])])).all()


def test_labels_of_a_teacher_go_by_name_and_by_what_they_mean():
    said = Probabilities(("hap", "ang", "exc", "other"), ["1"], np.array([[0.1, 0.3, 0.2, 0.4]]))
    meanings = {"hap": "positive", "ang": "angry", "exc": "positive"}
    found = by_class(said, ["angry", "positive"], meanings, "one")
    np.testing.assert_allclose(found, [[0.5, 0.5]])
    with pytest.raises(WrongUseError, match="knows hap, ang, exc, other and not sad"):
        by_class(said, ["angry", "positive", "sad"], meanings, "one")
    silent = Probabilities(("a", "b", "c"), ["clip"], np.array([[0.0, 0.0, 1.0]]))
    with pytest.raises(WrongUseError, match="gives 'clip' no probability of a, b"):
        by_class(silent, ["a", "b"], {}, "one")


def test_teacher_when_there_is_none_or_it_lacks_a_class_is_refused(table, options, tmp_path):
    rows = {"train": read_recordings(table)}
    with pytest.raises(MissingInputError, match="no model"):
        add_teachers(rows, options, taught(str(tmp_path / "none")))
    other = save_model(tmp_path / "other", labels=("angry", "sad", "joy"))
    with pytest.raises(WrongUseError, match="not neutral, positive, which the clips have"):
        add_teachers(rows, options, taught(other))


def test_probabilities_of_a_file_go_by_ids_or_by_paths(table, options, tmp_path):
    rows = read_recordings(table)
    said = np.random.default_rng(0).dirichlet(np.ones(4), len(rows)).round(6)
    said /= said.sum(1, keepdims=True)
    files = [row["audio"]["path"] for row in rows]
    order = np.random.default_rng(1).permutation(len(rows))
    for name, ids in (("ids", rows["id"][:]), ("paths", files)):
        path = tmp_path / f"{name}.csv"
        labels = np.array(rows["label"])[order]
        write_predictions(
            path, Predictions(LABELS, [ids[one] for one in order], labels, said[order])
        )
        found = column(add_teachers({"train": rows}, options, taught(str(path))))
        np.testing.assert_allclose(found, said, atol=1e-6)
    with pytest.raises(WrongUseError, match=r"no probabilities of 8 of 16 clips of train, such as"):
        few = Predictions(LABELS, files[:8], np.array(rows["label"])[:8], said[:8])
        write_predictions(tmp_path / "few.csv", few)
        add_teachers({"train": rows}, options, taught(str(tmp_path / "few.csv")))


def test_probabilities_of_a_table_of_recordings_stand_in_columns_of_it(options, tmp_path):
    write_recordings(tmp_path, speakers=1)
    lines = (tmp_path / "clips.csv").read_text().splitlines()
    head = [lines[0], *(f"probability_{label}" for label in LABELS)]
    both = [",".join(head), *(f"{line},0.1,0.2,0.3,0.4" for line in lines[1:])]
    (tmp_path / "clips.csv").write_text("\n".join(both) + "\n")
    rows = read_recordings(tmp_path / "clips.csv")
    found = column(add_teachers({"train": rows}, options, taught(str(tmp_path / "clips.csv"))))
    np.testing.assert_allclose(found, [[0.1, 0.2, 0.3, 0.4]] * 4, atol=1e-6)


def test_probabilities_of_a_column_must_be_one_of_each_class(table, options):
    rows = read_recordings(table)
    recipe = RecipeOptions(teacher_column="said")
    good = rows.add_column("said", [[2.0, 1.0, 1.0, 0.0]] * len(rows))
    found = column(add_teachers({"train": good}, options, recipe))
    np.testing.assert_allclose(found, [[0.5, 0.25, 0.25, 0.0]] * len(rows))
    for values, words in (([0.5, 0.5], "must have a probability of each"), ([-1.0] * 4, "0 to 1")):
        with pytest.raises(WrongUseError, match=words):
            wrong = rows.add_column("said", [values] * len(rows))
            add_teachers({"train": wrong}, options, recipe)
    with pytest.raises(WrongUseError, match="`teacher_column` is 'said', and the clips have id"):
        add_teachers({"train": rows}, options, recipe)


@pytest.fixture
def heard(monkeypatch):
    """The numbers of clips that teachers classify."""
    counts, hear = [], TeacherModel._hear

    def counting(self, rows, split, copy):
        counts.append(len(rows))
        return hear(self, rows, split, copy)

    monkeypatch.setattr(TeacherModel, "_hear", counting)
    return counts


def test_clips_are_classified_once_whatever_their_labels_and_places(
    table, model, options, heard, monkeypatch
):
    rows = read_recordings(table)
    before = column(add_teachers({"train": rows.select(range(5))}, options, taught(model)))
    found = column(add_teachers({"train": rows}, options, taught(model)))
    assert heard == [5, 11]
    assert (found[:5] == before).all()
    labels = {"label": list(reversed(rows["label"][:]))}
    renamed = rows.map(lambda row, place: {"label": labels["label"][place]}, with_indices=True)
    again = column(add_teachers({"train": renamed}, options, taught(model)))
    assert heard == [5, 11]
    assert (again == found).all()
    monkeypatch.setattr(teacher_models, "CHUNK", 3)
    other = replace(options, cache_dir=f"{options.cache_dir}/other")
    assert (column(add_teachers({"train": rows}, other, taught(model))) - found).max() < 1e-5
    assert heard == [5, 11, 3, 3, 3, 3, 3, 1]


def test_clips_are_classified_again_where_audio_the_teacher_or_the_code_changed(
    options, heard, tmp_path, monkeypatch
):
    table = write_recordings(tmp_path / "own", speakers=1)
    folder = tmp_path / "teacher"
    model = save_small_classifier(folder)

    def found():
        return column(add_teachers({"train": read_recordings(table)}, options, taught(model)))

    before = found()
    replace_audio(tmp_path / "own" / "wavs" / "0_sad_0.wav")
    changed = np.abs(found() - before).max(1)
    assert heard == [4, 1]
    assert (changed > 1e-6).tolist() == [False, True, False, False]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"temperature": 3.0}))
    assert (np.abs(found() - before) > 1e-6).all()
    assert heard == [4, 1, 4]
    monkeypatch.setattr(teacher_models, "CODE", ("dusha_ser.errors",))
    found()
    assert heard == [4, 1, 4, 4]


@pytest.mark.parametrize("conditions", [("noise",), ("phone", "podcast")])
def test_models_hear_the_copies_that_the_network_learns_from(
    conditions, table, model, options, heard, tmp_path, monkeypatch
):
    loaded, load = [], teacher_models.load_classifier
    monkeypatch.setattr(
        teacher_models, "load_classifier", lambda *a, **k: loaded.append(1) or load(*a, **k)
    )
    rows = read_recordings(table)
    recipe = taught(model, waveform_copies=2, waveform_augmentation=conditions)
    arguments = DushaTrainingArguments(str(tmp_path / "run"), seed=5, use_cpu=True)
    learnt = prepare(options, recipe, arguments, {"train": rows}).all_rows("train")
    assert heard == [16, 16, 16] and len(learnt) == 48
    assert loaded == [1]
    augmentation = WaveformAugmentation(2, 5, conditions)
    for copy in range(2):
        changed = augmentation.copy(rows[:], copy, 16000, torch.device("cpu"))
        paths = [tmp_path / f"{number}.wav" for number in range(16)]
        for path, samples in zip(paths, changed, strict=True):
            soundfile.write(path, samples, 16000, subtype="FLOAT")
        expected = [
            [one.probabilities[label] for label in LABELS]
            for one in EmotionClassifier(model).predict(paths)
        ]
        found = np.array(learnt[TEACHER_COLUMN])[16 * (copy + 1) :][:16]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.abs(found - np.array(learnt[TEACHER_COLUMN])[:16]).max() > 1e-3
    # They are in the cache, whatever other clips there are; another seed draws others.
    prepare(options, recipe, arguments, {"train": rows.select(range(3, 9))})
    assert heard == [16, 16, 16]
    prepare(options, recipe, replace(arguments, seed=6), {"train": rows})
    assert heard == [16, 16, 16, 16, 16]


def test_copies_have_what_a_table_says_of_their_clips(table, model, options, tmp_path):
    said = tmp_path / "said.csv"
    dusha(["predict", model, str(table), "--output_file", str(said), "--quiet"])
    recipe = taught(str(said), waveform_copies=1)
    arguments = DushaTrainingArguments(str(tmp_path / "run"), use_cpu=True)
    learnt = prepare(options, recipe, arguments, {"train": read_recordings(table)})
    found = np.array(learnt.all_rows("train")[TEACHER_COLUMN])
    np.testing.assert_array_equal(found[16:], found[:16])
    # It may tell of them itself, of all or none.
    names, values = read_recordings(table)["id"][:], np.full((32, 4), 0.25)
    values[16:] = np.eye(4)[np.arange(16) % 4]
    for count in (32, 31):
        ids = [*names, *(f"{name} of copy 1" for name in names)][:count]
        write_predictions(said, Predictions(LABELS, ids, np.zeros(count, int), values[:count]))
        if count == 31:
            with pytest.raises(WrongUseError, match=r"no probabilities of 1 of 16 clips of train"):
                prepare(options, recipe, arguments, {"train": read_recordings(table)})
            return
        learnt = prepare(options, recipe, arguments, {"train": read_recordings(table)})
        found = np.array(learnt.all_rows("train")[TEACHER_COLUMN])
        order = [LABELS.index(label) for label in learnt.labels]
        np.testing.assert_allclose(found, values[:, order], atol=1e-6)


def test_table_that_teaches_is_read_once_for_clips_and_copies(table, tmp_path):
    rows, path = read_recordings(table), tmp_path / "said.csv"
    values = np.full((len(rows), 4), 0.25)
    write_predictions(path, Predictions(LABELS, rows["id"][:], np.zeros(len(rows), int), values))
    teacher = TeacherTable(str(path))
    first = teacher.classify(rows, "train")
    path.unlink()
    copy = WaveformAugmentation(copies=1, seed=1), 0
    of_copies = teacher.classify(rows, "train", copy=copy)
    np.testing.assert_array_equal(of_copies.probabilities, first.probabilities)


def test_clips_are_classified_again_where_the_cache_is_damaged(table, model, options, heard):
    rows = {"train": read_recordings(table)}
    before = column(add_teachers(rows, options, taught(model)))
    (kept,) = TeacherModel(model, options.cache_dir).cache.glob("*/*.parquet")
    kept.write_bytes(kept.read_bytes()[:100])
    assert (column(add_teachers(rows, options, taught(model))) == before).all()
    assert heard == [16, 16]


def test_unlabelled_recordings_have_what_the_teacher_says_and_are_none_that_are_tested(
    table, model, options
):
    rows, folder = read_recordings(table), table.parent / "more" / "wavs"
    recipe = taught(model, unlabelled_file=str(folder))
    splits = add_teachers({"train": rows, "test": rows}, options, recipe)
    found = splits["unlabelled"]
    assert sorted(found["id"]) == sorted(path.name for path in folder.glob("*.wav"))
    assert found["label"][:] == column(splits, "unlabelled").argmax(1).tolist()
    listed = read_unlabelled(str(folder.parent / "clips.csv"), LABELS, options)
    assert listed["source_id"][:] == [f"speaker {one}" for one in range(4) for _ in LABELS]
    same = replace(recipe, unlabelled_file=str(table))
    with pytest.raises(WrongUseError, match="16 unlabelled clips, such as .* are clips of test"):
        add_teachers({"train": rows, "test": rows}, options, same)


def test_unlabelled_recordings_have_the_columns_of_training_clips(table, options):
    vectors = datasets.List(datasets.Value("float64"))
    train, more = read_recordings(table).select(range(2)), read_recordings(table).select([2, 3])
    train = train.add_column("answers", [["other", *LABELS]] * 2)
    train = train.add_column("label_probabilities", [[0.2] * 5] * 2, feature=vectors)
    train = train.add_column("log_likelihoods", [[0.0] * 5] * 2, feature=vectors)
    said = [[0.5, 0.25, 0.25, 0.0], [0.1, 0.2, 0.3, 0.4]]
    train, more = (
        one.add_column(TEACHER_COLUMN, said, feature=TEACHER_FEATURE) for one in (train, more)
    )
    joined = join_unlabelled(train, more)
    assert joined.features == train.features
    assert joined["id"][:] == [*train["id"], *more["id"]]
    assert joined["answers"][:] == [["other", *LABELS]] * 2 + [list(LABELS)] * 2
    np.testing.assert_allclose(joined["label_probabilities"][2:], said, rtol=1e-6)
    np.testing.assert_allclose(np.exp(joined["log_likelihoods"][2:]), said, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher_weight": 1.5}, "`teacher_weight` is 1.5; it must be from 0 to 1"),
        ({"teacher_temperature": 0.0}, "`teacher_temperature` is 0.0; it must be a number above 0"),
        ({"unlabelled_file": "more"}, "give a `teacher`"),
        ({"teacher": ("x",), "loss": "multi"}, "take `loss=hard`"),
    ],
)
def test_options_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(WrongUseError, match=words):
        RecipeOptions(**changes).check()


def test_names_that_cannot_be_teachers_are_refused(tmp_path):
    with pytest.raises(WrongUseError, match="one for each fold"):
        taught("runs/{fold}").check_names()
    with pytest.raises(MissingInputError, match="no file .* of a teacher's probabilities"):
        taught(str(tmp_path / "said.csv")).check_names()
    with pytest.raises(MissingInputError, match="no model"):
        taught(str(tmp_path / "model")).check_names()


RUN = {
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 16,
    "learning_rate": 1e-2,
    "disable_tqdm": True,
    "use_cpu": True,
    "quiet": True,
}


def weights_of(recipe, data, folder, **options):
    """The weights after two epochs, without the files of a run."""
    torch.manual_seed(0)
    arguments = DushaTrainingArguments(str(folder), **(RUN | {"num_train_epochs": 2} | options))
    prepared = prepare(data, recipe, arguments)
    trainer = make_trainer(prepared, recipe, arguments)
    trainer.train()
    return trainer.model.state_dict(), trainer


def same_weights(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_training_when_teachers_have_no_weight_is_that_without_them(
    table, model, options, tmp_path, heard
):
    data, start = replace(options, train_file=str(table)), save_small_classifier(tmp_path / "start")
    without, _ = weights_of(RecipeOptions(start), data, tmp_path / "a")
    weightless = RecipeOptions(start, teacher=(model,), teacher_weight=0.0)
    assert same_weights(weights_of(weightless, data, tmp_path / "b")[0], without)
    assert not heard
    taught_by = RecipeOptions(start, teacher=(model,))
    assert not same_weights(weights_of(taught_by, data, tmp_path / "c")[0], without)


def test_batches_hold_what_the_teacher_says_of_their_clips(table, model, options, tmp_path):
    data = replace(options, train_file=str(table))
    start = save_small_classifier(tmp_path / "start")
    recipe = RecipeOptions(
        start,
        teacher=(model,),
        teacher_temperature=1.0,
        unlabelled_file=str(table.parent / "more" / "clips.csv"),
        class_weights="balanced",
    )
    arguments = DushaTrainingArguments(str(tmp_path / "model"), **RUN, features_in="host")
    prepared = prepare(data, recipe, arguments)
    prepared.hold(arguments, 0.0)
    trainer = make_trainer(prepared, recipe, arguments)
    assert [len(prepared.splits["train"]), len(prepared.all_rows("train"))] == [16, 32]
    said = column({"train": prepared.all_rows("train")})
    known = {tuple(np.round(row, 5)): place for place, row in enumerate(said.tolist())}
    numbers = prepared.all_rows("train")["label"][:]
    for batch in trainer.get_train_dataloader():
        for row, label, labelled in zip(
            *(batch[name].tolist() for name in ("teachers", "labels", "labelled")), strict=True
        ):
            place = known[tuple(np.round(row, 5))]
            assert labelled == (place < 16)
            assert label == prepared.order[numbers[place]]


@pytest.mark.parametrize("loss", ["hard", "soft"])
def test_training_when_killed_and_resumed_with_a_teacher_ends_with_the_same_weights(
    loss, options, tmp_path, model
):
    generator = np.random.default_rng(0)
    columns = {
        "id": [str(number) for number in range(24)],
        "label": [number % 4 for number in range(24)],
        "duration": [0.2] * 24,
        "source_id": [f"speaker {number % 6}" for number in range(24)],
        "input_features": list(generator.uniform(-80, 0, (24, 20, 64)).astype("float32")),
        "label_probabilities": generator.dirichlet(np.ones(4), 24).tolist(),
    }
    features = FEATURE_ROWS | {"label_probabilities": datasets.List(datasets.Value("float64"))}
    rows = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    start = save_small_classifier(tmp_path / "start")
    recipe = RecipeOptions(start, teacher=(model,), loss=loss)

    def run(folder, **more):
        settings = RUN | {"mixup": 0.4, "num_train_epochs": 4, "save_total_limit": 9} | more
        arguments = DushaTrainingArguments(
            str(tmp_path / folder), keep_checkpoints=True, **settings
        )
        prepared = prepare(options, recipe, arguments, {"train": rows})
        trainer = make_trainer(prepared, recipe, arguments)
        trainer.train(resume_from_checkpoint=more.get("resume_from_checkpoint"))
        return trainer.model.state_dict()

    whole = run("model")
    resumed = run("model", resume_from_checkpoint=str(tmp_path / "model" / "checkpoint-6"))
    assert same_weights(resumed, whole)


def test_run_says_who_taught_it_in_its_card_and_metrics(table, model, options, tmp_path):
    data = replace(options, train_file=str(table))
    recipe = RecipeOptions(save_small_classifier(tmp_path / "start"), teacher=(model, model))
    arguments = DushaTrainingArguments(str(tmp_path / "model"), max_steps=1, **RUN)
    lines = []
    train(data, recipe, arguments, tell=lines.append)
    said = (
        "the probabilities of the teachers model, model (the mean of their log probabilities): "
        "0.5 of the loss, at the temperature 2."
    )
    assert any(said in line for line in lines)
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"It also learnt {said}" in card
    assert "- a teacher on disk: no licence is known." in card
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert metrics["teachers"] == {"names": ["model"] * 2, "weight": 0.5, "temperature": 2.0}
