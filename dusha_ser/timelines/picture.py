"""A picture of a timeline: probabilities over time, and a lane of segments for each speaker."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dusha_ser.timelines.colours import ink, label_colours
from dusha_ser.timelines.recordings import Timeline, clock

LONGEST_NAME = 24
# A bar names its label if it is at least as wide as this share of the picture for each letter.
LETTER = 0.009


def draw_timeline(timeline: Timeline) -> Figure:
    """Draw a timeline; probabilities over time stand above the lanes if nobody talks at once.

    Args:
        timeline: of one recording.

    Examples:
        >>> from dusha_ser.timelines.merging import Segment
        >>> segments = [Segment(0, 6, "sad", np.array([0.2, 0.8]))]
        >>> figure = draw_timeline(Timeline("a.wav", ["angry", "sad"], segments, segments))
        >>> [axis.get_ylabel() for axis in figure.axes]
        ['probability', '']
    """
    colours = label_colours(timeline.labels)
    lanes = timeline.speakers
    alone = lanes == [None]
    heights = [2.2, 0.5] if alone else [0.45 * len(lanes) + 0.1]
    figure = Figure(figsize=(11, 1.5 + sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)
    if alone:
        _draw_probabilities(axes[0, 0], timeline, colours)
    _draw_lanes(axes[-1, 0], timeline, colours)
    seconds = timeline.seconds
    total = sum(seconds.values())
    handles = [
        Patch(color=colours[label], label=f"{label} {time / total:.0%}")
        for label, time in seconds.items()
    ]
    columns = min(len(handles), 8)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    figure.suptitle(_shorten(timeline.name, 90), fontsize=11)
    return figure


def _draw_probabilities(axis: Axes, timeline: Timeline, colours: dict[str, str]) -> None:
    """Stack the probabilities of labels; where nothing was classified, there is a gap."""
    times: list[float] = []
    values: list[np.ndarray] = []
    for piece in timeline.pieces:
        if times and piece.start > times[-1]:
            times += [times[-1], piece.start]
            values += [np.zeros(len(timeline.labels))] * 2
        # Where labels exclude each other, the sum is 1; elsewhere it is drawn as shares.
        shares = piece.probabilities / piece.probabilities.sum()
        times += [piece.start, piece.end]
        values += [shares, shares]
    shown = [colours[label] for label in timeline.labels]
    axis.stackplot(times, np.array(values).T, colors=shown, linewidth=0)
    axis.set(ylabel="probability", ylim=(0, 1), yticks=(0, 0.5, 1))
    axis.spines[["top", "right"]].set_visible(False)


def _draw_lanes(axis: Axes, timeline: Timeline, colours: dict[str, str]) -> None:
    """Draw the segments as bars, one lane per speaker, the first above."""
    lanes = timeline.speakers
    for place, speaker in enumerate(lanes):
        own = [one for one in timeline.segments if one.speaker == speaker]
        spans = [(one.start, one.duration) for one in own]
        shown = [colours[one.label_name] for one in own]
        # A thin white edge keeps neighbours apart; on many segments it would hide them.
        width = 0.6 if len(own) < 200 else 0
        bars: dict[str, Any] = {"facecolors": shown, "edgecolors": "white", "linewidth": width}
        axis.broken_barh(spans, (place - 0.4, 0.8), **bars)
        for one in own:
            if one.duration >= LETTER * len(one.label_name) * timeline.duration:
                style: dict[str, Any] = {
                    "color": ink(colours[one.label_name]),
                    "fontsize": 8,
                    "clip_on": True,
                }
                middle = (one.start + one.end) / 2
                axis.text(middle, place, one.label_name, ha="center", va="center", **style)
    names = [_shorten(one or "", LONGEST_NAME) for one in lanes]
    axis.set_yticks(range(len(lanes)), names)
    axis.set(xlim=(0, timeline.duration), ylim=(len(lanes) - 0.5, -0.5))
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    unit = 3600 if timeline.duration > 3 * 3600 else 60 if timeline.duration > 180 else 1
    axis.set_xticks(_ticks(timeline.duration, unit))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds, digits=0)))
    axis.set_xlabel("time")


def _ticks(duration: float, unit: int) -> np.ndarray:
    """Times at round numbers of a unit in seconds, about ten of them."""
    locator = MaxNLocator(nbins=10, steps=[1, 1.5, 2, 3, 5, 6, 10], min_n_ticks=1)
    times = unit * np.asarray(locator.tick_values(0, duration / unit))
    return times[(times >= 0) & (times <= duration)]


def _shorten(text: str, longest: int) -> str:
    """Cut a name at its beginning; "$" would begin a formula."""
    text = text if len(text) <= longest else "…" + text[-longest + 1 :]
    return text.replace("$", r"\$")
