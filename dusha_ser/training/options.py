"""All options of training: of the data, the recipe and the Trainer."""

import math
import os
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments
from transformers.integrations import get_available_reporting_integrations

from dusha_ser.corpus.configurations import CONFIGURATIONS, RAW
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.ser.ser import SCORES
from dusha_ser.training.losses import LOSSES
from dusha_ser.training.sampling import SAMPLERS
from dusha_ser.vocabulary import METHODS, THRESHOLD

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


SAMPLE = "sample"


@dataclass
class DataOptions:
    """What to train and test on.

    Args:
        dataset: "sample", a configuration of the corpus, a dataset folder or a name on the Hub.
        configuration: of a dataset folder or Hub name.
        data_dir: folder of the corpus' archives.
        base_url: addresses of the corpus' archives, with commas.
        cache_dir: folder for archives, prepared data and features.
        train_file: own recordings to train on.
        validation_file: own recordings to choose the best epoch on.
        test_file: own recordings to test on.
        path_column: of own tables.
        label_column: of own tables.
        speaker_column: of own tables.
        validation: share of the training clips to choose the best epoch on, by whole speakers.
        method: aggregator of the crowd's answers.
        threshold: least probability of a clip's label.
        golden: whether the known answers of control tasks count as their true labels.
        shuffle_labels: whether to train on labels that mean nothing.
        num_proc: processes that prepare data.
    """

    dataset: str = field(
        default=SAMPLE,
        metadata={
            "help": f"{SAMPLE} (a small synthetic corpus), a configuration of the corpus "
            f"({', '.join(name for name in CONFIGURATIONS if name != RAW)}), a dataset folder, or "
            "a name on the Hub"
        },
    )
    configuration: str | None = field(
        default=None, metadata={"help": "configuration of a dataset folder or Hub name"}
    )
    data_dir: str | None = field(
        default=None, metadata={"help": "folder of the corpus' archives, or of their files"}
    )
    base_url: str | None = field(
        default=None,
        metadata={"help": "addresses to fetch the corpus' archives from, with commas"},
    )
    cache_dir: str | None = field(
        default=None,
        metadata={"help": "folder for archives, prepared data and features (Hugging Face cache)"},
    )
    train_file: str | None = field(
        default=None,
        metadata={
            "help": "own recordings: a table with the columns path,label[,speaker], or a folder "
            "that holds a folder for each label"
        },
    )
    validation_file: str | None = field(
        default=None, metadata={"help": "own recordings to choose the best epoch on"}
    )
    test_file: str | None = field(
        default=None, metadata={"help": "own recordings to test on, once, at the end"}
    )
    path_column: str = field(default="path", metadata={"help": "column of an own table"})
    label_column: str = field(default="label", metadata={"help": "column of an own table"})
    speaker_column: str = field(default="speaker", metadata={"help": "column of an own table"})
    validation: float = field(
        default=0.1,
        metadata={
            "help": "share of the training clips to choose the best epoch on, by whole speakers; "
            "0: all clips are trained on and the last epoch is taken"
        },
    )
    method: str = field(
        default="dawid_skene",
        metadata={"help": "how the crowd's answers become labels", "choices": METHODS},
    )
    threshold: float = field(
        default=THRESHOLD, metadata={"help": "least probability of a clip's label, 0 to 1"}
    )
    golden: bool = field(
        default=False,
        metadata={"help": "take the known answers of control tasks for their true labels"},
    )
    shuffle_labels: bool = field(
        default=False,
        metadata={"help": "train on shuffled labels: the result must be chance (a check)"},
    )
    num_proc: int | None = field(
        default=None, metadata={"help": "processes that prepare data (default: one)"}
    )


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
