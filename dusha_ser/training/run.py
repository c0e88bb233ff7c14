"""One training run, from options to a tested model."""

import copy
import dataclasses
import math
import os
import time
from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import transformers
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, set_seed

from configuration_dusha import DushaConfig
from dusha_ser.errors import WrongUseError
from dusha_ser.inference.class_prior import assume_prior
from dusha_ser.inference.subnormals import count_dead_channels, flush_subnormals
from dusha_ser.tables import screen_table
from dusha_ser.training.arguments import EVALUATED_AT_ONCE, DushaTrainingArguments
from dusha_ser.training.batch_lengths import STEP, choose_lengths
from dusha_ser.training.batches import (
    ClipDataset,
    SpectrogramCollator,
    filling,
    make_collators,
)
from dusha_ser.training.batches_ahead import plan_ahead
from dusha_ser.training.checkpoints import (
    checkpoint_to_resume,
    refuse_to_push_teacher,
    remove_checkpoints,
)
from dusha_ser.training.features import durations
from dusha_ser.training.losses import (
    ClassificationLoss,
    Mixup,
    TeacherLoss,
    adjust_logits,
    learnt_prior,
    training_prior,
)
from dusha_ser.training.model_card import write_report
from dusha_ser.training.options import SCORES, DataOptions, RecipeOptions
from dusha_ser.training.origins import Origins, base_origin, data_origin, teacher_origins
from dusha_ser.training.preparation import Preparation, prepare
from dusha_ser.training.result import (
    TrainingResult,
    calibrate,
    final_test,
    settle_prior,
    tell_of_learnt,
)
from dusha_ser.training.sampling import SAMPLERS, read_class_weights
from dusha_ser.training.targets import class_shares, make_targets, make_teacher_targets
from dusha_ser.training.teachers import describe_teachers
from dusha_ser.training.trainer import DushaTrainer

# As in `dusha_ser.cli.main`, for those who train from Python.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# On an H200 the first step of a compiled network took over two minutes (`benchmarks.gpu`), in which
# thousands of steps are done without.
FEWEST_COMPILED_STEPS = 5000


def train(
    data: DataOptions,
    recipe: RecipeOptions,
    arguments: DushaTrainingArguments,
    splits: dict[str, datasets.Dataset] | None = None,
    tell: Callable[[str], object] | None = None,
    named: bool = False,
) -> TrainingResult:
    """Train a model and test it once.

    Args:
        data: what to train on.
        recipe: how.
        arguments: of the Trainer.
        splits: train and, if wanted, validation and test, in place of those that `data` names;
            columns as of the corpus.
        tell: called with a line at the start, one on a classifier that gets other labels, and one
            per epoch where there are no bars.
        named: whether the splits are those that `data` names, read before.

    Returns:
        Predictions, metrics and where the model is.

    Raises:
        WrongUseError: if the options do not fit each other or the data, or the output folder holds
            a finished model or other things.
        WorkFailedError: if the loss is NaN or infinite, or the disk is full.
    """
    flush_subnormals()
    for options in (data, recipe, arguments):
        options.check()
    if recipe.loss == "answers" and arguments.mixup:
        raise WrongUseError(
            "`mixup` mixes the labels of clips, and with `loss=answers` a clip has none: take "
            "`mixup=0`, or `loss=soft`"
        )
    refuse_to_push_teacher(
        arguments.output_dir, arguments.push_to_hub, recipe.teacher_backbone is not None
    )
    checkpoint = checkpoint_to_resume(arguments, recipe.start)
    if arguments.should_save:
        # A finished model stays until the new one is complete.
        others = arguments.overwrite and checkpoint is None
        remove_checkpoints(arguments.output_dir, incomplete_only=not others)
    prepared, trainer, held = start(data, recipe, arguments, splits, tell)
    learnt_from = data_origin(data, prepared.splits, splits is not None and not named)
    origins = Origins(learnt_from, base_origin(recipe), teacher_origins(recipe))
    if tell:
        tell(describe_data(data.name, prepared.splits, arguments.output_dir))
        if taught := describe_teachers(recipe):
            tell(taught.replace("It also learnt", "also learning", 1))
        if dead := count_dead_channels(prepared.model):
            tell(f"{dead} channels of the starting model are dead, and stay so")
        if held:
            tell(held)
        if arguments.disable_tqdm:
            trainer.add_callback(EpochLines(tell))
    trainer.train(resume_from_checkpoint=checkpoint)
    calibration = calibrate(trainer, prepared) if recipe.calibrate else None
    settle_prior(prepared, recipe)
    result = final_test(trainer, prepared, calibration)
    if prepared.backbone:
        result = dataclasses.replace(result, told=tell_of_learnt(prepared))
        prepared.backbone.restore()
    if trainer.is_world_process_zero():
        write_report(trainer, result, (data, recipe, arguments), prepared.splits, origins)
    trainer.save_model(_internal_call=True)
    if arguments.push_to_hub:
        trainer.push_to_hub()
    if arguments.should_save and not arguments.keep_checkpoints:
        remove_checkpoints(arguments.output_dir)
    return result


