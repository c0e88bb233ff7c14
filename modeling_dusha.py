"""The Dusha network (Kondratenko et al., 2022) as a Transformers model.

MobileNetV2 blocks (Sandler et al., 2018) and SAGAN's self-attention (Zhang et al., 2018) on the
log-Mel spectrogram of a clip. Shapes are (batch, channels, mels, frames).

The prediction for a clip does not depend on the batch that it is in: its frames are moved to the
front, so that strides fall on the same frames as for the clip alone; what is behind them is set to
0 before each 3x3 convolution, as the convolution's own padding is, and hidden from attention and
mean. One model is one file, as in Transformers, masks included: it is saved with each model.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModel, AutoModelForAudioClassification, PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.utils import can_return_tuple

try:
    from .configuration_dusha import DushaConfig  # type: ignore[import-not-found]
except ImportError:  # In a flat checkout or installation the module has no package.
    from configuration_dusha import DushaConfig


# All dimensions of (batch, channels, mels, frames) but the channels.
POSITIONS = (0, 2, 3)


def hides_frames(attention_mask: torch.Tensor | None) -> bool:
    """Return whether a mask may hide frames, so that a batch without padding costs no masking.

    Where reading it would break a traced graph or make the processor wait for the accelerator, it
    may.
    """
    if attention_mask is None:
        return False
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return traced or attention_mask.device.type != "cpu" or not bool(attention_mask.all())


def move_to_front(
    input_features: torch.Tensor, attention_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move each clip's real frames, in their order, before its padding, which becomes 0.

    The features are (batch, frames, mels). The clips' lengths in frames, (batch,), are at least 1.

    Examples:
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
    """Mark the frames of each clip, (batch, 1, 1, frames), 1 or True within it."""
    frames = torch.arange(hidden_states.shape[3], device=lengths.device)
    return (frames < lengths.view(-1, 1, 1, 1)).to(dtype or hidden_states.dtype)


def as_positions(hidden_states: torch.Tensor) -> torch.Tensor:
    """Line up all positions of each clip, mel by mel, as (batch, mels * frames, channels)."""
    # Not reshape: torch.export cannot see that one frame flattens as many do, and would fix their
    # number.
    return torch.cat(hidden_states.permute(0, 2, 3, 1).unbind(1), dim=1)


def position_mask(
    hidden_states: torch.Tensor, lengths: torch.Tensor, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Mark the positions of each clip, in the order of as_positions, (batch, 1, 1, positions).

    Args:
        hidden_states: (batch, channels, mels, frames), of which only mels and frames count.
        lengths: (batch,), in frames.
        dtype: type of the result; None: that of hidden_states.
    """
    return frame_mask(hidden_states, lengths, dtype).repeat(1, 1, 1, hidden_states.shape[2])


class BatchNormalization(torch.autograd.Function):
    """Normalisation by a batch's own mean and variance, in the precision of its input.

    With n real positions per channel, x the input, xhat = (x - mean) / sqrt(variance + eps) and g
    the gradient of the output, that of the input is (Ioffe and Szegedy 2015)
    weight / sqrt(variance + eps) * (g - sum(g) / n - xhat * sum(g * xhat) / n). The variance is the
    mean square of what is left without the mean: a difference of squares would lose all digits
    where the mean is large. Sums over a mask are as fast as these; torch.var_mean over these
    dimensions takes three times as long on a processor.
    """

    @staticmethod
    def forward(ctx, hidden_states, mask, count, weight, bias, eps):
        """Return the output, the mean and the variance; without a mask all positions count."""
        if mask is None:
            mean = hidden_states.sum(POSITIONS) / count
            centred = hidden_states - by_channel(mean)
        else:
            centred = hidden_states * mask
            mean = centred.sum(POSITIONS) / count
            centred.addcmul_(mask, by_channel(mean), value=-1)
        squares = centred.square()
        variance = squares.sum(POSITIONS) / count
        inverse = (variance + eps).rsqrt()
        ctx.save_for_backward(centred, mask, count, weight, inverse)
        ctx.mark_non_differentiable(mean, variance)
        scale = by_channel(weight * inverse)
        normalized = torch.addcmul(by_channel(bias), centred, scale, out=reused(squares))
        return normalized, mean, variance

    @staticmethod
    def backward(ctx, gradient, _mean_gradient, _variance_gradient):
        """Return the gradients of the input, the weight and the bias."""
        centred, mask, count, weight, inverse = ctx.saved_tensors
        gradient = gradient if mask is None else gradient * mask
        of_bias = gradient.sum(POSITIONS)
        products = centred * gradient
        of_weight = products.sum(POSITIONS) * inverse
        scale = weight * inverse
        slope, level = -scale * of_weight * inverse / count, -scale * of_bias / count
        of_input = torch.addcmul(
            by_channel(level), centred, by_channel(slope), out=reused(products)
        )
        of_input.addcmul_(gradient, by_channel(scale))
        return (
            of_input if mask is None else of_input.mul_(mask),
            None,
            None,
            of_weight,
            of_bias,
            None,
        )


