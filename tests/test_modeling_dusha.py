"""The network: its shape, its answers in any batch, and what Transformers asks of every model."""

import copy
import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_network import enliven, random_features, small_classifier, small_config
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

import modeling_dusha
from configuration_dusha import DushaConfig
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import (
    DushaAttention,
    DushaConvLayer,
    DushaForAudioClassification,
    DushaInvertedResidual,
    DushaModel,
    classification_loss,
    frame_mask,
    hides_frames,
    masked_batch_norm,
    move_to_front,
)

CLASSES = {
    DushaModel: "AutoModel",
    DushaForAudioClassification: "AutoModelForAudioClassification",
}


def batch_of(clips, lefts=None, frames=None, filling=-80.0):
    """Put clips of (frames, mels) into one batch, each at its place; returns features and mask."""
    lefts = lefts or [0] * len(clips)
    frames = frames or max(left + len(clip) for clip, left in zip(clips, lefts, strict=True))
    features = torch.full((len(clips), frames, clips[0].shape[1]), filling)
    mask = torch.zeros(len(clips), frames, dtype=torch.int32)
    for row, (clip, left) in enumerate(zip(clips, lefts, strict=True)):
        features[row, left : left + len(clip)] = clip
        mask[row, left : left + len(clip)] = 1
    return features, mask


@torch.no_grad()
def alone(model, clip):
    """The logits of one clip of (frames, mels) by itself, without a mask."""
    return model(clip.unsqueeze(0)).logits[0]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads that wait for one another make these small sums slower where other tests run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def published(shared):
    """The network with the released weights."""
    from tools.convert_checkpoint import convert_checkpoint, read_checkpoint

    model = DushaForAudioClassification(DushaConfig())
    path = shared / "data" / "reference" / "released_checkpoint.pt"
    model.load_state_dict(convert_checkpoint(read_checkpoint(path)))
    return model.eval()


@pytest.fixture(scope="module")
def real_clips(shared):
    """The features of the 37 clips of logits.json, and their reference logits."""
    reference = json.loads((shared / "data" / "reference" / "logits.json").read_text())
    extractor = DushaFeatureExtractor()
    waveforms = [soundfile.read(shared / "data" / "ravdess" / name)[0] for name in reference]
    features = extractor(waveforms, 16000)["input_features"]
    return [torch.from_numpy(clip) for clip in features], torch.tensor(list(reference.values()))


# The network as published


def test_parameters_when_default_are_as_many_as_published():
    with torch.device("meta"):
        model = DushaForAudioClassification(DushaConfig())
    assert sum(parameter.numel() for parameter in model.parameters()) == 514_909
    assert len(model.dusha.blocks) == model.config.num_hidden_layers == 15


def test_logits_when_real_clips_one_by_one_equal_reference(published, real_clips):
    clips, reference = real_clips
    assert len(clips) == 37
    logits = torch.stack([alone(published, clip) for clip in clips])
    torch.testing.assert_close(logits, reference, atol=1e-4, rtol=0)


def test_logits_when_real_clips_share_a_batch_equal_reference(published, real_clips):
    clips, reference = real_clips
    generator = np.random.default_rng(0)
    for start in range(0, len(clips), 8):
        some = clips[start : start + 8]
        lefts = generator.integers(0, 40, len(some)).tolist()
        features, mask = batch_of(some, lefts, frames=540, filling=float(-80 * generator.random()))
        with torch.no_grad():
            logits = published(features, mask).logits
        torch.testing.assert_close(logits, reference[start : start + 8], atol=1e-4, rtol=0)


def test_logits_when_published_padding_differ_from_clip_alone(published, real_clips):
    clips, reference = real_clips
    features, mask = batch_of(clips[:4], [3, 0, 7, 1], frames=460, filling=0.0)
    published.config.use_attention_mask = False
    try:
        with torch.no_grad():
            logits = published(features, mask).logits
            torch.testing.assert_close(logits, published(features).logits, atol=0, rtol=0)
    finally:
        published.config.use_attention_mask = True
    assert (logits - reference[:4]).abs().max() > 0.1


