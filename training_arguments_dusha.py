"""The arguments of training: those of the HF Trainer with the published values as defaults."""

import os
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments

OPTIMIZERS = ("adam", "trainer")


@dataclass
class DushaTrainingArguments(TrainingArguments):
    """The Trainer's arguments with the published values as defaults, and what it lacks.

    Args:
        output_dir: where the model and all about it is written.
        optimizer: "adam" adds weight decay to the gradient, as published; "trainer" is what
            --optim names (AdamW decouples the two).
        head_learning_rate: of the classifier; None: learning_rate.
        mixup: parameter of the beta distribution of mixup (Zhang et al. 2018); 0: none.
        average_decay: decay a step of the moving average of the weights that is evaluated and
            saved; 0: the weights themselves.
        channels_last: whether convolutions keep channels innermost in memory.
        keep_memory: whether freed memory stays with the program for the next step (Linux).
        keep_checkpoints: whether checkpoints stay when the run has ended well.
        patience: epochs without a better score after which training stops; 0: never.
    """

    output_dir: str = field(default="model", metadata={"help": "folder for the model"})
    per_device_train_batch_size: int = field(
        default=64, metadata={"help": "clips of a step on each device"}
    )
    per_device_eval_batch_size: int = field(
        default=1, metadata={"help": "clips classified at once; one by one as published"}
    )
    num_train_epochs: float = field(default=100, metadata={"help": "times that the clips are seen"})
    learning_rate: float = field(default=1e-3, metadata={"help": "learning rate of Adam"})
    weight_decay: float = field(default=1e-6, metadata={"help": "L2 weight decay"})
    lr_scheduler_type: str = field(
        default="constant", metadata={"help": "course of the learning rate, such as cosine"}
    )
    max_grad_norm: float = field(
        default=0.0, metadata={"help": "longest gradient, above which it is clipped; 0: none"}
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "when to evaluate"})
    save_strategy: str = field(default="epoch", metadata={"help": "when to keep a checkpoint"})
    logging_strategy: str = field(default="epoch", metadata={"help": "when to log the loss"})
    save_total_limit: int | None = field(
        default=2, metadata={"help": "checkpoints that are kept; the best one is always"}
    )
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "take the best epoch, not the last"}
    )
    metric_for_best_model: str | None = field(
        default="f1_macro", metadata={"help": "score by which the best epoch is chosen"}
    )
    report_to: str | None = field(
        default="none",
        metadata={
            "help": "trackers that are told the curves: tensorboard (a folder in output_dir, see "
            "it with tensorboard --logdir) or trackio, both on this machine, or any other of the "
            "Trainer's"
        },
    )
    optimizer: str = field(
        default="adam",
        metadata={
            "help": "adam: weight decay is added to the gradient, as published; trainer: --optim",
            "choices": OPTIMIZERS,
        },
    )
    head_learning_rate: float | None = field(
        default=None, metadata={"help": "learning rate of the classifier, if another"}
    )
    mixup: float = field(
        default=0.0, metadata={"help": "parameter of mixup's beta distribution; 0: no mixup"}
    )
    average_decay: float = field(
        default=0.0,
        metadata={"help": "decay a step of a moving average of the weights; 0: no average"},
    )
    channels_last: bool = field(
        default=True, metadata={"help": "keep channels innermost in memory, which is faster"}
    )
    keep_memory: bool = field(
        default=True, metadata={"help": "reuse freed memory instead of giving it back (Linux, CPU)"}
    )
    hub_strategy: str = field(
        default="end", metadata={"help": "when to push to the Hub, with --push_to_hub"}
    )
    keep_checkpoints: bool = field(
        default=False,
        metadata={"help": "keep the checkpoints of a run that ended; they make it go on longer"},
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": "go on from a checkpoint: its folder, last (of output_dir), or auto (the last "
            "one if there is one)"
        },
    )
    patience: int = field(
        default=0, metadata={"help": "stop after so many epochs without a better score; 0: never"}
    )

    def __post_init__(self):
        if not torch.accelerator.is_available():
            # The Trainer refuses bf16 unless told, and warns of memory that it cannot pin.
            self.use_cpu, self.dataloader_pin_memory = True, False
        if self.save_strategy == "no":
            # Nothing is kept that could be gone back to.
            self.load_best_model_at_end = False
        if self.load_best_model_at_end and self.save_strategy == "steps":
            # The best one is chosen among those that are kept.
            self.eval_strategy, self.eval_steps = self.save_strategy, self.save_steps
        super().__post_init__()
        if self.hub_token:
            # All arguments are kept in training_args.bin, and that is pushed with the model; the
            # Hub's client finds the token here as well.
            os.environ["HF_TOKEN"], self.hub_token = self.hub_token, None
        # Clips brings the columns that the collators and the loss need, beyond the model's own.
        self.remove_unused_columns = False
        self.restore_callback_states_from_checkpoint = True
