"""Configuration of the Dusha network, MobileNetV2 blocks and self-attention."""

import math
from typing import ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

EMOTIONS = ("angry", "sad", "neutral", "positive")


@strict
class DushaConfig(PreTrainedConfig):
    """Every dimension of the network; the default is the published one of 514,909 parameters.

    Args:
        num_mel_bins: Mel bands of one frame, the last dimension of the input.
        stem_channels: channels of the first 3x3 convolution.
        expansion_ratios: for each stage, how many times its blocks widen their input before the
            depthwise convolution; 1 omits the widening.
        stage_channels: for each stage, channels at the output of its blocks.
        stage_depths: for each stage, its number of blocks.
        stage_strides: for each stage, the stride of its first block along both Mel and time; the
            other blocks have stride 1.
        hidden_size: channels of the last 1x1 convolution, the length of a clip's embedding.
        attention_size: channels of the queries and keys of the self-attention.
        hidden_act: name of the activation after each convolution that has one.
        batch_norm_eps: added to the variance by batch normalisation.
        batch_norm_momentum: weight of a new batch in the running mean and variance, 0 to 1.
        use_attention_mask: whether frames that attention_mask marks as padding are hidden from
            the network; False is the published network, to which padding is audio.
        temperature: what logits are divided by in evaluation mode, so that the probabilities of
            predictions are as often right as they say (Guo et al. 2017); above 0, 1: as learnt.
        logit_bias: what is added to the logits in evaluation mode, after that division, one number
            per label, so that predictions suit classes that are otherwise frequent than in
            training (Menon et al. 2021); None: nothing.
        class_prior: share of each label that predictions assume, of sum 1, logit_bias included;
            None: not known.
        frequency_warp: in evaluation mode each clip is also heard with its frequencies this share
            higher, and as much lower, as of shorter and longer vocal tracts, and the logits are the
            means of all three, which takes three times as long; 0: as it is alone.
        min_frequency: lower end of the lowest Mel band, in Hz, as in the feature extractor;
            frequency_warp alone needs it.
        max_frequency: upper end of the highest Mel band, in Hz, likewise.
        id2label: name of each class, by its number.
        label2id: number of each class, by its name; by default that of id2label.

    Raises:
        StrictDataclassError: if a value has a wrong type, a dimension or the temperature is not
            positive, the lists of stages differ in length, there is not one bias or share per
            label, frequency_warp is not within 0 to 1, or there is nothing between the frequencies.

    Examples:
        >>> config = DushaConfig()
        >>> config.id2label
        {0: 'angry', 1: 'sad', 2: 'neutral', 3: 'positive'}
        >>> DushaConfig(num_labels=2).id2label
        {0: 'LABEL_0', 1: 'LABEL_1'}
    """

    model_type = "dusha"
    stages: ClassVar[tuple[str, ...]] = (
        "expansion_ratios",
        "stage_channels",
        "stage_depths",
        "stage_strides",
    )

    num_mel_bins: int = 64
    stem_channels: int = 4
    expansion_ratios: list[int] | tuple[int, ...] = (1, 2, 2, 2)
    stage_channels: list[int] | tuple[int, ...] = (16, 32, 64, 128)
    stage_depths: list[int] | tuple[int, ...] = (1, 2, 6, 6)
    stage_strides: list[int] | tuple[int, ...] = (1, 2, 2, 2)
    hidden_size: int = 128
    attention_size: int = 16
    hidden_act: str = "relu6"
    batch_norm_eps: float = 1e-5
    batch_norm_momentum: float = 0.1
    use_attention_mask: bool = True
    temperature: float | int = 1.0
    logit_bias: list[float | int] | None = None
    class_prior: list[float | int] | None = None
    frequency_warp: float | int = 0.0
    min_frequency: float | int = 0.0
    max_frequency: float | int = 8000.0
    id2label: dict[int, str] | dict[str, str] | None = None
    label2id: dict[str, int] | dict[str, str] | None = None

    def __post_init__(self, **kwargs):
        if self.id2label is None and kwargs.get("num_labels") in (None, len(EMOTIONS)):
            self.id2label = dict(enumerate(EMOTIONS))
        if self.id2label is not None and self.label2id is None:
            self.label2id = {name: int(number) for number, name in self.id2label.items()}
        super().__post_init__(**kwargs)

    @property
    def num_hidden_layers(self) -> int:
        """Number of inverted residual blocks; output_hidden_states gives one more."""
        return sum(self.stage_depths)

    def validate_architecture(self):
        """Refuse dimensions that no network can have; `@strict` calls it."""
        stages = {name: getattr(self, name) for name in self.stages}
        if len({len(values) for values in stages.values()}) > 1 or not self.stage_channels:
            raise ValueError(
                "the lists of stages must be of one length, at least 1; got "
                + ", ".join(f"{name} of {len(values)}" for name, values in stages.items())
            )
        sizes = ("num_mel_bins", "stem_channels", "hidden_size", "attention_size")
        for name in (*sizes, *self.stages):
            values = getattr(self, name)
            if min(values if isinstance(values, (list, tuple)) else [values]) < 1:
                raise ValueError(f"{name} must be positive, got {values}")
        if not (self.batch_norm_eps > 0 and 0 <= self.batch_norm_momentum <= 1):
            raise ValueError(
                "batch_norm_eps must be positive and batch_norm_momentum within 0 to 1, got "
                f"{self.batch_norm_eps} and {self.batch_norm_momentum}"
            )
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be a number above 0, got {self.temperature}")
        if not 0 <= self.frequency_warp < 1:
            raise ValueError(
                f"frequency_warp must be at least 0, below 1, got {self.frequency_warp}"
            )
        if not 0 <= self.min_frequency < self.max_frequency < math.inf:
            raise ValueError(
                "min_frequency must be at least 0 and below max_frequency, got "
                f"{self.min_frequency} and {self.max_frequency}"
            )
        for name, least in (("logit_bias", -math.inf), ("class_prior", 0)):
            values = getattr(self, name)
            if values is not None and not (
                len(values) == self.num_labels and all(least < one < math.inf for one in values)
            ):
                raise ValueError(
                    f"{name} must be None or {self.num_labels} numbers"
                    f"{' above 0' if least == 0 else ''}, one per label, got {values}"
                )


# A saved model carries this file, so that it loads where the project is not installed. There the
# module is part of a package, and Transformers does what follows itself.
DushaConfig.register_for_auto_class()
if "." not in __name__:
    AutoConfig.register(DushaConfig.model_type, DushaConfig)

__all__ = ["DushaConfig"]
