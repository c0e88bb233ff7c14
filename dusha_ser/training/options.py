"""All options of training: of the data, the recipe and the run; the `help` of each describes it.

Nothing heavy is imported here, so that a wrong option is refused at once. The names, types and
defaults of the Trainer's other options are read from the source of Transformers.
"""

import ast
import dataclasses
import difflib
import importlib.util
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, cast

from dusha_ser.corpus.configurations import CONFIGURATIONS, RAW
from dusha_ser.corpus.options import LabelOptions, OwnAnswerOptions, SourceOptions
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.inference.settings import check_model_folder
from dusha_ser.options import (
    is_hub_name,
    option,
    overwrite,
    read_label_map,
    split_list,
    trust_remote_code,
)
from dusha_ser.training.backbone_options import BackboneOptions, check_backbone
from dusha_ser.training.prior_options import PriorOptions
from dusha_ser.training.teacher_options import TeacherOptions
from dusha_ser.training.waveform_options import WaveformOptions

SAMPLE = "sample"
# The setup that is written beside a model and repeats its run.
OPTIONS_FILE = "options.yaml"
TRAINABLE = tuple(name for name in CONFIGURATIONS if name != RAW)
DATASETS = (
    f"give {SAMPLE}, a configuration of the corpus ({', '.join(CONFIGURATIONS)}), a dataset "
    "folder, or a name on the Hub (USER/NAME)"
)
RECORDINGS = (
    "a table with the columns path,label[,speaker], or a folder that holds a folder for each label"
)
LAST, AUTO = "last", "auto"
# Types of values that a setup file holds.
PLAIN = (str, int, float, dict, list)
SAMPLERS = ("every_clip", "published")
PLACES = ("auto", "device", "host", "disk")
FEATURE_TYPES = ("float16", "float32")
# Those of `dusha_ser.evaluation.ser.ser`, whose import takes seconds.
SCORES = ("accuracy", "balanced_accuracy", "f1_macro")


@dataclass
class DataOptions(OwnAnswerOptions, LabelOptions, SourceOptions):
    """What to train and test on, own recordings in place of a data set where they are given."""

    option_group: ClassVar[str] = "data"

    dataset: str = option(
        f"{SAMPLE} (a small synthetic corpus), a configuration of the corpus "
        f"({', '.join(TRAINABLE)}), a dataset folder, or a name on the Hub",
        SAMPLE,
    )
    configuration: str | None = option("configuration of a dataset folder or Hub name", None)
    train_file: str | None = option(
        f"own recordings: {RECORDINGS}",
        None,
    )
    validation_file: str | None = option("own recordings to choose the best epoch on", None)
    test_file: str | None = option("own recordings to test on, once, at the end", None)
    validation: float = option(
        "share of the training clips to choose the best epoch on, by whole speakers; 0: train on "
        "all clips and take the last epoch",
        0.1,
        least=0,
        below=1,
    )
    shuffle_labels: bool = option(
        "train on shuffled labels: the result must be chance (a check)", False, rare=True
    )

    @property
    def name(self) -> str:
        """The data in a few words."""
        return Path(self.train_file).name if self.train_file else self.dataset

    @property
    def shown_name(self) -> str:
        """The name for others to read, without the folders of somebody's disk."""
        return Path(self.name).name if Path(self.name).exists() else self.name

    def check(self) -> None:
        """Raise a WrongUseError where values do not fit."""
        check_ranges(self)
        read_label_map(self.label_map)
        for name in ("validation_file", "test_file"):
            if getattr(self, name) and not self.train_file:
                raise WrongUseError(f"`{name}` is for own recordings, and `train_file` is missing")

    def check_names(self) -> None:
        """Raise a MissingInputError where files are named that do not exist."""
        recordings = f"give {RECORDINGS}"
        wanted = dict.fromkeys(("train_file", "validation_file", "test_file"), recordings)
        others = {
            "answers_file": "give a table with the columns path,annotator,answer",
            "data_dir": "name the folder of the corpus' archives",
        }
        for name, advice in (wanted | others).items():
            path = getattr(self, name)
            if path and not Path(path).exists():
                raise MissingInputError(f"`{name}` is {path}, which does not exist: {advice}")
        known = (SAMPLE, *CONFIGURATIONS)
        name = self.dataset
        named = name in known or Path(name).exists() or is_hub_name(name)
        if not self.train_file and not named:
            near = difflib.get_close_matches(name, known, n=1)
            advice = f"did you mean {near[0]}? Else {DATASETS}" if near else DATASETS
            raise MissingInputError(f"there is no data set {name!r}: {advice}")


