"""From the crowd's answers to the raw layout of the corpus, without those who failed the exam.

`dusha corpus crowd --data_dir FOLDER` reads the result: raw_PART.jsonl, one row per answer, and
wavs/HASH.wav. Control tasks are in it with their known answer; answers to the exam are not.
"""

import hashlib
import json
import math
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dusha_ser.collecting.clips import WAVS, wav_path
from dusha_ser.collecting.label_studio import read_label_studio
from dusha_ser.collecting.options import AnswerColumns, AnswerOptions
from dusha_ser.collecting.tasks import CONTROL, EXAM, UPLOAD, read_key
from dusha_ser.collecting.texts import answer_label
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.files import is_safe_name
from dusha_ser.options import read_label_map
from dusha_ser.storage import replacing_folder, write_csv
from dusha_ser.tables import read_table
from dusha_ser.vocabulary import ANSWERS

# Why an answer does not count, in the words of the message, the first reason first.
UNCOUNTED = {
    "rejected": "of rejected, skipped or expired assignments",
    "skipped": "without a choice",
    "other_tasks": "to tasks that are not of this key",
    "removed": "by removed users",
}
TRAIN, TEST = "crowd_train", "crowd_test"
ANNOTATORS_FILE = "annotators.csv"
# Where Toloka and MTurk say what became of an assignment, and what of it does not count.
STATUS_COLUMNS = ("ASSIGNMENT:status", "AssignmentStatus")
REFUSED = ("rejected", "skipped", "expired")


@dataclass
class Annotator:
    """An annotator by the platform's name, with labels by task, the first answer to each.

    The id stands in the corpus instead of the name. Of the exams of several rounds the best one
    counts: how many tasks it has, how many of them are answered, and how many right.
    """

    name: str
    answers: dict[str, str] = field(default_factory=dict)
    id: str = ""
    exam_size: int = 0
    exam_answers: int = 0
    exam_right: int = 0
    passed: bool = True

    def of_kind(self, key: dict[str, dict], kind: str, folder: Path | None = None) -> list[bool]:
        """Whether each of their answers to tasks of a kind, of one folder or all, is right."""
        return [
            answer == key[task]["label"]
            for task, answer in self.answers.items()
            if key[task]["kind"] == kind and folder in (None, key[task]["folder"])
        ]


def collect_answers(options: AnswerOptions) -> dict[str, int]:
    """Write the answers of those who passed the exam as raw parts of the corpus.

    Args:
        options: which answers, to which tasks, and what counts.

    Returns:
        Numbers: annotators, failed, answers, left_out (answers of those who failed), clips, train
        and test clips, and those of answers that do not count, by the keys of UNCOUNTED.

    Raises:
        MissingInputError: if a file is missing.
        WrongUseError: if an answer is not one of the labels, no answer is left, a test set by
            whole sources cannot be made, or the folder is not empty.
    """
    options.check()
    key, files = read_rounds(options.tasks, options.files)
    people, uncounted = read_people(files, key, options, options.label_map)
    apply_exam(people, key, options.mark)
    failed = [person for person in people if not person.passed]
    rows = list(raw_rows(people, key))
    if not rows:
        raise WrongUseError(
            f"no answer is left: {len(failed)} of {len(people)} annotators are below the exam's "
            f"mark of {options.mark:g}, and the others answered to no task that is not of the exam"
        )
    clips = {task: key[task] for _, task in rows}
    ids = {clip["id"] for clip in clips.values()}
    test = choose_test(clips.values(), options.test_share)
    names = (ANNOTATORS_FILE, TRAIN, TEST)
    with replacing_folder(options.output_dir, names, options.overwrite) as folder:
        for part in (TRAIN, TEST) if test else (TRAIN,):
            own = [(row, task) for row, task in rows if (row["hash_id"] in test) == (part == TEST)]
            write_part(folder / part, own, key, options.quiet)
        table = annotator_rows(people, key)
        write_csv(folder / ANNOTATORS_FILE, table[0], table)
    return {
        "annotators": len(people),
        "failed": len(failed),
        "answers": len(rows),
        "left_out": sum(key[task]["kind"] != EXAM for one in failed for task in one.answers),
        "clips": len(ids),
        "train": len(ids - test),
        "test": len(test),
        **{kind: uncounted[kind] for kind in UNCOUNTED},
    }


