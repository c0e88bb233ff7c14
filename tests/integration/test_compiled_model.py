"""The network compiled by torch.compile's default backend: one graph, the same predictions."""

import copy
import shutil
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from small_network import assert_same_step, random_features, small_classifier  # noqa: E402

from modeling_dusha import masked_batch_norm  # noqa: E402

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


def normalize(normalization, function, values, lengths):
    """Normalise a batch; return the output, all gradients and the running statistics."""
    values = values.clone().requires_grad_()
    output = function(values, lengths, normalization)
    # Other weights at each position, so that no part of a gradient is 0.
    factors = (0.7 * torch.arange(output.numel(), dtype=torch.float64)).sin().view(output.shape)
    real = torch.arange(output.shape[3]) < lengths.view(-1, 1, 1, 1)
    (output.masked_fill(~real, 0) * factors.to(output)).sum().backward()
    return {
        "output": output.detach().masked_fill(~real, 0),
        "of_input": values.grad,
        "of_weight": normalization.weight.grad,
        "of_bias": normalization.bias.grad,
        "mean": normalization.running_mean,
        "variance": normalization.running_var,
    }


def test_masked_batch_norm_when_compiled_is_as_precise_as_in_double_precision():
    """Fused into few kernels, for any length; also where the mean is a hundred times the spread."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(masked_batch_norm, fullgraph=True, dynamic=True)
    for frames, mean, spread in ((23, 0.0, 1.0), (31, 100.0, 1.0), (40, -3.0, 0.01)):
        generator = torch.Generator().manual_seed(frames)
        values = mean + spread * torch.randn(3, 5, 4, frames, generator=generator)
        lengths = torch.tensor([frames, 9, 1])
        layers = {}
        for name, kind in (("ours", torch.float32), ("exact", torch.float64)):
            layers[name] = torch.nn.BatchNorm2d(5, eps=1e-5, momentum=0.3)
            with torch.no_grad():
                layers[name].weight.copy_(torch.linspace(0.5, 2, 5))
                layers[name].bias.copy_(torch.linspace(-1, 1, 5))
            layers[name].to(kind)
        found = normalize(layers["ours"], compiled, values, lengths)
        exact = normalize(layers["exact"], masked_batch_norm, values.double(), lengths)
        for name, expected in exact.items():
            scale = expected.abs().max().clamp(min=1e-3)
            # Rounding of a mean far from 0 is as large as that of the values themselves.
            tolerance = 2e-6 * max(1.0, abs(mean) / spread)
            apart = ((found[name].double() - expected) / scale).abs().max()
            assert apart <= tolerance, (name, mean, float(apart))
        assert int(layers["ours"].num_batches_tracked) == 1
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
