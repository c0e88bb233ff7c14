"""Train a network on Dusha, on its sample, or on your own recordings, with the HF Trainer."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dusha_ser.cli.program import Parser, hide_bars, on_interrupt, tell
from dusha_ser.errors import WrongUseError
from dusha_ser.options import option
from dusha_ser.training.checkpoints import (
    checkpoint_to_resume,
    find_checkpoint,
    find_weights,
    is_finished,
)
from dusha_ser.training.options import (
    LAST,
    SAMPLE,
    DataOptions,
    RecipeOptions,
    RunOptions,
    TrainerOptions,
)
from dusha_ser.training.setups import apply_setup, describe_setups, find_setup
from dusha_ser.training.teacher_options import TEACHER_FOLDER

EXAMPLES = """\
  dusha train
  dusha train crowd_large --data_dir archives --output_dir runs/crowd_large
  dusha train --train_file clips.csv --test_file test.csv --model_name_or_path dusha-model
"""
# Options that name the data, which other commands name themselves.
OF_DATA = ("--dataset", "--train_file", "--test_file", "--validation_file", "--configuration")


@dataclass
class SetupOptions:
    """What holds the defaults of all other options."""

    setup: str | None = option(
        "a setup, which holds what differs from the defaults: its name or a YAML file",
        None,
        positional=True,
        metavar="SETUP",
    )
    list_setups: bool = option("list the setups and stop", False)


def make_parser() -> Parser:
    """Make the parser of this command."""
    description = (
        "Train a network on Dusha, on its sample, or on your own recordings.\n\n"
        "Without options it trains on a small synthetic corpus that it makes itself."
    )
    kinds = (SetupOptions, DataOptions, RecipeOptions, TrainerOptions)
    return Parser("dusha train", description, EXAMPLES, *kinds)


def read_options(
    arguments: Sequence[str],
) -> tuple[SetupOptions, DataOptions, RecipeOptions, RunOptions]:
    """Read the setup that a command line names, then its options, which override it."""
    parser = make_parser()
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise WrongUseError(parser.unknown_option(unknown[0]))
    if known.setup:
        apply_setup(parser, find_setup(known.setup))
    elif not any(one.split("=")[0] in ("--dataset", "--train_file") for one in arguments):
        apply_setup(parser, find_setup(SAMPLE))
    return parser.parse_options(arguments)


def read_run(
    name: str, setup: str | None, words: Sequence[str], output_dir: Path, quiet: bool
) -> tuple[DataOptions, RecipeOptions, RunOptions]:
    """Read options of `dusha train` for another command, which names the data.

    Args:
        name: of the data, for the model's card.
        setup: as of `dusha train`; None: the defaults.
        words: options as on the command line of `dusha train`.
        output_dir: folder for the model.
        quiet: whether to show no progress.
    """
    if words and not words[0].startswith("-"):
        raise WrongUseError(f"{words[0]!r} belongs to no option; see --help")
    for word in words:
        if word.split("=")[0] in OF_DATA:
            raise WrongUseError(
                f"{word} is an option of `dusha train` alone: here the data are named already"
            )
    given = ["--dataset", name, "--output_dir", str(output_dir), f"--quiet={quiet}"]
    _, data, recipe, run = read_options([*([setup] if setup else []), *words, *given])
    return data, recipe, run


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, train, test once, and print the result."""
    arguments = sys.argv[1:] if arguments is None else arguments
    setup, data, recipe, run = read_options(arguments)
    if setup.list_setups:
        print(describe_setups())
        return
    data.check_names()
    recipe.check_names()
    if is_finished(run):
        tell(run.quiet, f"{run.output_dir}: finished before (--overwrite trains it again)")
        return
    checkpoint_to_resume(run, recipe.start)
    on_interrupt(lambda: resume_advice(arguments, run, bool(recipe.teacher_backbone)))
    hide_bars(run.quiet)

    from dusha_ser.training.arguments import make_arguments
    from dusha_ser.training.result import describe_result
    from dusha_ser.training.run import train

    trainer_arguments = make_arguments(run)
    quiet = run.quiet or not trainer_arguments.should_log

    def say(line: str) -> None:
        tell(quiet, line)

    splits = None
    if recipe.teacher_backbone:
        from dusha_ser.experiments.backbone_teachers import train_teacher
        from dusha_ser.experiments.runs import Run

        taught, splits = train_teacher(Run(data, recipe, run), say)
        recipe = taught.recipe
    result = train(data, recipe, trainer_arguments, splits, say, named=splits is not None)
    if trainer_arguments.should_log:
        print(describe_result(result))


def resume_advice(arguments: Sequence[str], run: RunOptions, with_teacher: bool = False) -> str:
    """Say how to resume a run that is interrupted, and what is kept if it has no checkpoint yet.

    Args:
        arguments: of the command line.
        run: the options of the run.
        with_teacher: whether it trains a teacher first.
    """
    if not find_checkpoint(run.output_dir):
        teacher = Path(run.output_dir, TEACHER_FOLDER)
        if with_teacher and not run.overwrite and find_weights(teacher):
            return f"the same command resumes with the teacher in {teacher}"
        return "no checkpoint has been kept yet"
    words = [word for word in arguments if not word.startswith("--resume_from_checkpoint=")]
    if "--resume_from_checkpoint" in words:
        place = words.index("--resume_from_checkpoint")
        del words[place : place + 2]
    command = shlex.join(["dusha", "train", *words, "--resume_from_checkpoint", LAST])
    return f"resume with {command}"