def read_rounds(tasks: Path, given: Iterable[Path]) -> tuple[dict[str, dict[str, Any]], list[Path]]:
    """Tell the folders of further rounds from files of answers.

    Args:
        tasks: folder that `write_tasks` wrote.
        given: files of answers and folders of further rounds, in any order.

    Returns:
        What is known of each task of all folders, with the folder, by the tasks' names; and the
        files.

    Raises:
        MissingInputError: if a folder has no key.
        WrongUseError: if a folder comes twice, or there is no file.
    """
    given = list(given)
    folders, files = (
        [tasks, *filter(Path.is_dir, given)],
        [one for one in given if not one.is_dir()],
    )
    key: dict[str, dict[str, Any]] = {}
    for folder in folders:
        own = read_key(folder)
        if key.keys() & own.keys():
            raise WrongUseError(f"{folder} holds tasks of another folder; give each round once")
        key |= {task: row | {"folder": folder} for task, row in own.items()}
    if not files:
        raise WrongUseError(
            f"{', '.join(map(str, folders))}: no answers are given; add files, .csv, .tsv or .json"
        )
    return key, files


def read_people(
    files: Iterable[Path],
    key: dict[str, dict],
    columns: AnswerColumns,
    label_map: Iterable[str] = (),
) -> tuple[list[Annotator], Counter[str]]:
    """Read who answered what: annotators by name, and how many answers do not count, by reason."""
    people: dict[str, Annotator] = {}
    uncounted, meanings = Counter[str](), read_label_map(label_map)
    for path in files:
        for row in read_file(path, columns):
            task = task_name(row["task"])
            reason = {
                "rejected": row["status"].lower() in REFUSED,
                "skipped": not row["answer"].strip(),
                "other_tasks": task not in key,
                "removed": row["annotator"] is None,
            }
            if any(reason.values()):
                uncounted[next(kind for kind, holds in reason.items() if holds)] += 1
                continue
            label = answer_label(meanings.get(row["answer"].strip(), row["answer"]))
            if label is None or not row["annotator"]:
                wrong = "no annotator" if label else f"the answer {row['answer']!r}"
                raise WrongUseError(
                    f"{row['place']} has {wrong}; allowed are {', '.join(ANSWERS)}, each by "
                    "somebody: correct it, or tell what it means with `label_map`"
                )
            person = people.setdefault(row["annotator"], Annotator(row["annotator"]))
            person.answers.setdefault(task, label)
    if not people:
        raise WrongUseError(
            f"{', '.join(map(str, files))}: no answer to a task of the key ("
            f"{describe_uncounted(uncounted) or 'none at all'}); give the folder of the tasks that "
            "were answered"
        )
    for number, name in enumerate(sorted(people), start=1):
        # Names on platforms may be e-mail addresses, which are nobody else's business.
        people[name].id = f"annotator{number:0{len(str(len(people)))}d}"
    return sorted(people.values(), key=lambda person: person.name), uncounted


def describe_uncounted(numbers: Mapping[str, int]) -> str:
    """Say how many answers do not count for which reason; "" where all do."""
    return ", ".join(
        f"{numbers[kind]} {words}" for kind, words in UNCOUNTED.items() if numbers[kind]
    )


def read_file(path: Path, options: AnswerColumns) -> Iterator[dict[str, Any]]:
    """Read the answers of one file: task, annotator, answer, status and place."""
    if not path.is_file():
        raise MissingInputError(f"no file {path}; give answers as .csv, .tsv or .json")
    if path.suffix.lower() == ".json":
        yield from ({"status": ""} | row for row in read_label_studio(path, options.answer_column))
        return
    columns = {role: getattr(options, f"{role}_column") for role in ("task", "annotator", "answer")}
    advice = "name yours with `task_column`, `annotator_column` and `answer_column`"
    for row in read_table(path, list(columns.values()), advice):
        status = next((row[name] for name in STATUS_COLUMNS if name in row), "")
        values = {role: row[column] for role, column in columns.items()}
        yield values | {"status": status, "place": row.place}


def task_name(text: str) -> str:
    """The task that a platform means by its name or by the address of its recording."""
    sound = re.search(r"([\w-]+)\.wav", text)
    return sound[1] if sound else text.strip()


def apply_exam(people: Iterable[Annotator], key: dict[str, dict], mark: float) -> None:
    """Note who passed: a share of the whole exam, so that leaving out hard tasks is no help.

    Of several rounds with an exam each, one that is passed is enough.
    """
    sizes = Counter(row["folder"] for row in key.values() if row["kind"] == EXAM)
    for person in people:
        exams = [(person.of_kind(key, EXAM, folder), size) for folder, size in sizes.items()]
        best, person.exam_size = max(
            exams, key=lambda exam: sum(exam[0]) / exam[1], default=([], 0)
        )
        person.exam_answers, person.exam_right = len(best), sum(best)
        # Multiplied and rounded: 0.8 of 15 tasks is 12 right ones, also in floating point.
        person.passed = person.exam_right >= math.ceil(round(mark * person.exam_size, 9))


