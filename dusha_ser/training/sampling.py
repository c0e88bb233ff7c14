"""Which clips a training step sees: batches of similar length, class weights, one order for a seed.

A batch is a list of draws: the number of a clip and the seed of its augmentation. Draws depend on
the seed and the epoch alone, so a run that was killed resumes with the batches that it would have
seen, and any number of processes shares the same batches.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Sampler

from dusha_ser.errors import WrongUseError

# Lengths are compared in tenths of a second, as integers (design of the published sampler).
TENTHS = 10
SHORTEST_KEY, LONGEST_KEY = 3, 160
REACH = 3
BALANCED = "balanced"


class Draw(NamedTuple):
    """The number of a clip of a batch, and the seed of its augmentation there, below 2**63."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    seed: int


class LengthBatchSampler(Sampler):
    """Batches of clips of similar length; subclasses choose which, by `epoch_batches`.

    Batches are those of all processes: each collates its share, and all shares are as long.

    Args:
        durations: of the clips, in seconds, (clips,).
        weights: of the clips, above 0, (clips,), in proportion to which they are drawn; None: all
            alike.
        batch_size: clips of a batch, all processes together.
        seed: of the draws, at least 0.
        process_count: number of processes that share a batch; it divides batch_size.

    Raises:
        WrongUseError: if there are no clips, or processes do not divide the batch.
    """

    def __init__(
        self,
        durations: Sequence[float],
        weights: Sequence[float] | None = None,
        *,
        batch_size: int,
        seed: int = 0,
        process_count: int = 1,
    ):
        if not len(durations):
            raise WrongUseError("there are no clips to train on: check the train split")
        if batch_size < 1 or batch_size % process_count:
            raise WrongUseError(
                f"a batch of {batch_size} clips cannot be shared by {process_count} processes; "
                "take a multiple of their number"
            )
        self.tenths = np.round(np.asarray(durations, dtype=np.float64) * TENTHS).astype(np.int64)
        self.weights = None if weights is None else np.asarray(weights)
        self.batch_size = batch_size
        self.seed = seed
        self.process_count = process_count
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, whose batches come next."""
        self.epoch = epoch

    def epoch_batches(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Draw the clips of each batch of one epoch, int64."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[list[Draw]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        for batch in self.epoch_batches(rng):
            seeds = rng.integers(2**63, size=len(batch))
            draws = list(map(Draw, batch.tolist(), seeds.tolist()))
            # A batch that not all processes can share is filled up with its own draws.
            missing = -len(draws) % self.process_count
            yield draws + [draws[number % len(draws)] for number in range(missing)]


class PublishedSampler(LengthBatchSampler):
    """The batches of the published training code (its manifests' batch sampler).

    For each batch a key length is drawn in proportion to how many clips have it, of 0.3 to 16 s in
    steps of 0.1 s; then clips within 0.3 s of it, with replacement, in proportion to their
    weights. floor(clips / batch_size) batches make an epoch, at least one.

    Raises:
        WrongUseError: if no clip is 0.3 to 16 s long, or as LengthBatchSampler.
    """

    def __init__(
        self, durations: Sequence[float], weights: Sequence[float] | None = None, **options
    ):
        super().__init__(durations, weights, **options)
        keys, counts = np.unique(self.tenths, return_counts=True)
        known = (keys >= SHORTEST_KEY) & (keys <= LONGEST_KEY)
        if not known.any():
            raise WrongUseError(
                f"no clip is {SHORTEST_KEY / TENTHS} to {LONGEST_KEY / TENTHS} s long, which the "
                "published sampler draws; take `sampler=every_clip`"
            )
        self.keys, self.key_probabilities = keys[known], counts[known] / counts[known].sum()
        # Clips in the order of their lengths: those near a key are a slice.
        self.order = np.argsort(self.tenths, kind="stable")
        ordered = np.ones(len(self.tenths)) if self.weights is None else self.weights[self.order]
        self.cumulated = np.concatenate([[0.0], np.cumsum(ordered)])

    def __len__(self) -> int:
        return max(1, len(self.tenths) // self.batch_size)

    def epoch_batches(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Draw keys, and clips near them; see the class."""
        keys = rng.choice(self.keys, size=len(self), p=self.key_probabilities)
        ordered = self.tenths[self.order]
        firsts = np.searchsorted(ordered, keys - REACH, side="left")
        stops = np.searchsorted(ordered, keys + REACH, side="right")
        batches = []
        for first, stop in zip(firsts, stops, strict=True):
            low, high = self.cumulated[first], self.cumulated[stop]
            drawn = low + rng.random(self.batch_size) * (high - low)
            places = np.searchsorted(self.cumulated, drawn, side="right") - 1
            batches.append(self.order[np.clip(places, first, stop - 1)])
        return batches


class EveryClipSampler(LengthBatchSampler):
    """Each clip once per epoch, in batches of similar length and random order.

    Clips are sorted by their length plus a random part of up to 0.3 s either way, so that
    neighbours differ from epoch to epoch, and cut into batches. With weights, as many clips as
    there are are first drawn with replacement in proportion to them.
    """

    def __len__(self) -> int:
        return -(-len(self.tenths) // self.batch_size)

    def epoch_batches(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Sort the clips roughly, cut them into batches and shuffle those; see the class."""
        count = len(self.tenths)
        if self.weights is None:
            clips = rng.permutation(count)
        else:
            clips = rng.choice(count, size=count, p=self.weights / self.weights.sum())
        rough = self.tenths[clips] + rng.uniform(-REACH, REACH, size=count)
        clips = clips[np.argsort(rough, kind="stable")]
        sizes = np.full(len(self), self.batch_size)
        # The batch that is not full may be of any length.
        sizes[rng.integers(len(sizes))] -= sizes.sum() - count
        batches = np.split(clips, np.cumsum(sizes)[:-1])
        return [batches[number] for number in rng.permutation(len(batches))]


SAMPLERS = {"every_clip": EveryClipSampler, "published": PublishedSampler}


def read_class_weights(
    text: str | Mapping[str, float] | None, names: Sequence[str], counts: np.ndarray
) -> np.ndarray | None:
    """Turn class weights as people write them into one number per class.

    Args:
        text: "angry=10,sad=20,neutral=1,positive=5", the same as a mapping, "balanced" (in
            inverse proportion to the clips of a class), or None; classes that are not named
            weigh 1.
        names: of the classes, in the order of their numbers.
        counts: clips of each class, (classes,), expected ones where the classes are not sure.

    Returns:
        (classes,) above 0; None where there are no weights.

    Raises:
        WrongUseError: if a class is unknown or a weight is not a number above 0.

    Examples:
        >>> read_class_weights("no=3", ["no", "yes"], np.array([1, 1])).tolist()
        [3.0, 1.0]
        >>> read_class_weights("balanced", ["no", "yes"], np.array([1, 3])).tolist()
        [2.0, 0.6666666666666666]
    """
    if not text:
        return None
    if text == BALANCED:
        # A class with less than a clip weighs as one with a clip.
        return counts.sum() / (len(names) * np.maximum(counts, 1))
    given: Mapping[str, Any] = (
        dict(part.partition("=")[::2] for part in text.split(","))
        if isinstance(text, str)
        else text
    )
    weights = np.ones(len(names))
    for name, value in given.items():
        try:
            weights[names.index(name.strip())] = weight = float(value)
        except ValueError:
            weight = 0.0
        if not 0 < weight < np.inf:
            raise WrongUseError(
                f"class weight {name}={value}: give {BALANCED!r}, or CLASS=NUMBER with commas, "
                f"numbers above 0 and classes of {', '.join(names)}"
            )
    return weights