def test_dimensions_when_configured_are_followed():
    model = small_classifier(num_labels=3)
    outputs = model(random_features(2, 21, 12), output_hidden_states=True)
    assert outputs.logits.shape == (2, 3)
    assert [tuple(state.shape[1:]) for state in outputs.hidden_states] == [
        (3, 12, 21),
        (4, 12, 21),
        (6, 6, 11),
        (6, 6, 11),
        (6, 3, 6),
        (6, 3, 6),
    ]


# Layers


def test_conv_layer_when_built_is_convolution_normalisation_activation():
    layer = DushaConvLayer(small_config(), 3, 5, kernel_size=3, stride=2).eval()
    states = torch.randn(2, 3, 12, 9)
    expected = nn.functional.conv2d(states, layer.convolution.weight, None, 2, 1)
    expected = (expected / math.sqrt(1 + 1e-5)).clamp(0, 6)
    torch.testing.assert_close(layer(states), expected)
    assert layer.convolution.bias is None


def test_linear_layer_when_built_lets_negative_values_through():
    layer = DushaConvLayer(small_config(), 3, 5, kernel_size=1, linear=True).eval()
    assert layer(torch.randn(2, 3, 12, 9)).min() < 0


def test_output_lengths_when_strided_round_up():
    layer = DushaConvLayer(small_config(), 1, 1, kernel_size=3, stride=2)
    lengths = torch.arange(1, 8)
    widths = [layer(torch.zeros(1, 1, 4, length)).shape[3] for length in lengths.tolist()]
    assert layer.output_lengths(lengths).tolist() == widths
    assert layer.output_lengths(None) is None


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "skips"),
    [(4, 4, 1, True), (4, 6, 1, False), (4, 4, 2, False)],
)
def test_block_skips_only_when_shapes_match(in_channels, out_channels, stride, skips):
    block = DushaInvertedResidual(small_config(), in_channels, out_channels, 2, stride).eval()
    nn.init.zeros_(block.project_1x1.convolution.weight)
    states = torch.randn(1, in_channels, 12, 10)
    assert torch.equal(block(states), states) == skips


def test_block_when_ratio_is_one_has_no_expansion():
    assert DushaInvertedResidual(small_config(), 4, 4, 1, 1).expand_1x1 is None
    assert DushaInvertedResidual(small_config(), 4, 4, 2, 1).expand_1x1 is not None


# Attention


def sagan(attention, states):
    """Self-attention by the paper's formula, position by position, on (channels, mels, frames)."""
    positions = states.flatten(1)
    f, g, h = (
        layer.weight @ positions for layer in (attention.key, attention.query, attention.value)
    )
    answers = torch.empty_like(positions)
    for j in range(positions.shape[1]):
        weights = torch.softmax(f.T @ g[:, j], 0)
        answers[:, j] = positions[:, j] + attention.gamma * (h @ weights)
    return answers.view_as(states)


@pytest.mark.parametrize("return_weights", [False, True])
def test_attention_when_compared_equals_formula(return_weights):
    attention = DushaAttention(small_config())
    nn.init.constant_(attention.gamma, 0.7)
    states = torch.randn(3, 10, 3, 7)
    lengths = torch.tensor([7, 4, 1])
    with torch.no_grad():
        whole, _ = attention(states, None, return_weights)
        masked, weights = attention(states, lengths, return_weights)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(whole[row], sagan(attention, states[row]))
        inside = states[row, :, :, :length]
        torch.testing.assert_close(masked[row, :, :, :length], sagan(attention, inside))
    assert (weights is not None) == return_weights


def test_attention_when_new_changes_nothing():
    states = torch.randn(2, 10, 3, 7)
    assert torch.equal(DushaAttention(small_config())(states)[0], states)


def test_attention_when_eager_is_chosen_equals_fused():
    model = small_classifier()
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)])
    fused = model(features, mask).logits
    model.set_attn_implementation("eager")
    torch.testing.assert_close(model(features, mask).logits, fused)


def test_attentions_when_asked_for_are_probabilities_of_real_positions():
    model = small_classifier()
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)], [5, 0])
    (weights,) = model(features, mask, output_attentions=True).attentions
    assert weights.shape == (2, 1, 3 * 8, 3 * 8)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 1, 24))
    by_frame = weights[0, 0].view(24, 3, 8).sum((0, 1))
    assert (by_frame[:3] > 0).all()
    assert (by_frame[3:] == 0).all()


