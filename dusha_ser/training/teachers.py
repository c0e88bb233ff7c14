"""Probabilities of teachers for the clips of a run, computed once, as a column of its rows.

Of several teachers, the mean of their log probabilities counts, made to sum to 1: the distribution
whose summed divergence from theirs is least.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import datasets
import numpy as np
import scipy.special

from dusha_ser.corpus.contents import TEACHER_COLUMN, copy_column, with_contents
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predictions import Probabilities
from dusha_ser.training.options import DataOptions, RecipeOptions
from dusha_ser.training.teacher_models import TeacherModel, Tell, reads_features, versions
from dusha_ser.training.teacher_options import is_probability_file, teacher_name
from dusha_ser.training.teacher_tables import TeacherTable
from dusha_ser.training.unlabelled import UNLABELLED, read_unlabelled, refuse_tested
from dusha_ser.training.waveforms import WaveformAugmentation

TEACHER_FEATURE = datasets.List(datasets.Value("float32"))
# Splits that are learnt from, and have a teacher.
TAUGHT = ("train", UNLABELLED)
# Probabilities of 0 would make the mean of logarithms 0 for a class, whatever the others say.
LEAST = float(np.finfo(np.float32).tiny)


def add_teachers(
    splits: dict[str, datasets.Dataset],
    data: DataOptions,
    recipe: RecipeOptions,
    tell: Tell = None,
    seed: int | None = None,
) -> dict[str, datasets.Dataset]:
    """Give training clips, and those without labels, the probabilities of the teachers.

    They also tell of the copies of training clips: models hear these, and a table may have rows of
    them, whose ids are as of `copy_column`. What else is known of a copy is what is said of its
    clip.

    Args:
        splits: with train, which has audio unless it has the probabilities already.
        data: how tables are read, what labels mean, and where the cache is.
        recipe: the teachers.
        tell: called with a line for each teacher that has clips to classify.
        seed: by which the copies of the run are drawn; None: teachers tell of the clips alone.

    Returns:
        The splits, with the column TEACHER_COLUMN in train, and those of copies; and, where
        `unlabelled_file` is given, the split `unlabelled`, whose labels are the teachers' most
        probable ones.

    Raises:
        MissingInputError: if there is no such teacher.
        WrongUseError: if a teacher lacks a class of the clips or has no probabilities of a clip, or
            unlabelled clips are in validation or test.
        WorkFailedError: if a teacher fails.
    """
    if not recipe.is_taught:
        return splits
    if recipe.teacher_backbone and not recipe.own_teacher:
        refuse_untrained_teacher()
    names = splits["train"].features["label"].names
    splits = dict(splits)
    if recipe.unlabelled_file and UNLABELLED not in splits:
        splits[UNLABELLED] = read_unlabelled(recipe.unlabelled_file, names, data)
        refuse_tested(splits)
    for split in TAUGHT:
        rows = splits.get(split)
        if rows is None or TEACHER_COLUMN in rows.column_names:
            continue
        augmentation = None
        if split == "train" and seed is not None:
            augmentation = WaveformAugmentation.of(recipe, seed)
        values, *of_copies = teacher_probabilities(rows, split, data, recipe, tell, augmentation)
        if split == UNLABELLED:
            kind = rows.features["label"]
            rows = rows.remove_columns("label").add_column(
                "label", values.argmax(1).tolist(), feature=kind
            )
        splits[split] = add_probabilities(rows, values)
        for copy, values in enumerate(of_copies):
            name = copy_column(TEACHER_COLUMN, copy)
            splits[split] = add_probabilities(splits[split], values, name)
    return splits


def refuse_untrained_teacher() -> NoReturn:
    """Raise a WrongUseError where nothing trains a teacher on `teacher_backbone`."""
    raise WrongUseError(
        "`teacher_backbone` is for `dusha train` and `dusha cross-validate`: train its classifier "
        "by `dusha train backbone`, and give that as the `teacher`"
    )


def add_probabilities(
    rows: datasets.Dataset, values: np.ndarray, column: str = TEACHER_COLUMN
) -> datasets.Dataset:
    """Give rows the probabilities of teachers, (clips, classes), as a column."""
    return rows.add_column(column, list(values.astype(np.float32)), feature=TEACHER_FEATURE)


def teacher_probabilities(
    rows: datasets.Dataset,
    split: str,
    data: DataOptions,
    recipe: RecipeOptions,
    tell: Tell = None,
    augmentation: WaveformAugmentation | None = None,
) -> list[np.ndarray]:
    """Return what the teachers together say of rows and, where there are some, of each copy.

    Arguments and errors as of `add_teachers`; `split` is the rows' name, and `augmentation` that of
    the copies.

    Returns:
        (clips, classes) float64 that sum to 1, of the clips first.
    """
    names = rows.features["label"].names
    heard = versions(augmentation)
    found: list[list[np.ndarray]] = [[] for _ in heard]
    if recipe.teacher_column:
        said = column_probabilities(rows, recipe.teacher_column, names)
        for together in found:
            together.append(said)
    if len(heard) > 1:
        # Audio is read once for it, not for each copy.
        rows = with_contents(rows)
    for teacher in recipe.teacher:
        # One at a time: loaded once for all versions, and gone before the next.
        source = find_teacher(teacher, data, recipe)
        for together, version in zip(found, heard, strict=True):
            told = source.classify(rows, split, tell, version)
            together.append(by_class(told, names, data.meanings, teacher))
    return list(map(mean_probabilities, found))


def find_teacher(
    name: str, data: DataOptions, recipe: RecipeOptions
) -> TeacherModel | TeacherTable:
    """Return what a teacher's name stands for; nothing is read or loaded yet."""
    if is_probability_file(name):
        return TeacherTable(name, data.path_column)
    return TeacherModel(name, data.cache_dir, recipe.trust_remote_code)


