"""Tasks for Label Studio and answers from it (https://labelstud.io): its JSON, its interface."""

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from dusha_ser.errors import WrongUseError

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


def label_studio_config() -> str:
    """The labelling interface: a sound, five answers with their meanings, one of them required.

    Returns:
        XML, for Settings, Labeling Interface, Code.
    """
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Header", value=QUESTION)
    ElementTree.SubElement(view, "Audio", name=AUDIO, value=f"${AUDIO}")
    choices = ElementTree.SubElement(
        view, "Choices", name=CHOICES, toName=AUDIO, choice="single-radio", required="true"
    )
    for number, (label, (name, meaning)) in enumerate(MEANINGS.items(), start=1):
        ElementTree.SubElement(
            choices, "Choice", value=f"{name}: {meaning}", alias=label, hotkey=str(number)
        )
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


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
        raise WrongUseError(f"{path} is not an export of Label Studio: it is not a list of tasks")
    for number, task in enumerate(tasks, start=1):
        place = f"{path}, task {number}"
        try:
            for one in task.get("annotations", [task]):
                if one is task:  # JSON-MIN
                    data, person, answer = task, task["annotator"], task.get(CHOICES, "")
                else:
                    data, person = task["data"], one["completed_by"]
                    chosen = (result for result in one["result"] if result["from_name"] == CHOICES)
                    answer = next((result["value"]["choices"][0] for result in chosen), "")
                if isinstance(person, dict):
                    person = person.get("email") or person["id"]
                name = str(data.get("task") or data[AUDIO])
                if not one.get("was_cancelled"):
                    yield {"task": name, "annotator": str(person), "answer": answer, "place": place}
        except (AttributeError, KeyError, TypeError) as error:
            raise WrongUseError(
                f"{place} is not of an export of Label Studio as JSON or JSON-MIN ({error!r})"
            ) from error


def answer_label(answer: str) -> str | None:
    """The label that an answer means by its name or the interface's; None if there is none."""
    text = answer.strip().lower()
    for label, (title, _) in MEANINGS.items():
        name = title.lower()
        if text in (label, name, *name.split(" / ")) or text.startswith(f"{name}:"):
            return label
    return None
