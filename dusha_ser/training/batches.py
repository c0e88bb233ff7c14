"""Clips as batches: rows of a data set, put together, with the mask of what is padded.

Each clip of a training batch has its own seed, so that the batch is the same in every process,
worker and attempt. Spectrograms are log-Mel features, (frames, mels) in dB.
"""

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import datasets
import numpy as np
import torch
from transformers import PreTrainedModel, SequenceFeatureExtractor

from configuration_dusha import DushaConfig
from dusha_ser.training.augmentation import (
    SILENCE,
    Augmentation,
    Cuts,
    Draws,
    assemble,
    draw,
    send,
    spread,
)
from dusha_ser.training.held_features import HeldClip, HeldFeatures, tensors
from dusha_ser.training.losses import Mixup
from dusha_ser.training.options import RecipeOptions
from dusha_ser.training.sampling import Draw

# The published code pads and masks with 0 dB, which is the loudest point.
PUBLISHED_FILL = 0.0


class ClipDataset(torch.utils.data.Dataset):
    """The rows of a data set as items that the collators below take.

    Args:
        rows: with the model's input as a column.
        input_name: that column: "input_features" (frames, mels) or "input_values".
        targets: of the clips: class numbers (clips,) int64, or (clips, labels) float32.
        weights: of the clips in the loss, (clips,); None: 1 each.
        held: their features, where they are held in memory; None: they are read from the rows.
        more_targets: further ones by their names in a batch, (clips, ...) float32 each.

    Raises:
        ValueError: if the numbers of rows, targets and weights differ.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        input_name: str,
        targets: np.ndarray,
        weights: np.ndarray | None = None,
        held: HeldFeatures | None = None,
        more_targets: Mapping[str, np.ndarray] = MappingProxyType({}),
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
        self.more_targets = {name: torch.as_tensor(one) for name, one in more_targets.items()}
        self.held = held

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | Draw) -> dict:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[int | Draw]) -> list[dict]:
        """Return several items, which a DataLoader asks for where it can: one reading for all."""
        draws = [key if isinstance(key, Draw) else Draw(int(key), 0) for key in keys]
        indices = [draw.index for draw in draws]
        if self.held is None:
            inputs: Iterable[Any] = tensors(self.rows[indices][self.input_name])
        else:
            inputs = map(self.held.clip, indices)
        return [
            {
                "inputs": clip,
                "labels": self.targets[draw.index],
                "weights": self.weights[draw.index],
                **{name: values[draw.index] for name, values in self.more_targets.items()},
                "seed": draw.seed,
            }
            for clip, draw in zip(inputs, draws, strict=True)
        ]


@dataclass(frozen=True)
class Collator:
    """What makes a batch of any inputs; subclasses put these together.

    It is given the clips of all processes, and gives the batch of its own: what it draws and how
    long a batch is are the same for any number of processes.

    Attributes:
        mixup: of training clips; None: none.
        process_count: number of processes that share a batch.
        process_index: of this process, from 0.
    """

    mixup: Mixup | None = None
    process_count: int = 1
    process_index: int = 0

    def __call__(self, items: Sequence[dict]) -> dict[str, torch.Tensor]:
        """Make a batch.

        Args:
            items: of ClipDataset.

        Returns:
            The model's inputs, (batch, ...) each, labels (batch,) or (batch, labels), weights
            (batch,), and the further targets of the items.
        """
        parts = [
            np.arange(process, len(items), self.process_count)
            for process in range(self.process_count)
        ]
        if self.mixup is None:
            return self.stack(items, parts)
        shares, partners = self.mixup.pair(draws_of(items))
        own = parts[self.process_index]
        # Clips of other processes that one's own are mixed with come behind these.
        parts = [np.concatenate([part, np.setdiff1d(partners[part], part)]) for part in parts]
        built = parts[self.process_index]
        place = np.argsort(built)[np.searchsorted(np.sort(built), partners[own])]
        return self.mixup.mix(self.stack(items, parts), shares[own], place)

    def stack(self, items: Sequence[dict], parts: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Make this process' batch, none mixed, by the numbers of the items of each process."""
        raise NotImplementedError


