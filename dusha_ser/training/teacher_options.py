"""Options of teachers, models from whose probabilities a smaller network learns."""

from dataclasses import dataclass
from pathlib import Path

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.inference.settings import check_model, check_model_folder
from dusha_ser.options import check_range, option, split_list

# Files of probabilities, as `dusha predict` and a cross-validation write them.
PROBABILITY_SUFFIXES = (".csv", ".jsonl")
# Stands for the name of the fold in a teacher of `dusha cross-validate`.
FOLD_FIELD = "{fold}"
# Where a cross-validation keeps the models of its folds.
FOLDS_FOLDER = "folds"
# Where a run keeps the teacher that it trained itself, and the name of what says how.
TEACHER_FOLDER = "teacher"
TEACHER_SETUP = "backbone"


@dataclass(kw_only=True)
class TeacherOptions:
    """Whose probabilities are learnt beside the labels, and how much (Hinton et al. 2015)."""

    teacher: tuple[str, ...] = option(
        "models whose probabilities are learnt beside the labels: any that dusha predict takes, or "
        "a .csv or .jsonl of probabilities; of several, the mean of their log probabilities",
        (),
        type=split_list,
        metavar="MODEL[,MODEL]",
    )
    teacher_backbone: str | None = option(
        "pretrained encoder, as of --backbone: a classifier on it is trained first, on the same "
        f"clips, kept in output_dir/{TEACHER_FOLDER}, and is one more teacher",
        None,
    )
    teacher_column: str | None = option(
        "column of a prepared data set with a teacher's probability of each class, in their order",
        None,
        rare=True,
    )
    teacher_weight: float = option(
        "share of the teachers in the loss, 0 to 1; the labels have the rest", 0.5, rare=True
    )
    teacher_temperature: float = option(
        "divides the logits of teachers and network before they are compared, above 0",
        2.0,
        rare=True,
    )
    unlabelled_file: str | None = option(
        "recordings without labels, of which the teachers' probabilities alone are learnt: a table "
        "with the column path, or a folder",
        None,
        rare=True,
    )

    @property
    def is_taught(self) -> bool:
        """Whether anything is learnt from teachers."""
        given = self.teacher or self.teacher_column or self.teacher_backbone
        return bool(given) and self.teacher_weight > 0

    @property
    def own_teacher(self) -> str | None:
        """The last teacher, where it was trained on `teacher_backbone`; None: it is still to be."""
        last = self.teacher[-1:] if self.teacher_backbone else ()
        return next((name for name in last if TEACHER_FOLDER in Path(name).parts), None)

    def check_teachers(self, loss: str) -> None:
        """Raise a WrongUseError where values do not fit each other or the loss."""
        weight, temperature = self.teacher_weight, self.teacher_temperature
        check_range("teacher_weight", weight, 0 <= weight <= 1, "from 0 to 1")
        within = 0 < temperature < float("inf")
        check_range("teacher_temperature", temperature, within, "a number above 0")
        if self.teacher_backbone and not weight:
            raise WrongUseError(
                "`teacher_backbone` trains a teacher, and with `teacher_weight=0` nothing is "
                "learnt from it: leave it out, or take more than 0"
            )
        if self.unlabelled_file and not self.is_taught:
            raise WrongUseError(
                "`unlabelled_file` has no labels to learn: give a `teacher`, and a "
                "`teacher_weight` above 0"
            )
        if self.is_taught and loss == "multi":
            raise WrongUseError(
                "`loss=multi` gives each class a probability of its own, and a `teacher` "
                "distributes one among them: take `loss=hard` or `loss=soft`"
            )

    def check_teacher_names(self) -> None:
        """Raise an error where a teacher or the unlabelled recordings cannot be what is named."""
        for name in self.teacher:
            if FOLD_FIELD in name:
                raise WrongUseError(
                    f"`teacher` is {name!r}, one for each fold: that is for `dusha "
                    "cross-validate`; name one model"
                )
            check_teacher(name)
        if self.teacher_backbone is not None:
            check_model_folder(self.teacher_backbone)
        if self.unlabelled_file and not Path(self.unlabelled_file).exists():
            raise MissingInputError(
                f"`unlabelled_file` is {self.unlabelled_file}, which does not exist: give a table "
                "with the column path, or a folder"
            )


def is_probability_file(name: str) -> bool:
    """Return whether a teacher is a file of probabilities, not a model.

    Examples:
        >>> is_probability_file("runs/large/predictions.csv"), is_probability_file("runs/large")
        (True, False)
    """
    return Path(name).suffix.lower() in PROBABILITY_SUFFIXES


def check_teacher(name: str) -> None:
    """Raise a WrongUseError or MissingInputError for what cannot be a teacher, without loading it.

    Args:
        name: a model folder, a name on the Hub, an .onnx file, or a file of probabilities.
    """
    if not is_probability_file(name):
        check_model(name)
    elif not Path(name).is_file():
        raise MissingInputError(
            f"no file {name} of a teacher's probabilities; `dusha predict MODEL CLIPS` writes one "
            "as its `output_file`"
        )


def teacher_name(name: str) -> str:
    """Name a teacher for others to read: a run's own one and a fold's model with their folder.

    Examples:
        >>> teacher_name("/home/me/runs/large/folds/{fold}"), teacher_name("user/model")
        ('large/folds/{fold}', 'user/model')
        >>> teacher_name("/home/me/runs/small/teacher")
        'small/teacher'
    """
    path = Path(name)
    if path.parent.name == FOLDS_FOLDER:
        return "/".join(path.parts[-3:])
    if path.name == TEACHER_FOLDER:
        return "/".join(path.parts[-2:])
    return path.name if path.exists() or path.is_absolute() else name
