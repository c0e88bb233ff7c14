"""Numbers too small to be normal ones, with which some processors compute many times as slowly.

Channels that died in training leave them: weight decay goes on shrinking what has no gradient.
`modeling_dusha.clear_subnormals` takes them out of weights; activations meet them all the same.
"""

import numpy as np
import torch
from torch import nn


def flush_subnormals() -> None:
    """Let this thread, and those that it starts, take subnormal numbers for 0.

    Whatever computes calls it in its own thread: first of all, for PyTorch's threads that run
    already are not reached, and each time, for the first session of ONNX Runtime in a process,
    which may be another library's, turns it off. It costs nothing.
    """
    # NumPy measures its types when they are first asked for, and warns where subnormals are 0.
    np.finfo(np.float32), np.finfo(np.float64)
    torch.set_flush_denormal(True)


def count_dead_channels(model: nn.Module) -> int:
    """Count the depthwise channels of a model that batch normalisation multiplies by 0.

    What they give is the same for all audio, and has no gradient: they stay dead.
    """
    return sum(
        int((normalization.weight == 0).sum())
        for name, normalization in model.named_modules()
        if name.endswith("depthwise_3x3.normalization")
    )
