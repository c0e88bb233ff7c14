import itertools

import numpy as np
import pytest

from dusha_ser.training.augmentation import Augmentation, draw
from dusha_ser.training.batch_lengths import MOST_PADDED, STEP, choose_lengths
from dusha_ser.training.sampling import SAMPLERS


def dusha_like(count=20_000, seed=0):
    """Frames of clips as long as Dusha's: 4.5 s in the mean, 0.3 to 20 s."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.lognormal(np.log(410), 0.42, count), 30, 2000).astype(np.int64)


def padded(frames, lengths):
    """What is padded, as a share of the frames, where each clip gets the next length."""
    return np.array(lengths)[np.searchsorted(lengths, frames)].sum() / frames.sum() - 1


def test_lengths_when_clips_are_as_long_as_dushas_pad_less_than_their_bound():
    frames = dusha_like()
    lengths = choose_lengths(frames)
    assert padded(frames, lengths) < MOST_PADDED == 0.08
    assert len(lengths) <= 16
    assert lengths[-1] >= frames.max()
    assert all(length % STEP == 0 for length in lengths)
    assert list(lengths) == sorted(set(lengths))


@pytest.mark.parametrize("kind", list(SAMPLERS))
def test_lengths_add_less_than_their_bound_to_the_batches_of_an_epoch(kind):
    """Cropped clips, each batch as long as its longest: what the lengths add to that."""
    frames = dusha_like()
    lengths = choose_lengths(frames)
    longest = []
    for batch in SAMPLERS[kind](frames / 100, batch_size=64):
        numbers, seeds = map(np.array, zip(*batch, strict=True))
        longest.append(Augmentation().cut(frames[numbers], 64, draw(seeds)).kept.max())
    assert padded(np.array(longest), lengths) < MOST_PADDED


@pytest.mark.parametrize("seed", range(5))
def test_lengths_are_as_few_as_can_be(seed):
    """Against all choices, for a few different lengths."""
    rng = np.random.default_rng(seed)
    frames = 10 * rng.choice(np.arange(3, 60), 9, replace=False).repeat(rng.integers(1, 20, 9))
    chosen = choose_lengths(frames, step=1)
    assert padded(frames, chosen) < MOST_PADDED
    different = np.unique(frames)
    for count in range(1, len(chosen) + 1):
        least = min(
            padded(frames, [*shorter, different[-1]])
            for shorter in itertools.combinations(different[:-1], count - 1)
        )
        if count < len(chosen):
            assert least >= MOST_PADDED
        else:
            assert padded(frames, chosen) == pytest.approx(least)


def test_lengths_when_clips_are_few_or_alike():
    assert choose_lengths(np.array([37])) == (40,)
    assert choose_lengths(np.array([300] * 50)) == (304,)
    # Rounding alone pads more than the bound: every multiple is taken.
    assert choose_lengths(np.array([1, 9])) == (8, 16)
    assert choose_lengths(np.array([30, 300]), step=32) == (32, 320)
