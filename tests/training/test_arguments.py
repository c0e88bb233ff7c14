import importlib.util

import pytest
import torch

from dusha_ser.training.arguments import EVALUATED_AT_ONCE, DushaTrainingArguments, can_compile

pytestmark = pytest.mark.skipif(
    torch.accelerator.is_available(), reason="says what holds on a processor"
)


def test_defaults_on_a_processor_compute_exactly_and_one_by_one(tmp_path):
    arguments = DushaTrainingArguments(str(tmp_path))
    assert (arguments.bf16, arguments.tf32, arguments.pads_to_few_lengths) == (False, None, False)
    assert arguments.eval_batch_size == 1
    assert arguments.logging_nan_inf_filter
    assert DushaTrainingArguments(str(tmp_path), few_lengths=True).pads_to_few_lengths
    assert DushaTrainingArguments(str(tmp_path), bf16=True).bf16
    assert not arguments.torch_compile and arguments.torch_compile_backend is None
    assert DushaTrainingArguments(str(tmp_path), torch_compile=True).torch_compile
    # One that trains on an accelerator, as far as that goes without it.
    arguments.use_cpu = False
    assert arguments.eval_batch_size == EVALUATED_AT_ONCE == 256
    assert arguments.pads_to_few_lengths
    arguments.per_device_eval_batch_size = 32
    assert arguments.eval_batch_size == 32
    assert arguments.given.bf16 is None and arguments.given.per_device_eval_batch_size is None


def test_networks_are_compiled_by_default_only_where_kernels_can_be_made(tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    compiler = tmp_path / "gcc"
    compiler.touch(0o755)
    headers = tmp_path / "Python.h"
    headers.touch()
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    has_triton = importlib.util.find_spec("triton") is not None
    assert can_compile() == has_triton
    headers.unlink()
    assert not can_compile()
    headers.touch()
    compiler.unlink()
    assert not can_compile()
    monkeypatch.setenv("CC", "/bin/sh")
    assert can_compile() == has_triton
