"""From the start of a program to its first answer: this project against librosa and plain PyTorch.

    python -m benchmarks.first_answer

Each is a program of its own that imports what it needs, loads the weights, reads one wav and says
its label, with one thread: the peer with torchaudio, which an expert takes because it imports less,
or with librosa, as people do, and the plain network, without anything of this project; ours by
PyTorch and by ONNX Runtime. The system's memory of files is warm for all.
"""

import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.clips import wav_files
from benchmarks.measuring import (
    Measurement,
    compare,
    measuring_options,
    print_pairs,
    processors,
    programs_in_turn,
)
from benchmarks.plain_network import plain_twin
from configuration_dusha import DushaConfig
from dusha_ser.cli.program import run_program
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

EXPERT, USUAL = "torch, torchaudio, plain network", "torch, librosa, plain network"
LOADED = """
network = PlainNetwork()
network.load_state_dict(torch.load(sys.argv[1], weights_only=True))
network.eval()
"""
AS_EXPERTS_DO = (
    """
import sys
import soundfile, torch, torchaudio
from benchmarks.plain_network import PlainNetwork
"""
    + LOADED
    + """
samples, rate = soundfile.read(sys.argv[2], dtype="float32")
mel = torchaudio.transforms.MelSpectrogram(
    rate, 320, hop_length=160, n_mels=64, norm="slaney", mel_scale="slaney"
)
decibel = 10 * mel(torch.from_numpy(samples)).clamp_min(1e-10).log10()
features = (decibel - decibel.max()).clamp_min(-80)
with torch.inference_mode():
    print(int(network(features[None, None]).argmax()))
"""
)
AS_PEOPLE_DO = (
    """
import sys
import librosa, numpy, torch
from benchmarks.plain_network import PlainNetwork
"""
    + LOADED
    + """
samples, rate = librosa.load(sys.argv[2], sr=16000)
power = librosa.feature.melspectrogram(
    y=samples, sr=rate, n_fft=320, hop_length=160, n_mels=64, pad_mode="reflect"
)
features = torch.from_numpy(librosa.power_to_db(power, ref=numpy.max))
with torch.inference_mode():
    print(int(network(features[None, None]).argmax()))
"""
)


def programs(folder: Path) -> dict[str, list]:
    """Write weights in each form and one wav; return the programs that classify it."""
    torch.manual_seed(0)
    model = DushaForAudioClassification(DushaConfig()).eval()
    extractor = DushaFeatureExtractor()
    for one in (model, extractor):
        one.save_pretrained(folder / "model")
    torch.save(plain_twin(model).state_dict(), folder / "plain.pt")
    from dusha_ser.inference.onnx_export import export

    export(model, extractor, folder / "model.onnx", waveform=True, one_length=True)
    (wav,) = wav_files(folder, None, 1)
    predict = [sys.executable, "-m", "dusha_ser", "predict"]
    return {
        EXPERT: [sys.executable, "-c", AS_EXPERTS_DO, folder / "plain.pt", wav],
        USUAL: [sys.executable, "-c", AS_PEOPLE_DO, folder / "plain.pt", wav],
        "ours": [*predict, folder / "model", wav, "--quiet"],
        "ours, .onnx": [*predict, folder / "model.onnx", wav, "--quiet"],
        "import torch alone": [sys.executable, "-c", "import torch"],
        "Python alone": [sys.executable, "-c", ""],
    }


def main() -> None:
    """Measure, print and write the comparison."""
    parser = measuring_options(
        __doc__.splitlines()[0], "python -m benchmarks.first_answer --allow_load", rounds=9
    )
    chosen = parser.parse_args()
    measurement = Measurement("first_answer", chosen)
    with processors(1), tempfile.TemporaryDirectory(prefix="first-answer-") as folder:
        times = programs_in_turn(programs(Path(folder)), chosen.rounds)
    pairs = {
        f"{ours}{kind}": (peer, ours)
        for ours in ("ours", "ours, .onnx")
        for kind, peer in (("", EXPERT), (", as people do", USUAL))
    }
    found = {"pairs": compare(times, pairs), **times}
    print_pairs(found["pairs"])
    print(f"written to {measurement.write(found)}")


if __name__ == "__main__":
    run_program(main)
