"""Train a network on Dusha, on its sample, or on anyone's own recordings, with the HF Trainer.

Without arguments it trains on a small synthetic corpus that it makes itself. A setup, one of
setups/*.yaml or a file of one's own, holds what differs from the defaults; options come after it.
"""

import os
import sys
from collections.abc import Sequence

# Before PyTorch starts its threads: those that wait for each other must sleep, not spin. Beside
# other programs spinning made a step five times as long; alone it gains nothing measurable.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import datasets
import numpy as np
import transformers
from transformers import EarlyStoppingCallback, PrinterCallback, set_seed

from card_model_dusha import write_report
from checkpoints_dusha import checkpoint_to_resume, remove_checkpoints
from collation_dusha import Clips
from command_line_dusha import WrongUseError, run_program
from configuration_dusha import DushaConfig
from inputs_dusha import compute_inputs, durations
from losses_dusha import ClassificationLoss
from preparation_dusha import DataOptions, hold_out_validation, load_splits, shuffle_labels
from recipe_dusha import RecipeOptions, check_options, make_collators, make_targets
from sampling_dusha import SAMPLERS, read_class_weights
from setup_options_dusha import OneLineParser, describe_setups, find_setup, parse_options
from starting_model_dusha import freeze_blocks, load_starting_model, network_type
from training_arguments_dusha import DushaTrainingArguments
from training_dusha import DushaTrainer
from training_result_dusha import (
    TrainingResult,
    describe_result,
    final_test,
    labelled_clips,
)

EXAMPLES = """examples:
  python train.py
  python train.py setups/crowd_large.yaml --data_dir archives --output_dir runs/crowd_large
  python train.py --train_file clips.csv --test_file test.csv --model_name_or_path dusha-model
"""


def read_options(
    arguments: Sequence[str],
) -> tuple[DataOptions, RecipeOptions, DushaTrainingArguments]:
    """Read the options of a command line, of its setup first.

    Args:
        arguments: without the program's name.

    Returns:
        Options of data, recipe and Trainer.

    Raises:
        WrongUseError: if an option or setup is wrong.
    """
    parser = OneLineParser(
        (DataOptions, RecipeOptions, DushaTrainingArguments),
        description=__doc__,
        epilog=EXAMPLES,
        usage="%(prog)s [SETUP] [--option value ...]",
    )
    arguments = list(arguments)
    setup = None
    if arguments and not arguments[0].startswith("-"):
        setup = find_setup(arguments.pop(0))
    elif not any(one.split("=")[0] in ("--dataset", "--train_file") for one in arguments):
        setup = find_setup("sample")
    return parse_options(parser, setup, arguments)


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


def main() -> None:
    """Read the options, train, test once, and say what was found."""
    data, recipe, arguments = read_options(sys.argv[1:])
    if recipe.list_setups:
        print(describe_setups())
        return
    set_up_logging(recipe, arguments)
    result = train(data, recipe, arguments)
    if arguments.should_log:
        print(describe_result(result))


if __name__ == "__main__":
    run_program(main)
