"""A classifier on a large pretrained encoder, trained first, as a teacher of a small network."""

from collections.abc import Callable
from dataclasses import replace

import datasets

from dusha_ser.errors import WrongUseError
from dusha_ser.experiments.options import CrossValidateOptions
from dusha_ser.experiments.runs import Run, is_finished, train_run
from dusha_ser.training.arguments import make_arguments
from dusha_ser.training.checkpoints import checkpoint_to_resume, refuse_to_push_teacher
from dusha_ser.training.options import SCORES, RecipeOptions
from dusha_ser.training.search_space import with_options
from dusha_ser.training.setups import find_setup, read_setup
from dusha_ser.training.splits import load_splits
from dusha_ser.training.teacher_options import TEACHER_FOLDER, TEACHER_SETUP, teacher_name

# Options of a run that its teacher takes, too; the others are those of the setup.
SHARED = ("overwrite", "quiet", "disable_tqdm", "use_cpu", "seed")


def teacher_run(run: Run) -> Run:
    """Return the run that trains the teacher of another one, on the same data."""
    shared = {name: vars(run.options)[name] for name in SHARED if name in vars(run.options)}
    values = read_setup(find_setup(TEACHER_SETUP)) | shared
    values["backbone"] = run.recipe.teacher_backbone
    # It is to tell of the copies that the network learns from, too.
    for name in ("trust_remote_code", "waveform_copies", "waveform_augmentation"):
        values[name] = getattr(run.recipe, name)
    values["output_dir"] = str(run.output_dir / TEACHER_FOLDER)
    recipe, options = with_options((RecipeOptions(), type(run.options)()), values)
    return Run(run.data, recipe, options)


def taught(run: Run) -> Run:
    """Return a run with its own teacher as the last of its teachers."""
    own = str(run.output_dir / TEACHER_FOLDER)
    return replace(run, recipe=replace(run.recipe, teacher=(*run.recipe.teacher, own)))


def train_teacher(
    run: Run, tell: Callable[[str], object] | None = None
) -> tuple[Run, dict[str, datasets.Dataset]]:
    """Train the teacher of a run on its encoder, unless that is done.

    Args:
        run: with `teacher_backbone`.
        tell: as of `dusha_ser.training.run.train`.

    Returns:
        The run with this teacher, and the splits that its data name.

    Raises:
        WrongUseError: if the run could not be trained later, or the teacher's folder holds
            something else.
        WorkFailedError: if training fails.
    """
    arguments = make_arguments(run.options)
    arguments.check()
    if arguments.world_size > 1:
        raise WrongUseError(
            "`teacher_backbone` is trained in one process: train it before by `dusha train "
            f"{TEACHER_SETUP}`, and give its folder as the `teacher`"
        )
    refuse_to_push_teacher(str(run.output_dir), arguments.push_to_hub, True)
    checkpoint = checkpoint_to_resume(run.options, run.recipe.start)
    overwrite = run.options.overwrite and checkpoint is None
    splits = load_splits(run.data, False, likelihoods=run.recipe.loss == "answers")
    teacher = teacher_run(run)
    told = tell or str
    if overwrite or not is_finished(teacher, splits):
        told(f"first the teacher, a classifier on {teacher_name(str(teacher.recipe.backbone))}:")
        result = train_run(teacher, splits, overwrite, tell, named=True)
        if result.tested_on != "train":
            scores = ", ".join(f"{name} {result.metrics[name]:.3f}" for name in SCORES)
            told(f"the teacher's {result.tested_on} scores: {scores}")
    else:
        told(f"{teacher.output_dir}: the teacher, finished before")
    return taught(run), splits


def divide_teacher(
    options: CrossValidateOptions,
) -> tuple[CrossValidateOptions, CrossValidateOptions]:
    """Make two cross-validations of one: of the teachers on the encoder, and of those they teach.

    Raises:
        WrongUseError: if options are searched for, whose trials would be scored on speakers that
            the teachers have heard; or the folder of the teachers is of others.
    """
    if options.search:
        raise WrongUseError(
            "`search` scores its trials on training speakers of a fold, and the teacher of "
            "`teacher_backbone` has heard all of these: choose the options without it, then give "
            "them with `teacher_backbone` and without `search`"
        )
    run = Run(*options.training).moved(options.output_dir, options.training[0].dataset)
    teacher = teacher_run(run)
    large = replace(
        options,
        output_dir=teacher.output_dir,
        name=f"{options.shown_name}: {teacher_name(str(teacher.recipe.backbone))}",
        # The corpus' folder is in `data`.
        data_dir=None,
        table=None,
        folds_table=None,
        scores_by_table=None,
    )
    large.check()
    small = replace(options)
    for one, its_run in ((large, teacher), (small, taught(run))):
        one.command, one.training = options.command, (its_run.data, its_run.recipe, its_run.options)
    return large, small
