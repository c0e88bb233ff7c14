"""Checkpoints that neither a killed run nor a full disk can spoil."""

import errno
import json
import shutil
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


def is_disk_error(error: Exception) -> bool:
    """Return whether a write failed because the disk is full, or a quota or limit is reached."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in DISK_ERRORS
    return any(words in str(error) for words in DISK_WORDS)


def checkpoint_to_resume(options: RunOptions) -> str | None:
    """Find the checkpoint to resume from, and make sure that no other run's work is lost.

    Args:
        options: with output_dir and resume_from_checkpoint.

    Returns:
        The checkpoint, None to start from the beginning.

    Raises:
        MissingInputError: if there is no such checkpoint.
        WrongUseError: if the run would start among the checkpoints of another one.
    """
    wanted, folder = options.resume_from_checkpoint, options.output_dir
    found = find_checkpoint(folder)
    if not wanted:
        if found:
            raise WrongUseError(
                f"{folder} holds {Path(found).name} of a run that did not end: resume it with "
                f"`resume_from_checkpoint={LAST}`, name another `output_dir`, or remove it"
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
