"""Recordings that cannot be used: found, counted by reason, and refused or left out."""

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dusha_ser.audio.reading import SAMPLING_RATE, AudioSource, UnreadableAudioError, read_blocks
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.vocabulary import BAD_ROWS

logger = logging.getLogger(__name__)

MISSING = "there is no such file"
SILENT = "is silent from beginning to end"
# Reasons that are shown, and names of each.
MOST_REASONS, SHOWN = 6, 5
# Recordings that are held in memory at once.
AT_ONCE = 64


def find_problem(source: AudioSource) -> str | None:
    """Read a recording to its end; say why it cannot be used, None where it can."""
    is_silent = True
    try:
        for block in read_blocks(source, SAMPLING_RATE):
            is_silent = is_silent and not np.any(block)
    except UnreadableAudioError as error:
        return str(error)
    return SILENT if is_silent else None


def find_problems(sources: Iterable[tuple[str, AudioSource]]) -> dict[str, str]:
    """Read recordings to their ends; return the reasons of those that cannot be used, by name."""
    problems: dict[str, str] = {}
    remaining = iter(sources)
    with ThreadPoolExecutor() as pool:
        while some := list(itertools.islice(remaining, AT_ONCE)):
            found = pool.map(find_problem, (source for _, source in some))
            for (name, _), reason in zip(some, found, strict=True):
                if reason is not None:
                    problems[name] = reason
    return problems


def count_reasons(problems: Mapping[str, str]) -> str:
    """Count reasons, the most frequent first, each with the names of a few.

    Args:
        problems: reasons by name.

    Examples:
        >>> count_reasons({"a.wav": "is empty", "b.wav": "is empty", "c.wav": "is silent"})
        '2 x "is empty" (a.wav, b.wav); 1 x "is silent" (c.wav)'
    """
    names: dict[str, list[str]] = {}
    for name, reason in problems.items():
        names.setdefault(reason, []).append(name)
    counted = [
        f'{len(own)} x "{reason}" ({", ".join(own[:SHOWN])}{", ..." if own[SHOWN:] else ""})'
        for reason, own in sorted(names.items(), key=lambda item: -len(item[1]))
    ]
    if others := len(counted[MOST_REASONS:]):
        counted[MOST_REASONS:] = [f"{others} other reasons"]
    return "; ".join(counted)


def settle_problems(problems: Mapping[str, str], count: int, bad_rows: str) -> None:
    """Refuse recordings that cannot be used, or warn that they are left out.

    Args:
        problems: reasons by name.
        count: of all recordings.
        bad_rows: one of `vocabulary.BAD_ROWS`.

    Raises:
        MissingInputError: if all of them are missing.
        WrongUseError: if there are any and they are not skipped, or no recording would be left.
    """
    if not problems:
        return
    said = f"{len(problems)} of {count} recordings cannot be used: {count_reasons(problems)}"
    if bad_rows == BAD_ROWS[1] and len(problems) < count:
        logger.warning("%s; they are left out", said)
        return
    kind = MissingInputError if set(problems.values()) == {MISSING} else WrongUseError
    raise kind(f"{said}; correct them, or leave them out with `bad_rows={BAD_ROWS[1]}`")


def warn_of_silent(names: Sequence[str], count: int, split: str) -> None:
    """Warn, all at once, of clips in which nothing is to be heard.

    Args:
        names: of these clips.
        count: of all clips.
        split: that they are of.
    """
    if names:
        logger.warning(
            "%d of %d clips of %s are silent from beginning to end: %s%s; leave them out with "
            "`bad_rows=skip`",
            *(len(names), count, split, ", ".join(names[:SHOWN]), ", ..." if names[SHOWN:] else ""),
        )
