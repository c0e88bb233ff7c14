import errno
import json

import pytest
import torch

from dusha_ser.training.checkpoints import find_checkpoint, is_disk_error, remove_checkpoints


def write_checkpoint(folder, step, state=None):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    if state is not None:
        (path / "trainer_state.json").write_text(state)
    return path


def test_find_checkpoint_when_the_last_ones_were_cut_short(tmp_path):
    good = write_checkpoint(tmp_path, 9, json.dumps({"global_step": 9}))
    write_checkpoint(tmp_path, 10, '{"global_st')
    write_checkpoint(tmp_path, 100)
    assert find_checkpoint(tmp_path) == str(good)
    remove_checkpoints(tmp_path, incomplete_only=True)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-9"]


def test_find_checkpoint_when_there_is_none(tmp_path):
    assert find_checkpoint(tmp_path) is None
    assert find_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("error", "is_of_the_disk"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
            True,
        ),
        (RuntimeError("basic_ios::clear: iostream error"), True),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_is_disk_error_when_errors_differ(error, is_of_the_disk):
    assert is_disk_error(error) == is_of_the_disk


def test_is_disk_error_when_the_disk_is_really_full():
    with pytest.raises((OSError, RuntimeError)) as caught:
        torch.save(torch.zeros(10**6), "/dev/full")
    assert is_disk_error(caught.value)
