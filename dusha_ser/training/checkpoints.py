"""Checkpoints that neither a killed run nor a full disk can spoil."""

import errno
import json
import shutil
from pathlib import Path

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.storage import check_folder, free_name, in_the_way
from dusha_ser.training.options import AUTO, LAST, OPTIONS_FILE, RunOptions
from dusha_ser.training.teacher_options import TEACHER_FOLDER

# Written last by the Trainer, `transformers.trainer.TRAINER_STATE_NAME`; its import takes seconds.
TRAINER_STATE = "trainer_state.json"
# What shows that a folder is a run's: its state, its options, its model, or that of its teacher.
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
OF_TEACHER = f"{TEACHER_FOLDER}/settings.json"
MARKS = ("checkpoint-*", "settings.json", OPTIONS_FILE, *WEIGHTS, OF_TEACHER)
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What PyTorch and safetensors say of a failed write, without an error number.
DISK_WORDS = (
    *("No space left", "File too large", "file write failed", "inline_container.cc"),
    "iostream error",
)


def is_complete(checkpoint: Path) -> bool:
    """Return whether a checkpoint was written to its end: the Trainer's state is written last."""
    try:
        return "global_step" in json.loads((checkpoint / TRAINER_STATE).read_text())
    except (OSError, ValueError):
        return False


def find_checkpoint(output_dir: str | Path) -> str | None:
    """Return the folder of the last complete checkpoint of a run, None if there is none."""
    complete = filter(is_complete, list_checkpoints(output_dir))
    last = max(complete, key=lambda one: int(one.name.split("-")[1]), default=None)
    return None if last is None else str(last)


def list_checkpoints(output_dir: str | Path) -> list[Path]:
    """Return the folders of a run's checkpoints."""
    found = Path(output_dir).glob("checkpoint-*")
    return [one for one in found if one.name.removeprefix("checkpoint-").isdecimal()]


def remove_checkpoints(output_dir: str | Path, incomplete_only: bool = False) -> None:
    """Remove the checkpoints of a run, or those that were not written to their end."""
    for checkpoint in list_checkpoints(output_dir):
        if not (incomplete_only and is_complete(checkpoint)):
            shutil.rmtree(checkpoint, ignore_errors=True)


def keep_start(output_dir: Path, start: Path) -> None:
    """Raise a WrongUseError if the model that training starts from would be written into.

    Even where that is wanted, a run that fails would leave neither the one nor the other.
    """
    ours, theirs = output_dir.resolve(), start.resolve()
    if ours == theirs or ours in theirs.parents or theirs in ours.parents:
        raise WrongUseError(
            f"training starts from {start} and would write into it: `output_dir` is {output_dir}; "
            f"name a folder apart from it, such as {free_name(start, 'tuned')}"
        )


def refuse_to_push_teacher(output_dir: str, push_to_hub: bool, is_trained: bool) -> None:
    """Raise a WrongUseError if a teacher in the output folder would be pushed with the model.

    Args:
        output_dir: of the run.
        push_to_hub: whether all of that is pushed.
        is_trained: whether the run trains a teacher; one may be there from an earlier run.
    """
    if push_to_hub and (is_trained or Path(output_dir, TEACHER_FOLDER).is_dir()):
        raise WrongUseError(
            f"`push_to_hub` would push the teacher in {Path(output_dir, TEACHER_FOLDER)}, too: "
            f"leave it out, and push the model later: hf upload USER/NAME {output_dir} . --exclude "
            f"'{TEACHER_FOLDER}/*' --exclude 'checkpoint-*'"
        )


def is_disk_error(error: Exception) -> bool:
    """Return whether a write failed because the disk is full, or a quota or limit is reached."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in DISK_ERRORS
    return any(words in str(error) for words in DISK_WORDS)


def find_weights(output_dir: str | Path) -> str | None:
    """Return the name of the weights of a run that ended, which are saved at its end."""
    found = (path.name for pattern in WEIGHTS for path in Path(output_dir).glob(pattern))
    return next(found, None)


def is_finished(options: RunOptions) -> bool:
    """Return whether a run that is to be resumed if need be has come to its end."""
    folder = options.output_dir
    left = options.resume_from_checkpoint != AUTO or options.overwrite or find_checkpoint(folder)
    return not left and find_weights(folder) is not None


def checkpoint_to_resume(options: RunOptions, start: str | None) -> str | None:
    """Find the checkpoint to resume from, and make sure that nobody's work is lost.

    Args:
        options: with output_dir, resume_from_checkpoint and overwrite.
        start: the model that training starts from.

    Returns:
        The checkpoint, None to start from the beginning.

    Raises:
        MissingInputError: if there is no such checkpoint.
        WrongUseError: if the run would write over a finished model or the one that it starts from,
            among the checkpoints of another run, or into a folder of other things.
    """
    wanted, folder = options.resume_from_checkpoint, options.output_dir
    if start and Path(start).is_dir():
        keep_start(Path(folder), Path(start))
    check_folder(folder, marks=MARKS, neutral=["runs"])
    found, weights = find_checkpoint(folder), find_weights(folder)
    is_own = wanted == LAST or (wanted == AUTO and found)
    is_own = is_own or (wanted and Path(wanted).resolve().parent == Path(folder).resolve())
    if weights and not options.overwrite and not is_own:
        raise WrongUseError(in_the_way(Path(folder), weights))
    if not wanted:
        if found and not options.overwrite:
            raise WrongUseError(
                f"{folder} holds {Path(found).name} of a run that did not end: resume it with "
                f"`resume_from_checkpoint={LAST}`, name another `output_dir`, or remove it with "
                "`overwrite=True`"
            )
        return None
    if wanted not in (LAST, AUTO):
        if not Path(wanted).is_dir():
            raise MissingInputError(
                f"there is no checkpoint {wanted}; give its folder, {LAST} or {AUTO}"
            )
        return wanted
    if found is None and wanted == LAST:
        raise MissingInputError(
            f"{folder} holds no complete checkpoint to resume from: leave "
            "`resume_from_checkpoint` out to start from the beginning"
        )
    return found
