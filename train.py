"""Train a network on Dusha, on its sample, or on anyone's own recordings, with the HF Trainer.

Without arguments it trains on a small synthetic corpus that it makes itself. A setup, one of
setups/*.yaml or a file of one's own, holds what differs from the defaults; options come after it.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Before PyTorch starts its threads: those that wait for each other must sleep, not spin. Beside
# other programs spinning made a step five times as long; alone it gains nothing measurable.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import datasets
import numpy as np
import torch
import transformers
from transformers import EarlyStoppingCallback, set_seed

from aggregation_dusha import multi_labels
from card_model_dusha import OPTIONS_FILE, write_report
from checkpoints_dusha import find_checkpoint, remove_checkpoints, remove_incomplete
from collation_dusha import (
    PUBLISHED_FILL,
    SILENCE,
    Augmentation,
    Clips,
    ExtractorCollator,
    PictureCollator,
)
from command_line_dusha import MissingInputError, WrongUseError, run_program
from configuration_dusha import DushaConfig
from inputs_dusha import compute_inputs
from losses_dusha import LOSSES, ClassificationLoss
from predictions_dusha import Predictions, score_predictions
from preparation_dusha import DataOptions, hold_out_validation, load_splits
from results_dusha import confusion_table, results_table, screen_table
from sampling_dusha import SAMPLERS, read_class_weights
from setup_options_dusha import OneLineParser, describe_setups, find_setup, parse_options
from starting_model_dusha import load_starting_model
from training_dusha import DushaTrainer, DushaTrainingArguments

LAST, AUTO = "last", "auto"
EXAMPLES = """examples:
  python train.py
  python train.py setups/crowd_large.yaml --data_dir archives --output_dir runs/crowd_large
  python train.py --train_file clips.csv --test_file test.csv --model_name_or_path dusha-model
