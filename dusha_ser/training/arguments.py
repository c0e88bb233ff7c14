"""The Trainer's arguments, made of the options of a run."""

import copy
import importlib.util
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import TrainingArguments
from transformers.integrations import get_available_reporting_integrations
from transformers.utils import is_torch_tf32_available

from dusha_ser.errors import WrongUseError, first_line
from dusha_ser.options import split_list
from dusha_ser.training.options import RunOptions

# Clips of an evaluation on an accelerator, which smaller batches would keep waiting.
EVALUATED_AT_ONCE = 256


@dataclass
class DushaTrainingArguments(RunOptions, TrainingArguments):  # type: ignore[misc]  # narrower types than the Trainer's
    """The Trainer's arguments, and the options and defaults of RunOptions.

    The attribute `given` holds them as they were given.

    Examples:
        >>> DushaTrainingArguments("model", num_train_epochs=3).learning_rate
        0.001
    """

    def __post_init__(self):
        # What was chosen: all below is derived, some of it from the machine.
        self.given = copy.copy(self)
        self.given.hub_token = None
        trackers = list(split_list(self.report_to)) or ["none"]
        self.report_to = trackers  # type: ignore[assignment]  # the Trainer takes a list
        if not torch.accelerator.is_available():
            # The Trainer refuses bf16 unless told, and warns of memory that it cannot pin.
            self.use_cpu, self.dataloader_pin_memory = True, False
        if not self.use_cpu:
            # It reads the loss at each step, and ours are checked on the device.
            self.logging_nan_inf_filter = False
            if self.tf32 is None and is_torch_tf32_available():
                self.tf32 = True
        if self.bf16 is None:
            # Emulated it would be slower than single precision.
            self.bf16 = (
                not (self.use_cpu or self.fp16)
                and torch.cuda.is_available()
                and torch.cuda.is_bf16_supported(including_emulation=False)
            )
        if self.torch_compile is None:
            self.torch_compile = not self.use_cpu and can_compile()
        if self.save_strategy == "no":
            # Nothing is kept that could be gone back to.
            self.load_best_model_at_end = False
        if self.load_best_model_at_end and self.save_strategy == "steps":
            # The best one is chosen among those that are kept.
            self.eval_strategy, self.eval_steps = self.save_strategy, self.save_steps
        if self.disable_tqdm is None:
            self.disable_tqdm = self.quiet or not sys.stderr.isatty()
        super().__post_init__()
        if self.tf32:
            # The Trainer says so in PyTorch's newer way alone, after which reading the older one
            # fails, and Inductor reads that where it times kernels.
            torch.set_float32_matmul_precision("high")
        if self.hub_token:
            # All arguments are kept in training_args.bin, and that is pushed with the model; the
            # Hub's client finds the token here as well.
            os.environ["HF_TOKEN"], self.hub_token = self.hub_token, None
        # The data set has the columns that the collators and the loss need beyond the model's own.
        self.remove_unused_columns = False
        self.restore_callback_states_from_checkpoint = True

    @property
    def pads_to_few_lengths(self) -> bool:
        """Whether batches take one of a few lengths."""
        return not self.use_cpu if self.few_lengths is None else self.few_lengths

    @property
    def eval_batch_size(self) -> int:
        """Clips that are classified at once, on all devices of this process."""
        if self.per_device_eval_batch_size is None:
            return 1 if self.use_cpu else EVALUATED_AT_ONCE * max(1, self.n_gpu)
        return super().eval_batch_size

    def check(self) -> None:
        """Raise a WrongUseError where values do not fit, or a tracker is not installed."""
        super().check()
        installed = get_available_reporting_integrations()
        for tracker in self.report_to:
            if tracker not in installed:
                raise WrongUseError(
                    f"`report_to={tracker}` is unknown or not installed; installed are "
                    f'{", ".join(installed) or "none"}; pip install "dusha-ser[tracking]" brings '
                    "tensorboard, pip install trackio brings trackio"
                )


def can_compile() -> bool:
    """Return whether Triton finds what it makes kernels for a GPU with.

    Without a C compiler and Python's headers, which few base images of GPUs bring, a compiled
    network would end with a traceback at its first batch.
    """
    compilers = (os.environ.get("CC"), "gcc", "clang")
    return (
        importlib.util.find_spec("triton") is not None
        and any(shutil.which(name) for name in compilers if name)
        and Path(sysconfig.get_path("include"), "Python.h").exists()
    )


def make_arguments(options: RunOptions) -> DushaTrainingArguments:
    """Make the Trainer's arguments of RunOptions or TrainerOptions.

    Raises:
        WrongUseError: if the Trainer refuses a value.
    """
    try:
        return DushaTrainingArguments(**vars(options))
    except ValueError as error:
        raise WrongUseError(first_line(error)) from error
