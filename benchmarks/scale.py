"""What thirty million clips cost, by arithmetic from measured rates.

    python -m benchmarks.scale [--clips FOLDER]

Cutting recordings, choosing among predictions and the size of a row are measured here, on one
processor, as is the memory that ids take where Ray resumes a job; the network's time stands in
results/files_to_labels.json.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as pq

from benchmarks.clips import MEAN_SECONDS, RATE, wav_files
from benchmarks.measuring import RESULTS, processor_seconds, processors, write_results
from benchmarks.ray_cluster import IDS, ids_alone
from dusha_ser.audio.voice_activity import SpeechDetector
from dusha_ser.cli.program import run_program
from dusha_ser.collecting.balance import Best, merge_best
from dusha_ser.collecting.options import Cut, PseudoLabelOptions
from dusha_ser.collecting.picking import best_clips
from dusha_ser.collecting.slicing import slice_recording
from dusha_ser.storage import read_json

# Clips and hours of them; machines with so many processors.
CLIPS, HOURS = 30_000_000, 42_000
MACHINES, PROCESSORS = 100, 2
# Bytes of an hour of 16 kHz in 16 bits, and of an MP3 of 128 kbit/s.
WAV_HOUR, MP3_HOUR = 3600 * RATE * 2, 3600 * 16_000
# To choose so many, from parts of so many rows.
NUMBER, PART, ROWS = 10_000, 10_000, 200_000


def measure_slicing(wavs: Sequence[Path]) -> float:
    """Cut recordings into clips; returns processor seconds for an hour of them."""
    detector, cut = SpeechDetector(), Cut()
    kept: list[int] = []

    def keep(content: bytes) -> str:
        kept.append(len(content))
        return str(len(kept))

    slice_recording(wavs[0], keep, detector, cut)
    began, seconds = processor_seconds(), 0.0
    for path in wavs:
        seconds += slice_recording(path, keep, detector, cut)["duration"]
    return (processor_seconds() - began) / seconds * 3600


def make_rows(count: int, first: int = 0) -> pyarrow.Table:
    """Make rows of predictions as a job writes them."""
    rng = np.random.default_rng(first)
    shares = rng.dirichlet([0.3, 0.3, 2.0, 0.5], count).round(6)
    labels = np.array(["angry", "sad", "neutral", "positive"])
    columns = {
        "id": [f"{number:032x}" for number in rng.integers(0, 2**62, count)],
        "duration": rng.uniform(0.5, 5, count).round(3),
        "prediction": labels[shares.argmax(axis=1)],
    }
    columns |= {f"probability_{name}": shares[:, place] for place, name in enumerate(labels)}
    return pyarrow.table(columns | {"error": pyarrow.nulls(count, pyarrow.string())})


def measure_choice() -> float:
    """Choose clips of each emotion from parts; returns processor seconds for a million rows."""
    options = PseudoLabelOptions(Path(), "unused", NUMBER)
    parts = [make_rows(PART, first) for first in range(0, ROWS, PART)]
    best: Best = {}
    began = processor_seconds()
    for part in parts:
        names = part["id"].to_pylist()
        probabilities = np.stack([part[name] for name in part.column_names[3:7]], axis=1)
        best = merge_best(best_clips(names, probabilities, names, options), best, NUMBER)
    return (processor_seconds() - began) / ROWS * 1e6


def measure_row() -> float:
    """Write rows of predictions; returns bytes of one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        pq.write_table(make_rows(1024), path, compression="zstd")
        return path.stat().st_size / 1024


def measure_ids() -> dict[str, float]:
    """Load ids as Ray does where a job is resumed; bytes of one, and millions for 16 GB."""
    few, many = (ids_alone(count)["grown"] for count in IDS)
    each = (many - few) / (IDS[1] - IDS[0])
    return {"bytes": round(each), "millions_in_16_gigabytes": int(16e9 / each / 1e6)}


def make_table(rates: dict[str, float]) -> dict:
    """Say what all clips cost by the rates."""
    network = read_json(RESULTS / "files_to_labels.json")["milliseconds_a_file"]
    second = 3600 / MEAN_SECONDS / 1000
    rows = rates["bytes_of_a_row"] * CLIPS / 1e9
    wav, mp3 = WAV_HOUR * HOURS / 1e12, MP3_HOUR * HOURS / 1e12
    steps = [
        ("cut into clips", rates["slicing"], f"{mp3:.1f} TB (MP3, 128 kbit/s)", f"{wav:.1f} TB"),
        ("predict, .onnx", network["ONNX Runtime"] * second, f"{wav:.1f} TB", f"{rows:.1f} GB"),
        (
            "predict, .onnx, int8",
            network["ONNX Runtime, int8"] * second,
            *(f"{wav:.1f} TB", f"{rows:.1f} GB"),
        ),
    ]
    table = []
    for name, seconds, read, written in steps:
        total = seconds * HOURS / 3600
        table.append(
            [
                *(name, f"{seconds:.1f} s", f"{total:.0f} h"),
                *(f"{60 * total / MACHINES / PROCESSORS:.0f} min", read, written),
            ]
        )
    chosen = rates["choice_of_a_million"] * CLIPS / 1e6
    table.append(["choose", "", f"{chosen / 3600:.2f} h", "one process", f"{rows:.1f} GB", "1 MB"])
    columns = ["step", "processor time per hour of audio", "in all", "100 machines"]
    return {"columns": [*columns, "read", "written"], "rows": table}


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="example: python -m benchmarks.scale"
    )
    parser.add_argument("--clips", type=Path, help="mono 16 kHz recordings (default: made)")
    chosen = parser.parse_args()
    with processors(1), tempfile.TemporaryDirectory() as folder:
        rates = {
            "slicing": measure_slicing(wav_files(Path(folder), chosen.clips, 100)),
            "choice_of_a_million": measure_choice(),
            "bytes_of_a_row": measure_row(),
        }
    results = {"rates": {name: round(rate, 2) for name, rate in rates.items()}}
    results["table"] = make_table(rates)
    results["ids"] = measure_ids()
    # Where the folder lies is of no interest to others.
    given = ["--clips", "FOLDER"] if "--clips" in sys.argv else []
    print(f"{results}\nwritten to {write_results('scale', results, given)}")


if __name__ == "__main__":
    run_program(main)
