"""Pretrained encoders with a small classifier: loaded, and frozen while the classifier is trained.

The stock classes average the encoder's layers by learned weights, project each frame, take the mean
over frames, and classify it. Mixing, projection and mean are linear, so that the mean over frames
can be taken first: the means of all layers of a clip, computed once and kept in the cache, train
the same classifier, which takes seconds. What is saved is the stock model.
"""

import contextlib
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    PreTrainedModel,
    SequenceFeatureExtractor,
)
from transformers.modeling_outputs import Wav2Vec2BaseModelOutput

from dusha_ser.errors import WrongUseError
from dusha_ser.fingerprints import code_digest, digest
from dusha_ser.inference.loading import explained_errors, model_fingerprint, set_labels
from dusha_ser.inference.settings import check_model_folder
from dusha_ser.training.held_features import pieces
from dusha_ser.training.options import RecipeOptions
from dusha_ser.training.waveform_options import SPEEDS
from modeling_dusha import class_probabilities

logger = logging.getLogger(__name__)

# Parts of a stock classifier on an encoder.
HEAD = ("layer_weights", "projector", "classifier")
# Used in pretraining only, and missing in what is saved for use.
UNUSED = "masked_spec_embed"
EXAMPLES = "Whisper, wav2vec2, HuBERT, WavLM"
# Column of the layers' means over the frames of a clip, (layers, hidden).
EMBEDDING_COLUMN = "embeddings"


def settle_seconds(recipe: RecipeOptions, splits: Iterable[datasets.Dataset]) -> RecipeOptions:
    """Let Whisper hear as many seconds as the longest clip has, unless that is said already.

    Args:
        recipe: with or without a backbone.
        splits: all clips that are trained and tested on.

    Returns:
        The recipe, with `backbone_seconds` where it has a backbone and lengths are known; slower
        copies of clips are heard to their end, too.
    """
    if recipe.backbone is None or recipe.backbone_seconds is not None:
        return recipe
    longest = 0.0
    for rows in splits:
        known: list[Any] = list(rows["duration"]) if "duration" in rows.column_names else [None]
        if None in known:
            return recipe
        longest = max(longest, *known)
    if recipe.waveform_copies:
        longest /= min(SPEEDS)
    return replace(recipe, backbone_seconds=max(1, math.ceil(longest)))


def load_backbone(
    recipe: RecipeOptions, labels: list[str]
) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    """Load a pretrained encoder with a new classifier, and its feature extractor.

    Args:
        recipe: with `backbone`, and `backbone_seconds` as `settle_seconds` sets it.
        labels: of the classifier.

    Raises:
        MissingInputError: if there is no such encoder.
        WrongUseError: if it is not one, or weights are missing.
    """
    name, options = str(recipe.backbone), {"trust_remote_code": recipe.trust_remote_code}
    check_model_folder(name)
    with explained_errors(name):
        config = AutoConfig.from_pretrained(name, **options)
    if not hasattr(config, "use_weighted_layer_sum"):
        raise WrongUseError(
            f"{name} is {config.model_type}, and `backbone` takes encoders such as {EXAMPLES}; "
            "other networks for audio classification are trained by `model_name_or_path`"
        )
    config.use_weighted_layer_sum = True
    # Layers that are dropped at random would be missing among those that are averaged.
    for layerdrop in ("layerdrop", "encoder_layerdrop"):
        if hasattr(config, layerdrop):
            setattr(config, layerdrop, 0.0)
    set_labels(config, labels)
    with explained_errors(name), quiet_loading():
        model, report = AutoModelForAudioClassification.from_pretrained(
            name, config=config, ignore_mismatched_sizes=True, output_loading_info=True, **options
        )
        extractor = AutoFeatureExtractor.from_pretrained(name, **options)
    missing = [
        key
        for key in report["missing_keys"]
        if key.split(".")[0] not in HEAD and not key.endswith(UNUSED)
    ]
    if missing:
        raise WrongUseError(
            f"{len(missing)} weights of the encoder {name} are missing, such as {min(missing)}: "
            "fetch it again whole"
        )
    model.projector.reset_parameters()
    model.classifier.reset_parameters()
    nn.init.constant_(model.layer_weights, 1 / len(model.layer_weights))
    if recipe.backbone_seconds is not None and hasattr(config, "max_source_positions"):
        shorten(model, extractor, recipe.backbone_seconds)
    if hasattr(model, "freeze_feature_encoder"):
        model.freeze_feature_encoder()
    return model, extractor


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep Transformers from reporting weights that are missing, which is checked here."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)