@dataclass(frozen=True)
class SpectrogramCollator(Collator):
    """Makes a batch of spectrograms of any lengths: the model's inputs are as follows.

    input_features (batch, frames, mels) float32 in dB, and where wanted attention_mask
    (batch, frames) int64 of 1 and 0.

    Attributes:
        augmentation: changes of training clips; None: clips stay as they are, padded behind.
        fill: value of padding and masks, in dB.
        mask: whether the batch gets an attention_mask.
        equal_lengths: whether longer clips are cut to the batch's shortest, at a random place, but
            never to less than half of the longest, so that little or nothing is padded.
        multiple: frames that the length of a batch is a multiple of.
        lengths: that a batch may have, in frames, rising: it takes the next of them; longer ones
            keep theirs.
    """

    augmentation: Augmentation | None = None
    fill: float = SILENCE
    mask: bool = True
    equal_lengths: bool = False
    multiple: int = 1
    lengths: tuple[int, ...] = ()

    def stack(self, items: Sequence[dict], parts: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Cut clips of all processes, and gather those of this one."""
        clips: list[torch.Tensor | HeldClip] = [item["inputs"] for item in items]
        mels = clips[0].shape[1]
        cuts = Cuts.whole(np.array(list(map(len, clips))), mels)
        # Where cuts are, and how padding is split between the two sides.
        places = np.zeros(len(clips))
        if self.augmentation:
            draws = draws_of(items)
            cuts = self.augmentation.cut(cuts.frames, mels, draws)
            places = draws.place if self.augmentation.either_side else places
        if self.equal_lengths:
            cuts = cuts.shortened(max(cuts.kept.min(), -(-cuts.kept.max() // 2)), places)
        length = self.padded(int(cuts.kept.max()))
        lefts = spread(places, length - cuts.kept)

        numbers = parts[self.process_index]
        frames, firsts = self.lay_out(clips, parts)
        features, mask = assemble(frames, firsts, cuts.take(numbers), lefts[numbers], length)
        batch = {"input_features": features} | ({"attention_mask": mask} if self.mask else {})
        targets = stack_targets(items, numbers).items()
        return batch | {name: send(values, features.device) for name, values in targets}

    def lay_out(
        self, clips: Sequence[torch.Tensor | HeldClip], parts: Sequence[np.ndarray]
    ) -> tuple[torch.Tensor, np.ndarray]:
        """Return frames that hold this process' clips behind a filling one, and each one's first.

        What is held in memory may lie there so already.
        """
        held = [clip for clip in clips if isinstance(clip, HeldClip)]
        if held:
            indices = np.array([clip.index for clip in held])
            return held[0].features.gather([indices[part] for part in parts], self.process_index)
        own = [clips[number] for number in parts[self.process_index]]
        read = [clip for clip in own if isinstance(clip, torch.Tensor)]
        filling = torch.full((1, read[0].shape[1]), self.fill)
        return torch.cat([filling, *read]), np.cumsum([1, *map(len, read[:-1])])

    def padded(self, longest: int) -> int:
        """Return the length of a batch whose longest clip is this long, in frames."""
        longest = -(-longest // self.multiple) * self.multiple
        place = bisect.bisect_left(self.lengths, longest)
        return self.lengths[place] if place < len(self.lengths) else longest


@dataclass(frozen=True)
class ExtractorCollator(Collator):
    """Makes a batch as a model's own feature extractor pads it, for networks other than ours."""

    feature_extractor: SequenceFeatureExtractor = field(kw_only=True)

    def stack(self, items: Sequence[dict], parts: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Pad this process' clips."""
        numbers = parts[self.process_index]
        name = self.feature_extractor.model_input_names[0]  # type: ignore[attr-defined]  # of each subclass
        inputs = [items[number]["inputs"].numpy() for number in numbers]
        batch = self.feature_extractor.pad(
            {name: inputs}, padding=True, return_tensors="pt", return_attention_mask=None
        )
        return dict(batch) | stack_targets(items, numbers)


@dataclass(frozen=True)
class EmbeddingCollator(Collator):
    """Makes a batch of embeddings (layers, hidden), which a frozen encoder would compute.

    Attributes:
        input_name: of the model's input, in whose place they are.
    """

    input_name: str = field(kw_only=True)

    def stack(self, items: Sequence[dict], parts: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Stack this process' clips."""
        numbers = parts[self.process_index]
        embeddings = torch.stack([items[number]["inputs"] for number in numbers])
        return {self.input_name: embeddings} | stack_targets(items, numbers)


def draws_of(items: Sequence[dict]) -> Draws:
    """Draw the random numbers of a batch's items."""
    return draw(np.array([item["seed"] for item in items], np.uint64))


def stack_targets(items: Sequence[dict], numbers: np.ndarray) -> dict[str, torch.Tensor]:
    """Stack the labels, weights and further targets of some items of a batch."""
    return {
        name: torch.stack([items[number][name] for number in numbers])
        for name in items[0]
        if name not in ("inputs", "seed")
    }


def filling(recipe: RecipeOptions) -> float:
    """Return the value of padding and masks, in dB."""
    return PUBLISHED_FILL if recipe.published_quirks else SILENCE


def make_collators(
    model: PreTrainedModel, extractor: SequenceFeatureExtractor, recipe: RecipeOptions
) -> tuple[Collator, Collator]:
    """Make what collates the batches of training, clips changed at random, and of evaluation."""
    if recipe.trains_head_only:
        embeddings = EmbeddingCollator(input_name=extractor.model_input_names[0])  # type: ignore[attr-defined]  # of each subclass
        return embeddings, embeddings
    if model.config.model_type != DushaConfig.model_type:
        collator = ExtractorCollator(feature_extractor=extractor)
        return collator, collator
    evaluation = SpectrogramCollator(fill=filling(recipe), mask=not recipe.published_quirks)
    changes = ("frequency_mask", "time_mask", "crop", "longest", "stretch")
    training = replace(
        evaluation,
        augmentation=Augmentation(**{name: getattr(recipe, name) for name in changes}),
        equal_lengths=recipe.equal_lengths,
        multiple=recipe.pad_to_multiple_of,
    )
    return training, evaluation
