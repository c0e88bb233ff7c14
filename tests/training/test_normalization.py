import copy

import pytest
import torch
from small_network import small_classifier
from torch import nn

from dusha_ser.training.normalization import PreciseBatchNorm2d, make_precise


def run(layer, features, gradient):
    """Output, gradients and running statistics of one step in training, as doubles."""
    features = features.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    output = layer(features)
    output.backward(gradient.to(output.dtype))
    parts = [output, features.grad, layer.weight.grad, layer.bias.grad]
    return [part.detach().double() for part in (*parts, layer.running_mean, layer.running_var)]


def make_layer(kind, channels=6):
    torch.manual_seed(0)
    layer = kind(channels)
    nn.init.uniform_(layer.weight, 0.5, 2)
    nn.init.uniform_(layer.bias, -1, 1)
    return layer


def make_batch(batch, mels, frames, channels=6):
    torch.manual_seed(1)
    features = torch.randn(batch, channels, mels, frames).relu() * 3 + 1
    gradient = torch.randn_like(features) * 1e-3 + 1e-4
    return [one.to(memory_format=torch.channels_last) for one in (features, gradient)]


@pytest.mark.parametrize("shape", [(1, 1, 2), (2, 3, 5), (8, 16, 40)])
def test_layer_equals_pytorch_in_double_precision(shape):
    features, gradient = make_batch(*shape)
    expected = run(make_layer(nn.BatchNorm2d).double(), features.double(), gradient)
    found = run(make_layer(PreciseBatchNorm2d), features, gradient)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-6)


def test_layer_is_precise_where_pytorch_is_not():
    """The reason why the layer is there; should it fail, PyTorch has got better."""
    features, gradient = make_batch(32, 64, 200)
    expected = run(make_layer(nn.BatchNorm2d).double(), features.double(), gradient)

    def errors(kind):
        found = run(make_layer(kind), features, gradient)
        pairs = zip(found, expected, strict=True)
        return [float((one - other).norm() / other.norm()) for one, other in pairs]

    assert max(errors(PreciseBatchNorm2d)) < 5e-5
    assert max(errors(nn.BatchNorm2d)) > 20 * max(errors(PreciseBatchNorm2d))


def test_layer_when_it_does_not_train_or_tensors_are_other_ones():
    features, _ = make_batch(2, 3, 5)
    ours, theirs = make_layer(PreciseBatchNorm2d), make_layer(nn.BatchNorm2d)
    for values in (features.contiguous(), features.double()):
        ours, theirs = ours.to(values.dtype), theirs.to(values.dtype)
        assert torch.equal(ours(values), theirs(values))
    assert torch.equal(ours.eval()(features.double()), theirs.eval()(features.double()))
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def test_make_precise_leaves_weights_and_answers_alone():
    model = small_classifier()
    precise = copy.deepcopy(model)
    make_precise(precise)
    assert sum(isinstance(layer, PreciseBatchNorm2d) for layer in precise.modules()) == sum(
        isinstance(layer, nn.BatchNorm2d) for layer in model.modules()
    )
    features = -80 * torch.rand(3, 30, 12)
    assert torch.equal(precise(features).logits, model(features).logits)
    precise.load_state_dict(model.state_dict())