def start(
    data: DataOptions,
    recipe: RecipeOptions,
    arguments: DushaTrainingArguments,
    splits: dict[str, datasets.Dataset] | None = None,
    tell: Callable[[str], object] | None = None,
) -> tuple[Preparation, DushaTrainer, str]:
    """Read the clips and put all of a run together; arguments as of `train`.

    Returns:
        Clips and model, the trainer, and where features are held, in words.
    """
    # One process speaks, and libraries show bars only where the Trainer does.
    if arguments.quiet or not arguments.should_log:
        transformers.logging.set_verbosity_error()
    if arguments.disable_tqdm or not arguments.should_log:
        datasets.disable_progress_bars()
        transformers.logging.disable_progress_bar()
    set_seed(arguments.seed)
    with arguments.main_process_first(desc="preparing the data"):
        prepared = prepare(data, recipe, arguments, splits, tell)
    check_prior(prepared, recipe)
    held = prepared.hold(arguments, filling(recipe))
    return prepared, make_trainer(prepared, recipe, arguments), held


def check_prior(prepared: Preparation, recipe: RecipeOptions) -> None:
    """Raise a WrongUseError now where `prior` could not be assumed at the end."""
    if recipe.prior is not None:
        config = copy.deepcopy(prepared.model.config)
        config.class_prior = [1 / len(prepared.order)] * len(prepared.order)
        assume_prior(config, recipe.prior)


def describe_data(name: str, splits: dict[str, datasets.Dataset], output_dir: str) -> str:
    """Say in lines what is trained on: clips per split and class, and where the model goes."""
    labels = splits["train"].features["label"].names
    table = [["split", "clips", *labels]]
    for split, rows in splits.items():
        counts = np.bincount(rows["label"], minlength=len(labels)).tolist()
        table.append([split, f"{len(rows):,}", *(f"{count:,}" for count in counts)])
    counted = ", ".join(f"{len(rows):,} {split} clips" for split, rows in splits.items())
    return f"training on {name}: {counted}\n\n{screen_table(table)}\nmodel: {output_dir}"


def make_trainer(
    prepared: Preparation, recipe: RecipeOptions, arguments: DushaTrainingArguments
) -> DushaTrainer:
    """Put model, clips, batches and loss together."""
    # One option of two names. The Trainer would end with a traceback.
    asked_for = ("activation_checkpointing", "gradient_checkpointing")
    recomputes = any(getattr(arguments, name, None) for name in asked_for)
    if recomputes and not prepared.model.supports_gradient_checkpointing:
        raise WrongUseError(
            f"`gradient_checkpointing` is not possible with {prepared.model.config.model_type}, "
            "whose layers cannot be computed again: leave it out"
        )
    rows, order = prepared.all_rows("train"), prepared.order
    shares = class_shares(rows, recipe)
    class_weights = read_class_weights(recipe.class_weights, prepared.labels, shares.sum(0))
    targets = make_targets(rows, order, recipe)
    draw_weights = loss_weights = None
    if class_weights is not None and recipe.class_weights_in == "sampling":
        draw_weights = shares @ class_weights
    elif class_weights is not None:
        loss_weights = class_weights[np.argsort(order)]
    adjustment = None
    if recipe.loss != "multi":
        labelled = slice(len(rows) - prepared.unlabelled)
        learnt = shares[labelled], targets[1][labelled], class_weights
        prior = training_prior(*learnt, recipe.label_smoothing)[np.argsort(order)]
        prepared.class_prior = learnt_prior(prior, recipe.logit_adjustment)
        if recipe.logit_adjustment:
            adjustment = adjust_logits(prior, recipe.logit_adjustment)
    train_collator, eval_collator = make_collators(prepared.model, prepared.extractor, recipe)
    arguments = fitted(arguments, prepared, recipe)
    if arguments.pads_to_few_lengths:
        step = math.lcm(STEP, recipe.pad_to_multiple_of)
        lengths = choose_lengths(prepared.lengths("train"), step)
        train_collator, eval_collator = (
            dataclasses.replace(one, lengths=lengths)
            if isinstance(one, SpectrogramCollator)
            else one
            for one in (train_collator, eval_collator)
        )
    held = prepared.held.get("train")
    teacher_loss, taught = None, {}
    if recipe.is_taught:
        teacher_loss = TeacherLoss(recipe.teacher_weight, recipe.teacher_temperature)
        taught = make_teacher_targets(rows, order, prepared.unlabelled, teacher_loss)
    training: tuple[Any, Any, Any] = (
        ClipDataset(rows, prepared.column, *targets, held, taught),
        SAMPLERS[recipe.sampler](
            durations(rows, prepared.column),
            draw_weights,
            batch_size=arguments.train_batch_size * arguments.world_size,
            seed=arguments.data_seed if arguments.data_seed is not None else arguments.seed,
            process_count=arguments.world_size,
        ),
        dataclasses.replace(
            train_collator,
            mixup=Mixup(arguments.mixup, len(order)) if arguments.mixup else None,
            process_count=arguments.world_size,
            process_index=arguments.process_index,
        ),
    )
    if held and held.frames.device.type == "cpu":
        # To copy clips out of the host's memory takes time.
        training = plan_ahead(*training, arguments.device)
    train_dataset, train_sampler, train_collator = training
    trainer = DushaTrainer(
        model=prepared.model,
        args=arguments,
        train_dataset=train_dataset,
        eval_dataset=prepared.longest_first("validation"),
        train_sampler=train_sampler,
        train_collator=train_collator,
        data_collator=eval_collator,
        processing_class=prepared.extractor,
        classification_loss=ClassificationLoss(
            recipe.loss, recipe.label_smoothing, loss_weights, adjustment
        ),
        teacher_loss=teacher_loss,
    )
    # It prints each line of the log where there are no bars.
    trainer.remove_callback(PrinterCallback)
    if arguments.patience and "validation" in prepared.splits:
        trainer.add_callback(EarlyStoppingCallback(arguments.patience))
    return trainer