@dataclass
class RecipeOptions(TeacherOptions, WaveformOptions, PriorOptions, BackboneOptions):
    """How the model learns: where it starts, and sampling, loss and augmentation."""

    option_group: ClassVar[str] = "recipe"

    model_name_or_path: str | None = option(
        "model folder or Hub name to start from, of any network for audio classification "
        "(default: Dusha's network with random weights)",
        None,
    )
    trust_remote_code: bool = trust_remote_code()
    frozen_blocks: int = option(
        "keep the first convolution and this many of the 15 blocks behind it as "
        "--model_name_or_path has them, which takes less time and data",
        0,
        least=0,
    )
    sampler: str = option(
        "every_clip: each once per epoch, in batches of similar length; published: clips near "
        "drawn lengths, with replacement",
        "every_clip",
        choices=SAMPLERS,
    )
    class_weights: str | dict[str, float] | None = option(
        "angry=10,sad=20,... or balanced: weights of the classes", None
    )
    class_weights_in: str = option(
        "sampling: draw clips in proportion to the class weights; loss: weigh clips in the loss",
        "sampling",
        choices=("sampling", "loss"),
        rare=True,
    )
    loss: str = option(
        "hard: one label per clip; soft: the crowd's probabilities; answers: each answer, by how "
        "its annotator confuses labels; multi: all labels that are probable enough",
        "hard",
        choices=("hard", "soft", "answers", "multi"),
    )
    label_smoothing: float = option(
        "share of the target spread over the classes, 0 to 1", 0.0, least=0, below=1
    )
    multi_threshold: float = option(
        "least probability of each label of --loss multi", 0.3, least=0, below=1, rare=True
    )
    posterior_weights: bool = option(
        "weigh clips in the loss by their label's probability", False, rare=True
    )
    frequency_mask: int = option("widest mask over Mel bands; 0: none", 16, least=0)
    time_mask: int = option("widest mask over frames; 0: none", 40, least=0)
    crop: int = option("cut off fewer frames than this; 0: none", 40, least=0, rare=True)
    longest: int = option(
        "cut longer training clips to this many frames, at random; 0: never", 0, least=0, rare=True
    )
    stretch: float = option(
        "stretch time and Mel axis by up to this share, as other tempos and vocal tracts would, "
        "such as 0.1; 0: never",
        0.0,
        least=0,
        below=1,
        rare=True,
    )
    equal_lengths: bool = option(
        "cut the clips of a batch to its shortest, at random places, so that nothing is padded: "
        "about twice as fast",
        False,
    )
    trim_silence: float | None = option(
        "cut off what is this many dB below the clip's loudest point at both of its ends, in "
        "training and use (default: as the model that training starts from)",
        None,
        rare=True,
    )
    calibrate: bool = option(
        "fit a temperature to the validation clips at the end, so that predictions are as often "
        "right as their probabilities say (Dusha's network)",
        True,
        rare=True,
    )
    frequency_warp: float | None = option(
        "predict the mean over a clip as it is and with frequencies this share higher and lower, "
        "as of other vocal tracts, such as 0.12, which takes three times as long (Dusha's network; "
        "default: as the model that training starts from)",
        None,
        rare=True,
        least=0,
        below=1,
    )
    pad_to_multiple_of: int = option(
        "frames that the length of a batch is a multiple of; larger ones spare a compiled model "
        "new shapes",
        1,
        rare=True,
        least=1,
    )
    published_quirks: bool = option(
        "do as the published code did: padding and masks of 0 dB, the loudest value, seen by the "
        "network, and the best epoch chosen on the test set",
        False,
        rare=True,
    )

    @property
    def start(self) -> str | None:
        """What training starts from, a folder or Hub name; None: Dusha's network, random."""
        return self.backbone or self.model_name_or_path

    def check(self) -> None:
        """Raise a WrongUseError where values do not fit."""
        check_ranges(self)
        check_backbone(self)
        if self.frozen_blocks and self.model_name_or_path is None:
            raise WrongUseError(
                "`frozen_blocks` keeps blocks of a trained model: name one by "
                "`model_name_or_path`, or take 0"
            )
        if self.trim_silence is not None and not self.trim_silence > 0:
            raise WrongUseError(f"`trim_silence` is {self.trim_silence} dB: take more than 0")
        self.check_waveforms()
        self.check_teachers(self.loss)
        self.check_prior(self.loss, bool(self.class_weights), self.is_taught)

    def check_names(self) -> None:
        """Raise a WrongUseError where what is named cannot be a model."""
        if self.start is not None:
            check_model_folder(self.start)
        self.check_teacher_names()


