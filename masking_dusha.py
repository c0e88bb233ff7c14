"""What keeps the padding of a batch from the network: where a clip's frames lie, and what counts.

A model that is saved takes this file along: it imports PyTorch alone. Shapes are
(batch, channels, mels, frames).
"""

import torch
from torch import nn


def hides_frames(attention_mask: torch.Tensor | None) -> bool:
    """Tell whether a mask may hide frames, so that a batch without padding costs no masking.

    Args:
        attention_mask: (batch, frames), 1 for a real frame, or None.

    Returns:
        False if there is nothing to hide; True, too, where looking at the values would end a
        traced graph or make the processor wait for the accelerator.
    """
    if attention_mask is None:
        return False
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return traced or attention_mask.device.type != "cpu" or not bool(attention_mask.all())


def move_to_front(
    input_features: torch.Tensor, attention_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move each clip's real frames, in their order, before its padding, which becomes 0.

    Args:
        input_features: (batch, frames, mels).
        attention_mask: (batch, frames), 1 for a real frame.

    Returns:
        The features so ordered, and the clips' lengths in frames, (batch,), at least 1.

    Example:
        >>> frames = torch.tensor([[[7.0], [1.0], [2.0], [7.0]]])
        >>> features, lengths = move_to_front(frames, torch.tensor([[0, 1, 1, 0]]))
        >>> features.flatten().tolist(), lengths.tolist()
        ([1.0, 2.0, 0.0, 0.0], [2])
    """
    real = attention_mask != 0
    count = real.sum(1, keepdim=True)
    # Where each frame goes: no sort, which would cost more and has no counterpart in ONNX.
    order = torch.where(real, real.cumsum(1) - 1, count + (~real).cumsum(1) - 1)
    ordered = torch.zeros_like(input_features).scatter(
        1, order.unsqueeze(2).expand_as(input_features), input_features
    )
    lengths = count.squeeze(1).clamp(min=1)
    behind = torch.arange(input_features.shape[1], device=lengths.device) >= lengths.unsqueeze(1)
    # Not a product: 0 times an infinite padding value would not be 0.
    return ordered.masked_fill(behind.unsqueeze(2), 0), lengths


def frame_mask(
    hidden_states: torch.Tensor, lengths: torch.Tensor, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Mark the frames of each clip.

    Args:
        hidden_states: (batch, channels, mels, frames), of which only the frames count.
        lengths: (batch,), in frames.
        dtype: type of the result; that of hidden_states where it is None.

    Returns:
        (batch, 1, 1, frames), 1 or True within a clip.
    """
    frames = torch.arange(hidden_states.shape[3], device=lengths.device)
    return (frames < lengths.view(-1, 1, 1, 1)).to(dtype or hidden_states.dtype)


def as_positions(hidden_states: torch.Tensor) -> torch.Tensor:
    """Line up all positions of each clip, mel by mel.

    Args:
        hidden_states: (batch, channels, mels, frames).

    Returns:
        (batch, mels * frames, channels).
    """
    # Not reshape: torch.export cannot see that a single frame flattens as many do, and would refuse
    # to leave their number open.
    return torch.cat(hidden_states.permute(0, 2, 3, 1).unbind(1), dim=1)


def position_mask(
    hidden_states: torch.Tensor, lengths: torch.Tensor, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Mark the positions of each clip, in the order of as_positions.

    Args:
        hidden_states: as for frame_mask.
        lengths: as for frame_mask.
        dtype: as for frame_mask.

    Returns:
        (batch, 1, 1, mels * frames), 1 or True within a clip.
    """
    return frame_mask(hidden_states, lengths, dtype).repeat(1, 1, 1, hidden_states.shape[2])


def masked_batch_norm(
    hidden_states: torch.Tensor, lengths: torch.Tensor, normalization: nn.BatchNorm2d
) -> torch.Tensor:
    """Normalise by the mean and variance of real positions, and keep the running ones up to date.

    With PyTorch's own layer a padded training batch would leave running statistics that no clip
    alone has, and the model would answer worse than it was trained.

    Args:
        hidden_states: (batch, channels, mels, frames).
        lengths: (batch,), in frames.
        normalization: the layer, in training.

    Returns:
        The normalised hidden_states.
    """
    values = hidden_states.float() * frame_mask(hidden_states, lengths, torch.float32)
    count = lengths.sum() * hidden_states.shape[2]
    # By sums: torch.var_mean over these dimensions takes three times as long on a processor.
    mean = values.sum((0, 2, 3)) / count
    variance = (values.square().sum((0, 2, 3)) / count - mean.square()).clamp(min=0)
    with torch.no_grad():
        unbiased = variance * (count / (count - 1).clamp(min=1))
        normalization.num_batches_tracked.add_(1)
        normalization.running_mean.lerp_(
            mean.to(normalization.running_mean), normalization.momentum
        )
        normalization.running_var.lerp_(
            unbiased.to(normalization.running_var), normalization.momentum
        )
    scale = normalization.weight * (variance + normalization.eps).rsqrt()
    shift = normalization.bias - mean * scale
    return torch.addcmul(
        shift.view(1, -1, 1, 1), hidden_states.float(), scale.view(1, -1, 1, 1)
    ).to(hidden_states.dtype)


__all__ = [
    "as_positions",
    "frame_mask",
    "hides_frames",
    "masked_batch_norm",
    "move_to_front",
    "position_mask",
]