def steps_ahead(arguments: DushaTrainingArguments, clips: int) -> int:
    """Return how many steps a training on a number of clips takes, at least."""
    if arguments.max_steps > 0:
        return arguments.max_steps
    return max(epoch_steps(arguments, clips), arguments.min_steps)


def epoch_steps(arguments: DushaTrainingArguments, clips: int) -> int:
    """Return how many steps the epochs take that are asked for."""
    together = arguments.train_batch_size * arguments.world_size
    batches = math.ceil(clips / together)
    steps = math.ceil(batches / arguments.gradient_accumulation_steps)
    return math.ceil(steps * arguments.num_train_epochs)


def epochs_ahead(arguments: DushaTrainingArguments, clips: int) -> float:
    """Return how many epochs on a number of clips are at least `min_steps`, or those asked for."""
    steps = epoch_steps(arguments, clips)
    if arguments.max_steps > 0 or steps >= arguments.min_steps:
        return arguments.num_train_epochs
    return math.ceil(arguments.num_train_epochs * arguments.min_steps / steps)


def fitted(
    arguments: DushaTrainingArguments, prepared: Preparation, recipe: RecipeOptions
) -> DushaTrainingArguments:
    """Return the arguments as the clips, the model and where the features are allow them."""
    changes: dict[str, Any] = {}
    if "validation" not in prepared.splits:
        # Nothing can be evaluated, and the last epoch is taken.
        changes |= {"eval_strategy": "no", "load_best_model_at_end": False}
    is_ours = prepared.model.config.model_type == DushaConfig.model_type
    if arguments.per_device_eval_batch_size is None and prepared.backbone:
        changes["per_device_eval_batch_size"] = EVALUATED_AT_ONCE
    elif arguments.per_device_eval_batch_size is None and (recipe.published_quirks or not is_ours):
        # What is padded would change the predictions.
        changes["per_device_eval_batch_size"] = 1
    epochs = epochs_ahead(arguments, len(prepared.all_rows("train")))
    if epochs != arguments.num_train_epochs:
        changes["num_train_epochs"] = epochs
    few = steps_ahead(arguments, len(prepared.splits["train"])) < FEWEST_COMPILED_STEPS
    if (few or not is_ours) and arguments.given.torch_compile is None:
        # Not every network can be compiled for all lengths at once.
        backend = arguments.given.torch_compile_backend
        changes |= {"torch_compile": False, "torch_compile_backend": backend}
    if prepared.held:
        # Batches are made on the device, of features that other processes lack.
        changes |= dict.fromkeys(("dataloader_pin_memory", "dataloader_persistent_workers"), False)
        changes["dataloader_num_workers"] = 0
    return dataclasses.replace(arguments, **changes) if changes else arguments


class EpochLines(TrainerCallback):
    """Gives a line per epoch: its loss, the scores of its evaluation, and how long it took."""

    def __init__(self, tell: Callable[[str], object]):
        self.tell = tell
        self.loss = ""
        self.started = 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        """Start the clock."""
        self.started = time.monotonic()

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Give the line once its evaluation is done, or its loss is known and none follows."""
        if "loss" in logs:
            self.loss = f"loss {logs['loss']:.3f}"
        names = [name for name in ("loss", *SCORES) if f"eval_{name}" in logs]
        if not names and ("loss" not in logs or args.eval_strategy != "no"):
            return
        scores = ", ".join(f"{name} {logs[f'eval_{name}']:.3f}" for name in names)
        started, self.started = self.started, time.monotonic()
        parts = [self.loss, scores and f"validation {scores}", f"{self.started - started:.0f} s"]
        epoch = f"epoch {state.epoch:.4g} of {state.num_train_epochs}"
        self.tell(f"{epoch}: {'; '.join(filter(None, parts))}")
