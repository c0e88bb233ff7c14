"""Timelines in the forms of other tools: RTTM, Audacity's labels, subtitles, TextGrids, tables.

A form holds one recording. A segment is named by its emotion and, where that is known, its
speaker; times are in seconds unless the form has another way.
"""

import csv
import html
import io
import json
from collections.abc import Callable, Sequence
from pathlib import PurePath

from dusha_ser.files import safe_name
from dusha_ser.timelines.merging import Segment
from dusha_ser.timelines.recordings import PROBABILITY_PREFIX, Timeline, clock
from dusha_ser.vocabulary import PROBABILITY_DIGITS


def rttm(timeline: Timeline) -> str:
    """NIST's Rich Transcription Time Marked: a line per segment, the probability as confidence.

    In a field, what is not a letter, digit, dot or hyphen becomes "_", because blanks end it.
    Source: NIST's Rich Transcription evaluation plan of 2009, appendix A.
    """
    uri = safe_name(PurePath(timeline.name).stem)
    lines = []
    for one in timeline.segments:
        name = "_".join(safe_name(word) for word in (one.speaker, one.label_name) if word)
        times = f"{one.start:.3f} {one.duration:.3f}"
        lines.append(f"SPEAKER {uri} 1 {times} <NA> <NA> {name} {_confidence(one):.3f} <NA>\n")
    return "".join(lines)


def audacity(timeline: Timeline) -> str:
    """Audacity's labels: start, end and name, with tabs.

    Source: https://manual.audacityteam.org/man/importing_and_exporting_labels.html
    """
    return "".join(
        f"{one.start:.6f}\t{one.end:.6f}\t{' '.join(_name(one).split())}\n"
        for one in timeline.segments
    )


def srt(timeline: Timeline) -> str:
    """SubRip subtitles: the name of a segment and, below it, what is said."""
    cues = []
    for number, one in enumerate(timeline.segments, start=1):
        times = f"{_stamp(one.start, ',')} --> {_stamp(one.end, ',')}"
        cues.append(f"{number}\n{times}\n{_spoken(one)}\n\n")
    return "".join(cues)


def vtt(timeline: Timeline) -> str:
    """WebVTT subtitles for video and audio in a browser, as SubRip's.

    Source: https://www.w3.org/TR/webvtt1/
    """
    cues = []
    for one in timeline.segments:
        times = f"{_stamp(one.start, '.')} --> {_stamp(one.end, '.')}"
        cues.append(f"\n{times}\n{html.escape(_spoken(one), quote=False)}\n")
    return "WEBVTT\n" + "".join(cues)


def textgrid(timeline: Timeline) -> str:
    """Praat's TextGrid: a tier per speaker, or one that is called emotion.

    Source: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
    """
    end = timeline.duration
    tiers = [
        (speaker or "emotion", [one for one in timeline.segments if one.speaker == speaker])
        for speaker in timeline.speakers
    ]
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0"]
    lines += [f"xmax = {end}", "tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, segments) in enumerate(tiers, start=1):
        intervals = _fill_gaps(segments, end)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"']
        lines += [f"        name = {_quoted(name)}", "        xmin = 0", f"        xmax = {end}"]
        lines += [f"        intervals: size = {len(intervals)}"]
        for place, (first, last, text) in enumerate(intervals, start=1):
            lines += [f"        intervals [{place}]:", f"            xmin = {first}"]
            lines += [f"            xmax = {last}", f"            text = {_quoted(text)}"]
    return "\n".join(lines) + "\n"


def table(timeline: Timeline) -> str:
    """CSV with the columns of `dusha predict --timeline --output_file`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    known = _word_columns(timeline)
    shares = [PROBABILITY_PREFIX + label for label in timeline.labels]
    writer.writerow(["id", "start", "end", *known, "prediction", *shares])
    for one in timeline.segments:
        words = [getattr(one, name) for name in known]
        rounded = [round(float(value), PROBABILITY_DIGITS) for value in one.probabilities]
        writer.writerow([timeline.name, one.start, one.end, *words, one.label_name, *rounded])
    return text.getvalue()


def json_text(timeline: Timeline) -> str:
    """One JSON object: the recording, the time of each label in seconds, and the segments."""
    known = _word_columns(timeline)
    segments = [
        {"start": one.start, "end": one.end}
        | {name: getattr(one, name) for name in known}
        | {"prediction": one.label_name, "probabilities": shares_of(one, timeline.labels)}
        for one in timeline.segments
    ]
    seconds = {label: round(value, 3) for label, value in timeline.seconds.items()}
    content = {"id": timeline.name, "seconds": seconds, "segments": segments}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


# The text of each form.
TEXTS: dict[str, Callable[[Timeline], str]] = {
    "csv": table,
    "json": json_text,
    "rttm": rttm,
    "audacity": audacity,
    "srt": srt,
    "vtt": vtt,
    "textgrid": textgrid,
}


def shares_of(segment: Segment, labels: Sequence[str]) -> dict[str, float]:
    """The probabilities of a segment by label, as rows have them."""
    values = [round(float(value), PROBABILITY_DIGITS) for value in segment.probabilities]
    return dict(zip(labels, values, strict=True))


def _word_columns(timeline: Timeline) -> list[str]:
    """The names of the words that any segment has."""
    names = ("speaker", "text")
    return [name for name in names if any(getattr(one, name) for one in timeline.segments)]


def _confidence(segment: Segment) -> float:
    return float(max(segment.probabilities))


def _name(segment: Segment) -> str:
    return f"{segment.speaker}: {segment.label_name}" if segment.speaker else segment.label_name


def _spoken(segment: Segment) -> str:
    """The name and the text of a segment; an empty line would end a cue, and "-->" begin one."""
    name = f"[{_name(segment)}, {_confidence(segment):.0%}]"
    lines = [" ".join(part.split()) for part in (name, segment.text or "")]
    return "\n".join(line.replace("-->", "→") for line in lines if line)


def _stamp(seconds: float, point: str) -> str:
    """A time as hh:mm:ss and milliseconds."""
    return clock(seconds, digits=3).replace(".", point).rjust(12, "0")


def _fill_gaps(segments: Sequence[Segment], end: float) -> list[tuple[float, float, str]]:
    """The intervals of a tier, which leave nothing out: what is between segments is empty."""
    intervals, last = [], 0.0
    for one in segments:
        if one.start > last:
            intervals.append((last, one.start, ""))
        intervals.append((one.start, one.end, one.label_name))
        last = one.end
    return intervals + ([(last, end, "")] if last < end else [])


def _quoted(text: str) -> str:
    return '"' + " ".join(text.split()).replace('"', '""') + '"'
