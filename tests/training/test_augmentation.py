"""Batches by index arithmetic: what is drawn, and the same as clip by clip."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
import torchaudio
from torch.nn import functional
from waiting import no_waiting

from dusha_ser.training.augmentation import (
    SILENCE,
    Augmentation,
    Cuts,
    Draws,
    assemble,
    draw,
    span,
    spread,
)

NO_CHANGE = Augmentation(frequency_mask=0, time_mask=0, crop=0, either_side=False)
EVERYTHING = Augmentation(stretch=0.2, longest=90)


def clip(frames=120, mels=64, value=-20.0):
    return torch.full((frames, mels), value)


def lay_out(clips, fill=SILENCE):
    rows = torch.cat([torch.full((1, clips[0].shape[1]), fill), *clips])
    return rows, np.cumsum([1, *map(len, clips[:-1])])


def changes(augmentation, features, count=2000, fill=SILENCE):
    """The clip changed `count` times, all in one batch."""
    frames, mels = features.shape
    draws = draw(np.random.default_rng(0).integers(2**63, size=count))
    cuts = augmentation.cut(np.full(count, frames), mels, draws)
    rows, _ = lay_out([features], fill)
    nothing = np.zeros(count, np.int64)
    length = int(cuts.kept.max())
    batch, mask = assemble(rows, nothing + 1, cuts, nothing, length)
    return [one[: int(real.sum())] for one, real in zip(batch, mask, strict=True)]


def changed_clip_by_clip(augmentation, clips, draws, fill):
    """What SpecAugment, a crop and a stretch mean for one clip after the other."""
    for number, features in enumerate(clips):
        one = Draws(*(values[number] for values in draws))
        frames, mels = features.shape
        if augmentation.stretch:
            wide, tall = (1 + augmentation.stretch * (2 * x - 1) for x in (one.wide, one.tall))
            size = (max(1, round(frames * wide)), max(1, round(mels * tall)))
            features = functional.interpolate(features[None, None], size, mode="bilinear")[0, 0]
            features = functional.pad(
                features[:, :mels], (0, max(0, mels - size[1])), value=fill
            ).clone()
        frames = len(features)
        width = one.frequency_width * min(augmentation.frequency_mask, mels)
        start = int(one.frequency_start * (mels - width))
        features = features.clone()
        features[:, start : start + int(width)] = fill
        width = one.time_width * min(augmentation.time_mask, frames)
        start = int(one.time_start * (frames - width))
        features[start : start + int(width)] = fill
        kept = frames - int(one.crop * min(augmentation.crop, frames))
        kept = min(kept, augmentation.longest or kept)
        start = int(one.start * (frames - kept + 1))
        yield features[start : start + kept]


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        replace(NO_CHANGE, stretch=0.3),
        EVERYTHING,
        Augmentation(frequency_mask=80, time_mask=500, crop=500),
    ],
    ids=["default", "stretch", "everything", "wider than clips"],
)
@pytest.mark.parametrize("fill", [SILENCE, 0.0])
def test_batch_equals_that_of_one_clip_after_the_other(augmentation, fill):
    generator = torch.Generator().manual_seed(0)
    clips = [
        -80 * torch.rand(frames, 64, generator=generator)
        for frames in (1, 2, 3, 39, 40, 41, 100, 150, 151, 90)
    ]
    draws = draw(np.arange(10))
    cuts = augmentation.cut(np.array(list(map(len, clips))), 64, draws)
    length = 200
    lefts = spread(draws.place, length - cuts.kept)
    rows, firsts = lay_out(clips, fill)
    batch, mask = assemble(rows, firsts, cuts, lefts, length)
    expected = list(changed_clip_by_clip(augmentation, clips, draws, fill))
    for number, (wanted, left) in enumerate(zip(expected, lefts, strict=True)):
        assert mask[number].nonzero().flatten().tolist() == list(range(left, left + len(wanted)))
        # Places in single precision differ in their last bit, and neighbours by up to 80 dB.
        torch.testing.assert_close(
            batch[number, left : left + len(wanted)], wanted, rtol=0, atol=1e-3
        )
        assert (batch[number][mask[number] == 0] == fill).all()
    if not augmentation.stretch:
        assert all(
            torch.equal(one[real == 1], wanted)
            for one, real, wanted in zip(batch, mask, expected, strict=True)
        )


def test_masks_are_those_of_torchaudio_for_the_same_draws(monkeypatch):
    draws = draw(np.arange(500))
    widths, starts = draws.time_width.astype(np.float32), draws.time_start.astype(np.float32)
    found = np.stack(span(40, np.full(500, 120), widths, starts), 1)
    for (start, stop), width, place in zip(found, widths, starts, strict=True):
        numbers = iter([torch.tensor([width]), torch.tensor([place])])
        monkeypatch.setattr(torch, "rand", lambda *_, numbers=numbers, **__: next(numbers))
        masked = torchaudio.functional.mask_along_axis(torch.zeros(120, 3), 40, 1.0, 0)
        assert masked[:, 0].nonzero().flatten().tolist() == list(range(start, stop))


def test_draws_are_uniform_and_independent_of_one_another():
    draws = np.stack(draw(np.arange(20_000)))
    assert len({values.tobytes() for values in draws}) == len(draws)
    for values in draws:
        assert values.min() >= 0 and values.max() < 1
        assert scipy.stats.kstest(values, "uniform").pvalue > 0.001
        # Neighbouring seeds, too, have nothing in common.
        assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.03
    apart = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(apart).max() < 0.03


def test_draws_are_those_of_splitmix():
    """The first outputs of the published generator for the seed 1234567."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    found = [values[0] for values in draw(np.array([1234567]))[:3]]
    assert found == [(value >> 11) / 2**53 for value in expected]
    assert draw(np.array([2**64 - 1], np.uint64)).place.shape == (1,)


