"""What a run trains: the model, and the clips with its inputs, validation held out."""

import copy
from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Subset
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    PreTrainedModel,
    SequenceFeatureExtractor,
)

from configuration_dusha import DushaConfig
from dusha_ser.corpus.own_answers import add_answers
from dusha_ser.errors import WrongUseError
from dusha_ser.inference.loading import explained_errors, label_names, set_labels
from dusha_ser.inference.settings import check_model_folder
from dusha_ser.training.arguments import DushaTrainingArguments
from dusha_ser.training.backbones import FrozenBackbone, load_backbone, settle_seconds
from dusha_ser.training.batches import ClipDataset
from dusha_ser.training.features import compute_inputs
from dusha_ser.training.held_features import (
    FEATURE_TYPES,
    HeldFeatures,
    choose_place,
    clip_lengths,
    hold,
    hold_share,
)
from dusha_ser.training.options import DataOptions, RecipeOptions
from dusha_ser.training.splits import (
    hold_out_validation,
    load_splits,
    shuffle_labels,
    sure_clips,
)
from dusha_ser.training.targets import leave_out_uninformative
from dusha_ser.training.teachers import add_teachers, need_audio
from dusha_ser.training.unlabelled import UNLABELLED, join_unlabelled
from dusha_ser.training.waveforms import (
    inputs_with_copies,
    with_copies,
    without_copies,
)
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification, clear_subnormals

# The test set is seen once.
SEEN_OFTEN = ("train", "validation")


@dataclass
class Preparation:
    """A model to train and the clips to do it with.

    Attributes:
        model: to train.
        extractor: of its inputs.
        splits: train and, where there are any, validation and test, with the model's inputs.
        column: that holds the inputs, (frames, mels) or (samples,).
        held: the features of splits that are held in memory.
        trained: train and, behind its clips, their copies and clips without labels; None: there
            are none.
        unlabelled: how many clips without labels there are.
        class_prior: share of each of the model's labels that its logits learn to assume; None
            where a clip may have several labels.
        backbone: the model's encoder, set aside while its classifier is trained on embeddings.
    """

    model: PreTrainedModel
    extractor: SequenceFeatureExtractor
    splits: dict[str, datasets.Dataset]
    column: str
    held: dict[str, HeldFeatures] = field(default_factory=dict)
    trained: datasets.Dataset | None = None
    unlabelled: int = 0
    class_prior: np.ndarray | None = None
    backbone: FrozenBackbone | None = None
    _lengths: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """The names of the clips' classes, in the order of their numbers."""
        return self.splits["train"].features["label"].names

    @property
    def order(self) -> np.ndarray:
        """The model's number of each class of the clips, (classes,)."""
        names = label_names(self.model.config, "the model")
        return np.array([names.index(label) for label in self.labels])

    def all_rows(self, split: str) -> datasets.Dataset:
        """Return the clips of a split, those of train with their copies and unlabelled ones."""
        if split == "train" and self.trained is not None:
            return self.trained
        return self.splits[split]

    def clips(self, split: str) -> ClipDataset | None:
        """Return the clips of a split, in their order, to evaluate on; None: it is missing."""
        rows = self.splits.get(split)
        if rows is None:
            return None
        targets = self.order[np.array(rows["label"])]
        return ClipDataset(rows, self.column, targets, held=self.held.get(split))

    def longest_first(self, split: str) -> Subset | None:
        """Return the clips of a split by their length: batches of neighbours are padded little.

        The indices of the result are the numbers of its clips in the split; None: it is missing.
        """
        clips = self.clips(split)
        if clips is None:
            return None
        lengths = self.lengths(split)[: len(clips)]
        return Subset(clips, np.argsort(-lengths, kind="stable").tolist())

    def lengths(self, split: str) -> np.ndarray:
        """Return the length of each clip of a split and of its copies, (clips,) int64.

        In frames, or in samples.
        """
        if split not in self._lengths:
            self._lengths[split] = clip_lengths(self.all_rows(split), self.column)
        return self._lengths[split]

    def hold(self, arguments: DushaTrainingArguments, fill: float) -> str:
        """Hold the features that are seen in each epoch in memory, where they are wanted and fit.

        Args:
            arguments: with `features_in` and `features_type`.
            fill: value of padding, in dB.

        Returns:
            Where they are, in words.

        Raises:
            WrongUseError: if they do not fit where they are wanted, or are not Dusha's features.
        """
        wanted = arguments.features_in
        if self.model.config.model_type != DushaConfig.model_type:
            if wanted in ("device", "host"):
                raise WrongUseError(
                    f"`features_in={wanted}` is for Dusha's network, and this one is "
                    f"{self.model.config.model_type}: leave it out"
                )
            wanted = "disk"
        if wanted == "auto" and arguments.device.type == "cpu":
            # The system keeps the file in memory as it can, in single precision.
            wanted = "disk"
        splits = [name for name in SEEN_OFTEN if name in self.splits]
        kind = FEATURE_TYPES[arguments.features_type]
        bands = self.model.config.num_mel_bins if wanted != "disk" else 0
        # Processes share the clips that they train on; which they evaluate, Accelerate decides.
        shared = ("train",) if arguments.world_size > 1 else ()
        frames = sum(
            int(self.lengths(name).sum()) // (arguments.world_size if name in shared else 1)
            for name in (splits if bands else ())
        )
        size = frames * bands * kind.itemsize
        place, words = choose_place(wanted, size, arguments.device, arguments.world_size)
        if place is not None:
            for name in splits:
                reader = hold_share if name in shared else hold
                rows, lengths = self.all_rows(name), self.lengths(name)
                held = reader(rows, self.column, lengths, fill, place, kind)
                used_on = arguments.device if place.type == "cpu" else None
                self.held[name] = replace(held, used_on=used_on)
        return words