def reused(memory: torch.Tensor) -> torch.Tensor | None:
    """Return memory to write to, as new memory costs as much as arithmetic does.

    None where a compiler traces, which manages memory itself and would lose the gradient.
    """
    return None if torch.compiler.is_compiling() else memory


def by_channel(values: torch.Tensor) -> torch.Tensor:
    """Shape (channels,) so that it meets (batch, channels, mels, frames)."""
    return values.view(1, -1, 1, 1)


def masked_batch_norm(
    hidden_states: torch.Tensor, lengths: torch.Tensor | None, normalization: nn.BatchNorm2d
) -> torch.Tensor:
    """Normalise by the mean and variance of real positions, and update the running ones.

    With PyTorch's own layer a padded training batch would leave running statistics that no clip
    alone has, and the model would predict worse than it was trained.

    Args:
        hidden_states: (batch, channels, mels, frames).
        lengths: of the clips, (batch,), in frames; None: all frames are real.
        normalization: layer with weights and running statistics.

    Returns:
        (batch, channels, mels, frames), meaningless values behind a clip's frames.
    """
    values = hidden_states.to(torch.promote_types(hidden_states.dtype, torch.float32))
    mask, frames = None, torch.tensor(hidden_states.shape[0] * hidden_states.shape[3])
    if lengths is not None:
        mask, frames = frame_mask(values, lengths), lengths.sum()
    count = frames * hidden_states.shape[2]
    normalized, mean, variance = BatchNormalization.apply(
        values, mask, count, normalization.weight, normalization.bias, normalization.eps
    )
    with torch.no_grad():
        unbiased = variance * (count / (count - 1).clamp(min=1))
        running_mean, running_var, batches = normalization.buffers()
        batches.add_(1)
        running_mean.lerp_(mean.to(running_mean), normalization.momentum or 0.0)
        running_var.lerp_(unbiased.to(running_var), normalization.momentum or 0.0)
    return normalized.to(hidden_states.dtype)


@torch.no_grad()
def clear_subnormals(model: nn.Module) -> None:
    """Set the weights and statistics of a model that are below the smallest normal number to 0.

    Dead channels leave such numbers, which change no prediction and slow processors down. Those of
    half precision stay: processors compute with them in single precision, where they are normal.
    """
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            least = min(torch.finfo(dtype).tiny for dtype in (tensor.dtype, torch.float32))
            tensor.masked_fill_(tensor.abs() < least, 0)


def share_weights(folder: str | os.PathLike) -> None:
    """Give the weights of a saved model the permissions of its configuration, which the umask sets.

    safetensors lets nobody but their owner read them.
    """
    configuration = Path(folder, "config.json")
    for weights in Path(folder).glob("*.safetensors"):
        if configuration.exists():
            weights.chmod(configuration.stat().st_mode)