"""


@dataclass
class RecipeOptions:
    """How the model learns.

    Args:
        model_name_or_path: the model to start from; None: Dusha's network, random weights.
        trust_remote_code: whether code that came with the model may run.
        sampler: how batches are drawn.
        class_weights: weights of the classes.
        class_weights_in: where these weigh.
        loss: what the labels are.
        label_smoothing: share of the target that is spread over the classes.
        multi_threshold: least probability of each label of --loss multi.
        posterior_weights: whether clips weigh as much as their label is probable.
        frequency_mask: widest mask over Mel bands.
        time_mask: widest mask over frames.
        crop: most frames that are cut off.
        longest: frames that training clips are cut to.
        stretch: share by which time and Mel axis are stretched.
        equal_lengths: whether the clips of a batch are cut to its shortest.
        pad_to_multiple_of: batches are padded to a multiple of so many frames.
        published_quirks: whether to do as the published code did.
        list_setups: whether to list the setups and end.
        quiet: whether to print results only.
    """

    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "model folder or Hub name to start from, of any network for audio "
            "classification (default: Dusha's network with random weights)"
        },
    )
    trust_remote_code: bool = field(
        default=False, metadata={"help": "let code run that came with the model"}
    )
    sampler: str = field(
        default="every_clip",
        metadata={
            "help": "every_clip: each once an epoch, in batches of like length; published: keys "
            "of length, clips near them with replacement",
            "choices": list(SAMPLERS),
        },
    )
    class_weights: str | None = field(
        default=None,
        metadata={"help": "angry=10,sad=20,... or balanced: weights of the classes"},
    )
    class_weights_in: str = field(
        default="sampling",
        metadata={
            "help": "sampling: clips are drawn in proportion to them; loss: they weigh there",
            "choices": ["sampling", "loss"],
        },
    )
    loss: str = field(
        default="hard",
        metadata={
            "help": "hard: one label a clip; soft: the crowd's probabilities; multi: all labels "
            "that are probable enough",
            "choices": LOSSES,
        },
    )
    label_smoothing: float = field(
        default=0.0, metadata={"help": "share of the target spread over the classes, 0 to 1"}
    )
    multi_threshold: float = field(
        default=0.3, metadata={"help": "least probability of each label of --loss multi"}
    )
    posterior_weights: bool = field(
        default=False,
        metadata={"help": "let clips weigh in the loss by the probability of their label"},
    )
    frequency_mask: int = field(
        default=16, metadata={"help": "widest mask over Mel bands; 0: none"}
    )
    time_mask: int = field(default=40, metadata={"help": "widest mask over frames; 0: none"})
    crop: int = field(default=40, metadata={"help": "fewer frames than this are cut off; 0: none"})
    longest: int = field(
        default=0,
        metadata={"help": "frames that longer training clips are cut to, at random; 0: never"},
    )
    stretch: float = field(
        default=0.0,
        metadata={
            "help": "stretch time and Mel axis by up to this share, as other tempos and vocal "
            "tracts would, such as 0.1; 0: never"
        },
    )
    equal_lengths: bool = field(
        default=False,
        metadata={
            "help": "cut the clips of a batch to its shortest, at random places, so that nothing "
            "is padded: about twice as fast"
        },
    )
    pad_to_multiple_of: int = field(
        default=1, metadata={"help": "frames; larger ones spare a compiled model new shapes"}
    )
    published_quirks: bool = field(
        default=False,
        metadata={
            "help": "do as the published code did: padding and masks of 0 dB, which is the "
            "loudest value, seen by the network, and the best epoch chosen on the test set"
        },
    )
    list_setups: bool = field(default=False, metadata={"help": "list the setups and end"})
    quiet: bool = field(default=False, metadata={"help": "no progress bars, results only"})


@dataclass
class TrainingResult:
    """What a run has found.

    Attributes:
        predictions: on the test set, or on the validation set where there is no test set.
        tested_on: "test" or "validation".
        metrics: as `metrics.ser.ser.ser_metrics` gives them, with intervals over speakers.
        best_epoch: epoch of the weights that were kept; None: the last.
        log_history: of the Trainer.
        output_dir: where everything lies.
    """

    predictions: Predictions
    tested_on: str
    metrics: dict
    best_epoch: float | None
    log_history: list[dict]
    output_dir: Path


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
    multi_label = recipe.loss == "multi"
    is_dusha = network_type(recipe) == DushaConfig.model_type
    with arguments.main_process_first(desc="preparing the data"):
        if splits is None:
            splits = load_splits(data, features_only=is_dusha, quiet=recipe.quiet)
        model, extractor = load_starting_model(
            recipe.model_name_or_path,
            splits["train"].features["label"].names,
            recipe.published_quirks,
            multi_label,
            recipe.trust_remote_code,
        )
        inputs = {
            split: compute_inputs(rows, extractor, data.cache_dir, data.num_proc, split)
            for split, rows in splits.items()
        }
    column = inputs["train"][1]
    splits = {split: rows for split, (rows, _) in inputs.items()}
    splits = choose_validation(splits, data, recipe)
    trainer = make_trainer(model, extractor, splits, column, data, recipe, arguments)
    trainer.train(resume_from_checkpoint=checkpoint)
    result = test(trainer, splits, column)
    if trainer.is_world_process_zero():
        write_report(trainer, result, (data, recipe, arguments), splits)
    trainer.save_model(_internal_call=True)
    if arguments.push_to_hub:
        trainer.push_to_hub()
    if arguments.should_save and not arguments.keep_checkpoints:
        remove_checkpoints(arguments.output_dir)
    return result


def check_options(recipe: RecipeOptions, arguments: DushaTrainingArguments) -> None:
    """Refuse options that do not fit each other, before anything is read."""
    if arguments.num_train_epochs <= 0 and arguments.max_steps <= 0:
        raise WrongUseError("num_train_epochs is 0 and max_steps too: nothing would be learnt")
    if not 0 <= recipe.label_smoothing < 1:
        raise WrongUseError(f"label_smoothing is {recipe.label_smoothing}: take 0 to below 1")
    if not 0 <= recipe.stretch < 1:
        raise WrongUseError(f"stretch is {recipe.stretch}: take 0 to below 1")
    if not 0 <= arguments.average_decay < 1:
        raise WrongUseError(f"average_decay is {arguments.average_decay}: take 0 to below 1")


def network_type(recipe: RecipeOptions) -> str:
    """Return the type of the network to train, without loading it."""
    if recipe.model_name_or_path is None:
        return DushaConfig.model_type
    try:
        return transformers.AutoConfig.from_pretrained(
            recipe.model_name_or_path, trust_remote_code=recipe.trust_remote_code
        ).model_type
    except (OSError, ValueError):
        # Loading the model says what is wrong with it.
        return ""


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
    shuffled = np.arange(len(rows))
    if data.shuffle_labels:
        shuffled = np.random.default_rng([arguments.seed, 0]).permutation(len(rows))
    class_weights = read_class_weights(recipe.class_weights, names, numbers)
    in_sampling = class_weights is not None and recipe.class_weights_in == "sampling"
    targets, clip_weights = make_targets(rows, order, recipe)
    # Collators of every process see a part of each batch.
    sampler = SAMPLERS[recipe.sampler](
        durations(rows, column),
        class_weights[numbers[shuffled]] if in_sampling else None,
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
        train_dataset=Clips(rows, column, targets[shuffled], clip_weights[shuffled]),
        eval_dataset=validation and labelled_clips(validation, column, order),
        train_sampler=sampler,
        train_collator=train_collator,
        data_collator=eval_collator,
        processing_class=extractor,
        classification_loss=ClassificationLoss(recipe.loss, recipe.label_smoothing, in_loss),
    )
    if arguments.patience and validation is not None:
        trainer.add_callback(EarlyStoppingCallback(arguments.patience))
    return trainer


def make_targets(
    rows: datasets.Dataset, order: np.ndarray, recipe: RecipeOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the loss compares clips with, and how much each clip weighs.

    Args:
        rows: with label and, where the crowd's probabilities are asked for, these.
        order: the model's number of each class of the rows.
        recipe: the kind of loss.

    Returns:
        Class numbers of the model (clips,) int64, or (clips, labels) float32; weights (clips,).

    Raises:
        WrongUseError: if the rows have no probabilities.
    """
    numbers = np.array(rows["label"])
    weights = np.ones(len(rows), np.float32)
    if recipe.loss == "hard" and not recipe.posterior_weights:
        return order[numbers], weights
    vectors = list(rows["label_probabilities"]) if "label_probabilities" in rows.features else []
    if not vectors or any(vector is None for vector in vectors):
        raise WrongUseError(
            "--loss soft, --loss multi and --posterior_weights need the crowd's probabilities of "
            "each clip (column label_probabilities), which this data set lacks"
        )
    # The last answer, "other", is no class.
    probabilities = np.array(vectors, np.float64)[:, : len(order)]
    if recipe.posterior_weights:
        weights = probabilities[np.arange(len(rows)), numbers].astype(np.float32)
    if recipe.loss == "hard":
        return order[numbers], weights
    if recipe.loss == "multi":
        targets = multi_labels(probabilities, recipe.multi_threshold).astype(np.float32)
    else:
        targets = probabilities / probabilities.sum(1, keepdims=True)
    ordered = np.empty_like(targets, dtype=np.float32)
    ordered[:, order] = targets
    return ordered, weights


