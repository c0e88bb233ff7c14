"""The demo under many visitors at once: whether all are answered, in turn, in bounded memory.

    python -m benchmarks.demo_load [--clients N --seconds N]

The demo is started as a user starts it, on the loopback address, with a random network of the
published size. Each visitor is a client of Gradio's own library, which sends a recording, waits
for the answer, and sends it again. An answer counts if it is the one that the same recording got
when nobody else was there.
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import psutil
import soundfile
import torch

from benchmarks.measuring import write_results
from configuration_dusha import DushaConfig
from dusha_ser.cli.program import run_program
from dusha_ser.errors import WorkFailedError
from dusha_ser.evaluation.ser.ser import LABELS
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

COMMAND = "python -m benchmarks.demo_load"
REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLING_RATE = 16000
CLIPS = 10
CLIP_SECONDS = 2.0
# An answer's probabilities may differ in their last digits, with the batch.
CLOSE = 2e-4
# Seconds that the first pages may take on a machine that others use, too.
PATIENCE = 300


def write_clips(folder: Path) -> list[Path]:
    """Write recordings of noise, each of its own colour."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(CLIPS):
        noise = rng.standard_normal(round(CLIP_SECONDS * SAMPLING_RATE))
        window = np.hanning(2 + 3 * number)[1:-1] if number else np.ones(1)
        samples = np.convolve(noise, window / window.sum(), "same")
        paths.append(folder / f"{number}.wav")
        soundfile.write(paths[-1], 0.2 * samples, SAMPLING_RATE)
    return paths


def save_random_model(folder: Path) -> Path:
    """Save a random network of the published size, whose answers differ from clip to clip."""
    torch.manual_seed(0)
    model = DushaForAudioClassification(
        DushaConfig(
            id2label=dict(enumerate(LABELS)),
            label2id={name: number for number, name in enumerate(LABELS)},
        )
    )
    with torch.no_grad():
        model.classifier.weight.mul_(40)
    model.save_pretrained(folder)
    DushaFeatureExtractor().save_pretrained(folder)
    return folder


def resident_memory(demo: subprocess.Popen) -> int:
    """Memory that the demo holds now, in bytes.

    Raises:
        WorkFailedError: if it has ended.
    """
    if demo.poll() is not None:
        raise WorkFailedError(f"the demo ended with {demo.returncode} while visitors asked")
    return psutil.Process(demo.pid).memory_info().rss


def read_answer(page: str) -> list[float]:
    """The probabilities on the page; an empty list where it shows none."""
    return [float(value) for value in re.findall(r'data-probability="([\d.]+)"', page)]


class Visitor(threading.Thread):
    """Asks again and again until the time is over.

    Args:
        client: of Gradio.
        path: the recording to send.
        expected: its probabilities.
        start: whom to wait for before the first question.
        seconds: for how long to ask.
    """

    def __init__(self, client, path: Path, expected: list[float], start, seconds: float):
        super().__init__(daemon=True)
        self.client, self.path, self.expected = client, path, expected
        self.start_together, self.duration = start, seconds
        self.waits: list[float] = []
        self.failures: list[str] = []

    def run(self) -> None:
        """Ask."""
        self.start_together.wait()
        end = time.monotonic() + self.duration
        while time.monotonic() < end:
            asked = time.monotonic()
            try:
                answer = ask(self.client, self.path)
            except Exception as error:  # whatever it is, it is no answer
                self.failures.append(repr(error))
                continue
            self.waits.append(time.monotonic() - asked)
            if not np.allclose(answer, self.expected, atol=CLOSE):
                self.failures.append(f"{answer} in place of {self.expected}")


def ask(client, path: Path) -> list[float]:
    """Send a recording and return the probabilities that come back."""
    from gradio_client import handle_file

    return read_answer(client.predict(handle_file(str(path)), False, api_name="/classify")[0])


def start_demo(model: Path, folder: Path) -> tuple[subprocess.Popen, str]:
    """Start the demo; returns its process and its address."""
    demo = subprocess.Popen(
        [sys.executable, "-m", "dusha_ser", "demo", "--model", model, "--port", "0"],
        cwd=folder,
        env=os.environ | {"GRADIO_TEMP_DIR": str(folder / "uploads"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    line = cast(IO[str], demo.stdout).readline()
    if "http://" not in line:
        raise WorkFailedError(f"the demo did not start; it ended with {demo.wait()}")
    return demo, line.split()[-1]


def measure(clients: int, seconds: float, folder: Path) -> dict:
    """Let visitors ask.

    Args:
        clients: how many.
        seconds: for how long.
        folder: for the model, the clips and the demo's files.

    Returns:
        answers and failures; waits in seconds; answers of the visitors who got fewest and most;
        memory of the demo in bytes: before, the most in the first and in the second half.
    """
    from gradio_client import Client

    paths = write_clips(folder)
    demo, address = start_demo(save_random_model(folder / "model"), folder)
    try:
        options: dict[str, Any] = {
            "verbose": False,
            "analytics_enabled": False,
            "httpx_kwargs": {"timeout": PATIENCE},
        }
        first = Client(address, **options)
        expected = [ask(first, path) for path in paths]
        start = threading.Event()
        visitors = [
            Visitor(
                Client(address, **options),
                paths[number % CLIPS],
                expected[number % CLIPS],
                start,
                seconds,
            )
            for number in range(clients)
        ]
        for visitor in visitors:
            visitor.start()
        memory = [resident_memory(demo)]
        began = time.monotonic()
        start.set()
        while any(visitor.is_alive() for visitor in visitors):
            time.sleep(0.2)
            memory.append(resident_memory(demo))
            if time.monotonic() > began + seconds + PATIENCE:
                raise WorkFailedError("the last visitors got no prediction")
        took = time.monotonic() - began
    finally:
        demo.send_signal(signal.SIGINT)
        try:
            demo.wait(PATIENCE)
        finally:
            demo.kill()
    waits = sorted(wait for visitor in visitors for wait in visitor.waits)
    failures = [failure for visitor in visitors for failure in visitor.failures]
    half = 1 + len(memory) // 2
    return {
        "clients": clients,
        "seconds": round(took, 1),
        "answers": len(waits),
        "failures": len(failures),
        "first_failure": failures[0] if failures else None,
        "wait": {
            "median": statistics.median(waits) if waits else None,
            "longest": waits[-1] if waits else None,
        },
        "answers_a_visitor": {
            "fewest": min(len(visitor.waits) for visitor in visitors),
            "most": max(len(visitor.waits) for visitor in visitors),
        },
        "memory": {
            "before": memory[0],
            "most_in_first_half": max(memory[:half]),
            "most_in_second_half": max(memory[half:]),
        },
    }


def main() -> None:
    """Measure and keep the result."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.demo_load --clients 50 --seconds 120",
    )
    parser.add_argument("--clients", type=int, default=50, help="visitors at once (50)")
    parser.add_argument("--seconds", type=float, default=120, help="how long they ask (120)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dusha-demo-load-") as folder:
        results = measure(arguments.clients, arguments.seconds, Path(folder))
    path = write_results("demo_load", {"command": COMMAND} | results)
    print(f"{results['answers']} answers, {results['failures']} failures; see {path}")


if __name__ == "__main__":
    run_program(main)
