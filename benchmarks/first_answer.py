"""From the start of a program to its first answer: this project against librosa and plain PyTorch.

    python -m benchmarks.first_answer

Each is a program of its own that imports what it needs, loads the weights, reads one wav and says
its label: the peer librosa and the plain network, ours by PyTorch, ours by ONNX Runtime. The file
system's memory is warm for all.
"""

import argparse
import functools
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.clips import wav_files
from benchmarks.measuring import measure_in_turn, speedups, write_results
from benchmarks.plain_network import plain_twin
from configuration_dusha import DushaConfig
from dusha_ser.cli.program import run_program
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

REPOSITORY = Path(__file__).resolve().parent.parent
PEER = """
import sys
import librosa, numpy, torch
from benchmarks.plain_network import PlainNetwork
network = PlainNetwork()
network.load_state_dict(torch.load(sys.argv[1], weights_only=True))
network.eval()
samples, rate = librosa.load(sys.argv[2], sr=16000)
power = librosa.feature.melspectrogram(
    y=samples, sr=rate, n_fft=320, hop_length=160, n_mels=64, pad_mode="reflect"
)
features = torch.from_numpy(librosa.power_to_db(power, ref=numpy.max))
with torch.inference_mode():
    print(int(network(features[None, None]).argmax()))
"""


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
        "librosa + plain network": [sys.executable, "-c", PEER, folder / "plain.pt", wav],
        "ours": [*predict, folder / "model", wav, "--quiet"],
        "ours, .onnx": [*predict, folder / "model.onnx", wav, "--quiet"],
        "import torch alone": [sys.executable, "-c", "import torch"],
        "Python alone": [sys.executable, "-c", ""],
    }


def run(command: list) -> None:
    """Run a program to its end."""
    words = [str(word) for word in command]
    subprocess.run(words, check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)


def main() -> None:
    """Measure, print and write the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="example: python -m benchmarks.first_answer"
    )
    parser.add_argument("--rounds", type=int, default=5, help="times each program is started")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="first-answer-") as folder:
        commands = programs(Path(folder))
        work = {name: functools.partial(run, command) for name, command in commands.items()}
        times = measure_in_turn(work, chosen.rounds)
    ratios = speedups(times["processor_seconds"], "librosa + plain network")
    for name, ratio in ratios.items():
        used = min(times["processor_seconds"][name])
        print(f"{name:<24} {used:5.2f} s of processor time, {ratio:5.2f} times as fast")
    results = {
        **times,
        "times_as_fast": ratios,
        "times_as_fast_by_the_clock": speedups(times["seconds"], "librosa + plain network"),
    }
    print(f"written to {write_results('first_answer', results)}")


if __name__ == "__main__":
    run_program(main)
