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

    def classify(clips: list[np.ndarray]) -> np.ndarray:
        flush_subnormals()
        settings = {"padding": True, "return_tensors": "pt"}
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

    return classify
