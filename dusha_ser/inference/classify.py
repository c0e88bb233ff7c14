"""A model as a function from samples or features to probabilities."""

from typing import Any

import numpy as np
import torch

from dusha_ser.inference.device_features import device_features
from dusha_ser.inference.subnormals import flush_subnormals
from dusha_ser.inference.timeline import Classify
from modeling_dusha import class_probabilities


def torch_classifier(model: Any, feature_extractor: Any, from_features: bool = False) -> Classify:
    """Make a function from clips to probabilities of a model and its feature extractor.

    Args:
        model: any AutoModelForAudioClassification, in evaluation mode, on its device.
        feature_extractor: the one that was saved with it.
        from_features: whether clips come as features (frames, mels), not as samples.

    Returns:
        A function that takes a list of clips, each (samples,) at the extractor's sampling_rate or
        (frames, mels), and returns `class_probabilities` (clips, labels), in [0, 1].
    """

    on_device = None if from_features else device_features(model, feature_extractor)
    # Whisper's takes one length only, which it cuts to, too.
    heard = getattr(feature_extractor, "n_samples", None)
    padding = "max_length" if heard else True

    def classify(clips: list[np.ndarray]) -> np.ndarray:
        flush_subnormals()
        settings = {"padding": padding, "return_tensors": "pt"}
        if from_features:
            inputs = feature_extractor.pad({"input_features": clips}, **settings)
        elif on_device:
            inputs = on_device(clips)
        else:
            rate = feature_extractor.sampling_rate
            inputs = feature_extractor(clips, sampling_rate=rate, **settings)
        with torch.inference_mode():
            logits = model(**inputs.to(model.device)).logits
        return class_probabilities(logits.float(), model.config.problem_type).cpu().numpy()

    return by_pieces(classify, heard) if heard and not from_features else classify


def by_pieces(classify: Classify, longest: int) -> Classify:
    """Let a clip that is longer than a model hears have the mean of its pieces.

    Args:
        classify: takes clips (samples,) of at most that length.
        longest: in samples.

    Returns:
        A function of clips of any length; pieces of one clip are of equal lengths.

    Examples:
        >>> def loud(clips):
        ...     return np.array([[np.abs(clip).max()] for clip in clips])
        >>> by_pieces(loud, 2)([np.array([0.0, 0.0, 1.0, 0.0]), np.array([1.0])]).tolist()
        [[0.5], [1.0]]
    """

    def classify_any(clips: list[np.ndarray]) -> np.ndarray:
        pieces = [np.array_split(clip, -(-len(clip) // longest) or 1) for clip in clips]
        probabilities = classify([piece for own in pieces for piece in own])
        ends = np.cumsum([len(own) for own in pieces])[:-1]
        return np.array([part.mean(0) for part in np.split(probabilities, ends)])

    return classify_any