def test_frequency_mask_covers_up_to_sixteen_bands_anywhere():
    masked = changes(replace(NO_CHANGE, frequency_mask=16), clip())
    widths = np.array([int((picture[0] == SILENCE).sum()) for picture in masked])
    for picture in masked[:200]:
        covered = (picture == SILENCE).nonzero()[:, 1].unique()
        assert len(covered) == 0 or int(covered.max() - covered.min()) == len(covered) - 1
    assert all(picture.shape == (120, 64) for picture in masked)
    # A real number below 16 is drawn and rounded down.
    counts = np.bincount(widths, minlength=16)
    assert len(counts) == 16
    assert scipy.stats.chisquare(counts).pvalue > 0.01


def test_time_mask_covers_up_to_forty_frames_anywhere():
    masked = changes(replace(NO_CHANGE, time_mask=40), clip())
    widths = np.array([int((picture[:, 0] == SILENCE).sum()) for picture in masked])
    counts = np.bincount(widths, minlength=40)
    assert len(counts) == 40
    assert scipy.stats.chisquare(counts).pvalue > 0.01


def test_crop_takes_fewer_than_forty_frames_from_either_end():
    features = torch.arange(120.0).unsqueeze(1).expand(120, 64)
    cropped = changes(replace(NO_CHANGE, crop=40), features)
    lengths = np.array([len(picture) for picture in cropped])
    assert scipy.stats.chisquare(np.bincount(120 - lengths, minlength=40)).pvalue > 0.01
    starts = np.array([int(picture[0, 0]) for picture in cropped])
    assert ((starts >= 0) & (starts <= 120 - lengths)).all()
    # Given how much goes, each place is as likely.
    shares = (starts + 0.5) / (121 - lengths)
    assert abs(shares[lengths < 110].mean() - 0.5) < 0.03
    for picture in cropped[:100]:
        assert torch.equal(picture[:, 0].diff(), torch.ones(len(picture) - 1))