class DushaConvLayer(nn.Module):
    """A convolution without bias, batch normalisation and, unless linear, the activation.

    The kernel's size is odd, and like the stride the same along Mel and time.
    """

    def __init__(
        self,
        config: DushaConfig,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
    ):
        super().__init__()
        self.stride = stride
        self.sees_neighbours = kernel_size > 1
        self.convolution = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=False,
        )
        self.normalization = nn.BatchNorm2d(
            out_channels, eps=config.batch_norm_eps, momentum=config.batch_norm_momentum
        )
        self.activation = nn.Identity() if linear else ACT2FN[config.hidden_act]

    def forward(
        self, hidden_states: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Convolve as if each clip ended at its length, in frames."""
        if lengths is not None and self.sees_neighbours:
            hidden_states = hidden_states * frame_mask(hidden_states, lengths)
        hidden_states = self.convolution(hidden_states)
        if lengths is not None and self.normalization.training:
            lengths = cast(torch.Tensor, self.output_lengths(lengths))
            hidden_states = masked_batch_norm(hidden_states, lengths, self.normalization)
        else:
            hidden_states = self.normalization(hidden_states)
        return self.activation(hidden_states)

    def output_lengths(self, lengths: torch.Tensor | None) -> torch.Tensor | None:
        """Turn lengths at the input into lengths at the output, in frames: divide and round up."""
        return None if lengths is None else (lengths + self.stride - 1) // self.stride


class DushaInvertedResidual(nn.Module):
    """Expand by 1x1, convolve by a depthwise 3x3, project back; add the input where it fits."""

    def __init__(
        self,
        config: DushaConfig,
        in_channels: int,
        out_channels: int,
        expansion_ratio: int,
        stride: int,
    ):
        super().__init__()
        channels = in_channels * expansion_ratio
        self.use_residual = stride == 1 and in_channels == out_channels
        self.expand_1x1 = (
            DushaConvLayer(config, in_channels, channels, kernel_size=1)
            if expansion_ratio > 1
            else None
        )
        self.depthwise_3x3 = DushaConvLayer(
            config, channels, channels, kernel_size=3, stride=stride, groups=channels
        )
        self.project_1x1 = DushaConvLayer(
            config, channels, out_channels, kernel_size=1, linear=True
        )

    def forward(
        self, hidden_states: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Apply the block to (batch, channels, mels, frames)."""
        residual = hidden_states
        if self.expand_1x1 is not None:
            hidden_states = self.expand_1x1(hidden_states, lengths)
        hidden_states = self.depthwise_3x3(hidden_states, lengths)
        lengths = self.depthwise_3x3.output_lengths(lengths)
        hidden_states = self.project_1x1(hidden_states, lengths)
        return residual + hidden_states if self.use_residual else hidden_states


def checkpointed(
    block: nn.Module, hidden_states: torch.Tensor, lengths: torch.Tensor | None
) -> torch.Tensor:
    """Run a block that keeps only its input for the gradient, and is run again to find the rest."""
    return checkpoint(
        block,
        hidden_states,
        lengths,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (contextlib.nullcontext(), kept_statistics(block)),
    )


@contextlib.contextmanager
def kept_statistics(block: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch normalisation as they are, though it trains."""
    layers = [layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    counts = [cast(torch.Tensor, layer.num_batches_tracked) for layer in layers]
    before = [count.clone() for count in counts]
    try:
        for layer in layers:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum, count, old in zip(layers, momenta, counts, before, strict=True):
            layer.momentum = momentum
            count.copy_(old)


class DushaAttention(nn.Module):
    """Self-attention over all positions (mel x time), added to its input in proportion to gamma.

    SAGAN's f and g are here the key and the query: for each position j of a query, the softmax is
    over the positions i of keys. Scores are not scaled.
    """

    def __init__(self, config: DushaConfig):
        super().__init__()
        self.query = nn.Linear(config.hidden_size, config.attention_size, bias=False)
        self.key = nn.Linear(config.hidden_size, config.attention_size, bias=False)
        self.value = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(
        self,
        hidden_states: torch.Tensor,
        lengths: torch.Tensor | None = None,
        return_weights: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the output, and (batch, 1, positions, positions) weights where asked for."""
        batch, channels, mels, frames = hidden_states.shape
        positions = as_positions(hidden_states)
        query = self.query(positions).unsqueeze(1)
        key = self.key(positions).unsqueeze(1)
        value = self.value(positions).unsqueeze(1)
        mask = None if lengths is None else position_mask(hidden_states, lengths, torch.bool)

        weights = None
        if return_weights:
            scores = query @ key.transpose(2, 3)
            if mask is not None:
                scores = scores.masked_fill(~mask, -math.inf)
            weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
            attended = weights @ value
        else:
            # Fused kernels want queries, keys and values of one width; zeros change no product.
            missing = (0, value.shape[-1] - query.shape[-1])
            attended = nn.functional.scaled_dot_product_attention(
                nn.functional.pad(query, missing),
                nn.functional.pad(key, missing),
                value,
                attn_mask=mask,
                scale=1.0,
            )
        attended = attended.squeeze(1).reshape(batch, mels, frames, channels).permute(0, 3, 1, 2)
        return hidden_states + self.gamma * attended, weights


class DushaPreTrainedModel(PreTrainedModel):
    """What the two models share: configuration, names and initial weights."""

    config: DushaConfig
    config_class = DushaConfig
    base_model_prefix = "dusha"
    main_input_name = "input_features"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    _no_split_modules = ["DushaInvertedResidual", "DushaAttention"]
    _supports_sdpa = True
    _can_compile_fullgraph = True

    def save_pretrained(self, save_directory, *args, **kwargs):
        """Save the model, no subnormal weights; the folder offers both classes of this file."""
        self.config.auto_map = {
            **(getattr(self.config, "auto_map", None) or {}),
            **{
                model_class._auto_class: f"modeling_dusha.{model_class.__name__}"
                for model_class in (DushaModel, DushaForAudioClassification)
            },
        }
        clear_subnormals(self)
        super().save_pretrained(save_directory, *args, **kwargs)
        share_weights(save_directory)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """Draw initial weights as PyTorch's own layers do."""
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, DushaAttention):
            init.zeros_(module.gamma)
        else:
            super()._init_weights(module)


class DushaModel(DushaPreTrainedModel):
    """The network without its head: from features to one embedding per clip."""

    def __init__(self, config: DushaConfig):
        super().__init__(config)
        self.stem = DushaConvLayer(config, 1, config.stem_channels, kernel_size=3)
        self.blocks = nn.ModuleList()
        in_channels = config.stem_channels
        stages = zip(*(getattr(config, name) for name in config.stages), strict=True)
        for expansion_ratio, out_channels, depth, first_stride in stages:
            for stride in [first_stride] + [1] * (depth - 1):
                block = DushaInvertedResidual(
                    config, in_channels, out_channels, expansion_ratio, stride
                )
                self.blocks.append(block)
                in_channels = out_channels
        self.last_1x1 = DushaConvLayer(config, in_channels, config.hidden_size, kernel_size=1)
        self.attention = DushaAttention(config)
        # Transformers sets it. A compiler chooses itself what it computes again.
        self.gradient_checkpointing = False
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Compute the embedding of each clip.

        Args:
            input_features: (batch, frames, mels) log-Mel features in dB, as DushaFeatureExtractor
                makes them.
            attention_mask: (batch, frames), 1 for a real frame, 0 for padding, on either side;
                None where all frames are real. A clip without any real frame counts as one frame
                of what its features hold.
            output_hidden_states: whether to return the input of the blocks and the output of each,
                (batch, channels, mels, frames) each, a clip's frames at the front and meaningless
                values behind them; None: as configured.
            output_attentions: whether to return the attention weights, (batch, 1, positions,
                positions), whose rows sum to 1; needs the square of a clip's length in memory;
                None: as configured.

        Returns:
            last_hidden_state (batch, hidden_size, mels, frames), 0 behind a clip's frames, and
            pooler_output (batch, hidden_size), its mean over a clip's positions.

        Raises:
            ValueError: if input_features or attention_mask has another shape.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        self._check_shapes(input_features, attention_mask)

        lengths = None
        hides = self.config.use_attention_mask and hides_frames(attention_mask)
        if attention_mask is not None and hides:
            input_features, lengths = move_to_front(input_features, attention_mask)
        hidden_states = input_features.to(self.dtype).transpose(1, 2).unsqueeze(1)

        hidden_states = self.stem(hidden_states, lengths)
        all_hidden_states = [hidden_states]
        compiling = torch.compiler.is_compiling()
        recomputes = self.gradient_checkpointing and self.training and not compiling
        for block in self.blocks:
            run = partial(checkpointed, block) if recomputes else block
            hidden_states = run(hidden_states, lengths)
            lengths = cast(DushaInvertedResidual, block).depthwise_3x3.output_lengths(lengths)
            if output_hidden_states:
                all_hidden_states.append(hidden_states)
        hidden_states = self.last_1x1(hidden_states, lengths)
        hidden_states, weights = self.attention(
            hidden_states,
            lengths,
            return_weights=output_attentions or self.config._attn_implementation == "eager",
        )

        if lengths is None:
            pooled = hidden_states.mean((2, 3), dtype=torch.float32)
        else:
            hidden_states = hidden_states * frame_mask(hidden_states, lengths)
            total = hidden_states.sum((2, 3), dtype=torch.float32)
            pooled = total / (lengths * hidden_states.shape[2]).unsqueeze(1)
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden_states,
            pooler_output=pooled.to(hidden_states.dtype),
            hidden_states=tuple(all_hidden_states) if output_hidden_states else None,
            attentions=(weights,) if output_attentions else None,
        )

    def _check_shapes(self, input_features: torch.Tensor, attention_mask: torch.Tensor | None):
        mels = self.config.num_mel_bins
        if input_features.ndim != 3 or input_features.shape[2] != mels:
            raise ValueError(
                f"input_features must be (batch, frames, {mels}), got "
                f"{tuple(input_features.shape)}; the published feature files hold "
                f"(1, {mels}, frames): transpose them"
            )
        if attention_mask is not None and attention_mask.shape != input_features.shape[:2]:
            raise ValueError(
                f"attention_mask must be {tuple(input_features.shape[:2])} as input_features is, "
                f"got {tuple(attention_mask.shape)}"
            )


