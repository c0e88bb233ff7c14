"""Clips as batches: augmentation of spectrograms, padding with silence and its mask.

Each clip of a training batch has its own seed, so that the batch is the same in every process,
worker and attempt. Spectrograms are log-Mel features, (frames, mels) in dB.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import datasets
import numpy as np
import pyarrow.compute
import torch
import torchaudio
from torch.nn import functional
from transformers import PreTrainedModel, SequenceFeatureExtractor

from configuration_dusha import DushaConfig
from dusha_ser.errors import WrongUseError
from dusha_ser.labels.aggregation import multi_labels
from dusha_ser.training.options import RecipeOptions
from dusha_ser.training.sampling import Draw

# The lowest value of the features: 80 dB below the clip's loudest point.
SILENCE = -80.0
# The published code pads and masks with 0 dB, which is the loudest point.
PUBLISHED_FILL = 0.0


class ClipDataset(torch.utils.data.Dataset):
    """The rows of a data set as items that the collators below take.

    Args:
        rows: with the model's input as a column.
        input_name: that column: "input_features" (frames, mels) or "input_values".
        targets: of the clips: class numbers (clips,) int64, or (clips, labels) float32.
        weights: of the clips in the loss, (clips,); None: 1 each.

    Raises:
        ValueError: if the numbers of rows, targets and weights differ.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        input_name: str,
        targets: np.ndarray,
        weights: np.ndarray | None = None,
    ):
        weights = np.ones(len(rows), np.float32) if weights is None else weights
        if not len(rows) == len(targets) == len(weights):
            raise ValueError(
                f"{len(rows)} rows have {len(targets)} targets and {len(weights)} weights"
            )
        # Arrow's own rows: as arrays of `datasets` they take ten times as long.
        self.rows = rows.select_columns([input_name]).with_format("arrow")
        self.input_name = input_name
        self.targets = torch.as_tensor(targets)
        self.weights = torch.as_tensor(weights, dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | Draw) -> dict:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[int | Draw]) -> list[dict]:
        """Return several items, which a DataLoader asks for where it can: one reading for all."""
        draws = [key if isinstance(key, Draw) else Draw(int(key), 0) for key in keys]
        column = self.rows[[draw.index for draw in draws]][self.input_name]
        return [
            {
                "inputs": clip,
                "labels": self.targets[draw.index],
                "weights": self.weights[draw.index],
                "seed": draw.seed,
            }
            for clip, draw in zip(tensors(column), draws, strict=True)
        ]


def tensors(column: pyarrow.ChunkedArray) -> Iterator[torch.Tensor]:
    """Yield the rows of a column of Array2D or of lists as (length, width) or (length,) float32.

    They are to be read only: where the column holds float32, they are the mapped file itself.
    """
    width: tuple[int, ...] = ()
    if isinstance(column.type, pyarrow.ExtensionType):
        # As a whole: each piece of it would make the type of `datasets` again, from JSON.
        width, column = column.type.shape[1:], column.cast(column.type.storage_type)
    lengths = pyarrow.compute.list_value_length(column).to_pylist()
    values = pyarrow.compute.list_flatten(column)
    values = pyarrow.compute.list_flatten(values) if width else values
    # Rows lie in pieces one after the other, and none in two.
    pieces = (as_tensor(piece).view(-1, *width) for piece in values.chunks if len(piece))
    held, first = torch.empty(0, *width), 0
    for length in lengths:
        if first == len(held) and length:
            held, first = next(pieces), 0
        yield held[first : first + length]
        first += length


def as_tensor(values: pyarrow.Array) -> torch.Tensor:
    """Show numbers as a float32 tensor, (numbers,), without a copy where they are float32."""
    if values.type == pyarrow.float32() and not values.null_count:
        return torch.from_dlpack(values)
    return torch.from_numpy(np.array(values.to_numpy(zero_copy_only=False), np.float32))


@dataclass(frozen=True)
class Augmentation:
    """How training clips are changed at random (SpecAugment, Park et al. 2019; and a crop)."""

    # As the options of RecipeOptions with the same names.

    frequency_mask: int = 16
    time_mask: int = 40
    crop: int = 40
    longest: int = 0
    stretch: float = 0.0
    either_side: bool = True  # padding is split at random between the two sides
    fill: float = SILENCE  # value of masks and padding, in dB

    def change(self, features: torch.Tensor) -> torch.Tensor:
        """Stretch, mask and crop one clip (frames, mels) in dB, by torch's random state."""
        if self.stretch:
            features = self.stretched(features)
        for size, axis in ((self.frequency_mask, 1), (self.time_mask, 0)):
            if size:
                # A mask that is wider than the spectrogram would begin before it.
                size = min(size, features.shape[axis])
                features = torchaudio.functional.mask_along_axis(features, size, self.fill, axis)
        frames = len(features)
        kept = frames - int(torch.randint(min(self.crop, frames), ())) if self.crop else frames
        kept = min(kept, self.longest) if self.longest else kept
        start = int(torch.randint(frames - kept + 1, ()))
        return features[start : start + kept]

    def stretched(self, features: torch.Tensor) -> torch.Tensor:
        """Stretch (frames, mels) along both axes; bands that this leaves empty are filled."""
        tall, wide = (1 + self.stretch * (2 * torch.rand(2) - 1)).tolist()
        frames, mels = features.shape
        size = (max(1, round(frames * wide)), max(1, round(mels * tall)))
        features = functional.interpolate(features[None, None], size, mode="bilinear")[0, 0]
        return functional.pad(features[:, :mels], (0, max(0, mels - size[1])), value=self.fill)


