from dataclasses import replace

import datasets
import numpy as np
import psutil
import pytest
import torch
from torch.utils.data import DataLoader

from dusha_ser.errors import WrongUseError
from dusha_ser.training.augmentation import SILENCE, Augmentation
from dusha_ser.training.batches import ClipDataset, SpectrogramCollator
from dusha_ser.training.held_features import (
    Sharing,
    choose_place,
    clip_lengths,
    hold,
    hold_share,
)
from dusha_ser.training.losses import Mixup
from dusha_ser.training.sampling import EveryClipSampler

CPU = torch.device("cpu")
LENGTHS = [30, 7, 55, 41, 12, 64, 33, 20]


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    column = datasets.Array2D((None, 64), "float32")
    clips = [(-80 * rng.random((length, 64))).astype(np.float32) for length in LENGTHS]
    return datasets.Dataset.from_dict(
        {"input_features": clips}, features=datasets.Features({"input_features": column})
    )


def batches(rows, held, collate):
    clips = ClipDataset(rows, "input_features", np.arange(len(rows)) % 4, held=held)
    sampler = EveryClipSampler(np.array(LENGTHS) / 100, batch_size=3, seed=1)
    return list(DataLoader(clips, batch_sampler=sampler, collate_fn=collate))


def test_held_features_are_those_of_the_rows(rows):
    held = hold(rows, "input_features", np.array(LENGTHS), SILENCE, CPU, torch.float32)
    assert held.frames.shape == (1 + sum(LENGTHS), 64)
    assert (held.frames[0] == SILENCE).all()
    for index, row in enumerate(rows):
        clip = held.clip(index)
        assert clip.shape == (len(clip), 64) == np.array(row["input_features"]).shape
        found = held.frames[clip.first : clip.first + len(clip)]
        np.testing.assert_array_equal(found, np.array(row["input_features"], np.float32))


def test_held_features_when_rows_were_selected_are_in_their_order(rows):
    chosen = rows.select([5, 1, 6])
    assert clip_lengths(chosen, "input_features").tolist() == [64, 7, 33]
    held = hold(chosen, "input_features", np.array([64, 7, 33]), 0.0, CPU, torch.float16)
    assert held.firsts.tolist() == [1, 65, 72, 105]
    expected = torch.tensor(rows[1]["input_features"]).half()
    assert torch.equal(held.frames[65:72], expected)
    assert (held.frames[0] == 0).all()


@pytest.mark.parametrize(
    "collate",
    [
        SpectrogramCollator(),
        SpectrogramCollator(augmentation=Augmentation(frequency_mask=9, time_mask=5, crop=4)),
        SpectrogramCollator(augmentation=Augmentation(stretch=0.2), equal_lengths=True),
        SpectrogramCollator(mixup=Mixup(0.4, 4), augmentation=Augmentation(), lengths=(40, 80)),
    ],
    ids=["plain", "augmented", "stretched", "mixed"],
)
def test_batches_when_features_are_held_are_those_read_from_the_disk(rows, collate):
    held = hold(rows, "input_features", np.array(LENGTHS), SILENCE, CPU, torch.float32)
    for found, expected in zip(
        batches(rows, held, collate), batches(rows, None, collate), strict=True
    ):
        assert found.keys() == expected.keys()
        for name, values in found.items():
            assert torch.equal(values, expected[name]), name


def test_batches_when_features_are_held_in_half_precision_are_close(rows):
    held = hold(rows, "input_features", np.array(LENGTHS), SILENCE, CPU, torch.float16)
    collate = SpectrogramCollator(augmentation=Augmentation())
    for found, expected in zip(
        batches(rows, held, collate), batches(rows, None, collate), strict=True
    ):
        apart = (found["input_features"] - expected["input_features"]).abs().max()
        assert 0 < apart <= 0.0313
        assert torch.equal(found["attention_mask"], expected["attention_mask"])