def prepare(
    data: DataOptions,
    recipe: RecipeOptions,
    arguments: DushaTrainingArguments,
    splits: dict[str, datasets.Dataset] | None = None,
    tell: Callable[[str], object] | None = None,
) -> Preparation:
    """Read clips and model, and compute the model's inputs once.

    Arguments as of `dusha_ser.training.run.train`.

    Raises:
        WrongUseError: if the data or the model cannot be had.
    """
    network = network_type(recipe)
    if splits is None:
        splits = load_splits(
            data,
            features_only=network == DushaConfig.model_type and not need_audio(recipe),
            likelihoods=recipe.loss == "answers",
        )
    if data.answers_file:
        splits = splits | {"train": add_answers(splits["train"], data)}
    splits = add_teachers(splits, data, recipe, tell, arguments.seed)
    labels = splits["train"].features["label"].names
    recipe, backbone = settle_seconds(recipe, splits.values()), None
    model, extractor = load_starting_model(recipe, labels, tell)
    clear_subnormals(model)
    freeze_blocks(model, recipe.frozen_blocks)
    if recipe.trains_head_only:
        backbone = FrozenBackbone(model, recipe, arguments.device)
    ready, kept = {}, (data.cache_dir, data.num_proc)
    ready["train"], column = inputs_with_copies(
        splits["train"], recipe, extractor, arguments, *kept, "train", backbone
    )
    for split, rows in splits.items():
        if split != "train":
            ready[split], _ = compute_inputs(rows, extractor, *kept, split, backbone)
    unlabelled = ready.pop(UNLABELLED, None)
    if data.shuffle_labels:
        ready["train"] = shuffle_labels(ready["train"], arguments.seed)
        if unlabelled is not None:
            unlabelled = shuffle_labels(unlabelled, arguments.seed)
    splits = hold_out_validation(ready, data.validation, recipe.published_quirks)
    if data.keep_unsure and "validation" in splits and "validation" not in ready:
        splits["validation"] = sure_clips(splits["validation"], data.threshold)
    splits["train"] = leave_out_uninformative(splits["train"], recipe)
    trained = None
    if recipe.waveform_copies:
        trained = with_copies(splits["train"], column, recipe.waveform_copies)
        # Validation that was held out has them, too.
        splits = {name: without_copies(rows, column) for name, rows in splits.items()}
    if backbone:
        backbone.set_aside(splits["train"] if trained is None else trained, column)
    prepared = Preparation(model, extractor, splits, column, trained=trained, backbone=backbone)
    if unlabelled is None:
        return prepared
    trained = join_unlabelled(splits["train"] if trained is None else trained, unlabelled)
    return replace(prepared, trained=trained, unlabelled=len(unlabelled))


def network_type(recipe: RecipeOptions) -> str:
    """Return the model_type of the network that training starts from, before it is loaded.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it has no configuration that Transformers knows.
    """
    name = recipe.start
    if name is None:
        return DushaConfig.model_type
    check_model_folder(name)
    with explained_errors(name):
        config = AutoConfig.from_pretrained(name, trust_remote_code=recipe.trust_remote_code)
    return config.model_type


