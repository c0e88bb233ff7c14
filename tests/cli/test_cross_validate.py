"""dusha cross-validate: who tests whom, what is written, what is not done twice."""

import csv
import json
import shutil

import fake_corpora
import numpy as np
import pytest
import yaml
from small_models import PITCHES, save_model, write_corpus, write_recordings

from dusha_ser.cli import cross_validate
from dusha_ser.cli.main import main as dusha
from dusha_ser.corpus.named import named_rows
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.evaluation.predictions import Predictions, read_predictions, write_predictions
from dusha_ser.evaluation.ser.ser import LABELS, SCORES, ser_metrics
from dusha_ser.experiments import cross_validation, nested_search
from dusha_ser.experiments.cross_validation import shared_speakers, write_results
from dusha_ser.experiments.folds import Fold, assign_folds, choose_folds, make_folds, read_column
from dusha_ser.experiments.runs import Run
from dusha_ser.storage import write_json
from dusha_ser.training.options import DataOptions, RecipeOptions, RunOptions
from dusha_ser.training.search_space import Space

# The least that is training: one step with all clips of a fold.
QUICK = ["--max_steps", "1", "--per_device_train_batch_size", "32", "--validation", "0", "--quiet"]
QUICK += ["--per_device_eval_batch_size", "16"]
CODES = {"ang": "angry", "sad": "sad", "neu": "neutral", "hap": "positive", "exc": "positive"}


def main(arguments):
    return dusha(["cross-validate", *arguments])


