from dataclasses import replace

import datasets
import numpy as np
import pytest
import scipy.stats
import torch

from dusha_ser.training.augmentation import SILENCE, Augmentation
from dusha_ser.training.batches import PUBLISHED_FILL, ClipDataset, SpectrogramCollator
from dusha_ser.training.losses import Mixup
from dusha_ser.training.sampling import Draw

NO_CHANGE = Augmentation(frequency_mask=0, time_mask=0, crop=0, either_side=False)
NO_CHANGE_BUT_RANDOM = replace(NO_CHANGE, either_side=True)


def item(frames=120, seed=0, label=0):
    inputs = -1.0 - torch.arange(frames).float().unsqueeze(1).expand(frames, 64) / 10
    return {
        "inputs": inputs,
        "labels": torch.tensor(label),
        "weights": torch.tensor(1.0),
        "seed": seed,
    }


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


def test_collator_when_clips_are_padded_at_random_sides():
    collate = SpectrogramCollator(augmentation=NO_CHANGE_BUT_RANDOM)
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
    collate = SpectrogramCollator(augmentation=NO_CHANGE_BUT_RANDOM, equal_lengths=True)
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
    collate = SpectrogramCollator(augmentation=Augmentation())
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


@pytest.mark.parametrize("mixup", [None, Mixup(0.4, 4)], ids=["plain", "mixed"])
@pytest.mark.parametrize("equal_lengths", [False, True])
@pytest.mark.parametrize("count", [2, 4])
def test_collators_of_several_processes_give_the_batch_of_one(mixup, equal_lengths, count):
    collate = SpectrogramCollator(
        mixup=mixup, augmentation=Augmentation(stretch=0.1), equal_lengths=equal_lengths
    )
    items = [item(90 + 7 * number, number, number % 4) for number in range(8)]
    whole = collate(items)
    assert len(whole["labels"]) == 8
    for index in range(count):
        part = replace(collate, process_count=count, process_index=index)(items)
        assert part.keys() == whole.keys()
        for name, values in part.items():
            assert torch.equal(values, whole[name][index::count]), name


@pytest.mark.parametrize("count", [2, 4])
def test_collators_of_several_processes_share_out_what_teachers_say(count):
    collate = SpectrogramCollator(mixup=Mixup(0.4, 4), augmentation=Augmentation())
    said = torch.rand(8, 4, generator=torch.Generator().manual_seed(0))
    items = [
        item(90 + 7 * number, number, number % 4)
        | {"teachers": said[number], "labelled": torch.tensor(float(number % 3 > 0))}
        for number in range(8)
    ]
    whole = collate(items)
    assert not torch.equal(whole["teachers"], said)
    assert ((whole["labelled"] > 0) & (whole["labelled"] < 1)).any()
    for index in range(count):
        part = replace(collate, process_count=count, process_index=index)(items)
        for name in ("teachers", "labelled", "labels"):
            assert torch.equal(part[name], whole[name][index::count]), name


def test_collator_when_clips_are_mixed_takes_their_seeds():
    items = [item(90 + number, number, number % 4) for number in range(8)]
    plain = SpectrogramCollator(augmentation=Augmentation())
    first, mixed = plain(items), replace(plain, mixup=Mixup(0.4, 4))(items)
    assert torch.equal(mixed["labels"], replace(plain, mixup=Mixup(0.4, 4))(items)["labels"])
    assert mixed["labels"].shape == (8, 4)
    torch.testing.assert_close(mixed["labels"].sum(1), torch.ones(8))
    assert (mixed["attention_mask"] >= first["attention_mask"]).all()
    assert not torch.equal(mixed["input_features"], first["input_features"])
    others = [dict(one, seed=one["seed"] + 100) for one in items]
    assert not torch.equal(mixed["labels"], replace(plain, mixup=Mixup(0.4, 4))(others)["labels"])


def test_collator_when_lengths_are_few_takes_the_next():
    collate = SpectrogramCollator(lengths=(40, 80), multiple=16)
    for frames, expected in ((10, 40), (40, 80), (41, 80), (80, 80), (81, 96)):
        batch = collate([item(frames), item(5)])
        assert batch["input_features"].shape[1] == expected
        assert batch["attention_mask"].sum(1).tolist() == [frames, 5]
