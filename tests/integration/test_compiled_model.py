"""The network compiled by torch.compile's default backend: one graph, the same answers."""

import copy
import shutil
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from small_network import assert_same_step, random_features, small_classifier  # noqa: E402

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (shutil.which("g++") or shutil.which("clang++")),
        reason="torch.compile makes its kernels with a C++ compiler, and there is none",
    ),
]


# Each kind of block once: making kernels takes seconds a block.
FEW_BLOCKS = {
    "expansion_ratios": (1, 2),
    "stage_channels": (4, 6),
    "stage_depths": (1, 2),
    "stage_strides": (1, 2),
}


def padded(lengths, frames):
    """A batch of random clips of these numbers of frames, the second of them padded on the left."""
    features = random_features(len(lengths), frames, 12, seed=frames)
    mask = torch.arange(frames) < torch.tensor(lengths).view(-1, 1)
    mask[1] = mask[1].flip(0)
    return features, mask.int()


def test_compiled_model_when_shapes_change_answers_as_uncompiled():
    torch._dynamo.reset()
    model = small_classifier(**FEW_BLOCKS)
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for lengths, frames in (((20, 7), 20), ((31, 12, 5), 31)):
            features, mask = padded(lengths, frames)
            torch.testing.assert_close(
                compiled(features, mask).logits,
                model(features, mask).logits,
                atol=1e-4,
                rtol=1e-4,
            )


def test_compiled_training_step_when_padded_equals_uncompiled():
    torch._dynamo.reset()
    model = small_classifier(**FEW_BLOCKS).train()
    other = copy.deepcopy(model)
    compiled = torch.compile(other, fullgraph=True)
    features, mask = padded((20, 7, 13), 24)
    labels = torch.tensor([0, 3, 1])
    for answers in (model(features, mask, labels=labels), compiled(features, mask, labels=labels)):
        answers.loss.backward()
    assert_same_step(other, model)
