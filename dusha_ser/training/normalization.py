"""Batch normalisation in training: precise sums, and running statistics of all processes.

For channels-last tensors PyTorch's CPU kernel adds up all positions of a channel one after the
other in single precision: over 64 clips of 3 s that costs three of seven digits of mean and
gradient. Sums of tensors add up in a tree, as fast and as precise as its contiguous kernel.
"""

from collections.abc import Callable

import torch
from torch import nn

from modeling_dusha import masked_batch_norm


class PreciseBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d with precise sums in training, for channels-last tensors of single precision.

    In any other case it is PyTorch's own, whose parameters, state and results it shares.
    """

    # As they are with the options of Dusha's network.
    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor
    momentum: float

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Normalise (batch, channels, mels, frames), and keep the running statistics."""
        is_precise = (
            self.training
            # A compiled layer is PyTorch's, whose sums its compiler makes; ours would lose there.
            and not torch.compiler.is_compiling()
            and hidden_states.device.type == "cpu"
            and hidden_states.dtype == torch.float32
            and hidden_states.is_contiguous(memory_format=torch.channels_last)
        )
        if not is_precise:
            return super().forward(hidden_states)
        return masked_batch_norm(hidden_states, None, self)


def make_precise(model: nn.Module) -> None:
    """Let all batch normalisation of a model add up precisely; only the layers' class changes."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = PreciseBatchNorm2d


@torch.no_grad()
def average_statistics(
    model: nn.Module, mean_over_processes: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Give a model the running statistics of all processes that train it, in place.

    Each process sees its share of a batch, and PyTorch keeps the statistics of the first one: of
    half the clips, where there are two. Such a model would predict worse than it was trained.

    Args:
        model: in training, alike in all processes but for the running statistics.
        mean_over_processes: returns the mean of a vector over the processes.

    Examples:
        >>> layer = nn.BatchNorm2d(2)
        >>> average_statistics(layer, lambda ours: (ours + 3) / 2)
        >>> layer.running_mean.tolist(), layer.running_var.tolist()
        ([1.5, 1.5], [2.0, 2.0])
    """
    statistics = [
        values
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for values in (module.running_mean, module.running_var)
        if values is not None
    ]
    if statistics:
        mean = mean_over_processes(torch.cat(statistics))
        for values, part in zip(statistics, mean.split(list(map(len, statistics))), strict=True):
            values.copy_(part)
