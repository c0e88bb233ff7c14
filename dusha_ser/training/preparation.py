"""What a run trains: the model, and the clips with its inputs, validation held out."""

from dataclasses import dataclass

import datasets
import numpy as np
from transformers import PreTrainedModel, SequenceFeatureExtractor

from configuration_dusha import DushaConfig
from dusha_ser.errors import WrongUseError
from dusha_ser.training.arguments import DushaTrainingArguments
from dusha_ser.training.batches import ClipDataset
from dusha_ser.training.features import compute_inputs
from dusha_ser.training.options import DataOptions, RecipeOptions
from dusha_ser.training.splits import hold_out_validation, load_splits, shuffle_labels
from dusha_ser.training.starting_model import freeze_blocks, load_starting_model, network_type


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
    freeze_blocks(model, recipe.frozen_blocks)
    column, ready = "", {}
    for split, rows in splits.items():
        ready[split], column = compute_inputs(rows, extractor, data.cache_dir, data.num_proc, split)
    if data.shuffle_labels:
        ready["train"] = shuffle_labels(ready["train"], arguments.seed)
    return Preparation(model, extractor, choose_validation(ready, data, recipe), column)


def choose_validation(
    splits: dict[str, datasets.Dataset], data: DataOptions, recipe: RecipeOptions
) -> dict[str, datasets.Dataset]:
    """Add the clips on which the best epoch is chosen, unless the last epoch is taken."""
    if not recipe.published_quirks:
        return hold_out_validation(splits, data.validation)
    if "test" not in splits:
        raise WrongUseError("`published_quirks` chooses on the test set, and there is none")
    return splits | {"validation": splits["test"]}
