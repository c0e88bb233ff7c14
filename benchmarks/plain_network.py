"""The peer of model benchmarks: the published network of torchvision's blocks in plain PyTorch.

Nothing of this project is imported, nor Transformers: a program of the peer's starts as fast as it
would without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops import Conv2dNormActivation

if TYPE_CHECKING:
    from modeling_dusha import DushaForAudioClassification

BLOCKS = [(1, 16, 1, 1), (2, 32, 2, 2), (2, 64, 6, 2), (2, 128, 6, 2)]


class PlainAttention(nn.Module):
    """SAGAN's self-attention with its full matrix, as the SAGAN paper writes it."""

    def __init__(self, channels: int = 128, attention_size: int = 16):
        super().__init__()
        self.query = nn.Conv1d(channels, attention_size, 1, bias=False)
        self.key = nn.Conv1d(channels, attention_size, 1, bias=False)
        self.value = nn.Conv1d(channels, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Attend over all positions of (batch, channels, mels, frames)."""
        flat = picture.flatten(2)
        scores = torch.bmm(self.query(flat).transpose(1, 2), self.key(flat))
        attended = torch.bmm(self.value(flat), scores.softmax(dim=1))
        return (self.gamma * attended + flat).view_as(picture)


class PlainNetwork(nn.Module):
    """The published network, (batch, 1, mels, frames) to (batch, 4), without masks."""

    def __init__(self):
        super().__init__()
        layers = [Conv2dNormActivation(1, 4, 3, activation_layer=nn.ReLU6)]
        channels = 4
        for expansion, out_channels, depth, stride in BLOCKS:
            for number in range(depth):
                stride_here = stride if number == 0 else 1
                layers.append(InvertedResidual(channels, out_channels, stride_here, expansion))
                channels = out_channels
        layers.append(Conv2dNormActivation(channels, 128, 1, activation_layer=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.attention = PlainAttention()
        self.classifier = nn.Linear(128, 4)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Classify features in dB, one length a batch."""
        return self.classifier(self.attention(self.features(features)).mean((2, 3)))


def plain_twin(model: DushaForAudioClassification) -> PlainNetwork:
    """Build the plain network with the weights of ours; both give the same logits."""
    plain = PlainNetwork()
    ours = model.dusha
    sources = [ours.stem, *ours.blocks, ours.last_1x1]
    for target, source in zip(plain.features, sources, strict=True):
        tensors = list(source.state_dict().values())
        names = list(target.state_dict())
        target.load_state_dict(dict(zip(names, tensors, strict=True)))
    attention = {"gamma": ours.attention.gamma}
    # Ours uses today's names: SAGAN's query is what answers, so our key.
    for name, source in {"query": "key", "key": "query", "value": "value"}.items():
        weight = getattr(ours.attention, source).weight
        attention[f"{name}.weight"] = weight.unsqueeze(-1)
    plain.attention.load_state_dict(attention)
    plain.classifier.load_state_dict(model.classifier.state_dict())
    return plain.train(model.training)