def test_memory_when_clip_lasts_a_minute_stays_below_a_gigabyte():
    program = """
import resource, torch
from configuration_dusha import DushaConfig
from modeling_dusha import DushaForAudioClassification

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

model = DushaForAudioClassification(DushaConfig()).eval()
torch.nn.init.ones_(model.dusha.attention.gamma)
mask = torch.ones(1, 6001)
mask[0, -5:] = 0
with torch.no_grad():
    model(torch.randn(1, 100, 64), mask[:, -100:])
    before = peak()
    model(torch.randn(1, 6001, 64), mask)
print(before, peak())
"""
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(modeling_dusha.__file__).parent)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    before, after = map(float, printed.split())
    # The whole matrix of weights alone would take 138 MiB, and its making as much again.
    assert after - before < 400


# Padding


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
    for (name, ours), theirs in zip(padded.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(
            ours.grad, theirs.grad, atol=1e-4, rtol=1e-3, msg=lambda text, name=name: name + text
        )
    for ours, theirs in zip(padded.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "mask_shape"), [((2, 12, 30), None), ((30, 12), None), ((2, 30, 12), (2, 29))]
)
def test_forward_when_shapes_are_wrong_says_which(shape, mask_shape):
    mask = None if mask_shape is None else torch.ones(mask_shape)
    with pytest.raises(ValueError, match=r"must be .*30.*|must be \(batch, frames, 12\)"):
        small_classifier()(torch.zeros(shape), mask)


# Loss


def test_loss_when_labels_are_numbers_is_cross_entropy():
    logits = torch.randn(5, 4)
    labels = torch.tensor([0, 3, 1, -100, 2])
    expected = nn.functional.cross_entropy(logits[[0, 1, 2, 4]], labels[[0, 1, 2, 4]])
    for problem_type in (None, "single_label_classification"):
        for kind in (torch.int64, torch.int32):
            loss = classification_loss(logits, labels.to(kind), problem_type)
            torch.testing.assert_close(loss, expected)


def test_loss_when_labels_are_probabilities_is_soft_cross_entropy():
    logits, labels = torch.randn(5, 4), torch.rand(5, 4).softmax(-1)
    expected = -(labels * logits.log_softmax(-1)).sum(-1).mean()
    for problem_type in (None, "single_label_classification"):
        torch.testing.assert_close(classification_loss(logits, labels, problem_type), expected)


def test_loss_when_several_labels_is_binary_cross_entropy():
    logits, labels = torch.randn(5, 4), torch.randint(0, 2, (5, 4))
    chances = logits.sigmoid()
    expected = -(labels * chances.log() + (1 - labels) * (1 - chances).log()).mean()
    loss = classification_loss(logits, labels, "multi_label_classification")
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    ("labels", "problem_type"),
    [
        (torch.zeros(5), None),
        (torch.zeros(4, dtype=torch.long), None),
        (torch.zeros(5, 4, dtype=torch.long), "single_label_classification"),
        (torch.zeros(5, 3), None),
        (torch.zeros(5, dtype=torch.long), "multi_label_classification"),
        (torch.zeros(5), "regression"),
    ],
)
def test_loss_when_labels_do_not_fit_says_what_does(labels, problem_type):
    with pytest.raises(ValueError, match="allow"):
        classification_loss(torch.randn(5, 4), labels, problem_type)


