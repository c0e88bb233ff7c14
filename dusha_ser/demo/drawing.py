"""Answers as HTML: probabilities as bars, and a recording over time, coloured by emotion."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np

from dusha_ser.demo.answering import Answer
from dusha_ser.demo.texts import Words
from dusha_ser.inference.prediction_rows import CsvForm
from dusha_ser.timelines.merging import Segment, merge_segments, segment_row
from dusha_ser.vocabulary import choose_label

# A recording is drawn as at most this many lines.
COLUMNS = 600
# A recording whose loudest sample is below this is not scaled up to the full height.
QUIETEST = 0.02
# What is drawn as the lowest level, and the levels with a line, in decibels below the loudest.
LOWEST = -60.0
LEVELS = (-20, -40)
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
MOST_TICKS = 9


def clock(seconds: float) -> str:
    """A time in seconds as people write it.

    Examples:
        >>> clock(75.4), clock(3675)
        ('1:15', '1:01:15')
    """
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def decibel_heights(peaks: np.ndarray) -> np.ndarray:
    """Peaks (moments,) from 0 to 1 as heights from 0, for LOWEST and below, to 1, for the loudest.

    Examples:
        >>> decibel_heights(np.array([0.5, 0.05, 0.005, 0])).round(3).tolist()
        [1.0, 0.667, 0.333, 0.0]
    """
    relative = peaks / max(QUIETEST, peaks.max(initial=0))
    return np.clip(1 - 20 * np.log10(np.maximum(relative, 1e-9)) / LOWEST, 0, 1)


def merge_answer(answer: Answer) -> list[Segment]:
    """Merge the windows of an answer as `dusha predict --merge` does."""
    if not answer.segments:
        return []
    return merge_segments(answer.segments, lambda row: choose_label(answer.labels, row.tolist()))


def time_shares(merged: Sequence[Segment]) -> dict[str, float]:
    """Share of the time that each label has, from 0 to 1, the largest first.

    Examples:
        >>> time_shares([Segment(0, 1, "sad", None), Segment(2, 5, "angry", None)])
        {'angry': 0.75, 'sad': 0.25}
    """
    seconds: dict[str, float] = {}
    for one in merged:
        label = str(one.label)
        seconds[label] = seconds.get(label, 0.0) + one.end - one.start
    total = sum(seconds.values())
    ranked = sorted(seconds.items(), key=lambda item: -item[1])
    return {label: value / total for label, value in ranked}


def labels_at(merged: Sequence[Segment], labels: Sequence[str], times: np.ndarray) -> np.ndarray:
    """The label at each of the times in seconds, (moments,) indices of labels, -1 in gaps.

    Examples:
        >>> merged = [Segment(0, 3, "sad", None), Segment(4, 6, "angry", None)]
        >>> labels_at(merged, ["angry", "sad"], np.array([1, 3.5, 5, 7])).tolist()
        [1, -1, 0, -1]
    """
    if not merged:
        return np.full(len(times), -1)
    place = np.searchsorted([one.start for one in merged], times, side="right") - 1
    numbers = np.array([labels.index(str(one.label)) for one in merged])
    ends = np.array([one.end for one in merged])
    return np.where((place >= 0) & (times <= ends[place]), numbers[place], -1)


def show_bars(answer: Answer | None, words: Words, empty: str = "empty", title: str = "") -> str:
    """The probabilities as bars below a headline, or a sentence where there are none.

    Args:
        answer: what there is to show; None: nothing.
        words: the texts of a language.
        empty: key of the text where there are no probabilities.
        title: of the last window only, while somebody speaks; without one, the answer is that of
            the whole recording, and if that is long, shares of the time come first.
    """
    if answer is None or not (answer.error or answer.prediction):
        return str(HTML.hint(words(empty)))
    if answer.error:
        return str(HTML.error(words(answer.problem, minutes=f"{answer.limit:g}")))
    duration = clock(answer.envelope.duration)
    shares: dict[str, float] = {}
    if title:
        title = f"{title} ({duration})"
    elif answer.is_long:
        merged = merge_answer(answer)
        shares = time_shares(merged)
        speech = sum(one.end - one.start for one in merged)
        key = "shares" if speech > 0.99 * answer.envelope.duration else "shares_of_speech"
        title = words(key, duration=duration, speech=clock(speech))
    else:
        title = words("whole", duration=duration)
    return str(HTML.bars(answer, words, title, shares))


def show_timeline(answer: Answer, words: Words, is_whole: bool = True) -> str:
    """Draw a recording over time; empty where there is an error.

    Args:
        answer: with the windows, in order.
        words: the texts of a language.
        is_whole: whether the recording can be played, and its windows are written as a table.
    """
    duration = answer.envelope.duration
    if answer.error is not None or not duration:
        return ""
    peaks, labels, merged = answer.envelope.peaks(), answer.labels, merge_answer(answer)
    group = max(1, -(-len(peaks) // COLUMNS))
    columns = np.pad(peaks, (0, -len(peaks) % group)).reshape(-1, group).max(axis=1)
    width = max(1, len(columns))
    numbers = labels_at(merged, labels, (np.arange(len(columns)) + 0.5) * duration / width)
    lines: dict[int, str] = {}
    for place, (number, height) in enumerate(
        zip(numbers.tolist(), decibel_heights(columns), strict=True)
    ):
        line = f"M{place + 0.5} 100v-{max(1, 98 * height):.1f}"
        lines[number] = lines.get(number, "") + line
    step = next((one for one in TICKS if duration / one <= MOST_TICKS), TICKS[-1])
    shares = [
        f"{words.name(one)} {words.percent(share, 0)}" for one, share in time_shares(merged).items()
    ]
    drawing = {
        "duration": duration,
        "width": width,
        "lines": lines,
        "spans": [
            (labels.index(str(one.label)), one.start / duration, (one.end - one.start) / duration)
            for one in merged
        ],
        "levels": [(level / LOWEST, level) for level in LEVELS],
        # The last tick leaves room for its own text.
        "ticks": [(seconds / duration, seconds) for seconds in np.arange(0, duration * 0.97, step)],
        "description": words(
            "waveform",
            duration=clock(duration),
            shares=", ".join(shares) or words("silence"),
        ),
        "csv": quote(csv_of(answer)),
        "is_whole": is_whole,
    }
    return str(HTML.timeline(answer, words, drawing))


def csv_of(answer: Answer) -> str:
    """The windows as `dusha predict --timeline` writes them."""
    form = CsvForm(["id", "start", "end", "prediction"], answer.labels)
    row = dict.fromkeys((*form.columns, "error"))
    row |= {"id": answer.name, "probabilities": dict.fromkeys(answer.labels)}
    lines = (form.line(segment_row(row, one)) for one in answer.segments)
    return form.header() + "".join(lines)


_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_environment.globals |= {"clock": clock}
# The macros of the template.
HTML: Any = _environment.get_template("drawing.html").module
