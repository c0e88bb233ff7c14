"""Checkpoints that neither a killed run nor a full disk can spoil."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.training.options import AUTO, LAST, RunOptions

# Written last by the Trainer, `transformers.trainer.TRAINER_STATE_NAME`; its import takes seconds.
TRAINER_STATE = "trainer_state.json"
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What PyTorch and safetensors say of a failed write, without an error number.
DISK_WORDS = ("No space left", "File too large", "file write failed", "inline_container.cc")


def is_complete(checkpoint: Path) -> bool:
    """Return whether a checkpoint was written to its end: the Trainer's state is written last."""
    try:
        return "global_step" in json.loads((checkpoint / TRAINER_STATE).read_text())
    except (OSError, ValueError):
        return False


def find_checkpoint(output_dir: str | Path) -> str | None:
    """Find the last complete checkpoint of a run.

    Args:
        output_dir: of the run.

    Returns:
        Its folder, None if there is none.
    """
    return next(
        (str(one) for one in reversed(list_checkpoints(output_dir)) if is_complete(one)), None
    )


def list_checkpoints(output_dir: str | Path) -> list[Path]:
    """Return the folders of a run's checkpoints in the order of their steps."""
    steps = {path: path.name.rpartition("-")[2] for path in Path(output_dir).glob("checkpoint-*")}
    return sorted((one for one in steps if steps[one].isdecimal()), key=lambda one: int(steps[one]))


def remove_incomplete(output_dir: str | Path) -> None:
    """Remove checkpoints that were not written to their end.

    Args:
        output_dir: of the run.
    """
    remove_checkpoints(output_dir, lambda checkpoint: not is_complete(checkpoint))


def remove_checkpoints(
    output_dir: str | Path, unwanted: Callable[[Path], bool] = lambda checkpoint: True
) -> None:
    """Remove checkpoints of a run.

    Args:
        output_dir: of the run.
        unwanted: decides on each; all by default.
    """
    for checkpoint in list_checkpoints(output_dir):
        if unwanted(checkpoint):
            shutil.rmtree(checkpoint, ignore_errors=True)


def is_disk_error(error: Exception) -> bool:
    """Return whether a write failed because the disk is full, or a quota or limit is reached."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in DISK_ERRORS
    return any(words in str(error) for words in DISK_WORDS)


def checkpoint_to_resume(options: RunOptions) -> str | None:
    """Find the checkpoint to resume from, and make sure that no other run's work is lost.

    Args:
        options: with output_dir and resume_from_checkpoint: a folder, "last", or "auto" for the
            last one if there is one.

    Returns:
        The checkpoint, None to start from the beginning.

    Raises:
        MissingInputError: if there is no such checkpoint.
        WrongUseError: if the run would start among the checkpoints of another one.
    """
    wanted, folder = options.resume_from_checkpoint, options.output_dir
    found = find_checkpoint(folder)
    if not wanted and found:
        raise WrongUseError(
            f"{folder} holds {Path(found).name} of a run that did not end: resume it with "
            f"`resume_from_checkpoint={LAST}`, name another `output_dir`, or remove it"
        )
    if not wanted:
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
