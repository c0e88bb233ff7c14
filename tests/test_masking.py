"""Padding: a clip gets the same answer in any batch, at any place, and trains the same."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_network import (
    alone,
    assert_same_step,
    batch_of,
    one_thread,  # noqa: F401 - a fixture of every test here
    random_features,
    small_classifier,
)
from torch import nn

from modeling_dusha import frame_mask, hides_frames, masked_batch_norm, move_to_front


@settings(deadline=None, max_examples=40)
@given(
    clips=st.lists(
        st.tuples(st.integers(1, 70), st.integers(0, 20), st.integers(0, 20)),
        min_size=1,
        max_size=5,
    ),
    filling=st.sampled_from([-80.0, 0.0, 17.3, math.inf, math.nan]),
    weights=st.integers(0, 3),
    kind=st.sampled_from([torch.int32, torch.int64, torch.bool, torch.float32]),
)
def test_logits_when_padded_anyhow_equal_those_of_clip_alone(clips, filling, weights, kind):
    model = small_classifier(weights)
    sounds = [random_features(frames, 12, seed=i) for i, (frames, _, _) in enumerate(clips)]
    frames = max(left + length + right for length, left, right in clips)
    features, mask = batch_of(sounds, [left for _, left, _ in clips], frames, filling)
    with torch.no_grad():
        outputs = model(features, mask.to(kind))
    for row, sound in enumerate(sounds):
        torch.testing.assert_close(outputs.logits[row], alone(model, sound), atol=1e-4, rtol=1e-5)


def test_states_when_padded_equal_those_of_clip_alone():
    model = small_classifier()
    sounds = [random_features(17, 12, seed=1), random_features(40, 12, seed=2)]
    features, mask = batch_of(sounds, [9, 0], frames=51)
    with torch.no_grad():
        together = model.dusha(features, mask, output_hidden_states=True)
        for row, sound in enumerate(sounds):
            single = model.dusha(sound.unsqueeze(0), output_hidden_states=True)
            for ours, theirs in zip(together.hidden_states, single.hidden_states, strict=True):
                torch.testing.assert_close(ours[row, :, :, : theirs.shape[3]], theirs[0])
            last = single.last_hidden_state[0]
            inside, behind = together.last_hidden_state[row].split(
                [last.shape[2], together.last_hidden_state.shape[3] - last.shape[2]], dim=2
            )
            torch.testing.assert_close(inside, last)
            assert (behind == 0).all()


def test_mask_when_all_ones_equals_none():
    model = small_classifier()
    features = random_features(2, 33, 12)
    mask = torch.ones(2, 33, dtype=torch.int32)
    assert torch.equal(model(features, mask).logits, model(features).logits)
    assert not hides_frames(mask)
    assert not hides_frames(None)


def test_clip_when_all_padding_gets_finite_logits_and_spoils_no_other():
    model = small_classifier()
    sound = random_features(20, 12)
    features, mask = batch_of([sound, sound])
    mask[0] = 0
    logits = model(features, mask).logits
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[1], alone(model, sound))


def test_frames_when_mask_has_holes_are_joined():
    model = small_classifier()
    sound = random_features(20, 12)
    mask = torch.ones(1, 20)
    mask[0, [3, 4, 11]] = 0
    logits = model(sound.unsqueeze(0), mask).logits[0]
    torch.testing.assert_close(logits, alone(model, sound[mask[0].bool()]))


def test_move_to_front_keeps_order_and_counts():
    frames = torch.arange(1.0, 11.0).view(2, 5, 1)
    features, lengths = move_to_front(frames, torch.tensor([[0, 0, 1, 1, 1], [1, 0, 0, 0, 0]]))
    assert features.squeeze(2).tolist() == [[3, 4, 5, 0, 0], [6, 0, 0, 0, 0]]
    assert lengths.tolist() == [3, 1]


def test_frame_mask_marks_frames_within_lengths():
    mask = frame_mask(torch.zeros(2, 4, 3, 5), torch.tensor([2, 5]), torch.bool)
    assert mask.shape == (2, 1, 1, 5)
    assert mask.sum(3).flatten().tolist() == [2, 5]


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_masked_batch_norm_equals_normalising_real_frames_only(kind):
    states = (torch.randn(3, 5, 4, 9) * 3 + 2).to(kind)
    lengths = torch.tensor([9, 2, 5])
    ours, theirs = nn.BatchNorm2d(5).train(), nn.BatchNorm2d(5).train()
    result = masked_batch_norm(states, lengths, ours)
    real = torch.cat([clip[:, :, :n] for clip, n in zip(states, lengths, strict=True)], dim=2)
    expected = theirs(real.unsqueeze(0).float())[0]
    start = 0
    for clip, length in zip(result, lengths.tolist(), strict=True):
        torch.testing.assert_close(
            clip[:, :, :length].float(),
            expected[:, :, start : start + length],
            atol=1e-5 if kind is torch.float32 else 0.02,
            rtol=1e-5 if kind is torch.float32 else 0.02,
        )
        start += length
    assert result.dtype == kind
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    assert ours.num_batches_tracked == theirs.num_batches_tracked == 1


def normalised(states, lengths, layer, gradient, masked=True):
    """Output and gradients of real frames, in doubles, and the running statistics."""
    states = states.clone().requires_grad_()
    if masked:
        output = masked_batch_norm(states, lengths, layer)
        output.backward(gradient)
    else:
        real = frame_mask(states, lengths, torch.bool).expand_as(states).transpose(0, 1)
        normal = layer(states.transpose(0, 1)[real].view(1, states.shape[1], 1, -1))
        output = torch.zeros_like(states).transpose(0, 1)
        output = output.masked_scatter(real, normal.flatten()).transpose(0, 1)
        output.backward(gradient)
    real = frame_mask(states, lengths, torch.bool)
    found = [output * real, states.grad * real, layer.weight.grad, layer.bias.grad]
    return [one.detach().double() for one in (*found, layer.running_mean, layer.running_var)]


@pytest.mark.parametrize(
    ("mean", "deviation"), [(0, 1), (100, 1), (1000, 1), (100, 0.1), (-80, 0.01), (0, 1e-3)]
)
def test_masked_batch_norm_when_mean_is_large_is_as_precise_as_pytorch(mean, deviation):
    lengths = torch.tensor([100] * 7 + [60])
    states, gradient = torch.randn(8, 4, 16, 100) * deviation + mean, torch.randn(8, 4, 16, 100)
    layer = nn.BatchNorm2d(4).train()
    nn.init.uniform_(layer.weight, 0.5, 2)
    layers = [copy.deepcopy(layer) for _ in range(3)]
    # Padding gets a gradient, too, which is to count for nothing.
    exact = normalised(states.double(), lengths, layers[0].double(), gradient.double(), False)
    pytorch = normalised(states, lengths, layers[1], gradient, False)
    ours = normalised(states, lengths, layers[2], gradient)
    for one, other, truth in zip(ours, pytorch, exact, strict=True):
        scale = truth.abs().max()
        error, allowed = (float((found - truth).abs().max() / scale) for found in (one, other))
        assert error < 8 * allowed + 1e-6


def test_masked_batch_norm_when_double_stays_double():
    states, lengths = torch.randn(2, 3, 4, 5, dtype=torch.float64) + 1e6, torch.tensor([5, 2])
    layer = nn.BatchNorm2d(3).double().train()
    result = masked_batch_norm(states, lengths, layer)
    real = states[0].flatten(1), states[1][:, :, :2].flatten(1)
    variance, mean = torch.var_mean(torch.cat(real, 1), 1, correction=0)
    expected = (states[0] - mean.view(-1, 1, 1)) / (variance.view(-1, 1, 1) + layer.eps).sqrt()
    torch.testing.assert_close(result[0], expected, atol=1e-8, rtol=0)


def test_training_step_when_padded_equals_step_without_padding():
    sounds = [random_features(24, 12, seed=seed) for seed in range(3)]
    labels = torch.tensor([0, 1, 3])
    plain, padded = small_classifier().train(), small_classifier().train()
    first = plain(torch.stack(sounds), labels=labels)
    features, mask = batch_of(sounds, [5, 0, 17], frames=60, filling=0.0)
    second = padded(features, mask, labels=labels)
    torch.testing.assert_close(second.logits, first.logits, atol=1e-4, rtol=1e-4)
    first.loss.backward()
    second.loss.backward()
    assert_same_step(padded, plain)