def test_batches_when_features_are_on_another_device_are_made_there(rows):
    """The device "meta" holds no values: a batch that needed to read one would fail."""
    held = hold(
        rows, "input_features", np.array(LENGTHS), SILENCE, torch.device("meta"), torch.float16
    )
    collate = SpectrogramCollator(
        mixup=Mixup(0.4, 4), augmentation=Augmentation(stretch=0.1), lengths=(80,)
    )
    for batch in batches(rows, held, collate):
        assert {values.device.type for values in batch.values()} == {"meta"}
        assert batch["input_features"].shape[1:] == (80, 64)


def test_batches_when_features_stay_in_the_host_take_only_their_clips_to_the_device(rows):
    held = hold(rows, "input_features", np.array(LENGTHS), SILENCE, CPU, torch.float16)
    frames, firsts = replace(held, used_on=torch.device("meta")).gather([np.array([5, 0, 5])], 0)
    assert (frames.device.type, frames.dtype) == ("meta", torch.float16)
    assert frames.shape == (1 + 64 + 30 + 64, 64)
    assert firsts.tolist() == [1, 65, 95]
    # Where batches are made beside the features, nothing is copied.
    frames, firsts = replace(held, used_on=CPU).gather([np.array([5, 0, 5])], 0)
    assert frames is held.frames
    assert firsts.tolist() == [held.clip(number).first for number in (5, 0, 5)]


@pytest.fixture
def alone():
    """A group of processes that is this one."""
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_batches_when_features_are_shared_are_those_read_from_the_disk(rows, alone):
    """Two processes are in tests/integration/test_two_processes.py."""
    lengths = np.array(LENGTHS)
    held = hold_share(rows, "input_features", lengths, SILENCE, CPU, torch.float32)
    assert held.sharing is not None and held.sharing.parts.tolist() == [0, len(LENGTHS)]
    collate = SpectrogramCollator(mixup=Mixup(0.4, 4), augmentation=Augmentation())
    for found, expected in zip(
        batches(rows, held, collate), batches(rows, None, collate), strict=True
    ):
        for name, values in found.items():
            assert torch.equal(values, expected[name]), name


def test_owners_of_clips_are_the_processes_whose_part_they_are_in():
    sharing = Sharing(np.array([0, 3, 3, 8]), process=0, group=None)
    assert sharing.owners(np.array([0, 2, 3, 7, 1])).tolist() == [0, 0, 2, 2, 0]


def test_place_when_a_processor_trains():
    assert choose_place("auto", 1000, CPU) == (None, "")
    assert choose_place("disk", 1000, CPU) == (None, "")
    for wanted in ("host", "device"):
        place, words = choose_place(wanted, 3_000_000, CPU)
        assert place == CPU
        assert words.startswith("features are held in the host's memory: 0.003 GB of ")
    with pytest.raises(WrongUseError, match="`features_in=host` needs 1e.08 GB, and there are"):
        choose_place("host", 10**17, CPU)


@pytest.mark.parametrize(
    ("size", "expected", "words"),
    [
        (10, "cuda:1", "features are held on cuda:1: 1e-08 GB of 4e-08 GB free"),
        (30, "cpu", "features are held in the host's memory: 3e-08 GB of 1e-07 GB free"),
        (60, None, "features are read from the disk: they are 6e-08 GB, and there are "),
    ],
)
def test_place_when_an_accelerator_trains_is_the_first_with_room(
    monkeypatch, size, expected, words
):
    """Free memory, which no test can order, is 40 bytes there and 100 bytes for each process."""
    monkeypatch.setattr(torch.accelerator, "get_memory_info", lambda device: (40, 80))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 200})())
    place, said = choose_place("auto", size, torch.device("cuda:1"), processes=2)
    assert (place and str(place)) == expected
    assert said.startswith(words)
    assert choose_place("disk", size, torch.device("cuda:1")) == (None, "")
