"""One training run, from options to a tested model."""

import os

import datasets
import numpy as np
import transformers
from transformers import EarlyStoppingCallback, PrinterCallback, set_seed

from configuration_dusha import DushaConfig
from dusha_ser.errors import WrongUseError
from dusha_ser.training.batches import Clips, make_collators, make_targets
from dusha_ser.training.checkpoints import checkpoint_to_resume, remove_checkpoints
from dusha_ser.training.features import compute_inputs, durations
from dusha_ser.training.losses import ClassificationLoss
from dusha_ser.training.model_card import write_report
from dusha_ser.training.options import (
    DataOptions,
    DushaTrainingArguments,
    RecipeOptions,
    check_options,
)
from dusha_ser.training.result import TrainingResult, final_test, labelled_clips
from dusha_ser.training.sampling import SAMPLERS, read_class_weights
from dusha_ser.training.splits import hold_out_validation, load_splits, shuffle_labels
from dusha_ser.training.starting_model import freeze_blocks, load_starting_model, network_type
from dusha_ser.training.trainer import DushaTrainer

# Before PyTorch starts its threads: those that wait for each other must sleep, not spin. Beside
# other programs spinning made a step five times as long; alone it gains nothing measurable.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def train(
    data: DataOptions,
    recipe: RecipeOptions,
    arguments: DushaTrainingArguments,
    splits: dict[str, datasets.Dataset] | None = None,
) -> TrainingResult:
    """Train a model and test it once.

    Args:
        data: what to train on.
        recipe: how.
        arguments: of the Trainer.
        splits: train and, if wanted, validation and test, in place of those that `data` names;
            columns as of the corpus.

    Returns:
        Predictions, metrics and where the model lies.

    Raises:
        WrongUseError: if the options do not fit each other or the data.
        WorkFailedError: if the loss is no number, or the disk is full.
    """
    check_options(recipe, arguments)
    checkpoint = checkpoint_to_resume(arguments)
    set_seed(arguments.seed)
    with arguments.main_process_first(desc="preparing the data"):
        model, extractor, splits, column = prepare(data, recipe, splits, arguments.seed)
    trainer = make_trainer(model, extractor, splits, column, data, recipe, arguments)
    trainer.train(resume_from_checkpoint=checkpoint)
    result = final_test(trainer, splits, column)
    if trainer.is_world_process_zero():
        write_report(trainer, result, (data, recipe, arguments), splits)
    trainer.save_model(_internal_call=True)
    if arguments.push_to_hub:
        trainer.push_to_hub()
    if arguments.should_save and not arguments.keep_checkpoints:
        remove_checkpoints(arguments.output_dir)
    return result


def prepare(
    data: DataOptions,
    recipe: RecipeOptions,
    splits: dict[str, datasets.Dataset] | None,
    seed: int,
) -> tuple:
    """Read clips and model, and compute the model's inputs once.

    Args:
        data: what to read.
        recipe: the model to start from, and the choice of the best epoch.
        splits: as of `train`.
        seed: of shuffled labels.

    Returns:
        Model, feature extractor, splits with the column of inputs, and the name of that column.

    Raises:
        WrongUseError: if the data or the model cannot be had.
    """
    network = network_type(recipe.model_name_or_path, recipe.trust_remote_code)
    if splits is None:
        features_only = network == DushaConfig.model_type
        splits = load_splits(data, features_only=features_only, quiet=recipe.quiet)
    model, extractor = load_starting_model(
        recipe.model_name_or_path,
        splits["train"].features["label"].names,
        recipe.published_quirks,
        recipe.loss == "multi",
        recipe.trust_remote_code,
        recipe.trim_silence,
    )
    freeze_blocks(model, recipe.frozen_blocks)
    inputs = {
        split: compute_inputs(rows, extractor, data.cache_dir, data.num_proc, split)
        for split, rows in splits.items()
    }
    column = inputs["train"][1]
    splits = {split: rows for split, (rows, _) in inputs.items()}
    if data.shuffle_labels:
        splits = splits | {"train": shuffle_labels(splits["train"], seed)}
    return model, extractor, choose_validation(splits, data, recipe), column


def choose_validation(
    splits: dict[str, datasets.Dataset], data: DataOptions, recipe: RecipeOptions
) -> dict[str, datasets.Dataset]:
    """Decide on what the best epoch is chosen.

    Args:
        splits: train and, where there is one, test.
        data: the share for validation.
        recipe: whether the test set is to be used, as published.

    Returns:
        The splits, with validation unless the last epoch is taken.

    Raises:
        WrongUseError: if there is no test set to choose on, or train cannot be divided.
    """
    if not recipe.published_quirks:
        return hold_out_validation(splits, data.validation)
    if "test" not in splits:
        raise WrongUseError("--published_quirks chooses on the test set, and there is none")
    return splits | {"validation": splits["test"]}


def make_trainer(
    model,
    extractor,
    splits: dict[str, datasets.Dataset],
    column: str,
    data: DataOptions,
    recipe: RecipeOptions,
    arguments: DushaTrainingArguments,
) -> DushaTrainer:
    """Put model, clips, batches and loss together.

    Args:
        model: to train.
        extractor: of the model.
        splits: with the column of inputs.
        column: its name.
        data: of these options.
        recipe: of these options.
        arguments: of the Trainer; evaluation and the choice of the best epoch are turned off
            where there is no validation.

    Returns:
        A trainer that is ready.
    """
    names = splits["train"].features["label"].names
    order = np.array([model.config.label2id[name] for name in names])
    rows = splits["train"]
    numbers = np.array(rows["label"])
    class_weights = read_class_weights(recipe.class_weights, names, numbers)
    in_sampling = class_weights is not None and recipe.class_weights_in == "sampling"
    targets, clip_weights = make_targets(rows, order, recipe)
    # Collators of every process see a part of each batch.
    sampler = SAMPLERS[recipe.sampler](
        durations(rows, column),
        class_weights[numbers] if in_sampling else None,
        batch_size=arguments.train_batch_size * arguments.world_size,
        seed=arguments.data_seed if arguments.data_seed is not None else arguments.seed,
        process_count=arguments.world_size,
        process_index=arguments.process_index,
    )
    train_collator, eval_collator = make_collators(model, extractor, recipe)
    validation = splits.get("validation")
    if validation is None:
        arguments.eval_strategy, arguments.load_best_model_at_end = "no", False
    in_loss = None
    if class_weights is not None and not in_sampling:
        in_loss = np.empty(len(names))
        in_loss[order] = class_weights
    trainer = DushaTrainer(
        model=model,
        args=arguments,
        train_dataset=Clips(rows, column, targets, clip_weights),
        eval_dataset=validation and labelled_clips(validation, column, order),
        train_sampler=sampler,
        train_collator=train_collator,
        data_collator=eval_collator,
        processing_class=extractor,
        classification_loss=ClassificationLoss(recipe.loss, recipe.label_smoothing, in_loss),
    )
    if recipe.quiet:
        # It prints each line of the log where there are no bars.
        trainer.remove_callback(PrinterCallback)
    if arguments.patience and validation is not None:
        trainer.add_callback(EarlyStoppingCallback(arguments.patience))
    return trainer


def set_up_logging(recipe: RecipeOptions, arguments: DushaTrainingArguments) -> None:
    """Let libraries say what users need to know, once, and show bars unless they are not wanted."""
    quiet = recipe.quiet or not arguments.should_log
    arguments.disable_tqdm = quiet or arguments.disable_tqdm
    if quiet:
        datasets.disable_progress_bars()
        transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error() if quiet else None
