"""What a run trains: the model, and the clips with its inputs, validation held out."""

from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    PreTrainedModel,
    SequenceFeatureExtractor,
)

from configuration_dusha import DushaConfig
from dusha_ser.errors import WrongUseError
from dusha_ser.inference.loading import explained_errors
from dusha_ser.inference.settings import check_model_folder
from dusha_ser.training.arguments import DushaTrainingArguments
from dusha_ser.training.batches import ClipDataset
from dusha_ser.training.features import compute_inputs
from dusha_ser.training.options import DataOptions, RecipeOptions
from dusha_ser.training.splits import hold_out_validation, load_splits, shuffle_labels
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification, clear_subnormals


@dataclass
class Preparation:
    """A model to train and the clips to do it with.

    Attributes:
        model: to train.
        extractor: of its inputs.
        splits: train and, where there are any, validation and test, with the model's inputs.
        column: that holds the inputs, (frames, mels) or (samples,).
    """

    model: PreTrainedModel
    extractor: SequenceFeatureExtractor
    splits: dict[str, datasets.Dataset]
    column: str

    @property
    def labels(self) -> list[str]:
        """The names of the clips' classes, in the order of their numbers."""
        return self.splits["train"].features["label"].names

    @property
    def order(self) -> np.ndarray:
        """The model's number of each class of the clips, (classes,)."""
        label2id = self.model.config.label2id or {}
        return np.array([label2id[name] for name in self.labels])

    def clips(self, split: str) -> ClipDataset | None:
        """Return the clips of a split, in their order, to evaluate on; None: it is missing."""
        rows = self.splits.get(split)
        if rows is None:
            return None
        return ClipDataset(rows, self.column, self.order[np.array(rows["label"])])


def prepare(
    data: DataOptions,
    recipe: RecipeOptions,
    arguments: DushaTrainingArguments,
    splits: dict[str, datasets.Dataset] | None = None,
) -> Preparation:
    """Read clips and model, and compute the model's inputs once.

    Arguments as of `dusha_ser.training.run.train`.

    Raises:
        WrongUseError: if the data or the model cannot be had.
    """
    network = network_type(recipe)
    if splits is None:
        splits = load_splits(data, features_only=network == DushaConfig.model_type)
    model, extractor = load_starting_model(recipe, splits["train"].features["label"].names)
    clear_subnormals(model)
    freeze_blocks(model, recipe.frozen_blocks)
    column, ready = "", {}
    for split, rows in splits.items():
        ready[split], column = compute_inputs(rows, extractor, data.cache_dir, data.num_proc, split)
    if data.shuffle_labels:
        ready["train"] = shuffle_labels(ready["train"], arguments.seed)
    splits = hold_out_validation(ready, data.validation, recipe.published_quirks)
    return Preparation(model, extractor, splits, column)


def network_type(recipe: RecipeOptions) -> str:
    """Return the model_type of the network that training starts from, before it is loaded.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it has no configuration that Transformers knows.
    """
    name = recipe.model_name_or_path
    if name is None:
        return DushaConfig.model_type
    check_model_folder(name)
    with explained_errors(name):
        config = AutoConfig.from_pretrained(name, trust_remote_code=recipe.trust_remote_code)
    return config.model_type


def load_starting_model(
    recipe: RecipeOptions, labels: list[str]
) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    """Load the model that training starts from, and its feature extractor.

    A classifier that knows other labels than those of the data is replaced; one that knows them in
    another order keeps its own.
    """
    name, options = recipe.model_name_or_path, {"trust_remote_code": recipe.trust_remote_code}
    with explained_errors(name or "the model"):
        config: Any = DushaConfig() if name is None else AutoConfig.from_pretrained(name, **options)
        if name is None or set(config.id2label.values()) != set(labels):
            config.id2label = dict(enumerate(labels))
            config.label2id = {label: number for number, label in enumerate(labels)}
        several = "multi" if recipe.loss == "multi" else "single"
        config.problem_type = f"{several}_label_classification"
        if config.model_type == DushaConfig.model_type:
            config.use_attention_mask = not recipe.published_quirks
        if name is None:
            return DushaForAudioClassification(config), load_extractor(recipe)
        model = AutoModelForAudioClassification.from_pretrained(
            name, config=config, ignore_mismatched_sizes=True, **options
        )
    return model, load_extractor(recipe)


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
