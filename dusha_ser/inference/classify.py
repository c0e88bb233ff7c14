"""A model as a function from samples or features to probabilities."""

from collections.abc import Callable

import numpy as np
import torch

from dusha_ser.inference.timeline import Classify


def torch_classifier(model, feature_extractor) -> Classify:
    """Make a function from windows to probabilities out of a model and its feature extractor.

    Args:
        model: any AutoModelForAudioClassification, in evaluation mode.
        feature_extractor: the one that was saved with it.

    Returns:
        A function that takes a list of windows, each (samples,) at the extractor's
        sampling_rate, and returns (windows, labels), each row in [0, 1] and summing to 1.
    """
    import torch

    def classify(windows: list[np.ndarray]) -> np.ndarray:
        inputs = feature_extractor(
            windows,
            sampling_rate=feature_extractor.sampling_rate,
            padding=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            logits = model(**inputs.to(model.device)).logits
        return logits.float().softmax(dim=-1).cpu().numpy()

    return classify


def feature_classifier(model, feature_extractor) -> Callable[[list[np.ndarray]], np.ndarray]:
    """As `torch_classifier`, from features (frames, mels) instead of samples."""

    def classify(features: list[np.ndarray]) -> np.ndarray:
        inputs = feature_extractor.pad(
            {"input_features": features}, padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            logits = model(**inputs.to(model.device)).logits
        return logits.float().softmax(dim=-1).cpu().numpy()

    return classify
