"""From the published answers to labels: this project against json, pandas and crowd-kit.

    python -m benchmarks.answers_to_labels [--answers N --clips N --annotators N]

Answers of the size of Dusha's are generated as the four files raw_PART.jsonl. All sides read all
of them, run Dawid-Skene (at most 100 iterations) over the four parts together, keep labels with a
probability of at least 0.9, and one row per clip, its first. Each runs in a process of its own:
the time is that of the whole process, the memory its largest resident set. The peer is crowd-kit:
as its experts would run it (Arrow reads the files, crowd-kit gets integers), and as people do (json
and pandas, ids as text).
"""

import argparse
import functools
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.crowds import ANNOTATORS, ANSWERS, CLIPS
from benchmarks.measuring import (
    Measurement,
    compare,
    measure_in_turn,
    measuring_options,
    print_pairs,
    run_quietly,
)
from dusha_ser.cli.program import run_program

PARTS = ("crowd_train", "crowd_test", "podcast_train", "podcast_test")
LABELS = ("angry", "sad", "neutral", "positive", "other")
# The paper: clips of each part, and clips of each label (Tables 1 and 2).
PART_SHARES = (150352, 14035, 79825, 10637)
LABEL_SHARES = (19177, 24486, 187954, 21355, 1877)
EXPERT, USUAL, OURS = "Arrow, crowd-kit on integers", "json, pandas, crowd-kit", "ours"
THREADS = 2
NAMES = {"hash_id": "task", "annotator_id": "worker", "annotator_emo": "label"}
Labels = tuple[list[str], np.ndarray, np.ndarray]
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


def label_as_people(folder: Path) -> Labels:
    """Make labels with json, pandas and crowd-kit; result as for `label_as_ours`."""
    import pandas

    rows: list[dict] = []
    for part in PARTS:
        with (folder / part / f"raw_{part}.jsonl").open(encoding="utf-8") as file:
            rows.extend(json.loads(line) for line in file)
    answers = pandas.DataFrame(rows)
    del rows
    answers = answers.rename(columns=NAMES)[list(NAMES.values())]
    clips = answers["task"].drop_duplicates().to_list()
    return run_crowd_kit(answers, clips, clips, list(LABELS))


def label_as_expert(folder: Path) -> Labels:
    """Make labels with Arrow and crowd-kit; result as for `label_as_ours`."""
    import pandas
    import pyarrow
    from pyarrow import json as arrow_json

    wanted = pyarrow.schema([(name, pyarrow.string()) for name in NAMES])
    parsing = arrow_json.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore")
    table = pyarrow.concat_tables(
        arrow_json.read_json(folder / part / f"raw_{part}.jsonl", parse_options=parsing)
        for part in PARTS
    )
    columns = {NAMES[name]: table[name].combine_chunks().dictionary_encode() for name in NAMES}
    del table
    # Numbers are given in the order of first answers.
    answers = pandas.DataFrame({name: one.indices.to_numpy() for name, one in columns.items()})
    clips, labels = (columns[name].dictionary.to_pylist() for name in ("task", "label"))
    return run_crowd_kit(
        answers, clips, list(range(len(clips))), [labels.index(one) for one in LABELS]
    )


def run_crowd_kit(answers, clips: list[str], tasks: list, labels: list) -> Labels:
    """Join answers (task, worker, label) by crowd-kit.

    Args:
        answers: a data frame.
        clips: ids of the clips.
        tasks: what the data frame calls them.
        labels: what it calls the labels, in the order of LABELS.
    """
    from crowdkit.aggregation import DawidSkene

    found = DawidSkene(n_iter=100).fit_predict_proba(answers)
    probabilities = found.reindex(tasks).reindex(columns=labels).to_numpy()
    chosen = np.where(probabilities.max(1) >= THRESHOLD, probabilities.argmax(1), -1)
    return clips, probabilities, chosen