@pytest.mark.parametrize(
    ("problem_type", "labels"),
    [
        (None, torch.tensor([1, 3])),
        ("single_label_classification", torch.tensor([[0.5, 0.5, 0, 0], [0, 0.1, 0.2, 0.7]])),
        ("multi_label_classification", torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0]])),
    ],
)
def test_training_when_any_problem_type_lowers_loss_and_keeps_configuration(problem_type, labels):
    model = DushaForAudioClassification(small_config(problem_type=problem_type)).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)])
    losses = []
    for _ in range(12):
        loss = model(features, mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert model.config.problem_type == problem_type
    assert all(parameter.grad is not None for parameter in model.parameters())


# Saving and loading


@pytest.mark.parametrize("model_class", CLASSES)
def test_model_when_saved_and_loaded_answers_the_same(model_class, tmp_path):
    model = enliven_any(model_class(small_config()))
    model.save_pretrained(tmp_path)
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)])
    loaded, report = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert not loaded.training
    for ours, theirs in zip(
        model(features, mask).to_tuple(), loaded(features, mask).to_tuple(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert loaded.config.to_diff_dict() == model.config.to_diff_dict()


def enliven_any(model):
    """Enliven a model of either class."""
    if isinstance(model, DushaForAudioClassification):
        return enliven(model)
    holder = DushaForAudioClassification(model.config)
    holder.dusha = model
    return enliven(holder).dusha


def test_folder_when_saved_loads_by_auto_classes(tmp_path):
    model = small_classifier()
    model.save_pretrained(tmp_path)
    settings_saved = json.loads((tmp_path / "config.json").read_text())
    assert settings_saved["auto_map"] == {
        "AutoConfig": "configuration_dusha.DushaConfig",
        "AutoModel": "modeling_dusha.DushaModel",
        "AutoModelForAudioClassification": "modeling_dusha.DushaForAudioClassification",
    }
    assert {"configuration_dusha.py", "modeling_dusha.py"} <= {p.name for p in tmp_path.iterdir()}
    assert type(AutoConfig.from_pretrained(tmp_path)) is DushaConfig
    assert type(AutoModel.from_pretrained(tmp_path)) is DushaModel
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert type(loaded) is DushaForAudioClassification
    assert torch.equal(loaded.classifier.weight, model.classifier.weight)


def test_auto_classes_when_given_configuration_build_models():
    config = small_config()
    assert type(AutoConfig.for_model("dusha")) is DushaConfig
    assert type(AutoModel.from_config(config)) is DushaModel
    model = AutoModelForAudioClassification.from_config(config)
    assert type(model) is DushaForAudioClassification


def test_head_when_base_model_was_saved_is_new(tmp_path):
    base = enliven_any(DushaModel(small_config()))
    base.save_pretrained(tmp_path)
    loaded, report = DushaForAudioClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert set(report["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    kept = loaded.dusha.state_dict()
    assert all(torch.equal(kept[name], weight) for name, weight in base.state_dict().items())


def test_weights_when_given_as_state_dict_are_taken(tmp_path):
    model = small_classifier()
    loaded = DushaForAudioClassification.from_pretrained(
        None, config=model.config, state_dict=model.state_dict()
    )
    features = random_features(1, 20, 12)
    assert torch.equal(loaded(features).logits, model(features).logits)


def test_head_when_number_of_labels_changes_is_new_and_the_rest_is_kept(tmp_path):
    model = small_classifier()
    model.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        DushaForAudioClassification.from_pretrained(tmp_path, num_labels=7)
    loaded = DushaForAudioClassification.from_pretrained(
        tmp_path, num_labels=7, ignore_mismatched_sizes=True
    )
    features = random_features(1, 20, 12)
    assert loaded(features).logits.shape == (1, 7)
    assert len(loaded.config.id2label) == 7
    torch.testing.assert_close(
        loaded.dusha(features).pooler_output, model.dusha(features).pooler_output
    )


def test_labels_when_given_by_name_are_saved(tmp_path):
    names = {0: "calm", 1: "upset", 2: "other"}
    small_classifier(id2label=names).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.id2label == names
    assert config.label2id == {"calm": 0, "upset": 1, "other": 2}


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_when_loaded_is_close_to_full(kind, tmp_path):
    model = small_classifier()
    model.save_pretrained(tmp_path)
    half = DushaForAudioClassification.from_pretrained(tmp_path, dtype=kind)
    assert {p.dtype for p in half.parameters()} == {kind}
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)], [2, 0])
    full = model(features, mask).logits
    for given_as in (torch.float32, kind):
        logits = half(features.to(given_as), mask).logits
        assert logits.dtype == kind
        tolerance = 0.05 * full.abs().max().item()
        torch.testing.assert_close(logits.float(), full, atol=tolerance, rtol=0)
    half.save_pretrained(tmp_path / "half")
    assert AutoConfig.from_pretrained(tmp_path / "half").dtype == kind


def test_half_precision_when_published_weights_keeps_answers(published, real_clips):
    clips, reference = real_clips
    half = copy.deepcopy(published).to(torch.bfloat16)
    logits = torch.stack([alone(half, clip) for clip in clips[:8]]).float()
    assert (logits.argmax(1) == reference[:8].argmax(1)).sum() >= 7
    assert (logits - reference[:8]).abs().max() < 0.5


def test_training_under_autocast_stays_finite_and_keeps_statistics_in_full():
    model = small_classifier().train()
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)])
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(features, mask, labels=torch.tensor([0, 1])).loss
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert model.dusha.stem.normalization.running_mean.dtype == torch.float32


