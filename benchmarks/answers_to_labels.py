"""From the published answers to labels: this project against json, pandas and crowd-kit.

    python -m benchmarks.answers_to_labels [--answers N --clips N --annotators N]

Answers of the size of Dusha's are generated as the four files raw_PART.jsonl. Both sides read all
of them, run Dawid-Skene (100 iterations) over the four parts together, keep labels with a
probability of at least 0.9, and one row per clip, its first. Each runs in a process of its own:
the time is that of the whole process, the memory its largest resident set.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.crowds import ANNOTATORS, ANSWERS, CLIPS
from benchmarks.measuring import speedups, write_results
from dusha_ser.cli.program import run_program

REPOSITORY = Path(__file__).resolve().parent.parent
PARTS = ("crowd_train", "crowd_test", "podcast_train", "podcast_test")
LABELS = ("angry", "sad", "neutral", "positive", "other")
# The paper: clips of each part, and clips of each label (Tables 1 and 2).
PART_SHARES = (150352, 14035, 79825, 10637)
LABEL_SHARES = (19177, 24486, 187954, 21355, 1877)
SIDES = ("peer", "ours")
THRESHOLD = 0.9
RESULT = "labels.npz"


def write_corpus(folder: Path, answers: int, clips: int, annotators: int, shuffled: bool) -> None:
    """Write generated answers as published.

    Args:
        folder: where crowd_train/raw_crowd_train.jsonl and the others go.
        answers: number of rows in all parts.
        clips: number of clips, each with at least one answer.
        annotators: number of annotators; some answer a thousand times as often as others.
        shuffled: whether the answers to a clip lie apart, as they came in, or one after another.
    """
    rng = np.random.default_rng(0)
    clip = np.sort(np.r_[np.arange(clips), rng.integers(clips, size=answers - clips)])
    shares = 1 / (np.arange(annotators) + 20)
    annotator = rng.choice(annotators, size=answers, p=shares / shares.sum())
    truth = rng.choice(len(LABELS), size=clips, p=np.array(LABEL_SHARES) / sum(LABEL_SHARES))
    skill = rng.beta(6, 2, annotators)
    right = rng.random(answers) < skill[annotator]
    label = np.where(right, truth[clip], rng.integers(len(LABELS), size=answers))
    golden = rng.random(clips) < 0.02
    duration = np.round(rng.gamma(4, 1, clips) + 0.3, 6)
    ids, people, sources = (
        [rng.bytes(16).hex() for _ in range(count)]
        for count in (clips, annotators, clips // 35 + 1)
    )
    words = [
        "включи",
        "музыку",
        "погромче",
        "какая",
        "завтра",
        "погода",
        "расскажи",
        "новости",
        "спасибо",
        "хорошо",
    ]
    texts = [" ".join(rng.choice(words, size=size)) for size in rng.integers(2, 11, size=clips)]
    edges = np.cumsum(PART_SHARES) / sum(PART_SHARES) * clips
    part = np.searchsorted(edges, np.arange(clips), side="right").clip(max=3)
    for number, name in enumerate(PARTS):
        rows = np.flatnonzero(part[clip] == number)
        (folder / name).mkdir(parents=True)
        with (folder / name / f"raw_{name}.jsonl").open("w", encoding="utf-8") as file:
            acted = name.startswith("crowd")
            for row in rng.permutation(rows) if shuffled else rows:
                own = clip[row]
                fields = {
                    "hash_id": ids[own],
                    "audio_path": f"wavs/{ids[own]}.wav",
                    "duration": float(duration[own]),
                    "annotator_emo": LABELS[label[row]],
                    "golden_emo": LABELS[truth[own]] if golden[own] else float("nan"),
                    "speaker_text": texts[own] if acted else float("nan"),
                    "speaker_emo": LABELS[truth[own]] if acted else float("nan"),
                    "source_id": sources[own // 35],
                    "annotator_id": people[annotator[row]],
                }
                file.write(json.dumps(fields, ensure_ascii=False) + "\n")


def label_as_peer(folder: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Make labels with json, pandas and crowd-kit; result as for `label_as_ours`."""
    import pandas
    from crowdkit.aggregation import DawidSkene

    rows = []
    for part in PARTS:
        with (folder / part / f"raw_{part}.jsonl").open(encoding="utf-8") as file:
            rows.extend(json.loads(line) for line in file)
    answers = pandas.DataFrame(rows)
    del rows
    named = {"hash_id": "task", "annotator_id": "worker", "annotator_emo": "label"}
    answers = answers.rename(columns=named)
    probabilities = DawidSkene(n_iter=100).fit_predict_proba(answers[["task", "worker", "label"]])
    clips = answers.drop_duplicates("task")
    probabilities = probabilities.reindex(clips["task"]).reindex(columns=LABELS).to_numpy()
    best = probabilities.argmax(1)
    labels = np.where(probabilities.max(1) >= THRESHOLD, best, -1)
    return clips["task"].tolist(), probabilities, labels


