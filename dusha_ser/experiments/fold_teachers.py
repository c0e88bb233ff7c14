"""Teachers of the folds of a cross-validation, none of whom has heard what a fold tests."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np

from dusha_ser.corpus.contents import row_contents, with_contents
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predictions import read_probabilities
from dusha_ser.experiments.runs import Run, read_heard, speakers_of
from dusha_ser.files import safe_name
from dusha_ser.training.options import RecipeOptions
from dusha_ser.training.teacher_options import (
    FOLD_FIELD,
    FOLDS_FOLDER,
    check_teacher,
    is_probability_file,
)
from dusha_ser.training.teachers import TEACHER_FEATURE, add_teachers
from dusha_ser.training.unlabelled import UNLABELLED, leave_out_tested, read_unlabelled

logger = logging.getLogger(__name__)


class FoldTeachers:
    """Gives the training clips of each fold what its own teachers say of them.

    Args:
        run: with the teachers as they were given: one for all folds; one whose name holds {fold};
            or the output folder of a cross-validation, whose folds must be the same.
        rows: all clips, with the audio that teachers hear.
        tell: called with a line for each teacher that has clips to classify.
    """

    def __init__(
        self, run: Run, rows: datasets.Dataset, tell: Callable[[str], object] | None = None
    ):
        self.recipe = run.recipe
        self.path_column = run.data.path_column
        self.tell = tell
        self._unknown: set[str] = set()
        self.rows = with_contents(rows)
        self.unlabelled: datasets.Dataset | None = None
        if run.recipe.unlabelled_file:
            names = rows.features["label"].names
            read = read_unlabelled(run.recipe.unlabelled_file, names, run.data)
            self.unlabelled = with_contents(read)

    def teach(
        self,
        fold: str,
        run: Run,
        inputs: datasets.Dataset,
        places: tuple[np.ndarray, np.ndarray],
    ) -> tuple[Run, dict[str, datasets.Dataset]]:
        """Return the run of a fold, with its own teachers, and its splits.

        Args:
            fold: its name.
            run: of the fold.
            inputs: of all clips, in the order of the rows.
            places: the numbers of the clips that it trains on, and of those that it tests.

        Returns:
            The run, and train, with what its teachers say, test, and, where there are clips without
            labels, those that the fold does not test, whose speakers it does not test either.

        Raises:
            MissingInputError: if there is no such teacher.
            WrongUseError: if a teacher has heard what the fold tests, or has no such fold.
        """
        train, test = places
        own = {"train": self.rows.select(train), "test": self.rows.select(test)}
        run = replace(
            run,
            recipe=replace(run.recipe, teacher=teachers_of(self.recipe, fold, run.options.seed)),
        )
        for given, teacher in zip(self.recipe.teacher, run.recipe.teacher, strict=True):
            check_teacher(teacher)
            if not self._check(fold, teacher, own):
                self._warn(given)
        if self.recipe.teacher_column:
            self._warn(f"column {self.recipe.teacher_column}")
        if self.unlabelled is not None:
            own[UNLABELLED] = leave_out_tested(self.unlabelled, own["test"])
        taught = add_teachers(own, run.data, run.recipe, self.tell, run.options.seed)
        others = {name: taught[name] for name in taught if name == UNLABELLED}
        test_rows = inputs.select(test)
        known = own["train"].column_names
        for column in [name for name in taught["train"].column_names if name not in known]:
            said: list[list[float] | None] = [None] * len(inputs)
            for row, values in zip(train, taught["train"][column], strict=True):
                said[row] = values
            # Of all clips, because a selection with one more column would be written again.
            inputs = inputs.add_column(column, said, feature=TEACHER_FEATURE)
        return run, {"train": inputs.select(train), "test": test_rows, **others}

    def _check(self, fold: str, teacher: str, own: dict[str, datasets.Dataset]) -> bool:
        """Refuse a teacher that has heard what a fold tests; return whether that is known."""
        if is_probability_file(teacher):
            if read_probabilities(teacher, self.path_column).folds:
                raise WrongUseError(
                    f"{teacher} holds what the models of several folds predicted, and most of them "
                    f"have heard the clips that fold {fold} tests: give the folder of that "
                    "cross-validation as the `teacher`"
                )
            return False
        known = read_heard(teacher)
        if known is None:
            return False
        # A recording that a corpus has twice may be in two folds. Where folds share clips, or
        # speakers on purpose, so may their teachers.
        untaught = set(row_contents(own["test"])) - set(row_contents(own["train"]))
        clips = set(known["clips"]) & untaught
        new = speakers_of(own["test"]) - speakers_of(own["train"])
        speakers = set(known["speakers"]) & new
        if clips or speakers:
            what = f"{len(speakers)} speakers" if speakers else f"{len(clips)} clips"
            example = f", such as {min(speakers).partition('/')[2]!r}," if speakers else ""
            raise WrongUseError(
                f"the teacher {teacher} has learnt from {what}{example} that fold {fold} tests: "
                "the result would be too good. Give the output folder of a cross-validation with "
                "the same folds, or a model that never heard these recordings"
            )
        return True

    def _warn(self, name: str) -> None:
        if name not in self._unknown:
            self._unknown.add(name)
            logger.warning(
                "it is not known what the teacher %s has learnt from: if it has heard speakers "
                "that a fold tests, the results are too good",
                name,
            )


def teachers_of(recipe: RecipeOptions, fold: str, seed: int) -> tuple[str, ...]:
    """Name the teachers of a fold, of the same seed where they were trained with several.

    Raises:
        WrongUseError: if a cross-validation that is to teach has no such fold.
    """
    return tuple(_teacher_of(name, fold, seed) for name in recipe.teacher)


def _teacher_of(name: str, fold: str, seed: int) -> str:
    if FOLD_FIELD in name:
        return name.replace(FOLD_FIELD, safe_name(fold))
    places = [Path(name, FOLDS_FOLDER), Path(name, f"seed_{seed}", FOLDS_FOLDER)]
    folds = next((place for place in places if place.is_dir()), None)
    if folds is None:
        return name
    own = folds / safe_name(fold)
    if not own.is_dir():
        there = ", ".join(sorted(path.name for path in folds.iterdir()))
        raise WrongUseError(
            f"the cross-validation {name} has the folds {there} and not {fold}: its folds must be "
            "those of this one (`folds`, `fold_seed`, `fold_column`, `group_column`)"
        )
    return str(own)
