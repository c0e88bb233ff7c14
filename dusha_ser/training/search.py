"""A search for options of training: Optuna proposes them, and runs on other clips score them.

Trainer.hyperparameter_search is not used: it changes fields of TrainingArguments of one trainer,
and most of what is worth a search (frozen blocks, masks, batches, losses, averages) is elsewhere; a
trial is a run of its own. It also reports scores by step, by which trials of other batch sizes
and numbers of epochs cannot be compared; here they are by tenths of a run.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from transformers import TrainerCallback

from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.inference.subnormals import flush_subnormals
from dusha_ser.storage import check_settings, write_json
from dusha_ser.training.arguments import make_arguments
from dusha_ser.training.options import DataOptions, RecipeOptions, RunOptions
from dusha_ser.training.run import start
from dusha_ser.training.search_space import Space, with_options

TRIALS_FILE = "trials.log"
SETTINGS_FILE = "settings.json"
CHOSEN_FILE = "chosen.json"
# Scores of one run, which trials are compared by while they last.
TENTHS = 10
# Trials that are never stopped early: there is little to compare them with.
NEVER_STOPPED = 4
# The first tenth at which they are: with few steps done, scores say little.
FIRST_COMPARED = 4
# Trials that are drawn at random, before what others scored decides.
RANDOM_TRIALS = 5
# What a trial writes, shows and evaluates; which epoch is best is no part of a search: the run with
# the chosen options trains on all clips and takes its last epoch.
OF_TRIALS: dict[str, Any] = {
    "overwrite": True,
    "resume_from_checkpoint": None,
    "eval_strategy": "steps",
    "eval_steps": 1 / TENTHS,
    "save_strategy": "no",
    "logging_strategy": "no",
    "load_best_model_at_end": False,
    "patience": 0,
    "report_to": (),
    "push_to_hub": False,
    "quiet": True,
    "disable_tqdm": True,
}

Groups = tuple[DataOptions, RecipeOptions, RunOptions]


@dataclass(frozen=True)
class Search:
    """What a search tries, and on what.

    Attributes:
        space: options and what each may be.
        trials: that are to be finished, those that were stopped early among them.
        parts: splits train and validation of each run of a trial; none has a clip that the chosen
            options will be tested on.
        groups: all other options of the runs.
        folder: where trials are kept, so that a search that was stopped resumes.
        settings: JSON values that decide the trials' scores; another search is refused.
    """

    space: Space
    trials: int
    parts: Sequence[dict[str, datasets.Dataset]]
    groups: Groups
    folder: Path
    settings: dict

    @property
    def score(self) -> str:
        """The score of the validation clips that decides."""
        return (self.groups[2].metric_for_best_model or "loss").removeprefix("eval_")


def search_options(search: Search, tell: Callable[[str], object]) -> dict:
    """Run the trials that are not finished yet, and return what the best one chose.

    Trials are proposed by a tree-structured Parzen estimator (Bergstra et al. 2011), the first one
    as far as possible with the options as given; those that score below the median of the others at
    the same tenth of their run are stopped. Each is seeded by its number, so that a search that
    was killed and started again makes the same trials.

    Returns:
        JSON values: `options` by name, `score`, its `name`, `trials`, each with state, score and
        options, and the number that was `stopped` early.

    Raises:
        WrongUseError: if Optuna is missing, or the folder holds another search.
    """
    optuna = load_optuna()
    from optuna.trial import TrialState

    search.folder.mkdir(parents=True, exist_ok=True)
    check_settings(search.folder / SETTINGS_FILE, search.settings, search.folder, "output_dir")
    study = optuna.create_study(
        study_name="search",
        storage=open_trials(search.folder / TRIALS_FILE),
        pruner=optuna.pruners.MedianPruner(NEVER_STOPPED, n_warmup_steps=FIRST_COMPARED),
        direction="minimize" if search.score == "loss" else "maximize",
        load_if_exists=True,
    )
    for one in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        # It was killed, and is made again.
        study.tell(one.number, state=TrialState.FAIL)
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    while (number := len(study.get_trials(deepcopy=False, states=ended))) < search.trials:
        study.sampler = make_sampler(search, number)
        if not number and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial(given_values(search))
        trial = study.ask()
        values = search.space.suggest(trial)
        try:
            score = run_trial(search, values, trial)
        except (optuna.TrialPruned, WorkFailedError) as error:
            # Options with which the loss becomes infinite are as bad as can be.
            study.tell(trial, state=TrialState.PRUNED)
            reason = f" ({error})" if isinstance(error, WorkFailedError) else ""
            tell(f"trial {number + 1}: stopped early{reason}")
        else:
            study.tell(trial, score)
            tell(f"trial {number + 1}: {search.score} {score:.3f}, best {study.best_value:.3f}")
    finished = study.get_trials(states=ended)
    if not any(one.state is TrialState.COMPLETE for one in finished):
        raise WorkFailedError(f"no trial of {search.folder} came to its end; see its options")
    chosen = {
        "options": study.best_params,
        "score": study.best_value,
        "name": search.score,
        "stopped": sum(one.state is TrialState.PRUNED for one in finished),
        "trials": [
            {"state": one.state.name.lower(), "score": one.value, "options": one.params}
            for one in finished
        ],
    }
    write_json(search.folder / CHOSEN_FILE, chosen)
    return chosen


def load_optuna() -> Any:
    """Import Optuna, which only a search needs.

    Raises:
        WrongUseError: if it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise WrongUseError(
            '`search` needs Optuna, which is not installed; pip install "dusha-ser[search]"'
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_trials(path: Path) -> Any:
    """Open the log of trials; a line that a full disk cut off goes, which Optuna would stop at."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if path.is_file() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
    return JournalStorage(JournalFileBackend(str(path)))


def make_sampler(search: Search, number: int) -> Any:
    """Make the sampler of a trial by its number among those that ended.

    One sampler for all would repeat its first draws in a search that is resumed.
    """
    from optuna.samplers import TPESampler

    seed = int(np.random.SeedSequence([search.groups[2].seed, number]).generate_state(1)[0])
    return TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS)


def given_values(search: Search) -> dict[str, Any]:
    """Return the options as given, as far as the space has their values."""
    given = {key: value for group in search.groups for key, value in vars(group).items()}
    found = {}
    for name, allowed in search.space.choices.items():
        if isinstance(allowed, list):
            inside = given[name] in allowed
        else:
            value, low, high = given[name], allowed["low"], allowed["high"]
            inside = isinstance(value, (int, float)) and low <= value <= high
            # Integers have the step 1.
            step = allowed.get("step", isinstance(low, int) and isinstance(high, int))
            inside = inside and not (step and (value - low) % step)
        if inside:
            found[name] = given[name]
    return found


def run_trial(search: Search, values: dict[str, Any], trial: Any) -> float:
    """Return the mean score of models with these options, each on clips that it never heard.

    Raises:
        optuna.TrialPruned: if it is worse than others.
        WorkFailedError: if a loss becomes NaN or infinite.
    """
    from optuna import TrialPruned

    scores: list[float] = []

    def report(score: float, tenth: int) -> None:
        trial.report(float(np.mean([*scores, score])), len(scores) * TENTHS + tenth)
        if trial.should_prune():
            raise TrialPruned

    data, recipe, run = with_options(search.groups, values)
    for splits in search.parts:
        scores.append(score_run((data, recipe, run), splits, report))
    return float(np.mean(scores))


def score_run(
    groups: Groups,
    splits: dict[str, datasets.Dataset],
    report: Callable[[float, int], None],
) -> float:
    """Train on the split train; return the score of the last weights on the split validation.

    Args:
        groups: options of the run.
        splits: train and validation.
        report: called with the score at each tenth of the run and the tenth's number.
    """
    data, recipe, options = groups
    flush_subnormals()
    with tempfile.TemporaryDirectory() as folder:
        arguments = dataclasses.replace(make_arguments(options), output_dir=folder, **OF_TRIALS)
        for one in (data, recipe, arguments):
            one.check()
        _, trainer, _ = start(data, recipe, arguments, splits)
        name = (options.metric_for_best_model or "loss").removeprefix("eval_")
        scores = ScoreCallback(f"eval_{name}", report)
        trainer.add_callback(scores)
        trainer.train()
    return scores.last


class ScoreCallback(TrainerCallback):
    """Reports a score of each evaluation, and keeps the last."""

    def __init__(self, name: str, report: Callable[[float, int], None]):
        self.name = name
        self.report = report
        self.last = float("nan")

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        """Report the score and how far the run is, in tenths."""
        self.last = metrics[self.name]
        self.report(self.last, round(TENTHS * state.global_step / state.max_steps))