def label_as_ours(folder: Path) -> Labels:
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


SIDES = {"expert": label_as_expert, "people": label_as_people, "ours": label_as_ours}
SHOWN = {"expert": EXPERT, "people": USUAL, "ours": OURS}


def run_side(side: str, folder: Path) -> None:
    """Make labels in this process and leave them, and the memory it took, in the folder."""
    ids, probabilities, labels = SIDES[side](folder)
    memory = peak_memory()
    target = folder / side / RESULT
    target.parent.mkdir(exist_ok=True)
    np.savez(target, ids=ids, probabilities=probabilities, labels=labels, memory=memory)


def measure(folder: Path, rounds: int) -> dict:
    """Run all sides in turn; returns times in seconds, memory in bytes and how they compare."""
    memory = dict.fromkeys(SIDES, 0)

    def run(side: str) -> None:
        command = [sys.executable, "-m", "benchmarks.answers_to_labels"]
        run_quietly([*command, "--side", side, "--folder", folder], THREADS)
        used = int(np.load(folder / side / RESULT, allow_pickle=False)["memory"])
        memory[side] = max(memory[side], used)

    # Each is a program from its start; the files have just been written, so the system has them.
    variants = {SHOWN[side]: functools.partial(run, side) for side in SIDES}
    times = measure_in_turn(variants, rounds, warm_up=False)
    results = {side: np.load(folder / side / RESULT, allow_pickle=False) for side in SIDES}
    ours, peers = results["ours"], [results["expert"], results["people"]]
    return {
        "pairs": compare(
            times,
            {
                "answers to labels": (EXPERT, OURS),
                "answers to labels, as people do": (USUAL, OURS),
            },
        ),
        **times,
        "peak_memory": {SHOWN[side]: value for side, value in memory.items()},
        "share_of_memory": memory["ours"] / memory["expert"],
        "share_of_memory_as_people_do": memory["ours"] / memory["people"],
        "same_clips": all(bool((peer["ids"] == ours["ids"]).all()) for peer in peers),
        "same_labels": min(float((peer["labels"] == ours["labels"]).mean()) for peer in peers),
        "largest_difference": max(
            float(np.abs(peer["probabilities"] - ours["probabilities"]).max()) for peer in peers
        ),
    }


def options() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = measuring_options(
        __doc__.splitlines()[0],
        "python -m benchmarks.answers_to_labels --answers 50000 --clips 9000 --annotators 400",
    )
    parser.add_argument("--answers", type=int, default=ANSWERS, help="number of answers")
    parser.add_argument("--clips", type=int, default=CLIPS, help="number of clips")
    parser.add_argument("--annotators", type=int, default=ANNOTATORS, help="number of annotators")
    parser.add_argument(
        "--shuffled", action="store_true", help="answers to a clip lie apart from each other"
    )
    parser.add_argument("--side", choices=SIDES, help="run one side only, on --folder")
    parser.add_argument("--folder", type=Path, help="corpus that an earlier step has written")
    return parser


def main() -> None:
    """Generate the answers, measure all sides, print and write the comparison."""
    chosen = options().parse_args()
    if chosen.side:
        run_side(chosen.side, chosen.folder)
        return
    measurement = Measurement("answers_to_labels", chosen)
    size = {name: getattr(chosen, name) for name in ("answers", "clips", "annotators", "shuffled")}
    with tempfile.TemporaryDirectory(prefix="answers-") as folder:
        write_corpus(Path(folder), **size)
        found = measure(Path(folder), chosen.rounds)
    print_pairs(found["pairs"])
    for side, memory in found["peak_memory"].items():
        print(f"{side}: {memory / 1e9:.2f} GB")
    print(
        f"{found['same_labels']:.2%} of the labels are the same, probabilities differ by at most "
        f"{found['largest_difference']:.1e}"
    )
    print(f"written to {measurement.write({**size, **found})}")


if __name__ == "__main__":
    run_program(main)
