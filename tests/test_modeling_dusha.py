"""The network: its layers and its published answers, its losses, compiled and exported."""

import copy
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_network import (
    alone,
    batch_of,
    one_thread,  # noqa: F401 - a fixture of every test here
    random_features,
    small_classifier,
    small_config,
)
from subnormal_numbers import count_subnormals, let_channels_die
from torch import nn

import modeling_dusha
from configuration_dusha import DushaConfig
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import (
    DushaAttention,
    DushaConvLayer,
    DushaForAudioClassification,
    DushaInvertedResidual,
    class_probabilities,
    classification_loss,
    clear_subnormals,
    warped_clips,
)


@pytest.fixture(scope="module")
def published(shared):
    """The network with the released weights."""
    from dusha_ser.inference.released_weights import convert_checkpoint, read_checkpoint

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


def test_half_precision_when_published_weights_keeps_answers(published, real_clips):
    clips, reference = real_clips
    half = copy.deepcopy(published).to(torch.bfloat16)
    logits = torch.stack([alone(half, clip) for clip in clips[:8]]).float()
    assert (logits.argmax(1) == reference[:8].argmax(1)).sum() >= 7
    assert (logits - reference[:8]).abs().max() < 0.5


@pytest.mark.parametrize(
    ("shape", "mask_shape"), [((2, 12, 30), None), ((30, 12), None), ((2, 30, 12), (2, 29))]
)
def test_forward_when_shapes_are_wrong_says_which(shape, mask_shape):
    mask = None if mask_shape is None else torch.ones(mask_shape)
    with pytest.raises(ValueError, match=r"must be .*30.*|must be \(batch, frames, 12\)"):
        small_classifier()(torch.zeros(shape), mask)


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


def test_probabilities_are_the_sigmoid_of_several_labels_and_the_softmax_of_one():
    logits = torch.randn(5, 4)
    for problem_type in (None, "single_label_classification"):
        found = class_probabilities(logits, problem_type)
        torch.testing.assert_close(found, logits.exp() / logits.exp().sum(-1, keepdim=True))
    found = class_probabilities(logits, "multi_label_classification")
    torch.testing.assert_close(found, 1 / (1 + (-logits).exp()))
    with pytest.raises(ValueError, match="not a classification"):
        class_probabilities(logits, "regression")


def test_temperature_divides_logits_in_evaluation_and_not_in_training():
    model, plain = small_classifier(temperature=2.0), small_classifier()
    features, labels = random_features(3, 40, 12), torch.tensor([0, 3, 1])
    expected = plain(features, labels=labels)
    found = model(features, labels=labels)
    torch.testing.assert_close(found.logits, expected.logits / 2)
    # A loss is that of the logits beside it.
    torch.testing.assert_close(found.loss, nn.functional.cross_entropy(found.logits, labels))
    raw = plain.train()(features, labels=labels)
    learning = model.train()(features, labels=labels)
    torch.testing.assert_close(learning.logits, raw.logits)
    torch.testing.assert_close(learning.loss, raw.loss)


# Warped frequencies


@pytest.mark.parametrize("frequency", [600.0, 1200.0, 4000.0])
def test_warped_tone_is_heard_where_the_higher_and_the_lower_tone_are(frequency):
    time = np.arange(16000) / 16000
    tones = [np.sin(2 * np.pi * one * time) for one in (1, 1.25, 1 / 1.25) * np.array(frequency)]
    same, higher, lower = torch.from_numpy(
        np.stack(DushaFeatureExtractor()(tones, 16000)["input_features"])
    )
    warped = warped_clips(same.unsqueeze(0), DushaConfig(frequency_warp=0.25))
    # In the middle of the clip, by the centre of what is heard.
    for found, expected in zip((one[0] for one in warped), (higher, lower), strict=True):
        centres = [
            (10 ** (one[50] / 10) * torch.arange(64)).sum() / (10 ** (one[50] / 10)).sum()
            for one in (found, expected)
        ]
        assert abs(centres[0] - centres[1]) < 0.75
        assert abs(centres[0] - same[50].argmax()) > 1


