from dataclasses import replace

import datasets
import numpy as np
import pytest
import scipy.stats
import torch

from dusha_ser.training.batches import (
    PUBLISHED_FILL,
    SILENCE,
    Augmentation,
    ClipDataset,
    SpectrogramCollator,
)
from dusha_ser.training.sampling import Draw

NO_CHANGE = Augmentation(frequency_mask=0, time_mask=0, crop=0, either_side=False)
NO_CHANGE_BUT_RANDOM = replace(NO_CHANGE, either_side=True)


def clip(frames=120, mels=64, value=-20.0):
    return torch.full((frames, mels), value)


def item(frames=120, seed=0, label=0):
    inputs = -1.0 - torch.arange(frames).float().unsqueeze(1).expand(frames, 64) / 10
    return {
        "inputs": inputs,
        "labels": torch.tensor(label),
        "weights": torch.tensor(1.0),
        "seed": seed,
    }


def changes(augmentation, features, count=2000):
    torch.manual_seed(0)
    return [augmentation.change(features) for _ in range(count)]


def test_clips_when_rows_are_drawn():
    pictures = [np.random.rand(frames, 64).astype(np.float32) for frames in (3, 5)]
    rows = datasets.Dataset.from_dict(
        {"input_features": pictures, "id": ["a", "b"]},
        features=datasets.Features(
            {
                "input_features": datasets.Array2D((None, 64), "float32"),
                "id": datasets.Value("string"),
            }
        ),
    )
    clips = ClipDataset(rows, "input_features", np.array([2, 1]), np.array([0.5, 1.0]))
    assert len(clips) == 2
    drawn = clips[Draw(1, 77)]
    assert torch.equal(drawn["inputs"], torch.from_numpy(pictures[1]))
    assert (int(drawn["labels"]), float(drawn["weights"]), drawn["seed"]) == (1, 1.0, 77)
    assert float(clips[0]["weights"]) == 0.5
    with pytest.raises(ValueError, match="2 rows have 1 targets"):
        ClipDataset(rows, "input_features", np.array([2]))


def test_frequency_mask_covers_up_to_sixteen_bands_anywhere():
    masked = changes(replace(NO_CHANGE, frequency_mask=16), clip())
    widths = np.array([int((picture[0] == SILENCE).sum()) for picture in masked])
    for picture in masked[:200]:
        covered = (picture == SILENCE).nonzero()[:, 1].unique()
        assert len(covered) == 0 or int(covered.max() - covered.min()) == len(covered) - 1
    assert all(picture.shape == (120, 64) for picture in masked)
    # torchaudio draws a real number below 16 and rounds it down.
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
    masked = changes(replace(NO_CHANGE, frequency_mask=16, fill=PUBLISHED_FILL), clip(), count=50)
    assert {value for picture in masked for value in picture.unique().tolist()} == {-20.0, 0.0}


def test_collator_when_clips_are_padded_at_random_sides():
    collate = SpectrogramCollator(NO_CHANGE_BUT_RANDOM)
    lefts = []
    for seed in range(1500):
        batch = collate([item(30), item(10, seed=seed)])
        mask = batch["attention_mask"][1]
        left = int(mask.argmax())
        lefts.append(left)
        assert int(mask.sum()) == 10 and bool(mask[left : left + 10].all())
        assert torch.equal(batch["input_features"][1, left : left + 10], item(10)["inputs"])
        assert (batch["input_features"][1][mask == 0] == SILENCE).all()
    assert scipy.stats.chisquare(np.bincount(lefts, minlength=21)).pvalue > 0.01


def test_collator_when_clips_are_to_be_classified():
    items = [item(30, label=2), item(10, label=1)]
    batch = SpectrogramCollator(multiple=8)(items)
    assert batch["input_features"].shape == (2, 32, 64)
    assert batch["attention_mask"].sum(1).tolist() == [30, 10]
    assert batch["labels"].tolist() == [2, 1]
    assert torch.equal(batch["input_features"][1, :10], items[1]["inputs"])
    published = SpectrogramCollator(fill=PUBLISHED_FILL, mask=False)(items)
    assert "attention_mask" not in published
    assert (published["input_features"][1, 10:] == 0).all()


def test_collator_when_clips_are_cut_to_equal_lengths():
    collate = SpectrogramCollator(NO_CHANGE_BUT_RANDOM, equal_lengths=True)
    starts = []
    for seed in range(1500):
        batch = collate([item(30, seed), item(20, seed)])
        assert batch["attention_mask"].all() and batch["input_features"].shape == (2, 20, 64)
        torch.testing.assert_close(batch["input_features"][1], item(20)["inputs"])
        starts.append(round(-10 * (float(batch["input_features"][0, 0, 0]) + 1)))
    assert scipy.stats.chisquare(np.bincount(starts, minlength=11)).pvalue > 0.01
    # A clip of two frames does not cut all others to two.
    batch = collate([item(30), item(2)])
    assert batch["attention_mask"].sum(1).tolist() == [15, 2]


def test_collator_gives_the_same_batch_whatever_was_drawn_before():
    collate = SpectrogramCollator(Augmentation())
    items = [item(100 + seed, seed) for seed in range(8)]
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = collate(items)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(collate(items)["input_features"], first["input_features"])
    others = [dict(one, seed=one["seed"] + 100) for one in items]
    assert not torch.equal(
        collate(others)["input_features"][:, :60], first["input_features"][:, :60]
    )
