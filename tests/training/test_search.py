"""A search for options: what is tried, what is stopped, and that it resumes as if undisturbed."""

import math
from dataclasses import replace

import pytest
import torch
from small_models import rows_of
from small_network import one_thread, small_config  # noqa: F401 - a fixture

from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.storage import read_json
from dusha_ser.training import search as searching
from dusha_ser.training.options import DataOptions, RecipeOptions, RunOptions
from dusha_ser.training.search import (
    NEVER_STOPPED,
    Search,
    given_values,
    make_sampler,
    open_trials,
    run_trial,
    search_options,
)
from dusha_ser.training.search_space import Space
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

optuna = pytest.importorskip("optuna", reason='pip install "dusha-ser[search]"')
CHOICES = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "label_smoothing": [0.0, 0.1, 0.3],
}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(0)
    DushaForAudioClassification(small_config(num_mel_bins=64)).save_pretrained(folder)
    DushaFeatureExtractor().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def search(tmp_path, start):
    """A search of three trials with two parts, of runs with a few steps."""
    masks = {"frequency_mask": 0, "time_mask": 0, "crop": 0}
    groups = (
        DataOptions(validation=0),
        RecipeOptions(start, **masks),
        RunOptions(str(tmp_path / "model"), num_train_epochs=3, per_device_train_batch_size=8),
    )
    parts = [
        {"train": rows_of(2, 2, seed), "validation": rows_of(1, 2, seed + 10)} for seed in (1, 2)
    ]
    space = Space(tmp_path / "space.yaml", CHOICES)
    return Search(space, 3, parts, groups, tmp_path / "search", {"clips": "these"})


def with_scores(monkeypatch, score_of):
    """Let a run score what a function of its options, its part and the tenth gives."""
    tried = []

    def score_run(groups, splits, report):
        tried.append(groups[1].label_smoothing)
        for tenth in range(1, 11):
            report(score_of(groups, tenth), tenth)
        return score_of(groups, 10)

    monkeypatch.setattr(searching, "score_run", score_run)
    return tried


def near(learning_rate):
    """A score whose best learning rate is 0.02."""
    return -abs(math.log(learning_rate / 0.02))


def test_search_options_trains_on_each_part_and_scores_its_own_validation(search, monkeypatch):
    seen = []
    start = searching.start

    def watched(data, recipe, arguments, splits):
        seen.append({name: set(rows["id"]) for name, rows in splits.items()})
        return start(data, recipe, arguments, splits)

    monkeypatch.setattr(searching, "start", watched)
    lines = []
    chosen = search_options(search, lines.append)
    assert [set(one) for one in seen] == [{"train", "validation"}] * 6
    for one, part in zip(seen, search.parts * 3, strict=True):
        assert one == {name: set(rows["id"]) for name, rows in part.items()}
    assert len(chosen["trials"]) == 3 and chosen["stopped"] == 0
    best = max(chosen["trials"], key=lambda one: one["score"])
    assert chosen["options"] == best["options"] and chosen["score"] == best["score"]
    assert 0 <= chosen["score"] <= 1 and chosen["name"] == "f1_macro"
    # The first trial is the run as it was given.
    assert chosen["trials"][0]["options"] == {"learning_rate": 1e-3, "label_smoothing": 0.0}
    assert lines[0].startswith("trial 1: f1_macro ") and len(lines) == 3
    assert read_json(search.folder / "chosen.json") == chosen
    # Nothing but the trials is left of their runs.
    names = {path.name for path in search.folder.iterdir()}
    assert names == {"chosen.json", "settings.json", "trials.log"}
    assert not (search.folder.parent / "model").exists()


