"""Annotation tasks for a crowd: clips, control tasks among them, an exam first (section 3.3).

Nobody may tell the tasks whose answer is known from the others: all audio is rewritten under
random names, in the order of the tasks, and what is known stands in a key file that stays at home.
"""

import hashlib
import logging
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dusha_ser.audio.problems import count_reasons
from dusha_ser.audio.reading import SAMPLING_RATE, UnreadableAudioError, count_frames
from dusha_ser.collecting.balance import choose_evenly
from dusha_ser.collecting.clips import WAVS, convert_clip, write_clip
from dusha_ser.collecting.label_studio import label_studio_config
from dusha_ser.collecting.options import TaskOptions
from dusha_ser.collecting.texts import annotator_instructions, answer_label
from dusha_ser.errors import WrongUseError
from dusha_ser.files import named_file
from dusha_ser.fingerprints import hash_name
from dusha_ser.options import NAME_COLUMNS
from dusha_ser.storage import replacing_folder, write_csv, write_json, write_text
from dusha_ser.tables import find_clips_table, read_table
from dusha_ser.vocabulary import ANSWERS

logger = logging.getLogger(__name__)

UPLOAD = "upload"
KEY_FILE = "key.csv"
KEY_COLUMNS = (
    *("task", "kind", "label", "id", "duration", "source_id", "text", "speaker_emotion"),
)
CLIP, CONTROL, EXAM = "clip", "control", "exam"


@dataclass
class Item:
    """A recording that becomes a task; "" stands for what is unknown.

    The id is the hash of its wav, the duration in seconds, the label the known answer, kind one of
    CLIP, CONTROL and EXAM, and task the name that the annotators see.
    """

    id: str
    path: Path
    duration: float
    label: str
    source_id: str
    text: str
    speaker_emotion: str
    kind: str = CLIP
    task: str = ""


@dataclass(frozen=True)
class Again:
    """Clips of earlier rounds: those to annotate again, and the ids of those whose answer is known.

    The latter were heard as control tasks or in an exam, and are not used again.
    """

    items: Sequence[Item]
    known: Collection[str]


def write_tasks(options: TaskOptions, again: Again | None = None) -> dict[str, int]:
    """Write the tasks, the exam and the key.

    Args:
        options: of which clips, and where to.
        again: clips of earlier rounds to annotate in place of those of `options`.

    Returns:
        Numbers of tasks by kind, and of repeated and unreadable clips.

    Raises:
        MissingInputError: if a table is missing.
        WrongUseError: if a table is wrong, a known clip cannot be read, there are too few of
            them, or the folder is not empty.
    """
    options.check()
    known, share = options.known, options.control_share
    with replacing_folder(options.output_dir, (KEY_FILE, UPLOAD), options.overwrite) as folder:
        answered, broken, _ = read_items(known, options, label=True) if known else ([], [], 0)
        if broken:
            raise WrongUseError(
                f"{len(broken)} clips of {known} cannot be read: {count_reasons(dict(broken))}; "
                "leave them out"
            )
        if again:
            answered = [item for item in answered if item.id not in again.known]
            clips, broken, repeated = list(again.items), [], 0
        else:
            clips, broken, repeated = read_items(find_clips_table(options.clips), options)
        if broken:
            shown = count_reasons(dict(broken))
            logger.warning("%d clips of %s cannot be read: %s", len(broken), options.clips, shown)
        taken = {item.id for item in answered}
        fresh = [clip for clip in clips if clip.id not in taken]
        if not fresh:
            raise WrongUseError(
                f"{options.clips} has no clip to annotate that is readable and not known"
            )
        generator = secret_generator([*answered, *fresh], options.seed)
        controls = math.ceil(len(fresh) * share / (1 - share)) if known else 0
        exam, control = choose_known(
            answered, options.exam_size if known else 0, controls, generator
        )
        write_folder(folder, exam, mix_controls(fresh, control, generator), options, generator)
    warn_of_controls(options, exam)
    return {
        CLIP: len(fresh),
        CONTROL: len(control),
        EXAM: len(exam),
        "repeated": repeated + len(clips) - len(fresh),
        "unreadable": len(broken),
    }


def warn_of_controls(options: TaskOptions, exam: Sequence[Item]) -> None:
    """Warn where nothing, or not each answer, shows who answers with care."""
    if not options.known:
        logger.warning(
            "no clips with known answers are given: there is no exam and no control task, so the "
            "answers of careless annotators will count as others do; give a table as `known`"
        )
        return
    tested = {item.label for item in exam}
    if missing := [label for label in ANSWERS if exam and label not in tested]:
        logger.warning(
            "the exam of %d tasks has none with the answer %s; add such clips to %s",
            *(len(exam), " or ".join(missing), options.known),
        )