@pytest.mark.parametrize("device_map", ["auto", "cpu", {"": "cpu"}])
def test_device_map_when_given_loads_the_same_model(device_map, tmp_path):
    model = small_classifier()
    model.save_pretrained(tmp_path)
    loaded = DushaForAudioClassification.from_pretrained(tmp_path, device_map=device_map)
    features = random_features(1, 20, 12)
    torch.testing.assert_close(loaded(features).logits.cpu(), model(features).logits)


def test_model_when_copied_or_pickled_answers_the_same():
    model = small_classifier()
    features = random_features(1, 20, 12)
    expected = model(features).logits
    assert torch.equal(copy.deepcopy(model)(features).logits, expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(features).logits, expected)


# Initial weights


def forget_initialised(model):
    """Drop the marks by which Transformers knows what it has initialised."""
    for owner in (*model.modules(), *model.parameters(), *model.buffers()):
        if getattr(owner, "_is_hf_initialized", False):
            owner._is_hf_initialized = False


def test_initial_weights_are_those_of_pytorch():
    ours, theirs = (DushaForAudioClassification(small_config()) for _ in range(2))
    forget_initialised(ours)
    torch.manual_seed(3)
    ours.init_weights()
    torch.manual_seed(3)
    theirs.apply(lambda module: getattr(module, "reset_parameters", lambda: None)())
    for (name, first), second in zip(
        ours.state_dict().items(), theirs.state_dict().values(), strict=True
    ):
        assert torch.equal(first, second), name
    assert ours.dusha.attention.gamma.item() == 0


def test_initial_weights_when_model_was_on_meta_are_the_same():
    whole = DushaForAudioClassification(small_config())
    forget_initialised(whole)
    with torch.device("meta"):
        empty = DushaForAudioClassification(small_config())
    empty.to_empty(device="cpu")
    forget_initialised(empty)
    for model in (whole, empty):
        torch.manual_seed(3)
        model.init_weights()
    for ours, theirs in zip(empty.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_initial_weights_when_missing_from_the_file_are_drawn(tmp_path):
    model = small_classifier()
    kept = {name: w for name, w in model.state_dict().items() if "blocks.2" not in name}
    del kept["dusha.attention.gamma"]
    model.save_pretrained(tmp_path, state_dict=kept)
    loaded, report = DushaForAudioClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert "dusha.attention.gamma" in report["missing_keys"]
    assert loaded.dusha.attention.gamma.item() == 0
    block = loaded.dusha.blocks[2]
    assert (block.expand_1x1.normalization.running_var == 1).all()
    weight = block.expand_1x1.convolution.weight
    assert 0 < weight.abs().max() <= 1 / math.sqrt(weight[0].numel())
    assert torch.equal(loaded.dusha.stem.convolution.weight, model.dusha.stem.convolution.weight)


def test_models_when_built_from_one_seed_are_equal():
    weights = []
    for _ in range(2):
        torch.manual_seed(11)
        weights.append(DushaForAudioClassification(small_config()).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(w.values() for w in weights), strict=True))


# Outputs


@pytest.mark.parametrize("training", [False, True])
def test_forward_when_repeated_is_deterministic(training):
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)])
    model = small_classifier().train(training)
    assert torch.equal(model(features, mask).logits, model(features, mask).logits)


def test_outputs_when_more_is_asked_for_stay_the_same():
    model = small_classifier()
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)])
    plain = model(features, mask)
    full = model(features, mask, output_hidden_states=True, output_attentions=True)
    assert isinstance(plain, SequenceClassifierOutput)
    assert plain.hidden_states is None
    assert plain.attentions is None
    torch.testing.assert_close(full.logits, plain.logits)
    assert len(full.hidden_states) == model.config.num_hidden_layers + 1
    assert len(full.attentions) == 1


def test_outputs_when_configuration_asks_are_returned():
    features = random_features(1, 20, 12)
    model = small_classifier(output_hidden_states=True)
    assert len(model(features).hidden_states) == 6
    assert model(features, output_hidden_states=False).hidden_states is None
    model = small_classifier(output_attentions=True)
    assert len(model(features).attentions) == 1


