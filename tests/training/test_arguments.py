import pytest
import torch

from dusha_ser.training.arguments import EVALUATED_AT_ONCE, DushaTrainingArguments

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
    # One that trains on an accelerator, as far as that goes without it.
    arguments.use_cpu = False
    assert arguments.eval_batch_size == EVALUATED_AT_ONCE == 256
    assert arguments.pads_to_few_lengths
    arguments.per_device_eval_batch_size = 32
    assert arguments.eval_batch_size == 32
    assert arguments.given.bf16 is None and arguments.given.per_device_eval_batch_size is None
