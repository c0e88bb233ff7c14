"""Memory of dusha predict over more and more clips: the same, whatever their number.

    python -m benchmarks.predict_memory [--counts N ...]

Clips of a tenth of a second are few files under many names. The program is started again for each
number of clips, with a random network of the published size.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.demo_load import save_random_model
from benchmarks.measuring import write_results
from dusha_ser.cli.program import run_program
from dusha_ser.errors import WorkFailedError

COMMAND = "python -m benchmarks.predict_memory"
COUNTS = (2000, 20000)
CLIP_SECONDS = 0.1


def write_clips(folder: Path, count: int) -> Path:
    """Write one recording under many names; returns the folder."""
    import numpy as np
    import soundfile

    folder.mkdir()
    soundfile.write(folder / "0.wav", 0.2 * np.sin(np.arange(round(CLIP_SECONDS * 16000))), 16000)
    for number in range(1, count):
        (folder / f"{number}.wav").hardlink_to(folder / "0.wav")
    return folder


def run(model: Path, clips: Path, answers: Path) -> tuple[int, float]:
    """Classify clips in a process of its own; returns its most memory in bytes, and seconds."""
    arguments = [str(model), str(clips), "--output_file", str(answers), "--quiet"]
    began = time.monotonic()
    program = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "dusha_ser", "predict", *arguments],
        os.environ | {"OMP_NUM_THREADS": "1"},
    )
    _, status, used = os.wait4(program, 0)
    if status:
        raise WorkFailedError(f"the program ended with {os.waitstatus_to_exitcode(status)}")
    return 1024 * used.ru_maxrss, time.monotonic() - began


def measure(counts: list[int], folder: Path) -> dict:
    """Measure.

    Args:
        counts: numbers of clips.
        folder: for clips and answers.

    Returns:
        by number of clips: rows of answers, the most memory in bytes, and seconds; and the most
        memory as a multiple of that for the first number.
    """
    model = save_random_model(folder / "model")
    results = {}
    for count in counts:
        answers = folder / f"{count}.csv"
        memory, seconds = run(model, write_clips(folder / f"{count} clips", count), answers)
        rows = answers.read_text().count("\n") - 1
        results[count] = {"rows": rows, "most_memory": memory, "seconds": round(seconds, 1)}
    least = results[counts[0]]["most_memory"]
    return {
        "clips": results,
        "times_the_memory": {count: one["most_memory"] / least for count, one in results.items()},
    }


def main() -> None:
    """Measure and keep the result."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.predict_memory --counts 2000 20000",
    )
    parser.add_argument(
        "--counts", type=int, nargs="+", default=COUNTS, help="numbers of clips (2000 20000)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dusha-predict-memory-") as folder:
        results = measure(arguments.counts, Path(folder))
    print(f"{results['times_the_memory']}; see {write_results('predict_memory', results)}")


if __name__ == "__main__":
    run_program(main)