def read_items(
    table: Path, options: TaskOptions, label: bool = False
) -> tuple[list[Item], list[tuple[str, str]], int]:
    """Read the recordings of a table, and with `label` the known answers from its label column.

    Returns:
        The recordings, each once; the paths and errors of those that cannot be read; and how many
        were repeated.
    """
    columns = (options.path_column, *([options.label_column] if label else []))
    rows = read_table(table, columns, NAME_COLUMNS, columns)
    meanings = options.meanings
    items: dict[str, Item] = {}
    broken = []
    bar = tqdm(rows, unit="clip", desc=table.name, disable=options.quiet or None)
    for row in bar:
        known = row[options.label_column] if label else ""
        known = meanings.get(known, known)
        if label and known not in ANSWERS:
            raise WrongUseError(
                f"{row.place} has the label {known!r}; allowed are {', '.join(ANSWERS)}, or say "
                f"what it means: `label_map={known}=LABEL`"
            )
        name = row[options.path_column]
        path = named_file(name, table.parent)
        try:
            content = convert_clip(path)
        except UnreadableAudioError as error:
            broken.append((name, str(error)))
            continue
        emotion = row.get("speaker_emotion", "")
        item = Item(
            hash_name(content),
            path,
            (count_frames(content) or 0) / SAMPLING_RATE,
            known,
            row.get("source_id") or row.get(options.speaker_column) or "",
            row.get("text", ""),
            answer_label(emotion) or emotion,
        )
        first = items.setdefault(item.id, item)
        if first.label != item.label:
            raise WrongUseError(
                f"{row.place}: {name} has the label {item.label}, and "
                f"{first.label} in another line; keep one"
            )
    return list(items.values()), broken, len(rows) - len(broken) - len(items)


def secret_generator(items: Iterable[Item], seed: int) -> np.random.Generator:
    """A source of random numbers that only those can repeat who know the answers and the seed.

    The code is public and the seed most often 0: drawn from it alone, the places of the control
    tasks could be worked out by anyone who sees the tasks. And each round of clips has an exam and
    names of its own.
    """
    # A clip that is annotated again brings its old task's name along.
    secret = "".join(sorted(f"{item.id}{item.label}{item.task}" for item in items))
    digest = hashlib.sha256(f"{seed} {secret}".encode()).digest()
    return np.random.default_rng(list(digest))


def choose_known(
    known: Sequence[Item], exam_size: int, controls: int, generator: np.random.Generator
) -> tuple[list[Item], list[Item]]:
    """Choose clips for the exam and, of the others, control tasks; labels alike."""
    if exam_size + controls > len(known):
        raise WrongUseError(
            f"there are {len(known)} clips with known answers; {exam_size} for the exam and "
            f"{controls} control tasks are asked for: add more, or lower `exam_size` or "
            "`control_share`"
        )
    parts = []
    for kind, size in ((EXAM, exam_size), (CONTROL, controls)):
        left = [item for item in known if item.kind == CLIP]
        labels = np.array([ANSWERS.index(item.label) for item in left], np.int64)
        places = generator.permutation(choose_evenly(labels, size, generator))
        parts.append([left[place] for place in places])
        for item in parts[-1]:
            item.kind = kind
    return parts[0], parts[1]


def mix_controls(
    clips: Sequence[Item], controls: Sequence[Item], generator: np.random.Generator
) -> list[Item]:
    """Shuffle clips and put one control task at random into each of equal stretches of them.

    So anyone who does a page of neighbouring tasks meets about as many as anybody else.
    """
    shuffled = [clips[place] for place in generator.permutation(len(clips))]
    mixed: list[Item] = []
    for number, control in enumerate(controls):
        first, last = (len(shuffled) * place // len(controls) for place in (number, number + 1))
        stretch = shuffled[first:last]
        stretch.insert(int(generator.integers(len(stretch) + 1)), control)
        mixed += stretch
    return mixed if controls else shuffled


def write_folder(
    folder: Path,
    exam: Sequence[Item],
    order: Sequence[Item],
    options: TaskOptions,
    generator: np.random.Generator,
) -> None:
    """Write what is uploaded and the key; no sound keeps anything of the file it comes from."""
    upload, items = folder / UPLOAD, [*exam, *order]
    for item in tqdm(items, unit="task", desc="tasks", disable=options.quiet or None):
        item.task = generator.bytes(8).hex()  # of 64 bits no two are equal
        write_clip(upload, convert_clip(item.path), item.task)
    for name, part in (("tasks", order), ("exam", exam)):
        if part:
            rows = [
                {"task": item.task, "audio": f"{options.audio_url}{WAVS}/{item.task}.wav"}
                for item in part
            ]
            write_csv(upload / f"{name}.csv", rows[0], rows)
            # The basic JSON format of Label Studio.
            write_json(upload / f"{name}_label_studio.json", [{"data": row} for row in rows])
    write_text(upload / "label_studio_config.xml", label_studio_config(options.language))
    instructions = annotator_instructions(options.language, exam=bool(options.known))
    write_text(upload / "instructions.html", instructions)
    rows = [{name: getattr(item, name) for name in KEY_COLUMNS} for item in items]
    write_csv(folder / KEY_FILE, KEY_COLUMNS, rows)


def read_key(folder: Path) -> dict[str, dict[str, str]]:
    """What is known of each task.

    Args:
        folder: that `write_tasks` wrote.

    Returns:
        Rows of the key by the names of the tasks.

    Raises:
        MissingInputError: if there is no key.
        WrongUseError: if it is not one.
    """
    return {row["task"]: row for row in read_table(folder / KEY_FILE, KEY_COLUMNS, exact=True)}