def durations(rows: datasets.Dataset, column: str) -> list[float]:
    """Return the length of each clip in seconds; where it is not known, in tens of frames."""
    if "duration" in rows.column_names and None not in (known := list(rows["duration"])):
        return known
    return [len(one[column]) / 100 for one in rows.select_columns([column])]


def labelled_clips(rows: datasets.Dataset, column: str, order: np.ndarray) -> Clips:
    """Return clips with the model's class numbers, for evaluation."""
    return Clips(rows, column, order[np.array(rows["label"])])


def make_collators(model, extractor, recipe: RecipeOptions) -> tuple:
    """Return what makes the batches of training and of evaluation."""
    if model.config.model_type != DushaConfig.model_type:
        collator = ExtractorCollator(extractor)
        return collator, collator
    fill = PUBLISHED_FILL if recipe.published_quirks else SILENCE
    common = {"fill": fill, "mask": not recipe.published_quirks}
    augmentation = Augmentation(
        recipe.frequency_mask,
        recipe.time_mask,
        recipe.crop,
        recipe.longest,
        recipe.stretch,
        fill=fill,
    )
    training = PictureCollator(
        augmentation,
        equal_lengths=recipe.equal_lengths,
        multiple=recipe.pad_to_multiple_of,
        **common,
    )
    return training, PictureCollator(**common)


