"""The HF Trainer with the published optimizer and batches, losses of crowd labels, and safety.

Failures say what happened and keep the last good checkpoint. No private method of Trainer is
overridden; tests/training/test_trainer.py fails where Transformers changes one of the others.
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate.data_loader import prepare_data_loader
from safetensors import SafetensorError
from sklearn.metrics import confusion_matrix
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset
from transformers import EvalPrediction, PreTrainedModel, Trainer, TrainerCallback

from dusha_ser.errors import WorkFailedError, WrongUseError, first_line
from dusha_ser.evaluation.ser.ser import SCORES, scores
from dusha_ser.storage import replacing_folder, write_text
from dusha_ser.training.arguments import DushaTrainingArguments
from dusha_ser.training.averaging import TRAINED_WEIGHTS, AverageCallback
from dusha_ser.training.checkpoints import find_checkpoint, is_disk_error, remove_checkpoints
from dusha_ser.training.finite_losses import FiniteLosses
from dusha_ser.training.losses import TEACHER_TARGETS, ClassificationLoss, TeacherLoss
from dusha_ser.training.normalization import average_statistics, make_precise
from dusha_ser.training.sampling import LengthBatchSampler
from modeling_dusha import clear_subnormals, share_weights


class DushaTrainer(Trainer):
    """The HF Trainer with the samplers, losses and safety of this project.

    Arguments and results of its methods are those of Trainer, whose data_collator is for
    evaluation. They raise a WorkFailedError where the loss is NaN or infinite, the disk is full, or
    the Hub refuses or cannot be reached.
    """

    args: DushaTrainingArguments
    model: PreTrainedModel

    def __init__(
        self,
        *,
        train_sampler: LengthBatchSampler | None = None,
        train_collator: Callable | None = None,
        classification_loss: ClassificationLoss | None = None,
        teacher_loss: TeacherLoss | None = None,
        **options,
    ):
        super().__init__(compute_metrics=compute_scores, **options)
        self.train_sampler = train_sampler
        self.train_collator = train_collator
        self.classification_loss = classification_loss or ClassificationLoss()
        self.teacher_loss = teacher_loss
        # The loss below is divided by the weight of all clips of a step.
        self.loss_is_scaled_for_ga = True
        self.card_text = ""
        self.losses = FiniteLosses(self.args.device)
        # Reading the loss makes an accelerator wait, and costs a processor nothing.
        self.checks_each_step = self.args.device.type == "cpu"
        if self.args.keep_memory:
            keep_freed_memory()
        if self.args.torch_compile and self.accelerator.state.dynamo_plugin.dynamic is None:
            # One graph for all lengths and the batch that is not full: the first step waits for one
            # compilation, and no other does.
            self.accelerator.state.dynamo_plugin.dynamic = True
            # Nor does it fall apart where processes exchange gradients: they are 2 MB.
            torch._dynamo.config.optimize_ddp = False
        if self.args.cudnn_benchmark:
            torch.backends.cudnn.benchmark = True
        if self.args.channels_last:
            torch.nn.Module.to(self.model, memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub has no such overload
            make_precise(self.model)
        # Where the weights of batch normalisation do not learn, its statistics are to stay, too.
        self.frozen = [
            module
            for module in self.model.modules()
            if isinstance(module, torch.nn.BatchNorm2d) and not module.weight.requires_grad
        ]
        self.averaging: AverageCallback | None = None
        # Puts the average of the weights in their place during training, where there is one.
        self.averaged_weights: Callable[[], AbstractContextManager] = contextlib.nullcontext
        if self.args.average_decay:
            self.averaging = AverageCallback(self.model, self.args.average_decay)
            self.averaged_weights = self.averaging.averaged_weights
            self.add_callback(self.averaging)

    def get_train_dataloader(self) -> DataLoader:
        """Return the batches of training clips."""
        loader = DataLoader(
            cast(Dataset, self.train_dataset),
            batch_sampler=self.train_sampler,
            collate_fn=self.train_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
        )
        # Accelerate is not to share batches out: the sampler knows its process.
        place = {"device": self.args.device, "put_on_device": True, "non_blocking": True}
        return prepare_data_loader(loader, num_processes=1, process_index=0, **place)

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """Make Adam with L2 weight decay, as published, unless `optimizer` is "trainer"."""
        if self.optimizer is None and self.args.optimizer == "adam":
            head = head_names(self.model)
            groups: list[dict] = [{"params": []}, {"params": []}]
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    groups[name in head]["params"].append(parameter)
            if self.args.head_learning_rate is not None:
                groups[1]["lr"] = self.args.head_learning_rate
            self.optimizer = torch.optim.Adam(
                [group for group in groups if group["params"]],
                lr=self.args.learning_rate,
                betas=(self.args.adam_beta1, self.args.adam_beta2),
                eps=self.args.adam_epsilon,
                weight_decay=self.args.weight_decay,
                fused=True if not self.checks_each_step else None,
            )
        optimizer = super().create_optimizer(model)
        if not self.checks_each_step and getattr(optimizer, "_step_supports_amp_scaling", False):
            # As PyTorch's GradScaler tells fused optimizers which steps to leave out.
            optimizer.found_inf = self.losses.failed  # type: ignore[attr-defined]
        optimizer.register_load_state_dict_pre_hook(keep_fused)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer=None) -> LRScheduler:
        """Make the scheduler, and let a resumed run take the learning rates asked for now."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        # A checkpoint brings those that it was made with, and is loaded after this.
        self.add_callback(LearningRateCallback(list(getattr(scheduler, "base_lrs", ()))))
        return scheduler

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Compute the mean loss of a batch, each clip by its weight; in evaluation each counts 1.

        In evaluation it is the loss of the labels alone, with teachers too.
        `num_items_in_batch` is the weight of all clips of the step, over accumulated batches and
        processes.
        """
        if model.training:
            # The Trainer puts all of the model in training at each step.
            for normalization in self.frozen:
                normalization.eval()
        features = dict(inputs)
        labels, weights = features.pop("labels"), features.pop("weights")
        taught = {name: features.pop(name) for name in TEACHER_TARGETS if name in features}
        outputs = model(**features)
        loss = self.classification_loss(outputs.logits, labels)
        if self.teacher_loss and taught:
            loss = self.teacher_loss(loss, outputs.logits, taught)
        if model.training:
            weights = weights * self.classification_loss.factors(labels)
            total = weights.sum() if num_items_in_batch is None else num_items_in_batch
            # Gradients are averaged over the processes, not summed.
            # Where no clip of a step counts, there is nothing to learn: 0, not NaN.
            total = torch.as_tensor(total).clamp(min=torch.finfo(torch.float32).tiny)
            loss = (loss * weights).sum() / total * self.accelerator.num_processes
        # A number stays what it is.
        return (loss.mean(), outputs) if return_outputs else loss.mean()

    def get_batch_samples(self, epoch_iterator, num_batches, device) -> tuple[list, torch.Tensor]:
        """Return the batches of a step and the `step_weight` of their clips."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, self.step_weight(batches)

    def step_weight(self, batches: list[dict]) -> torch.Tensor:
        """Sum the weights of all clips of a step, over accumulated batches and processes."""
        weight = sum(
            (batch["weights"] * self.classification_loss.factors(batch["labels"])).sum()
            for batch in batches
        )
        return self.accelerator.gather(torch.as_tensor(weight).to(self.args.device).view(1)).sum()

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        """Do one step; where its loss is NaN or infinite the weights stay, and a message stops it.

        On an accelerator that message waits until the next log, evaluation or checkpoint.
        """
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.num_processes > 1:
            average_statistics(self.model, lambda ours: self.accelerator.reduce(ours, "mean"))
        self.losses.add(loss, self.state.global_step)
        if self.checks_each_step:
            self.check_losses()
        return loss

    def check_losses(self) -> None:
        """Raise a WorkFailedError if a loss was NaN or infinite; this waits for the device."""
        failure = self.losses.first_failure()
        if failure:
            loss, step = failure
            raise WorkFailedError(
                f"the loss became {loss} after {step} steps; take a lower `learning_rate` or clip "
                f"gradients (`max_grad_norm=1`), then {self.advice()}"
            )

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        """Log, where the loss is read anyway, after checking that it was finite at each step."""
        self.check_losses()
        super().log(logs, *args, **kwargs)

    def advice(self) -> str:
        """Say how to resume the run."""
        checkpoint = find_checkpoint(self.args.output_dir)
        if checkpoint is None:
            return "start again: no checkpoint has been kept yet"
        return f"resume with `resume_from_checkpoint=last`: {checkpoint} is complete"

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        """Train, and explain a disk that is full."""
        if self.averaging:
            self.averaging.checkpoint = resume_from_checkpoint
        with self.explained_disk_errors():
            return super().train(resume_from_checkpoint, *args, **kwargs)

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        """Evaluate the average of the weights, where there is one."""
        self.check_losses()
        with self.averaged_weights():
            return super().evaluate(*args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save model and feature extractor; in a checkpoint also the weights to train on.

        In the run's own folder an earlier model stays until all of the new one is written.
        """
        place = Path(output_dir or self.args.output_dir)
        self.check_losses()
        is_own = self.args.should_save and place == Path(self.args.output_dir)
        with self.explained_disk_errors(), self.averaged_weights():
            clear_subnormals(self.model)
            new = replacing_folder(place, overwrite=True, merge=True) if is_own else None
            with new or contextlib.nullcontext(place) as folder:
                super().save_model(str(folder), _internal_call=True)
                if self.args.should_save:
                    share_weights(folder)
            if self.averaging and self.averaging.training and self.args.should_save:
                clear_subnormals(self.averaging.average)
                torch.save(self.averaging.average.state_dict(), place / TRAINED_WEIGHTS)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save")

    def create_model_card(self, *args, **kwargs) -> None:
        """Write our card, not the Trainer's, where the model is pushed."""
        if self.is_world_process_zero():
            write_text(Path(self.args.output_dir, "README.md"), self.card_text)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Make the repository on the Hub before training, so that no run fails at its end."""
        with self.explained_hub_errors():
            super().init_hf_repo(token, private)

    def push_to_hub(self, *args, **kwargs):
        """Push the output folder; where that fails, the model stays on disk."""
        folder = self.args.output_dir
        with self.explained_hub_errors(
            f". The model is complete in {folder}; to push it later: hf upload "
            f"{self.hub_model_id} {folder} . --exclude 'checkpoint-*'"
        ):
            return super().push_to_hub(*args, **kwargs)

    @contextlib.contextmanager
    def explained_hub_errors(self, advice: str = "") -> Iterator[None]:
        """Turn what the Hub refuses, or a network that is down, into one line."""
        try:
            yield
        except (WrongUseError, WorkFailedError):
            raise
        except Exception as error:  # those of the network have no base class in common
            name = self.args.hub_model_id or Path(self.args.output_dir).name
            raise WorkFailedError(
                f"{name} cannot be pushed to the Hub ({first_line(error)}): check "
                "`hub_model_id=USER/NAME`, the network and the login (hf auth login or "
                f"HF_TOKEN){advice}"
            ) from error

    @contextlib.contextmanager
    def explained_disk_errors(self) -> Iterator[None]:
        """Turn a failed write into a message on what is left, and remove what is incomplete."""
        try:
            yield
        except (OSError, SafetensorError, RuntimeError) as error:
            if isinstance(error, WorkFailedError) or not is_disk_error(error):
                raise
            remove_checkpoints(self.args.output_dir, incomplete_only=True)
            raise WorkFailedError(
                f"step {self.state.global_step} could not be saved in {self.args.output_dir} "
                f"({error}); make room on the disk, then {self.advice()}"
            ) from error


class LearningRateCallback(TrainerCallback):
    """Gives each group of parameters of a resumed run the learning rate that is asked for now."""

    def __init__(self, rates: list[float]):
        self.rates = rates

    def on_train_begin(self, args, state, control, optimizer=None, lr_scheduler=None, **kwargs):
        """Move the course of each learning rate to where it would be."""
        for number, rate in enumerate(self.rates):
            group = optimizer.param_groups[number]
            if group["initial_lr"] != rate:
                course = group["lr"] / group["initial_lr"] if group["initial_lr"] else 1.0
                group["lr"], group["initial_lr"] = course * rate, rate
                lr_scheduler.base_lrs[number] = rate


def keep_fused(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Let a checkpoint of another kind of device be computed with as this one's are."""
    groups = [
        theirs | ({"fused": ours["fused"]} if "fused" in ours else {})
        for theirs, ours in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    return state | {"param_groups": groups}


def head_names(model: torch.nn.Module) -> set[str]:
    """Return the names of the parameters outside the network that the model builds upon."""
    network = f"{model.base_model_prefix}."
    return {name for name, _ in model.named_parameters() if not name.startswith(network)}


def compute_scores(prediction: EvalPrediction) -> dict[str, float]:
    """Compute accuracy, balanced_accuracy and f1_macro of logits (clips, labels), in [0, 1]."""
    logits, references = map(first_output, (prediction.predictions, prediction.label_ids))
    confusion = confusion_matrix(references, logits.argmax(1), labels=range(logits.shape[1]))
    return dict(zip(SCORES, scores(confusion).tolist(), strict=True))


def first_output(outputs: Any) -> np.ndarray:
    """Return the logits; networks other than ours may give hidden states after them."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def keep_freed_memory() -> None:
    """Ask the C library to keep freed memory for the next step.

    By default glibc gives each large block back to the kernel, which clears it again, page by page:
    on a batch of 64 clips of 3 s that takes about as long as the arithmetic. Without glibc nothing
    happens.
    """
    # Numbers of malloc.h.
    mmap_max, trim_threshold, top_pad = -4, -1, -2
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        for option, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 2**26)):
            library.mallopt(option, value)