def test_frequency_warp_averages_logits_in_evaluation_and_not_in_training():
    model, plain = small_classifier(frequency_warp=0.2, max_frequency=4000), small_classifier()
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)], [3, 0])
    labels = torch.tensor([0, 3])
    found = model(features, mask, labels=labels, output_hidden_states=True, output_attentions=True)
    alike = plain(features, mask, output_hidden_states=True, output_attentions=True)
    heard = [features, *warped_clips(features, model.config)]
    each = torch.stack([plain(one, mask).logits for one in heard])
    assert (each[1] - each[0]).abs().min() > 1e-4 and (each[2] - each[0]).abs().min() > 1e-4
    torch.testing.assert_close(found.logits, each.mean(0))
    torch.testing.assert_close(found.loss, nn.functional.cross_entropy(found.logits, labels))
    # What else is asked for is of the clip as it is.
    torch.testing.assert_close(found.hidden_states, alike.hidden_states)
    torch.testing.assert_close(found.attentions, alike.attentions)
    learning, raw = model.train()(features, mask), plain.train()(features, mask)
    torch.testing.assert_close(learning.logits, raw.logits)


def test_frequency_warp_leaves_a_clip_independent_of_its_batch():
    model = small_classifier(frequency_warp=0.2)
    clips = [random_features(9, 12), random_features(30, 12)]
    together = model(*batch_of(clips, [3, 0])).logits
    torch.testing.assert_close(together, torch.stack([alone(model, clip) for clip in clips]))
    with pytest.raises(ValueError, match=r"must be \(batch, frames, 12\), got \(1, 9, 11\)"):
        model(torch.zeros(1, 9, 11))


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


# Saved


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
@pytest.mark.parametrize("shard", ["50GB", "2KB"])
def test_saved_files_may_be_read_by_whom_the_umask_lets(tmp_path, umask, shard):
    before = os.umask(umask)
    try:
        small_classifier().save_pretrained(tmp_path / "model", max_shard_size=shard)
    finally:
        os.umask(before)
    files = list((tmp_path / "model").iterdir())
    assert (len(list((tmp_path / "model").glob("*.safetensors"))) > 1) == (shard == "2KB")
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~umask}


# Numbers too small to be normal


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [(torch.float32, 0), (torch.bfloat16, 0), (torch.float16, 5), (torch.float64, 0)],
)
def test_clearing_sets_what_is_subnormal_to_0_and_leaves_the_rest(dtype, kept):
    model = small_classifier().to(dtype)
    weight = model.classifier.weight
    before = weight.detach().clone()
    with torch.no_grad():
        # What float16 holds is a normal number where it is computed with, in single precision.
        weight[0, :5] = 1e-7 if dtype == torch.float16 else torch.finfo(dtype).tiny / 3
        before[0, :5] = weight[0, :5] if kept else 0
    assert int((weight[0, :5] != 0).sum()) == 5
    clear_subnormals(model)
    assert int((weight[0, :5] != 0).sum()) == kept
    assert torch.equal(weight, before)


def test_saved_model_holds_no_subnormals_and_predicts_the_same(tmp_path):
    model = let_channels_die(small_classifier(), 0.4)
    features = random_features(2, 20, 12)
    with torch.no_grad():
        expected = model(features).logits
    model.save_pretrained(tmp_path)
    loaded = DushaForAudioClassification.from_pretrained(tmp_path)
    assert not sum(map(count_subnormals, loaded.state_dict().values()))
    with torch.no_grad():
        assert torch.equal(loaded(features).logits, expected)


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


@pytest.mark.parametrize(("masked", "warp"), [(False, 0.0), (True, 0.0), (True, 0.2)])
def test_exported_program_when_batch_and_frames_change_answers_the_same(masked, warp):
    model = small_classifier(frequency_warp=warp)
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