def load_starting_model(
    recipe: RecipeOptions, labels: list[str], tell: Callable[[str], object] | None = None
) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    """Load the model that training starts from, and its feature extractor.

    A model that knows the labels of the data, in any order, keeps its classifier and its order. Of
    one that knows other ones, the classifier keeps the labels that the data have, by their names.

    Args:
        recipe: the model, and how it is trained.
        labels: of the data.
        tell: called with a line on the labels that are kept and those that are new.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it cannot be used.
    """
    name, options = recipe.model_name_or_path, {"trust_remote_code": recipe.trust_remote_code}
    model: Any
    extractor = None
    if recipe.backbone:
        model, extractor = load_backbone(recipe, labels)
    elif name is None:
        config = DushaConfig()
        set_labels(config, labels)
        model = DushaForAudioClassification(config)
    else:
        check_model_folder(name)
        with explained_errors(name):
            model, report = AutoModelForAudioClassification.from_pretrained(
                name, output_loading_info=True, **options
            )
        known = label_names(model.config, name)
        if set(known) != set(labels):
            model = replace_labels(model, known, labels, report["missing_keys"])
            kept = [label for label in labels if label in known]
            new = [label for label in labels if label not in known]
            if tell:
                tell(
                    f"the classifier keeps {', '.join(kept) or 'no label'} of {name}"
                    + (f"; new, with random weights: {', '.join(new)}" if new else "")
                )
    several = "multi" if recipe.loss == "multi" else "single"
    model.config.problem_type = f"{several}_label_classification"
    extractor = extractor or load_extractor(recipe)
    if model.config.model_type == DushaConfig.model_type:
        model.config.use_attention_mask = not recipe.published_quirks
        # The weights that are trained will need another one.
        model.config.temperature = 1.0
        model.config.logit_bias = model.config.class_prior = None
        settle_warp(model.config, recipe.frequency_warp, extractor)
    elif recipe.frequency_warp:
        raise WrongUseError(
            f"`frequency_warp` is for Dusha's network, and {recipe.start} is "
            f"{model.config.model_type}: leave it out, or take 0 where a setup has it"
        )
    return model, extractor


def settle_warp(config: Any, warp: float | None, extractor: Any) -> None:
    """Let a model of Dusha's network know how it warps frequencies, and which ones it hears."""
    if warp is not None:
        config.frequency_warp = warp
    for name in ("min_frequency", "max_frequency"):
        # Another extractor may go with the network, whose bands are then taken to be ours.
        setattr(config, name, getattr(extractor, name, getattr(config, name)))


def replace_labels(
    model: Any, known: list[str], labels: list[str], random: Container[str] = ()
) -> PreTrainedModel:
    """Make a network for other labels: rows of labels that stay are copied by name.

    Args:
        model: a classifier, of any network.
        known: its labels, in the order of their numbers.
        labels: those of the network to make.
        random: names of weights that the model's folder did not hold, of which nothing is copied.

    Returns:
        The network; its rows of new labels are drawn as its own initialisation draws them, all
        else is the model's.
    """
    config = copy.deepcopy(model.config)
    # What has a row for each label is what grows by one where there is one label more.
    config.num_labels = len(known) + 1
    with torch.device("meta"):
        wider = type(model)(config).state_dict()
    set_labels(config, labels)
    new, state = type(model)(config).to(model.dtype), model.state_dict()
    rows = {name for name, values in state.items() if values.shape != wider[name].shape}
    new.load_state_dict(
        {name: values for name, values in state.items() if name not in rows}, strict=False
    )
    kept = [label for label in labels if label in known]
    places = torch.tensor([labels.index(label) for label in kept], dtype=torch.long)
    numbers = torch.tensor([known.index(label) for label in kept], dtype=torch.long)
    for name in rows:
        if name not in random:
            pairs = zip(state[name].shape, wider[name].shape, strict=True)
            axis = next(axis for axis, (ours, wide) in enumerate(pairs) if ours != wide)
            values = state[name].index_select(axis, numbers)
            new.state_dict()[name].index_copy_(axis, places, values)
    return new


def load_extractor(recipe: RecipeOptions) -> SequenceFeatureExtractor:
    """Load the feature extractor of the model that training starts from.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it has no extractor, or one that cannot cut off silence.
    """
    name = recipe.model_name_or_path
    options: dict[str, Any] = {"padding_value": 0.0} if recipe.published_quirks else {}
    if recipe.trim_silence is not None:
        options["trim_silence"] = recipe.trim_silence
    if name is None:
        return DushaFeatureExtractor(**options)
    with explained_errors(name):
        extractor = AutoFeatureExtractor.from_pretrained(
            name, trust_remote_code=recipe.trust_remote_code, **options
        )
    if "trim_silence" in options and not isinstance(extractor, DushaFeatureExtractor):
        raise WrongUseError(
            f"`trim_silence` is for Dusha's features, and {name} has its own "
            f"({type(extractor).__name__}): leave it out"
        )
    return extractor


def freeze_blocks(model, count: int) -> None:
    """Keep the first convolution and the `count` blocks behind it as they are; 0: nothing."""
    if not count:
        return
    if not isinstance(model, DushaForAudioClassification):
        raise WrongUseError(
            f"`frozen_blocks` is for Dusha's network, and this one is {model.config.model_type}: "
            "leave it out"
        )
    blocks = model.dusha.blocks
    if count > len(blocks):
        raise WrongUseError(f"`frozen_blocks` is {count}: the network has {len(blocks)} blocks")
    for layer in (model.dusha.stem, *blocks[:count]):
        layer.requires_grad_(False)