class DushaForAudioClassification(DushaPreTrainedModel):
    """The network with its head: from features to one logit per class."""

    def __init__(self, config: DushaConfig):
        super().__init__(config)
        self.dusha = DushaModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Classify clips, and compute the loss where labels are given.

        Args:
            input_features: (batch, frames, mels) log-Mel features in dB.
            attention_mask: (batch, frames), 1 for a real frame, 0 for padding.
            labels: see classification_loss.
            output_hidden_states: as for DushaModel.
            output_attentions: as for DushaModel.

        Returns:
            loss (a scalar, or None), logits (batch, labels), in evaluation mode the means over
            frequency_warp's hearings of a clip, divided by the configuration's temperature, plus
            its logit_bias, and what else was asked for, of the clip as it is.
        """
        outputs = self.dusha(
            input_features,
            attention_mask,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=True,
        )
        logits = self.classifier(outputs.pooler_output)
        if not self.training and self.config.frequency_warp:
            # Means of logits are, to a number per clip, those of log probabilities. One hearing
            # after the other takes no more memory than one.
            for warped in warped_clips(input_features, self.config):
                heard = self.dusha(warped, attention_mask, return_dict=True)
                logits = logits + self.classifier(heard.pooler_output)
            logits = logits / 3
        if not self.training and self.config.temperature != 1:
            # Here, as Transformers' pipeline turns logits into probabilities without asking.
            logits = logits / self.config.temperature
        if not self.training and self.config.logit_bias is not None:
            logits = logits + logits.new_tensor(self.config.logit_bias)
        loss = None
        if labels is not None:
            loss = classification_loss(logits, labels, self.config.problem_type)
        return SequenceClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


def mel_from_hertz(frequencies: torch.Tensor) -> torch.Tensor:
    """Return frequencies on Slaney's Mel scale, as DushaFeatureExtractor's; traced, NumPy's cannot.

    Examples:
        >>> mel_from_hertz(torch.tensor([500.0, 1000.0, 6400.0])).tolist()
        [7.5, 15.0, 42.0]
    """
    octaves = (frequencies / 1000).clamp(min=1).log() * (27 / math.log(6.4))
    return frequencies.clamp(max=1000) * 3 / 200 + octaves


def hertz_from_mel(mels: torch.Tensor) -> torch.Tensor:
    """Return what `mel_from_hertz` came from."""
    octaves = ((mels - 15).clamp(min=0) * (math.log(6.4) / 27)).exp()
    return mels.clamp(max=15) * 200 / 3 * octaves


def warped_places(
    bands: int, min_frequency: float, max_frequency: float, warp: float
) -> torch.Tensor:
    """Return where bands lie among those of a clip whose frequencies were warped, (2, bands).

    In the first row are numbers of bands, with fractions, whose frequencies are lower than those
    of all bands by the share `warp`, so that what stands there is heard higher; in the second row
    higher ones. What would lie outside of the bands is at the outermost one.

    Examples:
        >>> low, high = warped_places(64, 0.0, 8000.0, 0.12)
        >>> [round(float(one), 2) for one in (low[60], high[60])]
        [57.63, 62.37]
    """
    ends = torch.tensor([min_frequency, max_frequency], dtype=torch.float64)
    lowest, highest = mel_from_hertz(ends).unbind()
    step = (highest - lowest) / (bands + 1)
    centres = lowest + step * torch.arange(1, bands + 1, dtype=torch.float64)
    factors = torch.tensor([[1 / (1 + warp)], [1 + warp]], dtype=torch.float64)
    wanted = mel_from_hertz(hertz_from_mel(centres) * factors)
    return ((wanted - lowest) / step - 1).clamp(0, bands - 1).float()


def warped_clips(input_features: torch.Tensor, config: DushaConfig) -> Iterator[torch.Tensor]:
    """Yield clips with their frequencies higher, and then with lower ones, in the same shape.

    Args:
        input_features: (batch, frames, mels) in dB.
        config: its `frequency_warp`, and the frequencies of its bands.
    """
    ends = config.min_frequency, config.max_frequency
    both = warped_places(config.num_mel_bins, *ends, config.frequency_warp)
    for places in both.to(input_features.device).unbind():
        below = places.long()
        above = (below + 1).clamp(max=config.num_mel_bins - 1)
        share = (places - below).to(input_features.dtype)
        yield torch.lerp(input_features[..., below], input_features[..., above], share)


def is_multi_label(problem_type: str | None) -> bool:
    """Return whether a clip may have several labels, by the configuration's problem_type.

    Raises:
        ValueError: if problem_type is "regression".
    """
    if problem_type == "regression":
        raise ValueError(
            'problem_type "regression" is not a classification; allowed are '
            '"single_label_classification" and "multi_label_classification"'
        )
    return problem_type == "multi_label_classification"


def class_probabilities(logits: torch.Tensor, problem_type: str | None) -> torch.Tensor:
    """Turn logits into probabilities as Transformers' pipeline does, wherever a model is served.

    Args:
        logits: (..., labels).
        problem_type: of the configuration.

    Returns:
        (..., labels), each in [0, 1]: of one label per clip the softmax, which sums to 1; of
        several the sigmoid, how probable each label is whatever the others are.

    Raises:
        ValueError: if problem_type is "regression".

    Examples:
        >>> logits = torch.tensor([0.0, 0.0])
        >>> class_probabilities(logits, None).tolist()
        [0.5, 0.5]
        >>> class_probabilities(logits + 30, "multi_label_classification").tolist()
        [1.0, 1.0]
    """
    return logits.sigmoid() if is_multi_label(problem_type) else logits.softmax(-1)


def classification_loss(
    logits: torch.Tensor, labels: torch.Tensor, problem_type: str | None
) -> torch.Tensor:
    """Compute the loss that the configuration's problem_type and the shape of the labels ask for.

    Unlike Transformers' own, it never infers several labels per clip from floating-point labels:
    without a problem_type they are probabilities, as of a crowd's answers.

    Args:
        logits: (batch, labels).
        labels: under "single_label_classification" or None, (batch,) class numbers, of which -100
            is ignored, or (batch, labels) probabilities of each class, whose rows sum to
            1; under "multi_label_classification", (batch, labels) of 0 to 1 each.
        problem_type: of the configuration.

    Returns:
        The mean over the batch: cross-entropy for one label per clip, given as a number or as
        probabilities; binary cross-entropy for several labels.

    Raises:
        ValueError: if the labels have another shape or type, or problem_type is "regression".
    """
    if is_multi_label(problem_type):
        if labels.shape == logits.shape:
            return nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        allowed = "0 to 1 for each class"
    else:
        if labels.is_floating_point() and labels.shape == logits.shape:
            return nn.functional.cross_entropy(logits, labels.to(logits.dtype))
        if not labels.is_floating_point() and labels.shape == logits.shape[:1]:
            return nn.functional.cross_entropy(logits, labels.long())
        allowed = f"class numbers ({logits.shape[0]},) or floating-point probabilities"
    raise ValueError(
        f"labels of shape {tuple(labels.shape)} and {labels.dtype} do not fit problem_type "
        f"{problem_type!r}, which allows {allowed} {tuple(logits.shape)}"
    )


# As in configuration_dusha: for models that are saved, and for those that import this module.
DushaModel.register_for_auto_class("AutoModel")
DushaForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")
if "." not in __name__:
    AutoModel.register(DushaConfig, DushaModel)
    AutoModelForAudioClassification.register(DushaConfig, DushaForAudioClassification)

__all__ = ["DushaForAudioClassification", "DushaModel", "DushaPreTrainedModel"]
