"""Recording tasks for acted speech: texts, each with two emotions that fit it (paper, section 3.1).

A text classifier says which emotion a text suggests. The actor gets that one and another of
similar valence, or neutral, and says the text with one of the two.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dusha_ser.collecting.balance import choose_evenly
from dusha_ser.collecting.options import PromptOptions, check_choice
from dusha_ser.collecting.texts import speaker_instruction
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.fingerprints import hash_name
from dusha_ser.options import read_label_map
from dusha_ser.storage import check_file, write_csv
from dusha_ser.tables import parse_number, read_table
from dusha_ser.timelines.recordings import PROBABILITY_PREFIX
from dusha_ser.vocabulary import EMOTIONS

logger = logging.getLogger(__name__)

# The paper's pairs; the one with the text's most probable emotion is taken, and where there are
# two such, the one whose other emotion is the more probable.
PAIRS = (("positive", "neutral"), ("sad", "neutral"), ("angry", "sad"))
PROMPT_COLUMNS = ("prompt", "text", "emotion", "other_emotion", "instruction")


def choose_pair(probabilities: Sequence[float]) -> tuple[str, str]:
    """Choose the emotion that a text suggests and another; one probability per emotion."""
    chance = dict(zip(EMOTIONS, probabilities, strict=True))
    first = max(EMOTIONS, key=chance.__getitem__)
    others = [pair[1] if pair[0] == first else pair[0] for pair in PAIRS if first in pair]
    return first, max(others, key=chance.__getitem__)


def make_prompts(
    texts: Sequence[str],
    probabilities: np.ndarray,
    number: int | None = None,
    seed: int = 0,
    language: str = "en",
) -> list[dict[str, str]]:
    """Turn texts into recording tasks.

    Args:
        texts: what is to be said; repeated ones count once.
        probabilities: (texts, emotions), in the order of EMOTIONS.
        number: how many texts to take, as many of each most probable emotion as there are, at
            random among them; None: all.
        seed: of the random choice.
        language: of the instructions, "ru" or "en".

    Returns:
        Rows: prompt (a hash of the text), text, emotion, other_emotion and instruction.

    Raises:
        WrongUseError: if number is below 1.
    """
    check_choice(number, seed)
    first = {text.strip(): place for place, text in reversed(list(enumerate(texts)))}
    places = np.array(sorted(place for text, place in first.items() if text))
    if number is not None:
        if len(places) < number:
            logger.warning(
                "%d texts are asked for, and %d different ones are there: all of these are taken",
                *(number, len(places)),
            )
        suggested = probabilities[places].argmax(axis=1)
        generator = np.random.default_rng(seed)
        places = places[choose_evenly(suggested, min(number, len(places)), generator)]
    prompts = []
    for place in places:
        text, (one, other) = texts[place].strip(), choose_pair(probabilities[place])
        prompts.append(
            {
                "prompt": hash_name(text.encode()),
                "text": text,
                "emotion": one,
                "other_emotion": other,
                "instruction": speaker_instruction((one, other), language),
            }
        )
    return prompts


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
    return texts, classify_texts(texts, options)


def table_probabilities(table: Path, text_column: str = "text") -> tuple[list[str], np.ndarray]:
    """Read texts and their probabilities, probability_EMOTION, as `read_texts` returns them."""
    columns = [PROBABILITY_PREFIX + emotion for emotion in EMOTIONS]
    rows = read_table(
        table, (text_column, *columns), "add it, or name a text classifier with `model`"
    )
    values = np.zeros((len(rows), len(EMOTIONS)))
    for number, row in enumerate(rows):
        try:
            values[number] = [parse_number(row[column]) for column in columns]
        except ValueError as error:
            raise WrongUseError(f"{row.place}: {error}; give numbers") from error
        if not (values[number] >= 0).all() or not 0 < values[number].sum() < np.inf:
            raise WrongUseError(
                f"{row.place} has probabilities {values[number].tolist()}; they "
                "must be at least 0, and one of them over 0"
            )
    return [row[text_column] for row in rows], values / values.sum(axis=1, keepdims=True)


def classify_texts(texts: Sequence[str], options: PromptOptions) -> np.ndarray:
    """Ask a text classifier; (texts, emotions), rows summing to 1, in the order of EMOTIONS.

    Without a label_map the model's labels have the emotions' names. Labels of one emotion are
    added up; a label that is not of an emotion is left out.
    """
    from transformers import pipeline

    from dusha_ser.inference.subnormals import flush_subnormals

    flush_subnormals()
    try:
        classify: Any = pipeline(
            "text-classification", model=options.model, device=options.device, top_k=None
        )
    except (OSError, ValueError) as error:
        told = " ".join(str(error).split())
        raise MissingInputError(f"no text classifier {options.model}: {told[:300]}") from error
    labels = list(classify.model.config.id2label.values())
    meanings = read_label_map(options.label_map) or {label: label.lower() for label in labels}
    if missing := sorted(set(EMOTIONS) - {meanings.get(label) for label in labels}):
        raise WrongUseError(
            f"{options.model} has the labels {', '.join(labels)}, none of which means "
            f"{', '.join(missing)}; say what they mean, as in `label_map=joy=positive,anger=angry`"
        )
    # Not every tokenizer was saved with the length that its model takes.
    longest = min(
        classify.tokenizer.model_max_length,
        getattr(classify.model.config, "max_position_embeddings", math.inf),
    )
    values = np.zeros((len(texts), len(EMOTIONS)))
    found = classify((text for text in texts), truncation=True, max_length=longest)
    bar = tqdm(found, total=len(texts), unit="text", desc="classify", disable=options.quiet or None)
    for number, scores in enumerate(bar):
        for score in scores:
            if (emotion := meanings.get(score["label"])) in EMOTIONS:
                values[number, EMOTIONS.index(emotion)] += score["score"]
    totals = values.sum(axis=1, keepdims=True)
    # A text that only suggests what is left out suggests nothing: neutral.
    values[totals[:, 0] == 0, EMOTIONS.index("neutral")] = 1
    return values / np.where(totals == 0, 1, totals)


def write_prompts(path: Path, prompts: Iterable[dict[str, str]], overwrite: bool = False) -> None:
    """Write recording tasks as a table; with `overwrite` it may replace one.

    Raises:
        WrongUseError: if the file is there.
    """
    check_file(path, overwrite)
    write_csv(path, PROMPT_COLUMNS, prompts)