@dataclass(frozen=True)
class SpectrogramCollator:
    """Makes a batch of spectrograms of any lengths.

    Attributes:
        augmentation: changes of training clips; None: clips stay as they are, padded behind.
        fill: value of padding, in dB.
        mask: whether the batch gets an attention_mask.
        equal_lengths: whether longer clips are cut to the batch's shortest, at a random place, but
            never to less than half of the longest, so that little or nothing is padded.
        multiple: frames that the length of a batch is a multiple of.
    """

    augmentation: Augmentation | None = None
    fill: float = SILENCE
    mask: bool = True
    equal_lengths: bool = False
    multiple: int = 1

    def __call__(self, items: Sequence[dict]) -> dict[str, torch.Tensor]:
        """Make a batch.

        Args:
            items: of ClipDataset.

        Returns:
            input_features (batch, frames, mels) float32 in dB, attention_mask (batch, frames)
            int64 of 1 and 0 where wanted, labels (batch,) or (batch, labels), weights (batch,).
        """
        clips: list[torch.Tensor] = [item["inputs"] for item in items]
        # Where cuts are, and how padding is split between the two sides.
        places = [0.0] * len(clips)
        if self.augmentation:
            with torch.random.fork_rng(devices=[]):
                for number, item in enumerate(items):
                    # Not torch.manual_seed, which keeps a note for each GPU at every call.
                    torch.default_generator.manual_seed(item["seed"])
                    clips[number] = self.augmentation.change(clips[number])
                    if self.augmentation.either_side:
                        places[number] = float(torch.rand(()))
        if self.equal_lengths:
            lengths = list(map(len, clips))
            shortest = max(min(lengths), -(-max(lengths) // 2))
            for number, (clip, place) in enumerate(zip(clips, places, strict=True)):
                start = int(place * (len(clip) - shortest + 1)) if len(clip) > shortest else 0
                clips[number] = clip[start : start + shortest]
        longest = -(-max(map(len, clips)) // self.multiple) * self.multiple
        features = torch.empty((len(clips), longest, clips[0].shape[1]))
        mask = torch.zeros((len(clips), longest), dtype=torch.long)
        for number, (clip, place) in enumerate(zip(clips, places, strict=True)):
            left = int(place * (longest - len(clip) + 1))
            right = left + len(clip)
            features[number, :left] = features[number, right:] = self.fill
            features[number, left:right] = clip
            mask[number, left:right] = 1
        batch = {"input_features": features} | ({"attention_mask": mask} if self.mask else {})
        return batch | stack_targets(items)


@dataclass(frozen=True)
class ExtractorCollator:
    """Makes a batch as a model's own feature extractor pads it, for networks other than ours."""

    feature_extractor: SequenceFeatureExtractor

    def __call__(self, items: Sequence[dict]) -> dict[str, torch.Tensor]:
        """Make a batch as SpectrogramCollator does, with the model's inputs."""
        name = self.feature_extractor.model_input_names[0]  # type: ignore[attr-defined]  # of each subclass
        inputs = [item["inputs"].numpy() for item in items]
        batch = self.feature_extractor.pad(
            {name: inputs}, padding=True, return_tensors="pt", return_attention_mask=None
        )
        return dict(batch) | stack_targets(items)


def stack_targets(items: Sequence[dict]) -> dict[str, torch.Tensor]:
    """Stack the labels and weights of a batch's items."""
    return {name: torch.stack([item[name] for item in items]) for name in ("labels", "weights")}


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
    numbers, weights = np.array(rows["label"]), np.ones(len(rows), np.float32)
    if recipe.loss == "hard" and not recipe.posterior_weights:
        return order[numbers], weights
    vectors = list(rows["label_probabilities"]) if "label_probabilities" in rows.features else []
    if not vectors or any(vector is None for vector in vectors):
        raise WrongUseError(
            "`loss=soft`, `loss=multi` and `posterior_weights` need the crowd's probabilities of "
            "each clip; the data set has no column label_probabilities with a value in each row"
        )
    # The last answer, "other", is not a class.
    probabilities = np.array(vectors, np.float64)[:, : len(order)]
    if recipe.posterior_weights:
        weights = probabilities[np.arange(len(rows)), numbers].astype(np.float32)
    if recipe.loss == "hard":
        return order[numbers], weights
    if recipe.loss == "multi":
        targets = multi_labels(probabilities, recipe.multi_threshold)
    else:
        targets = probabilities / probabilities.sum(1, keepdims=True)
    return targets[:, np.argsort(order)].astype(np.float32), weights


def make_collators(
    model: PreTrainedModel, extractor: SequenceFeatureExtractor, recipe: RecipeOptions
) -> tuple[Callable, Callable]:
    """Make what collates the batches of training, clips changed at random, and of evaluation."""
    if model.config.model_type != DushaConfig.model_type:
        collator = ExtractorCollator(extractor)
        return collator, collator
    fill = PUBLISHED_FILL if recipe.published_quirks else SILENCE
    evaluation = SpectrogramCollator(fill=fill, mask=not recipe.published_quirks)
    changes = ("frequency_mask", "time_mask", "crop", "longest", "stretch")
    training = replace(
        evaluation,
        augmentation=Augmentation(fill=fill, **{name: getattr(recipe, name) for name in changes}),
        equal_lengths=recipe.equal_lengths,
        multiple=recipe.pad_to_multiple_of,
    )
    return training, evaluation
