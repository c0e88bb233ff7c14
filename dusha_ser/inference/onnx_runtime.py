"""An exported model in ONNX Runtime."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.inference.subnormals import flush_subnormals
from feature_extraction_dusha import DushaFeatureExtractor

OUTPUTS = ["logits", "probabilities"]


class OnnxClassifier:
    """An exported model in ONNX Runtime, a timeline.Classify.

    Args:
        path: file that `export` or `quantise` wrote.
        threads: processors to use; None: all.
        from_features: whether clips come as features (frames, mels), not as samples.

    Attributes:
        labels: names of the classes, in the order of the probabilities.
        sampling_rate: of the waveforms to give, in Hz.

    Raises:
        MissingInputError: if there is no such file.
        WrongUseError: if the file is not a model that this project exported.
    """

    def __init__(self, path: str | Path, threads: int | None = None, from_features: bool = False):
        import onnxruntime

        if not Path(path).is_file():
            raise MissingInputError(f"no such file: {path}; `dusha export` writes one")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        # For the threads of its own; the calling one flushes them at each call.
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's own errors have no common base class
            raise WrongUseError(f"{path} is not an ONNX model: {error}") from error
        metadata = self.session.get_modelmeta().custom_metadata_map
        if "labels" not in metadata:
            raise WrongUseError(f"{path} names no labels; give a file that `dusha export` wrote")
        self.labels = json.loads(metadata["labels"])
        self.sampling_rate = json.loads(metadata["sampling_rate"])
        self.reads_waveforms = json.loads(metadata["input"]) == "waveform"
        self.from_features = from_features
        self.one_length = json.loads(metadata["one_length"])
        self.extractor: Any = DushaFeatureExtractor.from_dict(
            json.loads(metadata["feature_extractor"])
        )

    def inputs(self, clips: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Turn clips, each (samples,) in [-1, 1], into the inputs of the graph, by name."""
        if not self.reads_waveforms:
            if self.from_features:
                batch = self.extractor.pad({"input_features": clips}, return_tensors="np")
            else:
                batch = self.extractor(clips, self.sampling_rate, return_tensors="np")
            features = {"input_features": batch["input_features"]}
            mask = {"attention_mask": batch["attention_mask"].astype(np.int64)}
            return features if self.one_length else features | mask
        lengths = np.array([len(clip) for clip in clips], dtype=np.int64)
        waveform = np.zeros((len(clips), lengths.max()), dtype=np.float32)
        for row, clip in zip(waveform, clips, strict=True):
            row[: len(clip)] = clip
        return {"waveform": waveform} | ({} if self.one_length else {"lengths": lengths})

    def __call__(self, clips: list[np.ndarray]) -> np.ndarray:
        """Give the probabilities of clips.

        Args:
            clips: each (samples,) in [-1, 1], at sampling_rate.

        Returns:
            (clips, labels) in [0, 1], the graph's own `class_probabilities`.
        """
        flush_subnormals()
        batches = [[clip] for clip in clips] if self.one_length else [clips]
        return np.concatenate(
            [self.session.run(["probabilities"], self.inputs(batch))[0] for batch in batches]
        )
