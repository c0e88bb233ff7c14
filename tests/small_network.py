"""A network of a few hundred weights, built as the published one, for tests that need many."""

import pytest
import torch

from configuration_dusha import DushaConfig
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads that wait for one another make these small sums slower where other tests run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small_config(**changes) -> DushaConfig:
    """Three stages with each kind of block, 12 Mel bands: quick, and nothing left out."""
    dimensions = {
        "num_mel_bins": 12,
        "stem_channels": 3,
        "expansion_ratios": (1, 2, 3),
        "stage_channels": (4, 6, 6),
        "stage_depths": (1, 2, 2),
        "stage_strides": (1, 2, 2),
        "hidden_size": 10,
        "attention_size": 4,
    }
    return DushaConfig(**{**dimensions, **changes})


def enliven(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give a new network the weights of a trained one's kind, so that no part of it is idle.

    Attention is off until gamma leaves 0, and a new batch normalisation does nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("gamma"):
                tensor.fill_(0.7)
            elif "normalization" in name and tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 2)
        stem = model.get_submodule(f"{model.base_model_prefix}.stem.normalization")
        stem.running_mean.fill_(-40)
        stem.running_var.fill_(400)
    return model.eval()


def small_classifier(seed: int = 0, **changes) -> DushaForAudioClassification:
    """A small classifier that answers different clips differently."""
    return enliven(DushaForAudioClassification(small_config(**changes)), seed)


def save_small_classifier(folder) -> str:
    """Write a model folder of such a classifier that takes the published features."""
    small_classifier(num_mel_bins=64).save_pretrained(folder)
    DushaFeatureExtractor().save_pretrained(folder)
    return str(folder)


def random_features(*shape: int, seed: int = 0) -> torch.Tensor:
    """Features of the usual range, -80 to 0 dB."""
    return -80 * torch.rand(shape, generator=torch.Generator().manual_seed(seed))


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


def assert_same_step(model, other):
    """Check that one training step left two models the same gradients and running statistics."""
    for (name, ours), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(
            ours.grad, theirs.grad, atol=1e-4, rtol=1e-3, msg=lambda text, name=name: name + text
        )
    for ours, theirs in zip(model.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def released_names():
    """Names and shapes of the released state dict, as the paper's code lays it out."""

    def norm(prefix, channels):
        return {
            f"{prefix}.weight": (channels,),
            f"{prefix}.bias": (channels,),
            f"{prefix}.running_mean": (channels,),
            f"{prefix}.running_var": (channels,),
            f"{prefix}.num_batches_tracked": (),
        }

    names = {"features.0.0.weight": (4, 1, 3, 3), **norm("features.0.1", 4)}
    narrow, number = 4, 1
    for ratio, wide, depth in ((1, 16, 1), (2, 32, 2), (2, 64, 6), (2, 128, 6)):
        for _ in range(depth):
            block, inside, layer = f"features.{number}.conv", narrow * ratio, 0
            if ratio > 1:
                names[f"{block}.0.0.weight"] = (inside, narrow, 1, 1)
                names |= norm(f"{block}.0.1", inside)
                layer = 1
            names[f"{block}.{layer}.0.weight"] = (inside, 1, 3, 3)
            names |= norm(f"{block}.{layer}.1", inside)
            names[f"{block}.{layer + 1}.weight"] = (wide, inside, 1, 1)
            names |= norm(f"{block}.{layer + 2}", wide)
            narrow, number = wide, number + 1
    names |= {"features.16.0.weight": (128, 128, 1, 1), **norm("features.16.1", 128)}
    names |= {f"pooling.0.{part}.weight": (16, 128, 1) for part in ("query", "key")}
    names |= {"pooling.0.value.weight": (128, 128, 1), "pooling.0.gamma": (1,)}
    return names | {"classifier.weight": (4, 128), "classifier.bias": (4,)}
