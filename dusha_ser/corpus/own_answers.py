"""Answers of a crowd to one's own recordings: a table of them, joined to the recordings."""

from pathlib import Path

import datasets

from dusha_ser.corpus.configurations import LIKELIHOODS
from dusha_ser.corpus.options import OwnAnswerOptions
from dusha_ser.errors import WrongUseError
from dusha_ser.files import named_file, printable_name
from dusha_ser.labels.crowd_answers import CrowdAnswers
from dusha_ser.labels.likelihoods import answer_log_likelihoods
from dusha_ser.labels.regularised import regularised_dawid_skene
from dusha_ser.tables import Row, read_table
from dusha_ser.vocabulary import OTHER


def add_answers(rows: datasets.Dataset, options: OwnAnswerOptions) -> datasets.Dataset:
    """Give recordings what their annotators say of them, by regularised Dawid-Skene.

    Args:
        rows: with id, audio and label; the labels stay as they are.
        options: the table, whose answers to other recordings are left out.

    Returns:
        The rows with answers, label_probabilities and log_likelihoods, as the corpus has them.

    Raises:
        MissingInputError: if there is no such table.
        WrongUseError: if an answer is neither one of the labels nor `other`, or a recording has no
            answer.
    """
    table = Path(options.answers_file or "")
    needed = (options.path_column, options.annotator_column, options.answer_column)
    advice = "name yours with `path_column`, `annotator_column` and `answer_column`"
    given = read_table(table, needed, advice, filled=needed)
    names, meanings = rows.features["label"].names, options.meanings
    allowed = tuple(dict.fromkeys((*names, OTHER)))
    clips = {name: str(number) for number, name in enumerate(rows["id"])}
    clips |= {audio["path"]: str(number) for number, audio in enumerate(rows["audio"]) if audio}
    found: list[tuple[str, str, str]] = []
    for row in given:
        answer = meanings.get(row[options.answer_column], row[options.answer_column])
        if answer not in allowed:
            raise WrongUseError(
                f"{row.place} has the answer {answer!r}; allowed are {', '.join(allowed)}: correct "
                "it, or tell what it means with `label_map`"
            )
        clip = clips.get(row[options.path_column]) or clips.get(_path_of(row, table, options))
        if clip is not None:
            found.append((clip, row[options.annotator_column], answer))
    answered = {clip for clip, _, _ in found}
    unanswered = [clip for number, clip in enumerate(rows["id"]) if str(number) not in answered]
    if unanswered:
        raise WrongUseError(
            f"{len(unanswered)} of {len(rows)} training clips, such as {unanswered[0]}, have no "
            f"answer in {table}: leave them out of the training clips, or add their answers"
        )
    tasks, annotators, labels = zip(*found, strict=True)
    crowd = CrowdAnswers.from_columns(tasks, annotators, labels, allowed)
    judged = regularised_dawid_skene(crowd)
    place = {task: number for number, task in enumerate(crowd.tasks)}
    order = [place[str(number)] for number in range(len(rows))]
    columns = {
        "answers": [list(allowed)] * len(rows),
        "label_probabilities": judged.probabilities[order].tolist(),
        LIKELIHOODS: answer_log_likelihoods(crowd, judged)[order].tolist(),
    }
    rows = rows.remove_columns([name for name in columns if name in rows.column_names])
    for name, values in columns.items():
        rows = rows.add_column(name, values)
    return rows


def _path_of(row: Row, table: Path, options: OwnAnswerOptions) -> str:
    return printable_name(str(named_file(row[options.path_column], table.parent).resolve()))
