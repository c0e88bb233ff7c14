"""Goldens that may be shipped: synthetic speech, its features, logits of seeded weights.

`python tests/goldens.py` makes goldens.npz again; to be done only where a change of features or
network is wanted, and tests/test_goldens.py then shows by how much they moved.
"""

import sys
from pathlib import Path

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))

from configuration_dusha import DushaConfig  # noqa: E402
from dusha_ser.corpus.sample_voice import draw_voice, speak  # noqa: E402
from feature_extraction_dusha import DushaFeatureExtractor  # noqa: E402
from modeling_dusha import DushaForAudioClassification  # noqa: E402

PATH = Path(__file__).with_name("goldens.npz")
RATE = 16000
# Emotion, first sample and number of samples of each clip.
CLIPS = (("angry", 4000, 2400), ("sad", 6000, 801))


def spoken(number: int) -> np.ndarray:
    """A piece of a sentence of the sample corpus' voice, (samples,) int16."""
    emotion, start, samples = CLIPS[number]
    generator = np.random.default_rng([2022, number])
    waveform, _ = speak(generator, draw_voice(generator), emotion)
    piece = waveform[start : start + samples]
    return piece if piece.dtype == np.int16 else np.round(piece * 2**15).astype(np.int16)


def seeded_network() -> DushaForAudioClassification:
    """The released architecture with weights whose numbers NumPy promises to keep."""
    generator = np.random.RandomState(2022)
    model = DushaForAudioClassification(DushaConfig()).eval()
    with torch.no_grad():
        for name, tensor in sorted(model.state_dict().items()):
            if not tensor.is_floating_point():
                continue
            values = generator.standard_normal(tuple(tensor.shape))
            if "normalization" in name:
                values = 1 + values / 10 if name.endswith(("weight", "var")) else values / 10
            elif name.endswith("gamma"):
                values[:] = 0.7
            elif tensor.ndim > 1:
                values *= (2 / tensor[0].numel()) ** 0.5
            tensor.copy_(torch.from_numpy(values))
        stem = model.dusha.stem.normalization
        stem.running_mean.fill_(-40)
        stem.running_var.fill_(400)
    return model


def features_of(waveforms: list[np.ndarray]) -> list[np.ndarray]:
    """The features of each clip alone, (frames, 64) in dB."""
    extractor = DushaFeatureExtractor()
    return [extractor(one, RATE)["input_features"][0] for one in waveforms]


@torch.no_grad()
def logits_of(features: list[np.ndarray]) -> np.ndarray:
    """The logits of each clip alone, (clips, 4)."""
    model = seeded_network()
    rows = [model(torch.from_numpy(one).unsqueeze(0)).logits[0] for one in features]
    return torch.stack(rows).numpy()


def make_goldens() -> dict[str, np.ndarray]:
    """Compute all of them: waveforms, features in thousandths of dB, logits."""
    waveforms = [spoken(number) for number in range(len(CLIPS))]
    features = features_of(waveforms)
    found = {f"waveform_{number}": one for number, one in enumerate(waveforms)}
    for number, one in enumerate(features):
        found[f"features_{number}"] = np.round(one * 1000).astype(np.int32)
    return found | {"logits": logits_of(features)}


if __name__ == "__main__":
    np.savez_compressed(PATH, allow_pickle=False, **make_goldens())
    print(f"{PATH}: {PATH.stat().st_size} bytes")
