from collections import Counter

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from dusha_ser.errors import WrongUseError
from dusha_ser.training.sampling import (
    SAMPLERS,
    EveryClipSampler,
    PublishedSampler,
    read_class_weights,
)

WEIGHTS = np.array([10.0, 20.0, 1.0, 5.0])
durations_of_clips = st.lists(st.floats(0.3, 16.0), min_size=1, max_size=60)


def corpus(count=400, seed=0):
    """Durations and class numbers as of podcasts: short clips, mostly neutral."""
    rng = np.random.default_rng(seed)
    durations = np.round(rng.gamma(4.0, 0.5, count) + 0.3, 3)
    return durations, rng.choice(4, size=count, p=[0.05, 0.05, 0.7, 0.2])


def clips_of(sampler, epochs=1):
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for batch in sampler:
            yield [draw.index for draw in batch]


def expected_shares(durations, weights):
    """Each clip's share of the draws, worked out key by key from the published description."""
    tenths = np.round(np.asarray(durations) * 10).astype(int)
    keys = Counter(key for key in tenths.tolist() if 3 <= key <= 160)
    shares = np.zeros(len(tenths))
    for key, count in keys.items():
        near = np.abs(tenths - key) <= 3
        shares[near] += count / keys.total() * weights[near] / weights[near].sum()
    return shares


def test_published_sampler_draws_the_published_distribution():
    durations, classes = corpus()
    weights = WEIGHTS[classes]
    sampler = PublishedSampler(durations, weights, batch_size=1, seed=1)
    counts = np.zeros(len(durations))
    for batch in clips_of(sampler, epochs=100):
        counts[batch] += 1
    shares = expected_shares(durations, weights)
    assert abs(shares.sum() - 1) < 1e-9
    assert (shares * counts.sum() >= 5).all()
    assert scipy.stats.chisquare(counts, shares * counts.sum()).pvalue > 0.01
    # The test can fail: equal weights are told from these at once.
    even = expected_shares(durations, np.ones(len(durations)))
    assert scipy.stats.chisquare(counts, even * counts.sum()).pvalue < 1e-6


def test_published_sampler_draws_key_lengths_in_proportion_to_their_clips():
    # Three lengths farther apart than a batch reaches: a batch tells its key.
    durations = [1.0] * 10 + [3.0] * 30 + [6.0] * 60
    sampler = PublishedSampler(durations, batch_size=4, seed=2)
    keys = Counter(durations[batch[0]] for batch in clips_of(sampler, epochs=200))
    observed = [keys[1.0], keys[3.0], keys[6.0]]
    assert scipy.stats.chisquare(observed, np.array([0.1, 0.3, 0.6]) * sum(observed)).pvalue > 0.01


def test_published_sampler_draws_classes_by_weight():
    classes = np.repeat([0, 1, 2, 3], 25)
    sampler = PublishedSampler([2.0] * 100, WEIGHTS[classes], batch_size=64, seed=3)
    counts = np.zeros(4)
    for batch in clips_of(sampler, epochs=200):
        counts += np.bincount(classes[batch], minlength=4)
    assert scipy.stats.chisquare(counts, counts.sum() * WEIGHTS / WEIGHTS.sum()).pvalue > 0.01