def options_for(data, *more):
    arguments = [str(data), "--output_dir", "unused", *more]
    options, words = cross_validate.main.make_parser().parse_options(arguments, rest=True)
    cross_validate.read_training(options, words)
    return options


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Rows of twelve speakers."""
    return named_rows(str(write_recordings(tmp_path_factory.mktemp("own"), speakers=12)))


def test_assign_folds_never_divides_a_speaker(rows):
    folds = assign_folds(rows, 5, rows.speakers, seed=0)
    assert set(folds) == {"1", "2", "3", "4", "5"}
    assert shared_speakers(rows, folds) == 0
    # Every emotion is in every fold, as many as speakers.
    labels = np.array(rows.rows["label"])
    for fold in set(folds):
        assert len(set(np.bincount(labels[np.array(folds) == fold], minlength=4))) == 1


def test_assign_folds_repeats_with_its_seed(rows):
    first, again, other = (assign_folds(rows, 4, rows.speakers, seed) for seed in (0, 0, 1))
    assert first == again != other


def test_assign_folds_makes_one_a_speaker_up_to_ten(rows):
    assert len(set(assign_folds(rows, None, rows.speakers, 0))) == 5
    sessions = [f"session {int(name.split()[1]) % 3}" for name in rows.speakers]
    assert assign_folds(rows, None, sessions, 0) == sessions


def test_assign_folds_without_speakers_asks_for_them(rows):
    with pytest.raises(WrongUseError, match="too good a result"):
        assign_folds(rows, 5, None, 0)
    with pytest.raises(WrongUseError, match="12 groups and cannot make 13 folds"):
        assign_folds(rows, 13, rows.speakers, 0)
    with pytest.raises(WrongUseError, match="allowed are 2 to 12"):
        assign_folds(rows, 1, rows.speakers, 0)


def test_make_folds_takes_ravdess_in_six_folds_of_four_actors(tmp_path):
    for actor in range(1, 25):
        for emotion in ("01", "03", "04", "05"):
            name = f"Actor_{actor:02d}/03-01-{emotion}-01-01-01-{actor:02d}.wav"
            fake_corpora.write(tmp_path / name, fake_corpora.TINY)
    options = options_for("ravdess", "--data_dir", str(tmp_path), "--allow_other_counts")
    folds, fold_of = make_folds(options, named_rows(options.data, allow_other_counts=True))
    assert [fold.name for fold in folds] == ["1", "2", "3", "4", "5", "6"]
    for number, fold in enumerate(folds):
        tested = set(map(int, fold.splits["test"]["source_id"]))
        assert tested == set(range(4 * number + 1, 4 * number + 5))
        assert tested.isdisjoint(map(int, fold.splits["train"]["source_id"]))
        assert len(fold.splits["test"]) == 16 and len(fold.splits["train"]) == 80
        assert "audio" not in fold.splits["train"].column_names
    assert len(fold_of) == 96


def test_make_folds_takes_columns_of_a_table(tmp_path):
    table = write_recordings(tmp_path, speakers=6)
    lines = table.read_text().splitlines()
    with_columns = [f"{lines[0]},session,part"]
    for i, line in enumerate(lines[1:]):
        with_columns.append(f"{line},{int(line[-1]) // 2},{'ab'[i % 2]}")
    table.write_text("\n".join(with_columns))
    rows = named_rows(str(table))
    folds, _ = make_folds(options_for(table, "--group_column", "session"), rows)
    assert [sorted(set(fold.splits["test"]["source_id"])) for fold in folds] == [
        [f"speaker {2 * i}", f"speaker {2 * i + 1}"] for i in range(3)
    ]
    folds, fold_of = make_folds(options_for(table, "--fold_column", "part"), rows)
    assert [fold.name for fold in folds] == ["a", "b"]
    assert shared_speakers(rows, fold_of) == 6
    with pytest.raises(WrongUseError, match="no column 'room'"):
        make_folds(options_for(table, "--fold_column", "room"), rows)


def test_read_column_of_a_table_finds_names_that_are_written_otherwise(tmp_path):
    table = write_recordings(tmp_path, speakers=1)
    header, *lines = table.read_text().splitlines()
    (tmp_path / lines[0].split(",")[0]).rename(tmp_path / "a\tb.wav")
    lines[0] = "a\tb.wav,sad,x"
    rooms = [f"{line},room {number}" for number, line in enumerate(lines)]
    table.write_text("\n".join([f"{header},room", *rooms]))
    rows = named_rows(str(table))
    assert read_column(rows, "room", str(table)) == ["room 0", "room 1", "room 2", "room 3"]


def test_make_folds_of_a_table_with_other_columns_and_codes(tmp_path):
    table = write_recordings(tmp_path, speakers=6)
    lines = [line.split(",") for line in table.read_text().splitlines()[1:]]
    codes = {"angry": "A", "sad": "S", "neutral": "neutral", "positive": "positive"}
    other = tmp_path / "other.csv"
    coded = [f"{who};{codes[label]};{int(who[-1]) % 2};{file}" for file, label, who in lines]
    other.write_text("\n".join(["who;what;room;file", *coded, ";;;", ""]))
    columns = ["--path_column", "file", "--label_column", "what", "--speaker_column", "who"]
    options = options_for(
        other, *columns, "--label_map", "A=angry,S=sad", "--group_column", "room", "--folds", "2"
    )
    rows = named_rows(options.data, options=options)
    assert rows.labels == LABELS and rows.rows["id"] == [line[0] for line in lines]
    assert rows.speakers == [line[2] for line in lines]
    folds, fold_of = make_folds(options, rows)
    assert [len(set(fold.splits["test"]["source_id"])) for fold in folds] == [3, 3]
    assert shared_speakers(rows, fold_of) == 0


def test_make_folds_takes_a_column_of_a_prepared_corpus(tmp_path):
    folder = write_corpus(tmp_path / "dusha")
    rows = named_rows(f"{folder}:crowd:train")
    folds, _ = make_folds(options_for(folder, "--group_column", "label", "--folds", "3"), rows)
    assert [set(fold.splits["test"]["label"]) for fold in folds] in (
        [
            [{a}, {b}, {c}]
            for a in range(3)
            for b in range(3)
            for c in range(3)
            if len({a, b, c}) == 3
        ]
    )


def test_make_folds_refuses_options_that_name_other_data(rows):
    with pytest.raises(WrongUseError, match="--train_file is an option of `dusha train` alone"):
        make_folds(options_for("a/clips", "--train_file", "other.csv"), rows)
    with pytest.raises(WrongUseError, match="'extra' belongs to no option"):
        make_folds(options_for("a/clips", "extra"), rows)
    with pytest.raises(WrongUseError, match="learning_rates"):
        make_folds(options_for("a/clips", "--learning_rates", "1"), rows)


def test_options_of_a_corpus_need_its_folder():
    with pytest.raises(MissingInputError, match="folder that IEMOCAP was unpacked to"):
        options_for("iemocap")
    with pytest.raises(WrongUseError, match="`jobs` is 0"):
        options_for("a/clips", "--jobs", "0")


@pytest.fixture(scope="module")
def iemocap(tmp_path_factory):
    """A small release, in which emotions differ by pitch, and its cross-validation."""
    release = tmp_path_factory.mktemp("release") / "IEMOCAP_full_release"

    def audio(speaker, code):
        pitch = PITCHES.get(CODES.get(code), 200) * (1 + int(speaker[3:5]) / 50)
        return fake_corpora.tone(pitch * (1.1 if speaker.endswith("F") else 1), 0.1)

    fake_corpora.write_iemocap(
        release, {"ang": 10, "sad": 10, "neu": 10, "hap": 5, "exc": 5}, audio
    )
    output = tmp_path_factory.mktemp("runs") / "cross"
    model = save_model(tmp_path_factory.mktemp("start") / "model")
    arguments = ["iemocap", "--data_dir", str(release), "--output_dir", str(output)]
    arguments += ["--allow_other_counts", "--model_name_or_path", model, *QUICK]
    main(arguments)
    return arguments, output


def read_result(output):
    (path,) = (output / "metrics").iterdir()
    return json.loads(path.read_text())


def test_main_tests_each_clip_of_iemocap_by_the_model_of_its_session(iemocap):
    _, output = iemocap
    (path,) = (output / "predictions").iterdir()
    with path.open(newline="") as file:
        pooled = list(csv.DictReader(file))
    assert len(pooled) == len({row["id"] for row in pooled}) == 40
    for row in pooled:
        assert row["fold"] == f"Session{int(row['id'][3:5])}"
        assert row["speaker"][:5] == row["id"][:5]
    for session in range(1, 6):
        fold = read_predictions(output / "folds" / f"Session{session}" / "predictions.csv")
        ours = {row["id"]: row for row in pooled if row["fold"] == f"Session{session}"}
        assert set(fold.ids) == set(ours)
        for name, probabilities in zip(fold.ids, fold.probabilities, strict=True):
            assert float(ours[name]["probability_sad"]) == probabilities[1]


def test_main_gives_mean_and_deviation_over_folds_and_pooled_metrics(iemocap):
    _, output = iemocap
    result = read_result(output)
    assert result["test_set"] == "iemocap, 5 folds"
    for score in SCORES:
        values = [fold["metrics"][score] for fold in result["folds"].values()]
        assert result["mean"][score] == pytest.approx(sum(values) / 5)
        deviations = sum((value - sum(values) / 5) ** 2 for value in values)
        assert result["standard_deviation"][score] == pytest.approx((deviations / 4) ** 0.5)
    (path,) = (output / "predictions").iterdir()
    pooled = read_predictions(path)
    right = (pooled.predicted == pooled.references).mean()
    assert result["metrics"]["accuracy"] == pytest.approx(right)
    assert result["metrics"]["group_count"] == 10
    assert result["shared_speakers"] == 0


def test_main_shows_the_papers_result_beside_iemocaps(iemocap):
    _, output = iemocap
    page = (output / "results.md").read_text()
    line = next(line for line in page.splitlines() if "(the paper)" in line)
    assert f"|{' 0.59 ± 0.01 |' * 3}" in " ".join(line.split())
    assert "5,531" in line and "other clips than ours" in line
    assert "mean ± sd" in page
    assert (output / "confusion_cross.png").stat().st_size > 10_000


def test_main_trains_the_model_of_a_fold_on_the_other_folds(iemocap):
    _, output = iemocap
    folders = sorted((output / "folds").iterdir())
    weights = {(folder / "model.safetensors").read_bytes() for folder in folders}
    assert len(weights) == 5
    assert not list(output.rglob("checkpoint-*"))
    clips = json.loads((folders[0] / "metrics.json").read_text())["clips"]
    assert clips == {"train": 32, "test": 8}


def test_main_runs_again_only_the_fold_that_is_missing(iemocap, tmp_path, monkeypatch):
    arguments, finished = iemocap
    output = tmp_path / "cross"
    shutil.copytree(finished, output)
    before = read_result(output)
    (output / "folds" / "Session3" / "fold.json").unlink()
    trained = []
    train_run = cross_validation.train_run
    monkeypatch.setattr(
        cross_validation,
        "train_run",
        lambda run, *rest: trained.append(run.output_dir.name) or train_run(run, *rest),
    )
    arguments = [str(output) if part == str(finished) else part for part in arguments]
    main(arguments)
    assert trained == ["Session3"]
    after = read_result(output)
    assert after["metrics"] == before["metrics"]
    with pytest.raises(WrongUseError, match="not made with these options"):
        main([*arguments, "--learning_rate", "0.5"])
    assert trained == ["Session3", "Session1"]


def test_main_learns_the_labels_that_a_table_was_corrected_to(tmp_path):
    table, cache = write_recordings(tmp_path / "own", speakers=2), str(tmp_path / "cache")
    model = save_model(tmp_path / "start")

    def references(output):
        arguments = ["--output_dir", str(tmp_path / output), "--cache_dir", cache, *QUICK]
        main([str(table), "--model_name_or_path", model, *arguments])
        fold = read_predictions(tmp_path / output / "folds" / "speaker_0" / "predictions.csv")
        assert set(fold.speakers) == {"speaker 0"}
        return {name: fold.labels[n] for name, n in zip(fold.ids, fold.references, strict=True)}

    right = table.read_text()
    wrong = right.replace(",angry,", ",x,").replace(",sad,", ",angry,").replace(",x,", ",sad,")
    table.write_text(wrong)
    assert references("wrong")["wavs/0_angry_0.wav"] == "sad"
    table.write_text(right)
    with pytest.raises(WrongUseError, match="not made with these clips;"):
        references("wrong")
    assert references("right") == {
        f"wavs/0_{label}_0.wav": label for label in ("angry", "sad", "neutral", "positive")
    }


def test_options_when_a_folder_is_given_of_no_corpus(tmp_path):
    with pytest.raises(WrongUseError, match="`data_dir` .* 'a/clips' is none of them"):
        options_for("a/clips", "--data_dir", str(tmp_path))


def test_write_results_when_speakers_are_in_several_folds_says_so(rows, tmp_path):
    fold_of = ["ab"[i // 2 % 2] for i in range(len(rows.rows))]
    output = tmp_path / "cross"
    folds, results = [], []
    for name in "ab":
        chosen = np.flatnonzero(np.array(fold_of) == name)
        part = rows.rows.select(chosen)
        run = Run(
            DataOptions("clips.csv"),
            RecipeOptions(),
            RunOptions(str(output / name), quiet=True),
        )
        folds.append(Fold(name, run, {"test": part}, False))
        truth = np.array(part["label"])
        predictions = Predictions(
            LABELS, part["id"], truth, np.eye(4)[truth], part["source_id"], [name] * len(truth)
        )
        write_predictions(output / name / "predictions.csv", predictions)
        metrics = ser_metrics(truth, truth)
        results.append({"fold": name, "best_epoch": 3, "seconds": 1, "metrics": metrics})
    options = options_for("a/clips")
    options.output_dir = output
    assert "12 speakers are in several folds" in write_results(
        options, rows, list(zip(folds, results, strict=True)), fold_of
    )
    result = read_result(output)
    assert result["metrics"]["count"] == 48 and result["metrics"]["accuracy"] == 1
    assert result["standard_deviation"]["f1_macro"] == 0


def test_main_with_seeds_gives_their_mean_and_keeps_what_each_has_done(tmp_path):
    table, output = write_recordings(tmp_path / "own", speakers=4, of_each=2), tmp_path / "cross"
    arguments = [str(table), "--folds", "2", "--output_dir", str(output), *QUICK]
    arguments += ["--model_name_or_path", save_model(tmp_path / "start"), "--seeds", "3,5"]
    # One machine runs a fold of each seed, another one the rest.
    main([*arguments, "--folds_only", "2"])
    done = {path: path.stat().st_mtime_ns for path in output.glob("seed_*/folds/*/fold.json")}
    assert sorted(path.parts[-4:-1] for path in done) == [
        ("seed_3", "folds", "2"),
        ("seed_5", "folds", "2"),
    ]
    assert not (output / "results.md").exists()
    tables = ["--table", str(tmp_path / "table.json"), "--folds_table", str(tmp_path / "f.json")]
    tables += ["--scores_by", "source_id", "--scores_by_table", str(tmp_path / "s.json")]
    main([*arguments, *tables])
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in done.items())
    combined = json.loads((output / "seeds.json").read_text())
    paths = sorted((output / "predictions").iterdir())
    runs = [read_predictions(path) for path in paths]
    values = [(run.predicted == run.references).mean() for run in runs]
    assert combined["metrics"]["accuracy"] == pytest.approx(np.mean(values))
    deviation = combined["metrics"]["standard_deviation"]["accuracy"]
    assert deviation == pytest.approx(np.std(values, ddof=1))
    assert [combined["seeds"][seed]["accuracy"] for seed in "35"] == pytest.approx(values)
    weights = {path.read_bytes() for path in output.glob("seed_*/folds/1/model.safetensors")}
    assert len(weights) == 2
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert rows[0][0] == "cross" and " ± " in rows[0][2] and "mean of 2 seeds" in rows[0][-1]
    folds = json.loads((tmp_path / "f.json").read_text())["rows"]
    assert [row[0] for row in folds] == ["1", "2", "mean ± sd"]
    parts = json.loads((tmp_path / "s.json").read_text())
    assert parts["columns"][:4] == ["model", "test set", "column", "value"]
    speakers = sorted(set(runs[0].speakers))
    assert [row[:4] for row in parts["rows"]] == [
        [f"cross, seed {seed}", "clips.csv, 2 folds", "source_id", speaker]
        for seed in (3, 5)
        for speaker in speakers
    ]
    page = (output / "results.md").read_text()
    assert "A smaller difference between two results is noise." in page


def test_options_refuse_seeds_and_folds_that_are_none(rows):
    with pytest.raises(WrongUseError, match="`seeds` is 1,1; give integers"):
        options_for("a/clips", "--seeds", "1,1")
    with pytest.raises(WrongUseError, match="`seeds` is 0.5"):
        options_for("a/clips", "--seeds", "0.5")
    with pytest.raises(WrongUseError, match="`train_clips` is 0; it must be at least 1"):
        options_for("a/clips", "--train_clips", "0")
    folds, _ = make_folds(options_for("a/clips", "--folds", "2"), rows)
    with pytest.raises(WrongUseError, match="`folds_only` has '3'; the folds are called 1, 2"):
        choose_folds(folds, ["3"])


def test_make_folds_draws_training_clips_of_each_class_by_the_seed(rows):
    def drawn(*more):
        folds, _ = make_folds(options_for("a/clips", "--folds", "2", *more), rows)
        return [fold.splits["train"]["id"] for fold in folds], folds

    ids, folds = drawn("--train_clips", "2", "--seeds", "0,1")
    for fold in folds:
        assert np.bincount(fold.splits["train"]["label"]).tolist() == [2, 2, 2, 2]
        assert len(fold.splits["test"]) == 24
        tested = set(fold.splits["test"]["source_id"])
        assert tested.isdisjoint(fold.splits["train"]["source_id"])
    assert [fold.seed for fold in folds] == [0, 0, 1, 1]
    assert ids[0] != ids[2]
    assert drawn("--train_clips", "2", "--seeds", "0,1")[0] == ids
    # Of a class that has fewer all are taken.
    assert drawn("--train_clips", "99")[0] == drawn()[0]


def search_arguments(tmp_path, speakers=4):
    """A table, and a cross-validation of two folds that searches two learning rates."""
    table = write_recordings(tmp_path / "own", speakers=speakers)
    (tmp_path / "space.yaml").write_text("learning_rate: [0.001, 0.01]\nmixup: [0, 0.2]\n")
    arguments = [str(table), "--folds", "2", "--output_dir", str(tmp_path / "cross"), *QUICK]
    arguments += ["--model_name_or_path", save_model(tmp_path / "start"), "--search_folds", "1"]
    return [*arguments, "--search_space", str(tmp_path / "space.yaml"), "--search", "2"]


def test_main_searches_options_without_the_speakers_that_test_them(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    from dusha_ser.training import search

    seen = []
    start = search.start

    def watched(data, recipe, arguments, splits):
        seen.append({name: set(rows["source_id"]) for name, rows in splits.items()})
        return start(data, recipe, arguments, splits)

    monkeypatch.setattr(search, "start", watched)
    table = tmp_path / "chosen.json"
    arguments = [*search_arguments(tmp_path), "--search_table", str(table)]
    main(arguments)
    # Of each fold two trials, each of one run.
    assert len(seen) == 4
    result = read_result(tmp_path / "cross")
    for number, fold in enumerate(("1", "2")):
        folder = tmp_path / "cross" / "folds" / fold
        tested = set(read_predictions(folder / "predictions.csv").speakers)
        assert len(tested) == 2
        for one in seen[2 * number : 2 * number + 2]:
            assert set(one) == {"train", "validation"}
            assert one["train"].isdisjoint(one["validation"])
            assert not tested & (one["train"] | one["validation"])
        # The chosen options are those of the model that is tested, trained on all other speakers.
        chosen = result["search"][number]
        assert chosen["fold"] == fold and len(chosen["trials"]) == 2
        options = yaml.safe_load((folder / "options.yaml").read_text())
        assert options.get("learning_rate", 0.001) == chosen["options"]["learning_rate"]
        assert options.get("mixup", 0) == chosen["options"]["mixup"]
        assert json.loads((folder / "metrics.json").read_text())["clips"] == {"train": 8, "test": 8}
    rows = json.loads(table.read_text())["rows"]
    assert [row[:2] for row in rows] == [["1", "2"], ["2", "2"]]
    assert "learning_rate 0.0" in rows[0][-1]
    page = (tmp_path / "cross" / "results.md").read_text()
    assert "its test speakers had no part in it" in page and "best f1_macro" in page
    # Again: nothing is tried or trained.
    main(arguments)
    assert len(seen) == 4


def test_search_folds_with_more_trials_replaces_the_model_of_an_earlier_choice(
    rows, tmp_path, monkeypatch
):
    options = options_for("a/clips", "--output_dir", str(tmp_path), "--folds", "2", "--search", "1")
    folds, _ = make_folds(options, rows)
    space = Space(tmp_path / "space.yaml", {"mixup": [0.0, 0.2]})

    def searched(mixup, trials):
        def search_options(search, tell):
            assert search.trials == trials
            chosen = {"options": {"mixup": mixup}, "score": 1.0, "name": "loss", "trials": []}
            write_json(search.folder / "chosen.json", chosen)
            return chosen

        monkeypatch.setattr(nested_search, "search_options", search_options)
        options.search = trials
        found, _ = nested_search.search_folds(options, folds, space, lambda line: None)
        assert all(fold.run.options.mixup == mixup for fold in found)
        assert all(fold.run.data.validation == 0 for fold in found)
        return [fold.overwrite for fold in found]

    assert searched(0.0, 1) == [False, False]
    assert searched(0.0, 2) == [False, False]
    assert searched(0.2, 3) == [True, True]


def test_divide_keeps_speakers_together_and_scores_each_once(rows):
    parts = nested_search.divide(rows.rows, rows.speakers, 3, seed=0)
    heard = [set(part["validation"]["source_id"]) for part in parts]
    assert [len(one) for one in heard] == [4, 4, 4] and len(set.union(*heard)) == 12
    for part, speakers in zip(parts, heard, strict=True):
        assert set(part["train"]["source_id"]) == set(rows.speakers) - speakers
    (one,) = nested_search.divide(rows.rows, rows.speakers, 1, seed=0)
    assert len(set(one["validation"]["source_id"])) == 3
    with pytest.raises(WrongUseError, match="`search_folds` is 13, .* of 12 speakers"):
        nested_search.divide(rows.rows, rows.speakers, 13, seed=0)


def test_options_of_a_search_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(WrongUseError, match="`search_table` is of a search"):
        options_for("a/clips", "--search_table", "chosen.json")
    pytest.importorskip("optuna")
    arguments = search_arguments(tmp_path, speakers=2)
    with pytest.raises(WrongUseError, match="training clips of a fold are of 1 speakers"):
        main(arguments)
    (tmp_path / "space.yaml").write_text("learning_rates: [1]")
    with pytest.raises(WrongUseError, match="unknown option 'learning_rates'"):
        main(arguments)