@dataclass
class RunOptions:
    """How the Trainer runs: its options that most people use, with the published values, and ours.

    With mixup (Zhang et al. 2018) clips are mixed in pairs; where the weights are averaged, the
    average is evaluated and saved.
    """

    option_group: ClassVar[str] = "run"

    output_dir: str = option("folder for the model", "model")
    overwrite: bool = overwrite()
    num_train_epochs: float = option("times that the clips are seen", 100)
    max_steps: int = option("steps to train, in place of epochs; -1: by epochs", -1, rare=True)
    min_steps: int = option(
        "least number of steps: few clips are seen in more epochs; 0: by epochs alone",
        0,
        rare=True,
        least=0,
    )
    per_device_train_batch_size: int = option("clips per step on each device", 64, least=1)
    per_device_eval_batch_size: int | None = option(
        "clips classified at once (default: 256 on a GPU where padding changes no prediction, "
        "otherwise one by one as published)",
        None,
        rare=True,
        least=1,
    )
    few_lengths: bool | None = option(
        "pad batches to a few lengths that are chosen from the clips', by less than 8 percent, so "
        "that a GPU or a compiled model sees few shapes (default: on a GPU)",
        None,
        rare=True,
    )
    features_in: str = option(
        "hold all features in the memory of the device that trains, of the host, or read them "
        "from the disk; auto: the first of these with room for them, on a CPU the disk",
        "auto",
        rare=True,
        choices=PLACES,
    )
    features_type: str = option(
        "type of features held in memory; float16 rounds them by up to 0.03 dB",
        "float16",
        rare=True,
        choices=FEATURE_TYPES,
    )
    gradient_accumulation_steps: int = option("batches per step", 1, rare=True, least=1)
    learning_rate: float = option("learning rate of the optimizer", 1e-3, least=0)
    lr_scheduler_type: str = option("course of the learning rate, such as cosine", "constant")
    warmup_steps: float = option(
        "steps in which the learning rate rises; below 1: their share", 0, rare=True
    )
    optimizer: str = option(
        "adam: weight decay is added to the gradient, as published; trainer: --optim",
        "adam",
        choices=("adam", "trainer"),
        rare=True,
    )
    optim: str = option("optimizer of --optimizer trainer", "adamw_torch_fused", rare=True)
    head_learning_rate: float | None = option(
        "learning rate of the classifier, if another", None, rare=True
    )
    weight_decay: float = option("L2 weight decay", 1e-6, least=0, rare=True)
    max_grad_norm: float = option(
        "longest gradient, above which it is clipped; 0: none", 0.0, rare=True
    )
    mixup: float = option("parameter of mixup's beta distribution; 0: no mixup", 0.0, least=0)
    average_decay: float = option(
        "decay per step of a moving average of the weights; 0: no average", 0.0, least=0, below=1
    )
    patience: int = option(
        "stop after this many epochs without a better score; 0: never", 0, least=0
    )
    metric_for_best_model: str = option(
        f"score by which the best epoch is chosen: {', '.join(SCORES)} or loss",
        "f1_macro",
        rare=True,
    )
    load_best_model_at_end: bool = option("take the best epoch, not the last", True, rare=True)
    eval_strategy: str = option("when to evaluate: epoch, steps or no", "epoch", rare=True)
    save_strategy: str = option(
        "when to keep a checkpoint: epoch, steps, best or no", "epoch", rare=True
    )
    logging_strategy: str = option("when to log the loss: epoch, steps or no", "epoch", rare=True)
    save_total_limit: int | None = option(
        "checkpoints to keep, the best one always among them", 2, rare=True
    )
    keep_checkpoints: bool = option(
        "keep the checkpoints of a run that ended, to train it longer", False, rare=True
    )
    resume_from_checkpoint: str | None = option(
        f"resume from a checkpoint: its folder, {LAST} (of output_dir), or {AUTO} (the last one "
        "if there is one)",
        None,
    )
    seed: int = option("seed of all random choices", 42)
    bf16: bool | None = option(
        "compute in bfloat16 (default: on a GPU that has it, unless --fp16 is given)", None
    )
    torch_compile: bool | None = option(
        "compile the network, once for batches of all lengths, which takes minutes (default: "
        "Dusha's network on a GPU, for at least 5,000 steps, where a C compiler is installed)",
        None,
        rare=True,
    )
    cudnn_benchmark: bool = option(
        "let cuDNN time its kernels for each new shape of a batch and take the fastest (CUDA); "
        "runs are no longer repeated to the last bit",
        False,
        rare=True,
    )
    channels_last: bool = option(
        "keep channels innermost in memory, which is faster", True, rare=True
    )
    keep_memory: bool = option(
        "reuse freed memory instead of giving it back (Linux, CPU)", True, rare=True
    )
    report_to: tuple[str, ...] = option(
        "trackers that get the curves: tensorboard (a folder in output_dir, see it with "
        "tensorboard --logdir) or trackio, both on this machine, or any other of the Trainer's "
        "(default: none)",
        (),
        type=split_list,
    )
    push_to_hub: bool = option("push the model to the Hub", False)
    hub_model_id: str | None = option("name of the model on the Hub, USER/NAME", None)
    hub_strategy: str = option("when to push to the Hub", "end", rare=True)
    quiet: bool = option("show no progress, results only", False)

    def check(self) -> None:
        """Raise a WrongUseError where values do not fit."""
        check_ranges(self)
        if self.num_train_epochs <= 0 and self.max_steps <= 0:
            raise WrongUseError(
                "`num_train_epochs` is 0 and `max_steps` too: nothing would be learnt"
            )
        chosen_by = self.metric_for_best_model or "loss"
        if chosen_by.removeprefix("eval_") not in (*SCORES, "loss"):
            raise WrongUseError(
                f"`metric_for_best_model` is {chosen_by!r}: take {', '.join(SCORES)} or loss"
            )


