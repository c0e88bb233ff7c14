"""How a model learns: the options of a recipe, and what the labels and clips become by them."""

import math
from dataclasses import dataclass, field

import datasets
import numpy as np
from transformers.integrations import get_available_reporting_integrations

from aggregation_dusha import multi_labels
from collation_dusha import (
    PUBLISHED_FILL,
    SILENCE,
    Augmentation,
    ExtractorCollator,
    PictureCollator,
)
from command_line_dusha import WrongUseError
from configuration_dusha import DushaConfig
from losses_dusha import LOSSES
from metrics.ser.ser import SCORES
from sampling_dusha import SAMPLERS
from training_arguments_dusha import DushaTrainingArguments

# The least value of options, and what they stay below.
RECIPE_RANGES = {
    **dict.fromkeys(("label_smoothing", "stretch", "multi_threshold"), (0, 1)),
    **dict.fromkeys(
        ("frozen_blocks", "frequency_mask", "time_mask", "crop", "longest"), (0, math.inf)
    ),
    "pad_to_multiple_of": (1, math.inf),
}
TRAINER_RANGES = {
    "average_decay": (0, 1),
    **dict.fromkeys(("learning_rate", "weight_decay", "mixup", "patience"), (0, math.inf)),
    **dict.fromkeys(
        (
            "per_device_train_batch_size",
            "per_device_eval_batch_size",
            "gradient_accumulation_steps",
        ),
        (1, math.inf),
    ),
}


@dataclass
class RecipeOptions:
    """How the model learns.

    Args:
        model_name_or_path: the model to start from; None: Dusha's network, random weights.
        trust_remote_code: whether code that came with the model may run.
        frozen_blocks: first blocks of the network that stay as they are.
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
        trim_silence: how quiet the ends of clips are that are cut off.
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
    frozen_blocks: int = field(
        default=0,
        metadata={
            "help": "leave the first convolution and so many of the 15 blocks behind it as "
            "--model_name_or_path has them, which takes less time and data; 0: all learns"
        },
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
    trim_silence: float | None = field(
        default=None,
        metadata={
            "help": "cut off what is so many dB quieter than the clip's loudest point at both of "
            "its ends, in training and ever after (default: as the model that training starts "
            "from; Dusha's cuts off nothing)"
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


def check_options(recipe: RecipeOptions, arguments: DushaTrainingArguments) -> None:
    """Refuse options that do not fit each other, before anything is read."""
    if arguments.num_train_epochs <= 0 and arguments.max_steps <= 0:
        raise WrongUseError("num_train_epochs is 0 and max_steps too: nothing would be learnt")
    if recipe.frozen_blocks > 0 and recipe.model_name_or_path is None:
        raise WrongUseError(
            "frozen_blocks leaves blocks as a trained model has them: name one by "
            "--model_name_or_path, or take 0"
        )
    if recipe.trim_silence is not None and recipe.trim_silence <= 0:
        raise WrongUseError(f"trim_silence is {recipe.trim_silence} dB: take more than 0")
    for options, ranges in ((recipe, RECIPE_RANGES), (arguments, TRAINER_RANGES)):
        for name, (lowest, limit) in ranges.items():
            if not lowest <= (value := getattr(options, name)) < limit:
                allowed = f"{lowest} to below {limit}" if limit < math.inf else f"at least {lowest}"
                raise WrongUseError(f"{name} is {value}: take {allowed}")
    chosen_by = arguments.metric_for_best_model or "loss"
    if chosen_by.removeprefix("eval_") not in (*SCORES, "loss"):
        raise WrongUseError(
            f"metric_for_best_model is {chosen_by!r}: take {', '.join(SCORES)} or loss"
        )
    installed = get_available_reporting_integrations()
    for tracker in arguments.report_to:
        if tracker not in installed:
            raise WrongUseError(
                f"--report_to {tracker} is unknown or not installed; installed are "
                f'{", ".join(installed) or "none"}; pip install "dusha-ser[tracking]" brings '
                "tensorboard, pip install trackio brings trackio"
            )


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
