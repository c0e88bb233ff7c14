"""Recording tasks for acted speech: texts, each with two emotions that fit it (paper, section 3.1).

A text classifier says which emotion a text suggests. The actor gets that one and another of
similar valence, or neutral, and says the text with one of the two.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dusha_ser.collecting.balance import share_out
from dusha_ser.collecting.options import PromptOptions, check_number
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.inference.prediction_rows import PROBABILITY_PREFIX
from dusha_ser.storage import hash_name, write_csv
from dusha_ser.tables import read_table
from dusha_ser.vocabulary import EMOTIONS

# The paper's pairs; the one with the text's most probable emotion is taken, and where there are
# two such, the one whose other emotion is the more probable.
PAIRS = (("positive", "neutral"), ("sad", "neutral"), ("angry", "sad"))
PROMPT_COLUMNS = ("prompt", "text", "emotion", "other_emotion", "instruction")
INSTRUCTIONS = {
    "positive": "with a smile, playfully or with admiration",
    "neutral": "calmly, without any emotion",
    "sad": "sadly, with a faded voice",
    "angry": "angrily or with annoyance",
}
BATCH_SIZE = 32


def choose_pair(probabilities: Sequence[float]) -> tuple[str, str]:
    """Choose the two emotions for a text.

    Args:
        probabilities: one for each of EMOTIONS.

    Returns:
        The emotion that the text suggests, and the other one.

    Examples:
        >>> choose_pair([0.1, 0.1, 0.2, 0.6]), choose_pair([0.1, 0.3, 0.6, 0.0])
        (('positive', 'neutral'), ('neutral', 'sad'))
    """
    chance = dict(zip(EMOTIONS, probabilities, strict=True))
    first = max(EMOTIONS, key=chance.__getitem__)
    others = [pair[1] if pair[0] == first else pair[0] for pair in PAIRS if first in pair]
    return first, max(others, key=chance.__getitem__)


def make_prompts(
    texts: Sequence[str], probabilities: np.ndarray, number: int | None = None, seed: int = 0
) -> list[dict[str, str]]:
    """Turn texts into recording tasks.

    Args:
        texts: what is to be said; repeated ones count once.
        probabilities: (texts, emotions), in the order of EMOTIONS.
        number: how many texts to take, as many of each most probable emotion as there are, at
            random among them; None: all.
        seed: of the random choice.

    Returns:
        Rows: prompt (a hash of the text), text, emotion, other_emotion and instruction.

    Raises:
        WrongUseError: if number is below 1.
    """
    check_number(number)
    first = {text.strip(): place for place, text in reversed(list(enumerate(texts)))}
    places = np.array(sorted(place for text, place in first.items() if text))
    if number is not None:
        suggested = probabilities[places].argmax(axis=1)
        counts = np.bincount(suggested, minlength=len(EMOTIONS)).tolist()
        generator = np.random.default_rng(seed)
        shares = share_out(counts, min(number, len(places)))
        places = np.sort(
            np.concatenate(
                [
                    generator.choice(places[suggested == emotion], share, replace=False)
                    for emotion, share in enumerate(shares)
                ]
            )
        )
    return [prompt_row(texts[place].strip(), choose_pair(probabilities[place])) for place in places]


def prompt_row(text: str, pair: tuple[str, str]) -> dict[str, str]:
    """One recording task."""
    first, other = pair
    return {
        "prompt": hash_name(text.encode()),
        "text": text,
        "emotion": first,
        "other_emotion": other,
        "instruction": f"Say it {INSTRUCTIONS[first]} ({first}), or {INSTRUCTIONS[other]} "
        f"({other}); tell which.",
    }


def read_texts(options: PromptOptions) -> tuple[list[str], np.ndarray]:
    """Read texts and their probabilities, from a text classifier where one is named.

    Args:
        options: the table, and the classifier.

    Returns:
        The texts, and (texts, emotions), rows summing to 1, in the order of EMOTIONS.

    Raises:
        MissingInputError: if there is no such table or model.
        WrongUseError: if a column is missing, or labels do not mean the emotions.
    """
    column = options.text_column
    if not options.model:
        return table_probabilities(options.texts, column)
    rows = read_table(options.texts, (column,), "name yours with `text_column`")
    texts = [row[column] for row in rows]
    label_map = dict(text.rsplit("=", 1) for text in options.label_map)
    return texts, classify_texts(
        texts, options.model, label_map or None, options.device, options.quiet
    )


def table_probabilities(table: Path, text_column: str = "text") -> tuple[list[str], np.ndarray]:
    """Read texts and their probabilities from a table.

    Args:
        table: with a column of texts, and one a probability: probability_LABEL.
        text_column: name of the column of texts.

    Returns:
        The texts, and (texts, emotions), rows summing to 1.

    Raises:
        MissingInputError: if there is no table.
        WrongUseError: if a column is missing or a value is not a probability.
    """
    columns = [PROBABILITY_PREFIX + emotion for emotion in EMOTIONS]
    rows = read_table(
        table, (text_column, *columns), "add it, or name a text classifier with `model`"
    )
    values = np.zeros((len(rows), len(EMOTIONS)))
    for number, row in enumerate(rows):
        try:
            values[number] = [float(row[column]) for column in columns]
        except ValueError as error:
            raise WrongUseError(f"{table}, row {number + 2}: {error}; give numbers") from error
        if not (values[number] >= 0).all() or not 0 < values[number].sum() < np.inf:
            raise WrongUseError(
                f"{table}, row {number + 2} has probabilities {values[number].tolist()}; they "
                "must be at least 0, and one of them over 0"
            )
    return [row[text_column] for row in rows], values / values.sum(axis=1, keepdims=True)


def classify_texts(
    texts: Sequence[str],
    model: str,
    label_map: Mapping[str, str] | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> np.ndarray:
    """Ask a text classifier.

    Args:
        texts: to classify.
        model: a Transformers model for text classification, by name or folder.
        label_map: emotions by the model's labels; None: they have the emotions' names. Labels of
            one emotion are added up; a label that is not named is left out.
        device: "cpu", "cuda" and so on; None: a GPU if there is one.
        quiet: no bar.

    Returns:
        (texts, emotions), rows summing to 1, in the order of EMOTIONS.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if its labels are not the emotions and label_map does not say what they are.
    """
    from transformers import pipeline

    try:
        classify: Any = pipeline("text-classification", model=model, device=device, top_k=None)
    except (OSError, ValueError) as error:
        told = " ".join(str(error).split())
        raise MissingInputError(f"no text classifier {model}: {told[:300]}") from error
    labels = list(classify.model.config.id2label.values())
    chosen = check_map(labels, label_map, model)
    # Not every tokenizer was saved with the length that its model takes.
    longest = min(
        classify.tokenizer.model_max_length,
        getattr(classify.model.config, "max_position_embeddings", math.inf),
    )
    cut = {"truncation": True, "max_length": longest}
    values = np.zeros((len(texts), len(EMOTIONS)))
    with tqdm(total=len(texts), unit="text", desc="classify", disable=quiet or None) as bar:
        for first in range(0, len(texts), BATCH_SIZE):
            batch = list(texts[first : first + BATCH_SIZE])
            for number, scores in enumerate(classify(batch, **cut), start=first):
                for score in scores:
                    if emotion := chosen.get(score["label"]):
                        values[number, EMOTIONS.index(emotion)] += score["score"]
            bar.update(len(batch))
    totals = values.sum(axis=1, keepdims=True)
    # A text that only suggests what is left out suggests nothing: neutral.
    values[totals[:, 0] == 0, EMOTIONS.index("neutral")] = 1
    return values / np.where(totals == 0, 1, totals)


def check_map(
    labels: Sequence[str], label_map: Mapping[str, str] | None, model: str
) -> dict[str, str]:
    """Say which emotion each of a model's labels means; all four must be among them.

    Examples:
        >>> check_map(["Joy", "none"], {"Joy": "positive", "none": "neutral"}, "a model")
        Traceback (most recent call last):
        ...
        dusha_ser.errors.WrongUseError: a model has the labels Joy, none, ...
    """
    chosen = dict(label_map or {label: label.lower() for label in labels})
    chosen = {label: emotion for label, emotion in chosen.items() if emotion in EMOTIONS}
    missing = sorted(set(EMOTIONS) - {chosen.get(label) for label in labels})
    if missing:
        raise WrongUseError(
            f"{model} has the labels {', '.join(labels)}, none of which means "
            f"{', '.join(missing)}; say what they mean, as in `label_map=joy=positive anger=angry`"
        )
    return chosen


def write_prompts(path: Path, prompts: Iterable[dict[str, str]]) -> None:
    """Write recording tasks as a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path, PROMPT_COLUMNS, list(prompts))