@settings(deadline=None, max_examples=30)
@given(durations_of_clips, st.integers(1, 16), st.integers(0, 99))
def test_published_sampler_when_clips_are_any(durations, batch_size, seed):
    sampler = PublishedSampler(durations, batch_size=batch_size, seed=seed)
    batches = list(clips_of(sampler))
    assert len(batches) == len(sampler) == max(1, len(durations) // batch_size)
    tenths = np.round(np.array(durations) * 10).astype(int)
    for batch in batches:
        assert len(batch) == batch_size
        assert np.ptp(tenths[batch]) <= 6


@settings(deadline=None, max_examples=30)
@given(durations_of_clips, st.integers(1, 16), st.integers(0, 99))
def test_every_clip_sampler_gives_each_clip_once_an_epoch(durations, batch_size, seed):
    sampler = EveryClipSampler(durations, batch_size=batch_size, seed=seed)
    batches = list(clips_of(sampler))
    assert len(batches) == len(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(len(durations)))
    assert sum(len(batch) < batch_size for batch in batches) <= 1


def test_every_clip_sampler_puts_like_lengths_together():
    durations, _ = corpus(640)
    for batch in clips_of(EveryClipSampler(durations, batch_size=32, seed=0), epochs=3):
        apart = np.ptp(durations[batch])
        assert apart < np.ptp(durations) / 2
    spread = np.mean(
        [
            np.ptp(durations[batch])
            for batch in clips_of(EveryClipSampler(durations, batch_size=32, seed=0))
        ]
    )
    assert spread < np.ptp(durations) / 6


def test_every_clip_sampler_draws_classes_by_weight_when_there_are_weights():
    durations, classes = corpus()
    weights = WEIGHTS[classes]
    sampler = EveryClipSampler(durations, weights, batch_size=32, seed=4)
    counts = np.zeros(4)
    for batch in clips_of(sampler, epochs=50):
        counts += np.bincount(classes[batch], minlength=4)
    shares = np.bincount(classes, weights, 4) / weights.sum()
    assert counts.sum() == 50 * len(durations)
    assert scipy.stats.chisquare(counts, shares * counts.sum()).pvalue > 0.01


@pytest.mark.parametrize("kind", list(SAMPLERS))
def test_samplers_when_seed_and_epoch_are_the_same_or_not(kind):
    durations, _ = corpus()

    def draws(seed, epoch):
        sampler = SAMPLERS[kind](durations, batch_size=16, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert draws(0, 3) == draws(0, 3)
    assert draws(0, 3) != draws(0, 4)
    assert draws(0, 3) != draws(1, 3)


@pytest.mark.parametrize("count", [2, 4, 16])
@pytest.mark.parametrize("kind", list(SAMPLERS))
def test_samplers_when_processes_share_the_batches(kind, count):
    durations, _ = corpus(101)
    alone = list(SAMPLERS[kind](durations, batch_size=16))
    shared = list(SAMPLERS[kind](durations, batch_size=16, process_count=count))
    for whole, filled in zip(alone, shared, strict=True):
        # Clips and the seeds of their augmentation, before and after the batch that is not full.
        assert filled[: len(whole)] == whole and set(filled) == set(whole)
        assert len(filled) % count == 0 and len(filled) - len(whole) < count
    # So an incomplete batch is not the last one, which would hide another number of seeds.
    assert kind == "published" or len(alone[-1]) == 16


@pytest.mark.parametrize("kind", list(SAMPLERS))
def test_samplers_when_nothing_can_be_drawn(kind):
    with pytest.raises(WrongUseError, match="no clips to train on"):
        SAMPLERS[kind]([], batch_size=4)
    with pytest.raises(WrongUseError, match="shared by 3 processes"):
        SAMPLERS[kind]([1.0], batch_size=4, process_count=3)


def test_published_sampler_when_no_clip_has_a_key_length():
    with pytest.raises(WrongUseError, match="every_clip"):
        PublishedSampler([0.1, 20.0], batch_size=1)


@pytest.mark.parametrize(
    "text", ["angry=10,sad=20,neutral=1,positive=5", {"angry": 10, "sad": 20, "positive": 5}]
)
def test_read_class_weights_when_they_are_the_published_ones(text):
    names = ["angry", "sad", "neutral", "positive"]
    assert read_class_weights(text, names, np.array([1, 0, 0, 0])).tolist() == WEIGHTS.tolist()


@pytest.mark.parametrize("text", ["glad=2", "angry=zero", "angry=0", "angry", "angry=inf"])
def test_read_class_weights_when_they_are_wrong(text):
    with pytest.raises(WrongUseError, match=r"CLASS=NUMBER.*angry, sad"):
        read_class_weights(text, ["angry", "sad"], np.array([1, 0]))
