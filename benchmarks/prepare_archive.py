"""Preparing the corpus from an archive of wavs, against `tar -x` of the same file.

    python -m benchmarks.prepare_archive [--gigabytes N --rounds N]

An archive of clips of Dusha's length is generated, with answers to them. In turn it is unpacked
by tar, and prepared by the program dusha.py, alone and with two processes, as a dataset folder;
and by load_dataset, in the cache. Each variant starts from nothing but the archives: no index, no
labels, no result of an earlier round. Times are those of whole processes, Python's start included.
The folder is also made of archives of a quarter and a half of the size, and once under a profiler.
"""

import argparse
import functools
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest.mock
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

import dusha
from benchmarks.measuring import measure_in_turn, slope, speedups, time_in_turn, write_results
from benchmarks.profiles import python_profile
from dusha_ser.cli.program import run_program

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLING_RATE = 16000
# Of Dusha's crowd: 207 hours in 164,387 clips, and 5.6 answers to each.
MEAN_SECONDS = 4.5
ANSWERS = 6
EMOTIONS = ("angry", "sad", "neutral", "positive")
# Of the archive, to see how the cost grows.
SHARES = (0.25, 0.5)
ONE_PROCESS = "folder, 1 process"
# Share of the clips that are in the test set.
TEST_SHARE = 0.085
# Random numbers that all clips are cut from: other sound would not change anything.
NOISE_SECONDS = 60
LOAD = """
import sys
sys.path.insert(0, sys.argv[1])
import dusha
if __name__ == "__main__":
    dusha.load_dataset(
        "crowd", data_dir=sys.argv[2], cache_dir=sys.argv[3], num_proc=int(sys.argv[4]),
        quiet=True, parts=("crowd_train", "crowd_test"),
    )
"""


def write_archive(folder: Path, size: float, quiet: bool = False) -> int:
    """Write crowd.tar.

    Args:
        folder: where to.
        size: of the recordings, in bytes.
        quiet: no progress bar.

    Returns:
        The number of clips.
    """
    rng = np.random.default_rng(0)
    noise = (3000 * rng.standard_normal(SAMPLING_RATE * NOISE_SECONDS)).astype(np.int16)
    rows: dict[str, list[str]] = {"crowd_train": [], "crowd_test": []}
    clips = written = 0
    with (
        tarfile.open(folder / "crowd.tar", "w") as archive,
        tqdm(total=size, unit="B", unit_scale=True, desc="archive", disable=quiet) as bar,
    ):
        while written < size:
            length = int(SAMPLING_RATE * np.clip(rng.lognormal(np.log(4.1), 0.45), 1, 20))
            start = int(rng.integers(len(noise) - length))
            part = "crowd_test" if rng.random() < TEST_SHARE else "crowd_train"
            name = f"{clips:032x}"
            file = io.BytesIO()
            samples = noise[start : start + length]
            soundfile.write(file, samples, SAMPLING_RATE, format="WAV", subtype="PCM_16")
            add(archive, f"{part}/wavs/{name}.wav", file.getvalue())
            rows[part] += answer_rows(rng, name, length / SAMPLING_RATE)
            clips, written = clips + 1, written + len(file.getvalue())
            bar.update(len(file.getvalue()))
        for part, lines in rows.items():
            add(archive, f"{part}/raw_{part}.jsonl", "".join(lines).encode())
    return clips


def answer_rows(rng: np.random.Generator, name: str, duration: float) -> list[str]:
    """Make the answers to a clip; most annotators agree."""
    emotion = EMOTIONS[rng.integers(4)]
    return [
        json.dumps(
            {
                "hash_id": name,
                "audio_path": f"wavs/{name}.wav",
                "duration": duration,
                "annotator_emo": emotion if rng.random() < 0.9 else EMOTIONS[rng.integers(4)],
                "golden_emo": float("nan"),
                "speaker_text": "включи музыку погромче",
                "speaker_emo": emotion,
                "source_id": f"{rng.integers(2000):032x}",
                "annotator_id": f"{annotator:032x}",
            },
            ensure_ascii=False,
        )
        + "\n"
        for annotator in rng.choice(3000, ANSWERS, replace=False)
    ]


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to an archive."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def run_anew(folder: Path, command: list) -> None:
    """Run a command that writes into folder/result, which is empty before."""
    result = folder / "result"
    shutil.rmtree(result, ignore_errors=True)
    result.mkdir()
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def program(folder: Path) -> list:
    """Return the words of dusha.py, but for the number of processes."""
    archives, result = folder / "archives", folder / "result"
    return [
        *("-m", "dusha_ser", "corpus", "crowd", "--data_dir", archives, "--quiet"),
        *("--output_dir", result / "dusha", "--cache_dir", result / "cache"),
        *("--parts", "crowd_train,crowd_test", "--num_proc"),
    ]