@pytest.mark.parametrize("frames", [1, 2, 10, 39, 41])
def test_augmentation_when_clips_are_short(frames):
    for picture in changes(Augmentation(), clip(frames), count=200):
        assert 1 <= len(picture) <= frames
        assert picture.shape[1] == 64
        assert torch.isfinite(picture).all()


def test_longest_when_clips_are_longer():
    cut = changes(replace(NO_CHANGE, longest=50), torch.arange(120.0).unsqueeze(1), count=1000)
    assert {len(picture) for picture in cut} == {50}
    starts = np.array([int(picture[0, 0]) for picture in cut])
    assert scipy.stats.kstest(starts, scipy.stats.randint(0, 71).cdf).pvalue > 0.001


def test_stretch_changes_tempo_and_pitch_by_up_to_its_share():
    features = torch.full((100, 64), -40.0)
    features[50] = 0.0  # a click in the middle
    features[:, 32] = 0.0  # a tone
    stretched = changes(replace(NO_CHANGE, stretch=0.1), features, count=500)
    lengths = np.array([len(picture) for picture in stretched])
    assert (lengths.min(), lengths.max()) == (90, 110)
    clicks = np.array([int(picture[:, :8].mean(1).argmax()) for picture in stretched])
    assert (np.abs(clicks / lengths - 0.5) < 0.03).all()
    tones = np.array([int(picture[:8].mean(0).argmax()) for picture in stretched])
    assert 28 <= tones.min() < 31 and 34 < tones.max() <= 36
    assert all(picture.shape[1] == 64 for picture in stretched)
    assert {picture.min().item() for picture in stretched} == {-40.0, SILENCE}


def test_masks_when_they_are_as_published_have_the_loudest_value():
    masked = changes(replace(NO_CHANGE, frequency_mask=16), clip(), count=50, fill=0.0)
    assert {value for picture in masked for value in picture.unique().tolist()} == {-20.0, 0.0}


@pytest.mark.parametrize("augmentation", [Augmentation(), EVERYTHING], ids=["default", "stretch"])
def test_batch_when_made_on_an_accelerator_waits_for_nothing(augmentation):
    """On the device "meta" no value can be read; on this one, reading one fails the test."""
    frames = np.array([50, 120, 80])
    draws = draw(np.arange(3))
    cuts = augmentation.cut(frames, 64, draws)
    firsts, lefts = np.array([1, 51, 171]), np.zeros(3, np.int64)
    there = torch.empty(251, 64, dtype=torch.float16, device="meta")
    batch, mask = assemble(there, firsts, cuts, lefts, 150)
    assert (batch.device.type, batch.dtype, batch.shape) == ("meta", torch.float32, (3, 150, 64))
    assert (mask.device.type, mask.shape) == ("meta", (3, 150))
    with no_waiting():
        assemble(torch.zeros(251, 64), firsts, cuts, lefts, 150)
        with pytest.raises(AssertionError, match="waits"):
            torch.zeros(1).item()


def test_batch_when_features_are_half_as_wide_is_that_of_their_values():
    clips = [-80 * torch.rand(50, 64), -80 * torch.rand(70, 64)]
    rows, firsts = lay_out(clips)
    cuts = Cuts.whole(np.array([50, 70]), 64)
    half, _ = assemble(rows.half(), firsts, cuts, np.zeros(2, np.int64), 70)
    assert torch.equal(half[1], clips[1].half().float())
    assert half.dtype == torch.float32


def test_draws_and_cuts_have_a_value_for_each_clip():
    cuts = EVERYTHING.cut(np.array([50, 120]), 64, draw(np.arange(2)))
    taken = cuts.take(np.array([1]))
    for one in dataclasses.fields(cuts):
        assert getattr(cuts, one.name).shape == (2,)
        assert getattr(taken, one.name).tolist() == getattr(cuts, one.name)[1:].tolist()