def shorten(model: Any, extractor: Any, seconds: int) -> None:
    """Let Whisper's encoder hear less than the 30 seconds that it was trained on, in place.

    Attention to 25 seconds of silence is most of the work on a clip of 5.

    Args:
        model: a WhisperForAudioClassification.
        extractor: its own.
        seconds: that it is to hear; where it has fewer positions, as many as these are for.
    """
    per_second = extractor.sampling_rate // (
        extractor.hop_length * model.encoder.conv1.stride[0] * model.encoder.conv2.stride[0]
    )
    most = model.config.max_source_positions // per_second
    if seconds > most:
        logger.warning(
            "the longest clip has up to %d seconds, and the encoder hears %d: longer clips are cut",
            *(seconds, most),
        )
        seconds = most
    positions = model.encoder.embed_positions.weight[: seconds * per_second]
    model.encoder.embed_positions = nn.Embedding.from_pretrained(positions.detach().clone())
    model.encoder.max_source_positions = model.config.max_source_positions = len(positions)
    extractor.chunk_length = seconds
    extractor.n_samples = seconds * extractor.sampling_rate
    extractor.nb_max_frames = extractor.n_samples // extractor.hop_length


class ComputedLayers(nn.Module):
    """Stands for an encoder whose layers were computed before.

    Args:
        mean: of the layers over the clips, (hidden,).
        deviation: that they are divided by, (hidden,).
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, mean: torch.Tensor, deviation: torch.Tensor):
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

    def forward(self, embeddings: torch.Tensor, **options: Any) -> Wav2Vec2BaseModelOutput:
        """Return layers of one frame each, of (batch, layers, hidden)."""
        layers = ((embeddings - self.mean) / self.deviation).unsqueeze(2).unbind(1)
        # Stock classes take the layers by their name, or as the second or third part.
        return Wav2Vec2BaseModelOutput(
            last_hidden_state=layers[-1],
            extract_features=layers,  # type: ignore[arg-type]  # the layers in its place
            hidden_states=layers,
        )


class FrozenBackbone:
    """The encoder of a model whose classifier alone is trained.

    Args:
        model: of `load_backbone`.
        recipe: that it was loaded by.
        device: that computes.

    Attributes:
        fingerprint: of what decides the embeddings, the feature extractor apart.
    """

    def __init__(self, model: Any, recipe: RecipeOptions, device: torch.device):
        self.model = model
        self.device = device
        self.name = model.base_model_prefix
        if not hasattr(model, self.name):
            self.name = "encoder"
        self.encoder = getattr(model, self.name).eval().requires_grad_(False)
        self.fingerprint = digest(
            model_fingerprint(str(recipe.backbone), recipe.trust_remote_code),
            code_digest("dusha_ser.training.backbones"),
        )

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Return the means of all layers over the frames of a clip, (layers, hidden) float32.

        Args:
            inputs: of the feature extractor, without the axis of the batch.
        """
        return self.layers(inputs).mean(1).numpy()

    @torch.inference_mode()
    def layers(self, inputs: np.ndarray) -> torch.Tensor:
        """Return all layers of a clip, (layers, frames, hidden) float32 on the CPU."""
        self.encoder.to(self.device)
        batch = torch.from_numpy(inputs).to(self.device).unsqueeze(0)
        layers = self.encoder(batch, output_hidden_states=True).hidden_states
        return torch.cat(layers).float().cpu()

    def set_aside(self, rows: datasets.Dataset, column: str) -> None:
        """Put the layers that were computed in the encoder's place, standardised over clips.

        Args:
            rows: the training clips.
            column: of their embeddings.
        """
        count = len(self.model.layer_weights)
        # In double precision: some channels of Whisper are a hundred times as large as the others.
        mixed = [
            part.view(-1, count, part.shape[1]).mean(1).double() for part in pieces(rows, column)
        ]
        clips = sum(map(len, mixed))
        mean = torch.stack([part.sum(0) for part in mixed]).sum(0) / clips
        squares = torch.stack([((part - mean) ** 2).sum(0) for part in mixed]).sum(0)
        # What hardly changes beside its mean is not blown up, nor is its rounding.
        deviation = torch.maximum((squares / clips).sqrt(), mean.abs() / 100)
        deviation[deviation == 0] = 1
        self.encoder.to("cpu")
        setattr(self.model, self.name, ComputedLayers(mean.float(), deviation.float()))

    @torch.inference_mode()
    def classify(self, rows: datasets.Dataset, column: str) -> np.ndarray:
        """Return what the classifier says of clips whose layers were computed, while it is trained.

        Args:
            rows: any that have them.
            column: of their embeddings.

        Returns:
            `class_probabilities`, (clips, labels) in [0, 1].
        """
        model, count = self.model.eval(), len(self.model.layer_weights)
        parts = [
            model(part.view(-1, count, part.shape[1]).to(self.device)).logits.float()
            for part in pieces(rows, column)
        ]
        return class_probabilities(torch.cat(parts), model.config.problem_type).cpu().numpy()

    @torch.no_grad()
    def restore(self) -> None:
        """Put the encoder back, and the standardisation into the projector."""
        computed, projector = getattr(self.model, self.name), self.model.projector
        weight = projector.weight.double() / computed.deviation
        projector.bias.copy_(projector.bias - weight @ computed.mean.double())
        projector.weight.copy_(weight)
        setattr(self.model, self.name, self.encoder.to(projector.weight.device))