def counted_answers(
    people: Iterable[Annotator], key: dict[str, dict]
) -> Iterator[tuple[Annotator, str, str]]:
    """Annotator, task and answer of all that counts: who passed, no exam, a clip's first answer.

    Two rounds may have tasks of the same clip.
    """
    for one in people:
        heard = set()
        for task, answer in one.answers.items() if one.passed else ():
            if key[task]["kind"] != EXAM and key[task]["id"] not in heard:
                heard.add(key[task]["id"])
                yield one, task, answer


def raw_rows(people: Iterable[Annotator], key: dict[str, dict]) -> Iterator[tuple[dict, str]]:
    """One row per answer that counts, with the published field names, and the answer's task."""
    nan = float("nan")
    for one, task, answer in counted_answers(people, key):
        clip = key[task]
        row = {
            "hash_id": clip["id"],
            "audio_path": f"{WAVS}/{clip['id']}.wav",
            "duration": float(clip["duration"]),
            "annotator_emo": answer,
            "golden_emo": clip["label"] if clip["kind"] == CONTROL else nan,
            "speaker_text": clip["text"] or nan,
            "speaker_emo": clip["speaker_emotion"] or nan,
            "source_id": clip["source_id"] or nan,
            "annotator_id": one.id,
        }
        yield row, task


def choose_test(clips: Iterable[dict[str, str]], share: float) -> set[str]:
    """Choose whole speakers or podcasts for the test set, so that none is also trained on.

    Returns the ids of about this share of the clips. Control tasks, which no split keeps, are not
    among them.
    """
    if not share:
        return set()
    sources: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip["kind"] != CONTROL:
            # Of clips by nobody knows whom, each stands for itself.
            sources[clip["source_id"] or clip["id"]].add(clip["id"])
    if len(sources) < 2:
        raise WrongUseError(
            "all clips are by one speaker or podcast, so there is none for a test set: annotate "
            "others too, or give `test_share=0` and train with a test file of your own"
        )
    wanted = share * sum(map(len, sources.values()))
    order = sorted(sources, key=lambda name: hashlib.sha256(name.encode()).digest())
    test: set[str] = set()
    for name in order:
        if abs(len(test) + len(sources[name]) - wanted) < abs(len(test) - wanted):
            test |= sources[name]
    if not test or len(test) == sum(map(len, sources.values())):
        # No choice comes near: the smallest source is better than none.
        test = set(sources[min(order, key=lambda name: len(sources[name]))])
    return test


def write_part(
    folder: Path, rows: Sequence[tuple[dict, str]], key: dict[str, dict], quiet: bool
) -> None:
    """Write the answers and the audio of one part."""
    (folder / WAVS).mkdir(parents=True)
    with (folder / f"raw_{folder.name}.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row, _ in rows)
    sounds = {row["hash_id"]: task for row, task in rows}
    bar = tqdm(sounds.items(), unit="clip", desc=folder.name, disable=quiet or None)
    for name, task in bar:
        if not is_safe_name(name) or not is_safe_name(task):
            raise WrongUseError(f"the key has the id {name!r} and the task {task!r}: not of tasks")
        try:
            shutil.copyfile(wav_path(key[task]["folder"] / UPLOAD, task), wav_path(folder, name))
        except FileNotFoundError as error:
            raise MissingInputError(
                f"no file {error.filename}; the audio of the tasks is needed"
            ) from error


def annotator_rows(people: Iterable[Annotator], key: dict[str, dict]) -> list[dict]:
    """Rows of annotators.csv: who they are on the platform, and how they did."""
    rows = []
    for person in people:
        control = person.of_kind(key, CONTROL)
        row = {
            "annotator_id": person.id,
            "name": person.name,
            "passed": "yes" if person.passed else "no",
            "exam_score": (
                f"{person.exam_right / person.exam_size:.3f}" if person.exam_size else ""
            ),
            "exam_right": person.exam_right,
            "exam_answers": person.exam_answers,
            "control_right": sum(control),
            "control_answers": len(control),
            "answers": len(person.answers),
        }
        rows.append(row)
    return rows
