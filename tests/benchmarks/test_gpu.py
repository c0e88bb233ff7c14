"""The benchmark of a GPU, smaller, on a processor: each number that it promises is there."""

import json
import sys

import pytest
import torch

from benchmarks import gpu, measuring
from dusha_ser.errors import WorkFailedError


def run(monkeypatch, tmp_path, *arguments):
    monkeypatch.setattr(measuring, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpu", *arguments])
    gpu.main()
    return json.loads((tmp_path / "gpu.json").read_text())


@pytest.mark.skipif(torch.accelerator.is_available(), reason="sizes are those of a processor")
def test_all_parts_are_measured(monkeypatch, tmp_path, capsys):
    small = ("--clips", "8", "--batch_size", "4", "--files", "6", "--num_proc", "1")
    found = run(monkeypatch, tmp_path, *small)
    assert found["logits_differ_by"] == 0
    assert found["clips"] == 8 and found["files"] == 6
    measured = (
        *("copied_bytes_per_second", "step_bytes_per_clip", "step_8_clips_a_second"),
        *("step_8_share_of_bandwidth", "train_clips_per_second", "evaluated_clips_per_second"),
        *("first_step_seconds", "features_clips_per_second", "files_clips_per_second_with_start"),
    )
    assert min(found[name] for name in measured) > 0
    assert "left_out" not in found
    assert "files_clips_per_second_with_start: " in capsys.readouterr().out


def test_parts_are_left_out_when_the_time_is_up(monkeypatch, tmp_path):
    found = run(monkeypatch, tmp_path, "--minutes", "0")
    assert found["left_out"][0] == "check" and found["left_out"][-1] == "files"


def test_a_device_whose_logits_are_others_is_refused(monkeypatch, tmp_path):
    model = gpu.save_random_model(tmp_path / "model")
    monkeypatch.setattr(gpu, "TOLERANCE", -1)
    with pytest.raises(WorkFailedError, match=r"logits differ from the processor's by 0\.0"):
        gpu.compare_logits(model, torch.device("cpu"))