def variants(folder: Path) -> dict:
    """Name and work of each variant."""
    archives, result = folder / "archives", folder / "result"
    prepare = [sys.executable, *program(folder)]
    load = [sys.executable, "-c", LOAD, REPOSITORY, archives, result]
    commands = {
        "tar -x": ["tar", "-xf", archives / "crowd.tar", "-C", result],
        ONE_PROCESS: [*prepare, 1],
        "folder, 2 processes": [*prepare, 2],
        "cache, 1 process": [*load, 1],
        "cache, 2 processes": [*load, 2],
    }
    return {
        name: functools.partial(run_anew, folder, command) for name, command in commands.items()
    }


def measure_sizes(folder: Path, gigabytes: float) -> dict[float, float]:
    """Time one process making folders of smaller archives; returns seconds by gigabytes."""
    sizes = {}
    for share in SHARES:
        smaller = folder / f"{share:g}"
        (smaller / "archives").mkdir(parents=True)
        write_archive(smaller / "archives", share * gigabytes * 1e9, quiet=True)
        work = {"": variants(smaller)[ONE_PROCESS]}
        sizes[share * gigabytes] = measure_in_turn(work, 1)["seconds"][""][0]
        shutil.rmtree(smaller)
    return sizes


def profile(folder: Path) -> dict[str, float]:
    """Tell where the time goes when one process makes the folder."""
    result = folder / "result"
    shutil.rmtree(result, ignore_errors=True)
    command = [str(word) for word in program(folder)]
    with unittest.mock.patch.object(sys, "argv", [*command, "1"]):
        return python_profile(dusha.main)


def measure(folder: Path, rounds: int) -> dict:
    """Time all variants in turn; returns seconds and how they compare."""
    times = time_in_turn(variants(folder), rounds)
    scaling = {
        kind: speedups(times, f"{kind}, 1 process")[f"{kind}, 2 processes"]
        for kind in ("folder", "cache")
    }
    return {"seconds": times, "times_as_fast_as_tar": speedups(times, "tar -x"), "scaling": scaling}


def main() -> None:
    """Generate the archive, measure all variants, print and write the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.prepare_archive --gigabytes 0.1 --rounds 1",
    )
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the recordings, GB")
    parser.add_argument("--rounds", type=int, default=3, help="times each variant is measured")
    parser.add_argument("--folder", type=Path, help="where to work (default: the temporary folder)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prepare-", dir=chosen.folder) as name:
        folder = Path(name)
        (folder / "archives").mkdir()
        clips = write_archive(folder / "archives", chosen.gigabytes * 1e9, chosen.quiet)
        found = {"gigabytes": chosen.gigabytes, "clips": clips, **measure(folder, chosen.rounds)}
        sizes = measure_sizes(folder, chosen.gigabytes)
        sizes[chosen.gigabytes] = min(found["seconds"][ONE_PROCESS])
        found |= {"sizes": sizes, "growth": slope(sizes), "profile": profile(folder)}
    for variant, seconds in found["seconds"].items():
        ratio = found["times_as_fast_as_tar"][variant]
        print(f"{variant:20} {min(seconds):6.1f} s  {ratio:5.2f} times the speed of tar -x")
    for kind, ratio in found["scaling"].items():
        print(f"two processes write the {kind} {ratio:.2f} times as fast as one")
    growth = found["growth"]
    print(f"{growth['seconds_each']:.2f} s a gigabyte, exponent {growth['exponent']:.2f}")
    print("   " + ", ".join(f"{name} {share:.0%}" for name, share in found["profile"].items()))
    print(f"written to {write_results('prepare_archive', found)}")


if __name__ == "__main__":
    run_program(main)
