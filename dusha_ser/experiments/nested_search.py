"""Options chosen for each fold of a cross-validation, on its training speakers alone."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import datasets
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.results import describe_options
from dusha_ser.experiments.folds import Fold, run_each
from dusha_ser.experiments.options import CrossValidateOptions
from dusha_ser.experiments.runs import settings_of
from dusha_ser.files import safe_name
from dusha_ser.storage import read_json
from dusha_ser.training.search import CHOSEN_FILE, Search, search_options
from dusha_ser.training.search_space import Space
from dusha_ser.training.unlabelled import UNLABELLED, leave_out_tested

# Where a trial is scored once: on a quarter of the speakers.
PARTS_OF_ONE = 4


@dataclass(frozen=True)
class FoldSearch:
    """The search for the options of one fold: the test clips are not in it."""

    name: str
    search: Search

    def before(self) -> dict | None:
        """Return the options that it chose with fewer trials; None if it never ended."""
        path = self.search.folder / CHOSEN_FILE
        return read_json(path)["options"] if path.is_file() else None

    def run(self, tell: Callable[[str], None] | None = None) -> dict:
        """Run the trials; return what was chosen, with the fold and, untold, a line per trial."""
        lines: list[str] = []
        chosen = search_options(self.search, tell or lines.append)
        return chosen | {"fold": self.name, "lines": lines}


def search_folds(
    options: CrossValidateOptions, folds: Sequence[Fold], space: Space, tell: Callable[[str], None]
) -> tuple[list[Fold], list[dict]]:
    """Search options for each fold; folds of several seeds share the search of the first seed.

    Returns:
        The folds with the chosen options, which are trained on all of their training clips, and
        what was chosen for each name of a fold.

    Raises:
        WrongUseError: if the training clips of a fold cannot be divided.
        WorkFailedError: if no trial comes to its end.
    """
    # There is no part of the training clips to choose an epoch on: the last one is taken.
    folds = [replace(fold, run=fold.run.changed({"validation": 0.0})) for fold in folds]
    first = {fold.name: fold for fold in reversed(folds)}
    names = dict.fromkeys(fold.name for fold in folds)
    searches = [plan_search(options, first[name], space) for name in names]

    def told(chosen: dict) -> None:
        # Other processes cannot tell what they do meanwhile.
        lines = [*chosen.pop("lines"), f"chosen: {describe_options(chosen['options'])}"]
        tell("\n".join(f"fold {chosen['fold']}, {line}" for line in lines))

    def run_here(one: FoldSearch) -> dict:
        return one.run(lambda line: tell(f"fold {one.name}, {line}"))

    before = {one.name: one.before() for one in searches}
    work = run_here if options.jobs == 1 else FoldSearch.run
    chosen = run_each(work, searches, options.jobs, told)
    by_name = {one["fold"]: one["options"] for one in chosen}

    def with_choice(fold: Fold) -> Fold:
        # After more trials the model of an earlier choice makes room.
        other = before[fold.name] not in (None, by_name[fold.name])
        run = fold.run.changed(by_name[fold.name])
        return replace(fold, run=run, overwrite=fold.overwrite or other)

    return [with_choice(fold) for fold in folds], chosen


def plan_search(options: CrossValidateOptions, fold: Fold, space: Space) -> FoldSearch:
    """Divide the training clips of a fold into parts, and say where its trials are kept."""
    train, run = fold.splits["train"], fold.run
    folder = options.output_dir / "search" / safe_name(fold.name)
    if options.overwrite:
        shutil.rmtree(folder, ignore_errors=True)
    settings = settings_of(run, {"train": train})
    settings["search_space"] = dict(space.choices)
    settings["search_folds"] = options.search_folds
    parts = divide(train, fold.groups, options.search_folds, options.fold_seed)
    if UNLABELLED in fold.splits:
        # Each run learns them, except those that score it.
        more = fold.splits[UNLABELLED]
        parts = [part | {UNLABELLED: leave_out_tested(more, part["validation"])} for part in parts]
    groups = run.data, run.recipe, run.options
    return FoldSearch(fold.name, Search(space, options.search, parts, groups, folder, settings))


def divide(
    rows: datasets.Dataset, groups: Sequence[str] | None, count: int, seed: int
) -> list[dict[str, datasets.Dataset]]:
    """Divide training clips into splits train and validation, `count` times, by whole groups.

    Raises:
        WrongUseError: if there are too few groups.
    """
    different = len(set(groups or ()))
    parts = PARTS_OF_ONE if count == 1 else count
    if groups is None or different < max(2, count):
        raise WrongUseError(
            f"`search_folds` is {count}, and the training clips of a fold are of {different} "
            "speakers or groups; take fewer parts, or give more speakers"
        )
    labels = np.array(rows["label"])
    splitter = StratifiedGroupKFold(min(parts, different), shuffle=True, random_state=seed)
    pairs = list(splitter.split(labels, labels, np.array(groups)))[:count]
    return [
        {"train": rows.select(trained), "validation": rows.select(heard)}
        for trained, heard in pairs
    ]
