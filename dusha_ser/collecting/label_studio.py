"""Tasks for Label Studio and answers from it (https://labelstud.io): its JSON, its interface."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from dusha_ser.errors import WrongUseError
from dusha_ser.vocabulary import ANSWERS

# Names of the controls in the interface, which the answers are found by.
CHOICES = "emotion"
AUDIO = "audio"
# What the five answers mean, after section 3.3 of the paper, in its order.
MEANINGS = {
    "positive": (
        "Позитив / Positive",
        "spoken with a smile, laughter, admiration, a playful tone, or stresses on what is good",
    ),
    "neutral": (
        "Нейтрально / Neutral",
        "still and calm; a sad or a cheerful text without any emotion in the voice is neutral",
    ),
    "sad": ("Грусть / Sad", "sadness, melancholy, a faded voice"),
    "angry": (
        "Злость / Angry",
        "anger or annoyance: shouting, gritted teeth, or stresses on what is bad",
    ),
    "other": ("Другое / Other", "too quiet, hissing, rattling, or no voice at all"),
}
QUESTION = "Какую эмоцию выражает голос? / Which emotion is in the voice?"


def label_studio_config(labels: Sequence[str] = tuple(MEANINGS)) -> str:
    """The labelling interface: a sound, five answers with their meanings, one of them required.

    Args:
        labels: the answers to offer, in order.

    Returns:
        XML, for Settings, Labeling Interface, Code.

    Examples:
        >>> "<Choice" in label_studio_config()
        True
    """
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Header", value=QUESTION)
    ElementTree.SubElement(view, "Audio", name=AUDIO, value=f"${AUDIO}")
    choices = ElementTree.SubElement(
        view, "Choices", name=CHOICES, toName=AUDIO, choice="single-radio", required="true"
    )
    for number, label in enumerate(labels, start=1):
        name, meaning = MEANINGS[label]
        ElementTree.SubElement(
            choices, "Choice", value=f"{name}: {meaning}", alias=label, hotkey=str(number)
        )
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def label_studio_tasks(rows: Iterable[dict[str, str]]) -> list[dict]:
    """Tasks in the basic JSON format of Label Studio.

    Args:
        rows: task and audio of each.

    Returns:
        One object a task, fit for JSON.

    Examples:
        >>> label_studio_tasks([{"task": "0a1b", "audio": "wavs/0a1b.wav"}])
        [{'data': {'task': '0a1b', 'audio': 'wavs/0a1b.wav'}}]
    """
    return [{"data": {"task": row["task"], AUDIO: row["audio"]}} for row in rows]


def read_label_studio(path: Path) -> Iterator[dict[str, str]]:
    """Read answers from an export of Label Studio, JSON or JSON-MIN.

    Args:
        path: of the export.

    Yields:
        task, annotator, answer and place (for messages) of each annotation that was not skipped;
        answer is as the interface has it, or "".

    Raises:
        WrongUseError: if it is no such export.
    """
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WrongUseError(
            f"{path} is not JSON: {error}; export from Label Studio again"
        ) from error
    if not isinstance(tasks, list):
        raise WrongUseError(f"{path} is no export of Label Studio: it is not a list of tasks")
    for number, task in enumerate(tasks, start=1):
        place = f"{path}, task {number}"
        try:
            if "annotations" in task:
                for annotation in task["annotations"]:
                    if not annotation.get("was_cancelled"):
                        yield {
                            "task": str(task["data"].get("task") or task["data"][AUDIO]),
                            "annotator": annotator_name(annotation["completed_by"]),
                            "answer": chosen(annotation["result"]),
                            "place": place,
                        }
            else:
                yield {
                    "task": str(task.get("task") or task[AUDIO]),
                    "annotator": annotator_name(task["annotator"]),
                    "answer": task.get(CHOICES, ""),
                    "place": place,
                }
        except (AttributeError, KeyError, TypeError) as error:
            raise WrongUseError(
                f"{place} is none of an export of Label Studio as JSON or JSON-MIN ({error!r})"
            ) from error


def annotator_name(completed_by: int | str | dict) -> str:
    """The one who answered: a number, or an object with an e-mail address."""
    if isinstance(completed_by, dict):
        return str(completed_by.get("email") or completed_by["id"])
    return str(completed_by)


def chosen(results: Iterable[dict]) -> str:
    """The choice among what an annotation holds; "" where there is none."""
    for result in results:
        if result["from_name"] == CHOICES:
            return result["value"]["choices"][0]
    return ""


def answer_label(answer: str, labels: Sequence[str] = ANSWERS) -> str | None:
    """The label that an answer means, by its name or as the interface shows it.

    Args:
        answer: any text.
        labels: that are allowed.

    Returns:
        One of the labels, or None.

    Examples:
        >>> answer_label("Sad"), answer_label("Злость / Angry"), answer_label("bored")
        ('sad', 'angry', None)
    """
    text = answer.strip().lower()
    for label in labels:
        name = MEANINGS[label][0].lower() if label in MEANINGS else label
        if text in (label, name, *name.split(" / ")) or text.startswith(f"{name}:"):
            return label
    return None