def test_search_options_resumes_with_the_trials_of_an_undisturbed_search(search, monkeypatch):
    tried = with_scores(
        monkeypatch, lambda groups, _: -abs(math.log(groups[2].learning_rate / 0.02))
    )
    undisturbed = search_options(replace(search, trials=9), print)
    ended = len(tried)
    other = replace(search, folder=search.folder.with_name("other"))
    search_options(replace(other, trials=2), print)
    # One was killed while it ran, and a full disk cut off a line.
    study = optuna.load_study(study_name="search", storage=open_trials(other.folder / "trials.log"))
    study.sampler = make_sampler(other, 2)
    killed = other.space.suggest(study.ask())
    with (other.folder / "trials.log").open("ab") as file:
        file.write(b'{"op_code":4,"work')
    resumed = search_options(replace(other, trials=9), print)
    assert resumed == undisturbed
    assert resumed["trials"][2]["options"] == killed
    # Not one that had ended was done again.
    assert len(tried) == 2 * ended
    assert search_options(replace(other, trials=9), print) == undisturbed
    assert len(tried) == 2 * ended
    # No two are alike, as they would be from one seed.
    rates = {one["options"]["learning_rate"] for one in resumed["trials"]}
    assert len(rates) == 9
    with pytest.raises(WrongUseError, match="begun with another clips; name another `output_dir`"):
        search_options(replace(other, settings={"clips": "others"}), print)


def test_search_options_finds_what_is_best(search, monkeypatch):
    with_scores(
        monkeypatch,
        lambda groups, _: near(groups[2].learning_rate) - groups[1].label_smoothing,
    )
    chosen = search_options(replace(search, trials=15), lambda line: None)
    assert chosen["options"]["label_smoothing"] == 0
    assert 0.005 < chosen["options"]["learning_rate"] < 0.08


def test_search_options_stops_trials_below_the_median_early(search, monkeypatch):
    reported = []

    def score_of(groups, tenth):
        reported.append((groups[1].label_smoothing, tenth))
        return tenth / 10 - groups[1].label_smoothing

    with_scores(monkeypatch, score_of)
    chosen = search_options(replace(search, trials=12), lambda line: None)
    stopped = [one for one in chosen["trials"] if one["state"] == "pruned"]
    assert len(stopped) == chosen["stopped"] > 0
    assert all(one["state"] == "complete" for one in chosen["trials"][:NEVER_STOPPED])
    assert all(one["options"]["label_smoothing"] > 0 for one in stopped)
    assert chosen["options"]["label_smoothing"] == 0


def test_search_options_when_a_loss_becomes_infinite_tries_others(search, monkeypatch):
    def score_of(groups, _):
        if groups[2].learning_rate > 1e-3:
            raise WorkFailedError("the loss became nan after 3 steps")
        return groups[2].learning_rate

    with_scores(monkeypatch, score_of)
    lines = []
    chosen = search_options(replace(search, trials=6), lines.append)
    assert chosen["stopped"] == sum("the loss became nan" in line for line in lines) > 0
    assert chosen["options"]["learning_rate"] <= 1e-3
    with_scores(
        monkeypatch,
        lambda groups, tenth: score_of((None, None, RunOptions(learning_rate=1)), tenth),
    )
    with pytest.raises(WorkFailedError, match="no trial of .* came to its end"):
        search_options(replace(search, folder=search.folder / "all"), lines.append)


def test_search_options_by_the_loss_takes_the_least(search, monkeypatch):
    data, recipe, run = search.groups
    by_loss = (data, recipe, replace(run, metric_for_best_model="loss"))
    with_scores(monkeypatch, lambda groups, _: groups[1].label_smoothing)
    chosen = search_options(replace(search, groups=by_loss, trials=8), lambda line: None)
    assert chosen["name"] == "loss" and chosen["score"] == 0


def test_given_values_are_those_that_the_space_has(search):
    def given(**choices):
        return given_values(replace(search, space=Space(search.space.path, choices)))

    assert given(mixup=[0.1, 0.2], crop=[40], label_smoothing=[0.0]) == {"label_smoothing": 0.0}
    assert given(time_mask={"low": 0, "high": 9}, mixup={"low": 0.0, "high": 1.0}) == {
        "time_mask": 0,
        "mixup": 0.0,
    }
    assert given(num_train_epochs={"low": 1, "high": 9, "step": 4}) == {}
    assert given(num_train_epochs={"low": 1, "high": 9, "step": 2}) == {"num_train_epochs": 3}
    assert given(head_learning_rate={"low": 0.1, "high": 1.0}) == {}


def test_run_trial_is_the_mean_over_parts(search, monkeypatch):
    scores = iter([0.25, 0.75])
    monkeypatch.setattr(searching, "score_run", lambda *given: next(scores))
    assert run_trial(search, {}, None) == 0.5