def checkpoint_to_resume(arguments: DushaTrainingArguments) -> str | None:
    """Find the checkpoint to go on from, and make sure that no other run's work is lost.

    Args:
        arguments: with output_dir and resume_from_checkpoint: a folder, "last", or "auto" for
            the last one if there is one.

    Returns:
        The checkpoint, None to begin anew.

    Raises:
        MissingInputError: if there is no such checkpoint.
        WrongUseError: if the run would begin anew among the checkpoints of another one.
    """
    wanted, folder = arguments.resume_from_checkpoint, arguments.output_dir
    found = find_checkpoint(folder)
    if not wanted and found:
        raise WrongUseError(
            f"{folder} holds {Path(found).name} of a run that did not end: go on with "
            f"--resume_from_checkpoint {LAST}, name another --output_dir, or remove it"
        )
    if arguments.should_save:
        remove_incomplete(folder)
    if not wanted:
        return None
    if wanted not in (LAST, AUTO):
        if not Path(wanted).is_dir():
            raise MissingInputError(
                f"there is no checkpoint {wanted}; give its folder, {LAST} or {AUTO}"
            )
        return wanted
    if found is None and wanted == LAST:
        raise MissingInputError(
            f"{folder} holds no complete checkpoint to go on from: leave "
            "--resume_from_checkpoint out to begin anew"
        )
    return found


def test(trainer: DushaTrainer, splits: dict[str, datasets.Dataset], column: str) -> TrainingResult:
    """Classify the test set, once; where there is none, what is left to look at.

    Args:
        trainer: after training.
        splits: with test, or validation, or else train.
        column: of the inputs.

    Returns:
        What was found.
    """
    tested_on = next(split for split in ("test", "validation", "train") if split in splits)
    rows = splits[tested_on]
    names = rows.features["label"].names
    order = np.array([trainer.model.config.label2id[name] for name in names])
    output = trainer.predict(labelled_clips(rows, column, order), metric_key_prefix=tested_on)
    logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
    logits = torch.from_numpy(logits).double()[:, order]
    if trainer.classification_loss.kind == "multi":
        probabilities = logits.sigmoid() / logits.sigmoid().sum(1, keepdim=True)
    else:
        probabilities = logits.softmax(1)
    speakers = list(rows["source_id"]) if "source_id" in rows.column_names else [None]
    predictions = Predictions(
        labels=tuple(names),
        ids=list(map(str, rows["id"] if "id" in rows.column_names else range(len(rows)))),
        references=np.array(rows["label"]),
        probabilities=probabilities.numpy(),
        speakers=None if None in speakers else speakers,
    )
    state = trainer.state
    best = state.best_global_step if trainer.args.load_best_model_at_end else None
    return TrainingResult(
        predictions=predictions,
        tested_on=tested_on,
        metrics=score_predictions(predictions)["metrics"],
        best_epoch=best and round(best * state.num_train_epochs / state.max_steps, 2),
        log_history=state.log_history,
        output_dir=Path(trainer.args.output_dir),
    )


def describe(result: TrainingResult) -> str:
    """Say what a run has found and what to do with it.

    Args:
        result: of the run.

    Returns:
        A table, the confusion matrix and the next steps, in lines.
    """
    metrics, folder = result.metrics, result.output_dir
    chosen = f"epoch {result.best_epoch:g}" if result.best_epoch else "the last epoch"
    row = {
        "model": chosen,
        "test_set": result.tested_on,
        "scores": metrics,
        "intervals": metrics.get("intervals"),
        "clips": metrics["count"],
        "speakers": metrics.get("group_count"),
        "source": "",
    }
    return "\n".join(
        [
            screen_table(results_table([row])),
            screen_table(confusion_table(metrics)),
            f"Model, card, curves and predictions are in {folder}. Next:",
            f"  python tools/predict.py {folder} recording.wav   classify a recording",
            f"  python train.py --train_file clips.csv --model_name_or_path {folder}   "
            "go on with your own recordings",
            f"  python train.py {folder / OPTIONS_FILE}   train the same again",
        ]
    )


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
        print(describe(result))


if __name__ == "__main__":
    run_program(main)
