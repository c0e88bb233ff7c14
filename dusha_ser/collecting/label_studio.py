"""Tasks for Label Studio and answers from it (https://labelstud.io): its JSON, its interface."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from dusha_ser.collecting.texts import answer_name, texts_of
from dusha_ser.errors import WrongUseError

# Names of the controls in the interface, which the answers are found by.
CHOICES = "emotion"
AUDIO = "audio"
KIND = "choices"
# What JSON-MIN says of each annotation apart from its answers.
MINIMAL_FIELDS = {
    *("id", "task", AUDIO, "annotator", "annotation_id", "created_at", "updated_at", "lead_time"),
}


def label_studio_config(language: str | None = None) -> str:
    """The labelling interface: a recording, five answers with their meanings, one of them required.

    Args:
        language: "ru" or "en"; None: both.

    Returns:
        XML, for Settings, Labeling Interface, Code.
    """
    both = texts_of(language)
    view = ElementTree.Element("View")
    question = " / ".join(texts.question for texts in both)
    ElementTree.SubElement(view, "Header", value=question)
    ElementTree.SubElement(view, "Audio", name=AUDIO, value=f"${AUDIO}")
    choices = ElementTree.SubElement(
        view, "Choices", name=CHOICES, toName=AUDIO, choice="single-radio", required="true"
    )
    for number, label in enumerate(both[0].meanings, start=1):
        meaning = " / ".join(texts.meanings[label] for texts in both)
        value = f"{answer_name(label, language)}: {meaning}"
        ElementTree.SubElement(choices, "Choice", value=value, alias=label, hotkey=str(number))
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def read_label_studio(path: Path, control: str = CHOICES) -> Iterator[dict[str, Any]]:
    """Read answers from an export of Label Studio, JSON or JSON-MIN.

    Args:
        path: of the export.
        control: another name that the control of the answers may have.

    Yields:
        task, annotator (None where the user was removed), answer and place (for messages) of each
        annotation; answer is as the interface has it, or "" where nothing was chosen.

    Raises:
        WrongUseError: if it is no such export, the answers are not those of one choice of that
            control, or there are several to one task by one annotator.
    """
    try:
        tasks = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise WrongUseError(
            f"{path} is not JSON: {error}; export from Label Studio again"
        ) from error
    if not isinstance(tasks, list):
        raise WrongUseError(f"{path} is not an export of Label Studio: it is not a list of tasks")
    names = {CHOICES, control}
    check_controls(path, tasks, names)
    for number, task in enumerate(tasks, start=1):
        place = f"{path}, task {number}"
        try:
            is_full = "annotations" in task
            data = task["data"] if is_full else task
            name = str(data.get("task") or data[AUDIO])
            named = f"{place} ({name})"
            for one in task["annotations"] if is_full else [task]:
                person = one["completed_by"] if is_full else one["annotator"]
                if isinstance(person, dict):
                    person = person.get("email") or person.get("id")
                found = _choices(one, names) if is_full else _minimal_choices(one, names)
                if len(found) > 1:
                    raise WrongUseError(
                        f"{named} has the answers {', '.join(found)} by annotator {person}; one is "
                        "allowed: give the interface a single choice, and correct the export"
                    )
                yield {
                    "task": name,
                    "annotator": None if person in (None, "") else str(person),
                    "answer": "" if one.get("was_cancelled") or not found else found[0],
                    "place": named,
                }
        except (AttributeError, KeyError, TypeError) as error:
            raise WrongUseError(
                f"{place} is not of an export of Label Studio as JSON or JSON-MIN ({error!r})"
            ) from error


def check_controls(path: Path, tasks: list, names: set[str]) -> None:
    """Raise a WrongUseError where answers were given, but by a control of another name or kind."""
    kinds: dict[str, str] = {}
    with contextlib.suppress(AttributeError, KeyError, TypeError):  # what is wrong is said later
        for task in tasks:
            if "annotations" in task:
                results = [one for each in task["annotations"] for one in each["result"]]
                kinds |= {one["from_name"]: one["type"] for one in results if "from_name" in one}
            else:
                kinds |= dict.fromkeys(set(task) - MINIMAL_FIELDS, KIND)
    if kinds and not names & set(kinds):
        shown = ", ".join(f"{name} (of the kind {kind})" for name, kind in sorted(kinds.items()))
        raise WrongUseError(
            f"{path} has answers by the control {shown} and not by {CHOICES}; name the one that "
            "holds the answers with `answer_column`"
        )
    for name in names & set(kinds):
        if kinds[name] != KIND:
            raise WrongUseError(
                f"{path}: the control {name} is of the kind {kinds[name]}; answers are those of "
                f"the kind {KIND}"
            )


def _choices(annotation: dict, names: set[str]) -> list[str]:
    """Return what was chosen in an annotation of the full JSON; nothing where it was skipped."""
    results = [one for one in annotation["result"] if one.get("from_name") in names]
    return [str(choice) for one in results for choice in one["value"][KIND]]


def _minimal_choices(task: dict, names: set[str]) -> list[str]:
    """Return what was chosen, of JSON-MIN: one text, or several as a list, maybe in "choices"."""
    found = next((task[name] for name in sorted(names) if name in task), "")
    found = found[KIND] if isinstance(found, dict) else found
    return [str(one) for one in found] if isinstance(found, list) else [found] if found else []
