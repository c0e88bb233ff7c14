"""Preparing the corpus from an archive of wavs, against `tar -x` of the same file.

    python -m benchmarks.prepare_archive [--gigabytes N --rounds N]

An archive of clips of Dusha's length is generated, with answers to them. In turn it is unpacked by
tar; unpacked by tar and made a dataset by AudioFolder of `datasets`, with the audio inside, as ours
has it; and prepared by `dusha corpus` as a dataset folder, all with one process; and by two. Each
starts from nothing but the archive: no index, no labels, no result of an earlier round. Times are
those of whole programs, Python's start included; the archive lies in the system's memory.
AudioFolder reads no answers and makes no labels. The folder is also made of archives of a quarter
and a half of the size, and once under a profiler.
"""

import functools
import io
import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from benchmarks.measuring import (
    Measurement,
    compare,
    measure_in_turn,
    measuring_options,
    print_pairs,
    run_quietly,
    slope,
)
from benchmarks.profiles import python_profile
from dusha_ser.cli.main import main as dusha
from dusha_ser.cli.program import run_program

SAMPLING_RATE = 16000
# Of Dusha's crowd: 207 hours in 164,387 clips, and 5.6 answers to each.
MEAN_SECONDS = 4.5
ANSWERS = 6
EMOTIONS = ("angry", "sad", "neutral", "positive")
# Of the archive, to see how the cost grows.
SHARES = (0.25, 0.5)
TAR, AUDIO_FOLDER = "tar -x", "tar -x, AudioFolder, saved"
ONE_PROCESS, TWO_PROCESSES = "ours, 1 process", "ours, 2 processes"
# Share of the clips that are in the test set.
TEST_SHARE = 0.085
# Random numbers that all clips are cut from: other sound would not change anything.
NOISE_SECONDS = 60
# Paths are made Audio by a cast: encoding would need TorchCodec, and FFmpeg, for nothing.
LOAD = """
import sys
import datasets
datasets.disable_progress_bars()
files = {part: f"{sys.argv[1]}/crowd_{part}/wavs/*.wav" for part in ("train", "test")}
rows = datasets.load_dataset(
    "audiofolder", data_files=files, cache_dir=sys.argv[2], drop_labels=True,
    features=datasets.Features({"audio": datasets.Value("string")}),
)
rows.cast_column("audio", datasets.Audio(decode=False)).save_to_disk(sys.argv[3])
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


def run_anew(folder: Path, commands: list[list]) -> None:
    """Run commands that write into folder/result, which is empty before."""
    empty(folder)
    for command in commands:
        run_quietly(command)


def empty(folder: Path) -> None:
    """Empty folder/result."""
    shutil.rmtree(folder / "result", ignore_errors=True)
    (folder / "result" / "files").mkdir(parents=True)


def program(folder: Path) -> list:
    """Return the words of `dusha corpus`, but for the number of processes."""
    archives, result = folder / "archives", folder / "result"
    return [
        *("-m", "dusha_ser", "corpus", "crowd", "--data_dir", archives, "--quiet"),
        *("--output_dir", result / "dusha", "--cache_dir", result / "cache"),
        # All clips are written, as tar writes them.
        *("--keep_unsure", "--keep_control", "--keep_other"),
        *("--parts", "crowd_train,crowd_test", "--num_proc"),
    ]


def variants(folder: Path) -> dict:
    """Name and work of each variant."""
    result = folder / "result"
    prepare = [sys.executable, *program(folder)]
    unpack = ["tar", "-xf", folder / "archives" / "crowd.tar", "-C", result / "files"]
    load = [sys.executable, "-c", LOAD, result / "files", result / "cache", result / "saved"]
    commands = {
        TAR: [unpack],
        AUDIO_FOLDER: [unpack, load],
        ONE_PROCESS: [[*prepare, 1]],
        TWO_PROCESSES: [[*prepare, 2]],
    }
    return {name: functools.partial(run_anew, folder, words) for name, words in commands.items()}


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
    empty(folder)
    _, _, *words = map(str, program(folder))
    return python_profile(lambda: dusha([*words, "1"]))


def measure(folder: Path, rounds: int) -> dict:
    """Time all variants in turn; returns seconds and how they compare."""
    # The folder is emptied before the clock starts, too, so that nobody's files are ours to remove.
    times = measure_in_turn(variants(folder), rounds, before=functools.partial(empty, folder))
    pairs = {
        "folder": (TAR, ONE_PROCESS),
        "folder, AudioFolder": (AUDIO_FOLDER, ONE_PROCESS),
        "two processes beside one": (ONE_PROCESS, TWO_PROCESSES),
    }
    return {"pairs": compare(times, pairs), **times}


def main() -> None:
    """Generate the archive, measure all variants, print and write the comparison."""
    parser = measuring_options(
        __doc__.splitlines()[0],
        "python -m benchmarks.prepare_archive --gigabytes 0.1 --allow_load",
    )
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the recordings, GB")
    parser.add_argument("--folder", type=Path, help="where to work (default: the temporary folder)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    chosen = parser.parse_args()
    measurement = Measurement("prepare_archive", chosen)
    with tempfile.TemporaryDirectory(prefix="prepare-", dir=chosen.folder) as name:
        folder = Path(name)
        (folder / "archives").mkdir()
        clips = write_archive(folder / "archives", chosen.gigabytes * 1e9, chosen.quiet)
        found = {"gigabytes": chosen.gigabytes, "clips": clips, **measure(folder, chosen.rounds)}
        sizes = measure_sizes(folder, chosen.gigabytes)
        sizes[chosen.gigabytes] = min(found["seconds"][ONE_PROCESS])
        found |= {"sizes": sizes, "growth": slope(sizes), "profile": profile(folder)}
    print_pairs(found["pairs"])
    growth = found["growth"]
    print(f"{growth['seconds_each']:.2f} s a gigabyte, exponent {growth['exponent']:.2f}")
    print("   " + ", ".join(f"{name} {share:.0%}" for name, share in found["profile"].items()))
    print(f"written to {measurement.write(found)}")


if __name__ == "__main__":
    run_program(main)