def mean_probabilities(found: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of several teachers' log probabilities, made to sum to 1.

    Args:
        found: (clips, classes) of each teacher, which sum to 1; one teacher's stay as they are.

    Returns:
        (clips, classes) float64.

    Examples:
        >>> mean_probabilities([np.array([[0.8, 0.2]]), np.array([[0.2, 0.8]])]).tolist()
        [[0.5, 0.5]]
    """
    if len(found) == 1:
        return found[0]
    logarithms = np.mean([np.log(np.maximum(one, LEAST)) for one in found], axis=0)
    return scipy.special.softmax(logarithms, axis=1)


def by_class(
    said: Probabilities, names: Sequence[str], meanings: dict[str, str], teacher: str
) -> np.ndarray:
    """Bring a teacher's probabilities into the order of the clips' classes.

    Labels of the teacher go by their names, or what `label_map` says that they mean; those that
    are no class of the clips are left out, and the others divided by their sum.

    Returns:
        (clips, classes) float64 that sum to 1.

    Raises:
        WrongUseError: if the teacher lacks a class, or a clip has none of the classes.
    """
    known = [meanings.get(label, label) for label in said.labels]
    missing = [name for name in names if name not in known]
    if missing:
        raise WrongUseError(
            f"the teacher {teacher} knows {', '.join(said.labels)} and not {', '.join(missing)}, "
            "which the clips have; `label_map` tells what its labels mean, else take another one"
        )
    members = np.array([[label == name for name in names] for label in known], dtype=np.float64)
    found = np.asarray(said.probabilities, np.float64) @ members
    sums = found.sum(1, keepdims=True)
    if not np.isfinite(sums).all() or (sums <= 0).any():
        bad = said.ids[int(np.argmin(np.nan_to_num(sums[:, 0], nan=-1)))]
        raise WrongUseError(
            f"the teacher {teacher} gives {bad!r} no probability of {', '.join(names)}: leave the "
            "clip out, or take another teacher"
        )
    return found / sums


def column_probabilities(rows: datasets.Dataset, column: str, names: Sequence[str]) -> np.ndarray:
    """Read a column of a data set that holds a probability of each class, in their order.

    Raises:
        WrongUseError: if there is no such column, or a value is none.
    """
    if column not in rows.column_names:
        raise WrongUseError(
            f"`teacher_column` is {column!r}, and the clips have {', '.join(rows.column_names)}; "
            "of own recordings, give a table with the columns probability_LABEL as the `teacher`"
        )
    vectors = rows.select_columns([column]).with_format("arrow")[:][column].to_pylist()
    for name, vector in zip(rows["id"], vectors, strict=True):
        if not isinstance(vector, list) or len(vector) != len(names) or None in vector:
            raise WrongUseError(
                f"{column} of {name!r} is {str(vector)[:80]}; it must have a probability of each "
                f"of {', '.join(names)}"
            )
    values = np.array(vectors, np.float64)
    if not np.isfinite(values).all() or values.min() < 0 or not (values.sum(1) > 0).all():
        raise WrongUseError(f"{column} must hold probabilities, numbers from 0 to 1")
    return values / values.sum(1, keepdims=True)


def need_audio(recipe: RecipeOptions) -> bool:
    """Return whether a teacher must hear the clips, whose features are not enough."""
    return recipe.is_taught and not all(
        reads_features(name, recipe.trust_remote_code) for name in recipe.teacher
    )


def describe_teachers(recipe: RecipeOptions, learner: str = "It") -> str:
    """Say in a sentence who taught, how much and at which temperature; "": nobody did."""
    if not recipe.is_taught:
        return ""
    names = teacher_names(recipe)
    who = f"the teacher {names[0]}" if len(names) == 1 else f"the teachers {', '.join(names)}"
    mean = " (the mean of their log probabilities)" if len(names) > 1 else ""
    more = (
        f", of clips without labels ({Path(recipe.unlabelled_file).name}), too"
        if recipe.unlabelled_file
        else ""
    )
    return (
        f"{learner} also learnt the probabilities of {who}{mean}{more}: "
        f"{recipe.teacher_weight:g} of the loss, at the temperature {recipe.teacher_temperature:g}."
    )


def teacher_names(recipe: RecipeOptions) -> list[str]:
    """Name the teachers for others to read, without the folders of somebody's disk."""
    names = [teacher_name(name) for name in recipe.teacher if name != recipe.own_teacher]
    if recipe.teacher_backbone:
        encoder = teacher_name(recipe.teacher_backbone)
        names.append(f"{encoder} with a classifier trained on the same clips")
    return [*names, *([f"column {recipe.teacher_column}"] if recipe.teacher_column else [])]
