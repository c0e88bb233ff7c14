"""Checkpoints that a killed run or a full disk cannot spoil, and the average of weights."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from transformers import TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import sort_checkpoints

from dusha_ser.errors import MissingInputError, WrongUseError

LAST, AUTO = "last", "auto"
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What PyTorch and safetensors say of a failed write, without an error number.
DISK_WORDS = ("No space left", "File too large", "file write failed", "inline_container.cc")


def is_complete(checkpoint: Path) -> bool:
    """Tell whether a checkpoint was written to its end: the Trainer's state is written last."""
    try:
        return "global_step" in json.loads((checkpoint / TRAINER_STATE_NAME).read_text())
    except (OSError, ValueError):
        return False


def find_checkpoint(output_dir: str | Path) -> str | None:
    """Find the last complete checkpoint of a run.

    Args:
        output_dir: of the run.

    Returns:
        Its folder, None if there is none.
    """
    checkpoints = sort_checkpoints(str(output_dir)) if Path(output_dir).is_dir() else []
    return next((one for one in reversed(checkpoints) if is_complete(Path(one))), None)


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
        unwanted: tells which; all by default.
    """
    for checkpoint in sort_checkpoints(str(output_dir)) if Path(output_dir).is_dir() else []:
        if unwanted(Path(checkpoint)):
            shutil.rmtree(checkpoint, ignore_errors=True)


def is_disk_error(error: Exception) -> bool:
    """Tell whether a write failed because the disk is full, or a quota or limit is reached."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in DISK_ERRORS
    return isinstance(error, (OSError, RuntimeError, SafetensorError)) and any(
        words in str(error) for words in DISK_WORDS
    )


def checkpoint_to_resume(arguments: TrainingArguments) -> str | None:
    """Find the checkpoint to go on from, and make sure that no other run's work is lost.

    Args:
        arguments: with output_dir and resume_from_checkpoint: a folder, "last", or "auto" for
            the last one if there is one.

    Returns:
        The checkpoint, None to begin anew.

    Raises:
        MissingInputError: if there is no such checkpoint.
        WrongUseError: if the run would begin anew among the checkpoints of another one.
    """
    wanted, folder = arguments.resume_from_checkpoint, arguments.output_dir
    found = find_checkpoint(folder)
    if not wanted and found:
        raise WrongUseError(
            f"{folder} holds {Path(found).name} of a run that did not end: go on with "
            f"--resume_from_checkpoint {LAST}, name another --output_dir, or remove it"
        )
    if arguments.should_save:
        remove_incomplete(folder)
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
            f"{folder} holds no complete checkpoint to go on from: leave "
            "--resume_from_checkpoint out to begin anew"
        )
    return found