@pytest.mark.parametrize("by_configuration", [False, True])
def test_outputs_when_tuples_are_asked_for_hold_the_same(by_configuration):
    model = small_classifier()
    features = random_features(1, 20, 12)
    asked = {"output_hidden_states": True, "output_attentions": True}
    expected = model(features, labels=torch.tensor([1]), **asked)
    if by_configuration:
        model.config.return_dict = False
        outputs = model(features, labels=torch.tensor([1]), **asked)
    else:
        outputs = model(features, labels=torch.tensor([1]), return_dict=False, **asked)
    assert isinstance(outputs, tuple)
    loss, logits, states, attentions = outputs
    assert torch.equal(loss, expected.loss)
    assert torch.equal(logits, expected.logits)
    assert all(torch.equal(a, b) for a, b in zip(states, expected.hidden_states, strict=True))
    assert torch.equal(attentions[0], expected.attentions[0])


def test_base_model_when_run_gives_embedding_that_is_the_mean():
    model = enliven_any(DushaModel(small_config()))
    outputs = model(random_features(2, 30, 12))
    assert isinstance(outputs, BaseModelOutputWithPooling)
    assert outputs.pooler_output.shape == (2, 10)
    torch.testing.assert_close(outputs.pooler_output, outputs.last_hidden_state.mean((2, 3)))


def test_gradients_when_outputs_are_kept_reach_states_and_attentions():
    model = small_classifier()
    outputs = model(random_features(1, 20, 12), output_hidden_states=True, output_attentions=True)
    kept = (*outputs.hidden_states, *outputs.attentions)
    for tensor in kept:
        tensor.retain_grad()
    outputs.logits[0, 0].backward()
    assert all(tensor.grad is not None for tensor in kept)


def test_gradient_checkpointing_when_asked_for_is_refused():
    with pytest.raises(ValueError, match="does not support (gradient|activation) checkpointing"):
        small_classifier().gradient_checkpointing_enable()


def test_channels_last_when_chosen_changes_no_answer():
    model = small_classifier()
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)])
    expected = model(features, mask).logits
    model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(features, mask).logits, expected)


# Compiled and exported


@pytest.mark.parametrize(("masked", "training"), [(False, False), (True, False), (True, True)])
def test_traced_model_when_one_graph_answers_the_same(masked, training):
    torch._dynamo.reset()
    model = small_classifier(stage_depths=(1, 1, 1)).train(training)
    # Tracing alone, which a break of the graph would end; tests/integration compiles for real.
    traced = torch.compile(model, fullgraph=True, backend="eager", dynamic=True)
    labels = torch.tensor([0, 1])
    for frames in (30, 47):
        features, mask = batch_of([random_features(9, 12), random_features(frames, 12)], [3, 0])
        mask = mask if masked else None
        before = copy.deepcopy(list(model.buffers()))
        ours = traced(features, mask, labels=labels, output_hidden_states=True)
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.data.copy_(value)
        theirs = model(features, mask, labels=labels, output_hidden_states=True)
        torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours.loss, theirs.loss, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("masked", [False, True])
def test_exported_program_when_batch_and_frames_change_answers_the_same(masked):
    model = small_classifier()
    example = batch_of([random_features(9, 12), random_features(30, 12)], [3, 0])
    names = ("input_features", "attention_mask") if masked else ("input_features",)
    # PyTorch cannot leave open whether a convolution yields a single column or more, so a stride
    # of 4 over both stages needs at least 5 frames.
    open_shape = {
        0: torch.export.Dim("batch", min=1, max=512),
        1: torch.export.Dim("frames", min=5),
    }
    program = torch.export.export(
        model, example[: len(names)], dynamic_shapes=dict.fromkeys(names, open_shape)
    )
    for clips, frames in ((1, 5), (3, 33), (5, 120)):
        sounds = [random_features(max(1, frames // (1 + i)), 12, seed=i) for i in range(clips)]
        inputs = batch_of(sounds, [0] * clips)[: len(names)]
        torch.testing.assert_close(
            program.module()(*inputs).logits, model(*inputs).logits, atol=1e-4, rtol=1e-4
        )
