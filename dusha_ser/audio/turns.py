"""Who speaks when in a recording: turns, made, checked and fitted to it."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dusha_ser.errors import WrongUseError

logger = logging.getLogger(__name__)

# Ends this far behind the recording's, in seconds, are rounding of other programs.
TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch of speech; turns may overlap.

    Attributes:
        start: in seconds from the start of the recording.
        end: in seconds; infinity: the end of the recording.
        speaker: who speaks, where that is known.
        text: what is said, where that is known.
    """

    start: float
    end: float
    speaker: str | None = None
    text: str | None = None


def make_turn(place: str, start: Any, end: Any, speaker: Any = None, text: Any = None) -> Turn:
    """Make a turn of values as files and programs hold them.

    A beginning before 0 becomes 0; blanks around names and texts go, and empty ones are None.

    Args:
        place: what messages call it, such as "a.csv, line 3".
        start: a number of seconds.
        end: a number of seconds; it may be infinity.
        speaker: a name, or a number.
        text: any.

    Raises:
        WrongUseError: if a time is not a number, or the turn ends before it begins.

    Examples:
        >>> make_turn("line 1", "0.5", 2, " Anna ", "")
        Turn(start=0.5, end=2.0, speaker='Anna', text=None)
        >>> make_turn("line 1", 2, 1)
        Traceback (most recent call last):
        dusha_ser.errors.WrongUseError: line 1: ends at 1 s, before it begins at 2 s; correct it
    """
    times = []
    for name, value in {"start": start, "end": end}.items():
        try:
            times.append(float(value))
        except (TypeError, ValueError):
            times.append(math.nan)
        if math.isnan(times[-1]) or abs(times[0]) == math.inf:
            raise WrongUseError(f"{place}: its {name} is {value!r}; give a number of seconds")
    if times[1] < times[0]:
        raise WrongUseError(f"{place}: ends at {end} s, before it begins at {start} s; correct it")
    words = ["" if value is None else " ".join(str(value).split()) for value in (speaker, text)]
    return Turn(max(0.0, times[0]), max(0.0, times[1]), *(word or None for word in words))


def sort_turns(turns: Iterable[Turn], name: str) -> list[Turn]:
    """Order turns by time, without those of no length, which a warning counts.

    Args:
        turns: those of equal times stay in their order.
        name: what the warning calls them.
    """
    turns = list(turns)
    long = [turn for turn in turns if turn.end > turn.start]
    if empty := len(turns) - len(long):
        logger.warning(
            "%s: %d of %d turns have no length and are left out", name, empty, len(turns)
        )
    return sorted(long, key=lambda turn: (turn.start, turn.end))


def make_turns(turns: Iterable[Any]) -> list[Turn]:
    """Take turns as Python holds them.

    Args:
        turns: each a Turn; a mapping with start and end, in seconds, and perhaps speaker and text;
            or (start, end), (start, end, speaker), (start, end, speaker, text).

    Raises:
        WrongUseError: if one is something else, or its times are wrong.

    Examples:
        >>> make_turns([(0, 1.5, "A"), {"start": 1.5, "end": 2, "text": "Да."}])
        ... # doctest: +NORMALIZE_WHITESPACE
        [Turn(start=0.0, end=1.5, speaker='A', text=None),
         Turn(start=1.5, end=2.0, speaker=None, text='Да.')]
    """
    made = []
    for number, turn in enumerate(turns, start=1):
        if isinstance(turn, Turn):
            values: Sequence[Any] = (turn.start, turn.end, turn.speaker, turn.text)
        elif isinstance(turn, Mapping):
            values = [turn.get(name) for name in ("start", "end", "speaker", "text")]
        else:
            values = tuple(turn) if isinstance(turn, (tuple, list)) else ()
        if not 2 <= len(values) <= 4:
            raise WrongUseError(
                f"turn {number} is {turn!r}; give (start, end), (start, end, speaker) or (start, "
                "end, speaker, text), in seconds"
            )
        made.append(make_turn(f"turn {number}", *values))
    return sort_turns(made, "the list of turns")


def fit_turns(turns: Sequence[Turn], duration: float, name: str) -> list[Turn]:
    """Cut turns to a recording of some seconds; a warning counts what lies outside of it.

    Raises:
        WrongUseError: there are turns, and all lie outside.
    """
    inside = [replace(one, end=min(one.end, duration)) for one in turns if one.start < duration]
    if turns and not inside:
        raise WrongUseError(
            f"all {len(turns)} turns begin after its end at {duration:.2f} s; give the turns of "
            "this recording, in seconds"
        )
    cut = sum(duration + TOLERANCE < one.end < math.inf for one in turns if one.start < duration)
    if outside := len(turns) - len(inside):
        logger.warning(
            "%s: %d of %d turns begin after its end at %.2f s and are left out",
            *(name, outside, len(turns), duration),
        )
    if cut:
        logger.warning(
            "%s: %d of %d turns end after its end at %.2f s and are cut there",
            *(name, cut, len(turns), duration),
        )
    return inside
