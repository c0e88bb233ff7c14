"""Options of training a classifier on a pretrained encoder; nothing heavy is imported."""

from dataclasses import dataclass
from typing import Any

from dusha_ser.errors import WrongUseError
from dusha_ser.options import option

# Options of Dusha's network and features, which other encoders do not have.
OF_DUSHA = ("frozen_blocks", "trim_silence", "published_quirks", "frequency_warp")


@dataclass(kw_only=True)
class BackboneOptions:
    """The pretrained encoder, and what of it is trained."""

    backbone: str | None = option(
        "pretrained encoder, a folder or Hub name of Whisper, wav2vec2, HuBERT or WavLM, on whose "
        "frozen layers a small classifier is trained in seconds",
        None,
    )
    finetune_backbone: bool = option(
        "train the encoder of --backbone, too; its convolutions on waveforms stay", False, rare=True
    )
    backbone_seconds: int | None = option(
        "seconds of a clip that Whisper's encoder hears, in place of its 30; longer clips are cut "
        "(default: those of the longest clip, rounded up)",
        None,
        rare=True,
        least=1,
    )

    @property
    def trains_head_only(self) -> bool:
        """Whether the encoder stays as it is."""
        return self.backbone is not None and not self.finetune_backbone


def check_backbone(recipe: Any) -> None:
    """Raise a WrongUseError where options do not fit a pretrained encoder, or its absence."""
    if recipe.backbone is None:
        for name in ("finetune_backbone", "backbone_seconds"):
            if getattr(recipe, name):
                raise WrongUseError(f"`{name}` is for a `backbone`: name one, or leave it out")
        return
    if recipe.teacher_backbone is not None:
        raise WrongUseError(
            "`teacher_backbone` teaches a small network, and `backbone` is a large one: give one "
            "of the two"
        )
    if recipe.model_name_or_path is not None:
        raise WrongUseError(
            "`backbone` and `model_name_or_path` both name what training starts from: give one"
        )
    for name in OF_DUSHA:
        if getattr(recipe, name):
            raise WrongUseError(
                f"`{name}` is for Dusha's network, not for a `backbone`: leave it out"
            )