def check_ranges(options: Any) -> None:
    """Raise a WrongUseError unless all values are within `least` and `below` of their fields."""
    for one in dataclasses.fields(options):
        least, below = one.metadata.get("least"), one.metadata.get("below", math.inf)
        value = getattr(options, one.name)
        if least is not None and value is not None and not least <= value < below:
            allowed = f"{least} to below {below}" if below < math.inf else f"at least {least}"
            raise WrongUseError(f"`{one.name}` is {value}: take {allowed}")


def changed_options(options: Sequence[Any], left_out: Sequence[str]) -> dict[str, Any]:
    """Collect what differs from the defaults, as a setup file and JSON can hold it.

    Args:
        options: dataclasses.
        left_out: names of options that do not count.

    Returns:
        Values by name.
    """
    changed = {}
    for group in options:
        for one in dataclasses.fields(group):
            default = one.default
            if one.default_factory is not dataclasses.MISSING:
                default = one.default_factory()
            value, default = (
                plain.value if isinstance(plain, Enum) else plain
                for plain in (getattr(group, one.name), default)
            )
            if value == default or not one.init or one.name in left_out:
                continue
            value = list(value) if isinstance(value, tuple) else value
            if default is not dataclasses.MISSING and isinstance(value, PLAIN):
                changed[one.name] = value
    return changed


def trainer_fields() -> Iterator[tuple[str, Any, dataclasses.Field]]:
    """Read the Trainer's options that are not in RunOptions from the source of Transformers.

    Yields:
        Name, type and field, with its default and help, of each.
    """
    package = importlib.util.find_spec("transformers")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("training needs transformers", name="transformers")
    source = Path(package.origin).with_name("training_args.py").read_text("utf-8")
    known = {one.name for one in dataclasses.fields(RunOptions)}
    # Only the fields: to parse the whole module takes three times as long.
    _, _, fields_on = source.partition("\nclass TrainingArguments:\n")
    statements = ast.parse("class Fields:\n" + fields_on.partition("\n    def ")[0]).body
    for statement in cast(ast.ClassDef, statements[0]).body:
        if not (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(statement.value, ast.Call)
            and statement.target.id not in known
        ):
            continue
        arguments = {one.arg: one.value for one in statement.value.keywords}
        default = ast.literal_eval(arguments["default"]) if "default" in arguments else []
        # The text behind "help", the first key.
        described = ast.walk(cast(ast.Dict, arguments["metadata"]).values[0])
        text = next(str(one.value) for one in described if isinstance(one, ast.Constant))
        kind = option_type(statement.annotation)
        settings: dict[str, Any] = {"rare": True, "group": "options of the Trainer"}
        settings |= {"type": json.loads} if kind is dict else {}
        settings |= {"nargs": "+"} if kind == list[str] else {}
        yield statement.target.id, kind, option(text.replace("%", "%%"), default, **settings)


def option_type(annotation: ast.expr) -> Any:
    """Return the type that the text of an option becomes: str if the Trainer makes more of it."""
    kinds = ast.unparse(annotation).split(" | ")
    if "str" in kinds:
        return str
    simple = {"bool": bool, "int": int, "float": float, "list[str]": list[str]}
    mapping = dict if any(kind.startswith("dict") for kind in kinds) else str
    return next((simple[kind] for kind in kinds if kind in simple), mapping)


# RunOptions and all other options of the Trainer.
TrainerOptions: type[RunOptions] = dataclasses.make_dataclass(
    "TrainerOptions", trainer_fields(), bases=(RunOptions,), namespace={"__module__": __name__}
)
