import threading

import numpy as np
import pytest
import torch
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from torch.utils.data import DataLoader, default_convert

from dusha_ser.training.batches_ahead import BatchesAhead, SamplerAhead
from dusha_ser.training.sampling import EveryClipSampler

CPU = torch.device("cpu")


class Numbers(torch.utils.data.Dataset):
    """Clips that are their numbers; counts the batches that are asked for, and may fail at one."""

    def __init__(self, fails_at=None):
        self.fails_at = fails_at
        self.asked = []
        self.threads = set()

    def __len__(self):
        return 23

    def __getitems__(self, draws):
        self.asked.append(draws)
        self.threads.add(threading.get_ident())
        if len(self.asked) == self.fails_at:
            raise OSError("the disk is gone")
        return [draw.index for draw in draws]


def collate(items):
    return {"inputs": torch.tensor(items)}


def sampler(epoch=0):
    made = EveryClipSampler(np.arange(23) / 10, batch_size=4, seed=1)
    made.set_epoch(epoch)
    return made


def loader(clips, batches):
    return DataLoader(
        BatchesAhead(clips, collate, CPU), batch_sampler=batches, collate_fn=default_convert
    )


def test_batches_are_those_of_the_sampler_in_their_order():
    batches = SamplerAhead(sampler())
    made = loader(Numbers(), batches)
    assert len(made) == len(batches) == 6 and len(made.dataset) == 23
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        found = [batch["inputs"].tolist() for batch in made]
        assert found == [[draw.index for draw in draws] for draws in sampler(epoch)]


@pytest.mark.parametrize("count", [0, 2, 9])
def test_batches_are_made_ahead_by_one_thread_that_is_not_ours(count):
    clips = Numbers()
    batches = iter(loader(clips, SamplerAhead(sampler(), count)))
    next(batches)
    next(batches)
    # What was asked for is made; at most as many as are to be ahead are, too.
    assert 2 <= len(clips.asked) <= min(2 + count, 6)
    assert len(list(batches)) == 4
    assert len(clips.asked) == 6
    assert len(clips.threads) == 1 and threading.get_ident() not in clips.threads


def test_batches_when_some_are_skipped_are_not_made():
    """As the Trainer skips them in a run that is resumed."""
    clips = Numbers()
    prepared = prepare_data_loader(
        loader(clips, SamplerAhead(sampler())), device=CPU, num_processes=1, process_index=0
    )
    rest = skip_first_batches(prepared, 4)
    rest.set_epoch(1)
    found = [batch["inputs"].tolist() for batch in rest]
    expected = list(sampler(1))[4:]
    assert found == [[draw.index for draw in draws] for draws in expected]
    assert clips.asked == expected


def test_batches_when_the_thread_fails_fail_where_they_are_asked_for():
    batches = iter(loader(Numbers(fails_at=3), SamplerAhead(sampler())))
    assert len(next(batches)["inputs"]) and len(next(batches)["inputs"])
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