def label_as_ours(folder: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Make labels as dusha.py does.

    Args:
        folder: of the four parts.

    Returns:
        Ids of the clips in the order of first answers, float64 (clips, labels) probabilities,
        and int (clips,) labels, -1 where none is probable enough.
    """
    from dusha_ser.archives.find import open_members
    from dusha_ser.corpus.clips import make_clips, read_raw
    from dusha_ser.corpus.options import CorpusOptions
    from dusha_ser.labels.aggregation import single_labels

    members = open_members([folder], cache_dir=folder / "cache", quiet=True)
    options = CorpusOptions()
    answers, _ = read_raw(members, options, quiet=True)
    clips = make_clips(answers, options)
    probabilities = clips["label_probabilities"].combine_chunks().flatten().to_numpy()
    probabilities = probabilities.reshape(len(clips), len(LABELS))
    return clips["id"].to_pylist(), probabilities, single_labels(probabilities, THRESHOLD)


def peak_memory() -> int:
    """Largest resident set of this process so far, in bytes.

    Not getrusage: that begins with the memory of the process that started this one.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def run_side(side: str, folder: Path) -> None:
    """Make labels in this process and leave them, and the memory it took, in the folder."""
    ids, probabilities, labels = {"peer": label_as_peer, "ours": label_as_ours}[side](folder)
    memory = peak_memory()
    target = folder / side / RESULT
    target.parent.mkdir(exist_ok=True)
    np.savez(target, ids=ids, probabilities=probabilities, labels=labels, memory=memory)


def children_seconds() -> float:
    """Processor time of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(folder: Path, rounds: int) -> dict:
    """Run both sides in turn; returns times in seconds, memory in bytes and how they compare."""
    times = {side: [] for side in SIDES}
    processor_times = {side: [] for side in SIDES}
    memory = dict.fromkeys(SIDES, 0)
    results = {}
    for _ in range(rounds):
        for side in SIDES:
            command = [sys.executable, "-m", "benchmarks.answers_to_labels"]
            started, used = time.perf_counter(), children_seconds()
            command += ["--side", side, "--folder", folder]
            subprocess.run(command, check=True, cwd=REPOSITORY)
            times[side].append(time.perf_counter() - started)
            processor_times[side].append(children_seconds() - used)
            results[side] = np.load(folder / side / RESULT, allow_pickle=False)
            memory[side] = max(memory[side], int(results[side]["memory"]))
    peer, ours = (results[side] for side in SIDES)
    return {
        "seconds": times,
        "processor_seconds": processor_times,
        "times_as_fast": speedups(times, "peer")["ours"],
        "times_as_little_processor_time": speedups(processor_times, "peer")["ours"],
        "peak_memory": memory,
        "share_of_memory": memory["ours"] / memory["peer"],
        "same_clips": bool((peer["ids"] == ours["ids"]).all()),
        "same_labels": float((peer["labels"] == ours["labels"]).mean()),
        "largest_difference": float(np.abs(peer["probabilities"] - ours["probabilities"]).max()),
    }


def options() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.answers_to_labels --answers 50000 --clips 9000 "
        "--annotators 400",
    )
    parser.add_argument("--answers", type=int, default=ANSWERS, help="number of answers")
    parser.add_argument("--clips", type=int, default=CLIPS, help="number of clips")
    parser.add_argument("--annotators", type=int, default=ANNOTATORS, help="number of annotators")
    parser.add_argument("--rounds", type=int, default=3, help="times each side is measured")
    parser.add_argument(
        "--shuffled", action="store_true", help="answers to a clip lie apart from each other"
    )
    parser.add_argument("--side", choices=SIDES, help="run one side only, on --folder")
    parser.add_argument("--folder", type=Path, help="corpus that an earlier step has written")
    return parser


def main() -> None:
    """Generate the answers, measure both sides, print and write the comparison."""
    chosen = options().parse_args()
    if chosen.side:
        run_side(chosen.side, chosen.folder)
        return
    size = {name: getattr(chosen, name) for name in ("answers", "clips", "annotators", "shuffled")}
    with tempfile.TemporaryDirectory(prefix="answers-") as folder:
        write_corpus(Path(folder), **size)
        found = measure(Path(folder), chosen.rounds)
    for side in SIDES:
        seconds, used = (min(found[kind][side]) for kind in ("seconds", "processor_seconds"))
        memory = found["peak_memory"][side] / 1e9
        print(f"{side}: {seconds:.1f} s ({used:.1f} s of processor time), {memory:.2f} GB")
    faster, cheaper = found["times_as_fast"], found["times_as_little_processor_time"]
    print(
        f"{faster:.1f} times as fast ({cheaper:.1f} in processor time) with "
        f"{found['share_of_memory']:.2f} of the memory; {found['same_labels']:.2%} of the labels "
        f"are the same, probabilities differ by at most {found['largest_difference']:.1e}"
    )
    print(f"written to {write_results('answers_to_labels', {**size, **found})}")


if __name__ == "__main__":
    run_program(main)
