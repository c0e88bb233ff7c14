"""Readers of somebody else's diarizations and transcripts: RTTM, JSON, subtitles, tables."""

import html
import itertools
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dusha_ser.audio.turns import Turn, make_turn, sort_turns
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.options import TurnColumns
from dusha_ser.tables import decode_table, parse_number, read_table

logger = logging.getLogger(__name__)

# What a field of RTTM without a value holds.
NOTHING = "<NA>"
# Types of lines that RTTM has beside turns (NIST RT-09 evaluation plan, appendix A).
OTHER_LINES = {
    *("NOSCORE", "NO_RT_METADATA", "SEGMENT", "LEXEME", "NON-LEX", "NON-SPEECH", "FILLER", "EDIT"),
    *("IP", "SU", "CB", "A/P", "SPKR-INFO", "END"),
}
TIME = r"(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d+)?)"
CUE = re.compile(rf"\s*{TIME}\s*-->\s*{TIME}(?:\s.*)?")
VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]*)>")
TAG = re.compile(r"</?[a-z\d][^>]*>|\{\\[^}]*\}", re.IGNORECASE)
# Who speaks, in front of the text: as WhisperX writes it, as whisper.cpp does, and as people do.
BRACKETED = re.compile(r"\[([^\]]{1,40})\]:\s*")
NUMBERED = re.compile(r"\((speaker \S+)\)\s*", re.IGNORECASE)
NAMED = re.compile(r"([^\W\d_][\w.'’ -]{0,39}):\s+(?=\S)")
# A name that stands for one by itself.
SPEAKER = re.compile(r"(speaker|спикер|говорящий|spk)[ _-]?\w{1,3}", re.IGNORECASE)
# Whisper's and whisper.cpp's tables, whose times are in milliseconds.
WHISPER_HEADERS = (["start", "end", "text"], ["start", "end", "speaker", "text"])
# In milliseconds half of all turns are longer; in seconds hardly any.
MILLISECONDS = 100
# Where lists of turns are in JSON, the better ones first.
JSON_LISTS = ("segments", "speakers", "diarization", "utterances", "transcription", "chunks")


# Turns by the recording that the format names; None: it does not name any.
Turns = dict[str | None, list[Turn]]


def read_turns(path: Path, columns: TurnColumns | None = None) -> Turns:
    """Read turns of any format that `READERS` has, by the file's suffix.

    Turns may overlap. Those of no length are left out, with a warning.

    Args:
        path: of the file.
        columns: of a table.

    Returns:
        Turns by the recording that the file names, in the order of time; all under None where the
        format names none.

    Raises:
        MissingInputError: if there is no such file.
        WrongUseError: if it is of another format, or a turn in it is wrong; it names the line.
    """
    if not path.is_file():
        raise MissingInputError(f"no such file of turns: {path}")
    if path.suffix.lower() not in READERS:
        raise WrongUseError(
            f"{path} ends in {path.suffix or 'nothing'}; turns are read from {', '.join(READERS)}"
        )
    found: Turns = {}
    for recording, turn in READERS[path.suffix.lower()](path, columns or TurnColumns()):
        found.setdefault(recording, []).append(turn)
    shown = str(path)
    return {name: sort_turns(turns, shown) for name, turns in found.items()}


Reader = Callable[[Path, TurnColumns], Iterator[tuple[str | None, Turn]]]


def _read_rttm(path: Path, columns: TurnColumns) -> Iterator[tuple[str | None, Turn]]:
    """Read SPEAKER lines of NIST's Rich Transcription Time Marked format."""
    for number, line in enumerate(decode_table(path).splitlines(), start=1):
        place, fields = f"{path}, line {number}", line.split()
        if not fields or line.startswith(";;") or fields[0] in OTHER_LINES:
            continue
        if fields[0] != "SPEAKER" or len(fields) < 8:
            raise WrongUseError(
                f"{place} is {line[:60]!r}; give SPEAKER, recording, channel, start, duration, "
                "<NA>, <NA>, speaker, <NA>, <NA>, with blanks between them"
            )
        # Names of recordings may have blanks.
        name = " ".join(fields[1 : 2 + max(0, len(fields) - 10)])
        begin, duration, text, _, speaker = fields[-7:-2] if len(fields) > 9 else fields[3:8]
        start, length = (_number(place, value) for value in (begin, duration))
        words = [None if value == NOTHING else value for value in (speaker, text)]
        yield name, make_turn(place, start, round(start + length, 6), *words)


def _number(place: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise WrongUseError(f"{place}: {text!r} is not a number of seconds; correct it") from error


def _read_json(path: Path, columns: TurnColumns) -> Iterator[tuple[str | None, Turn]]:
    """Read what Whisper, its kin and diarizers write as JSON."""
    try:
        content = json.loads(decode_table(path))
    except json.JSONDecodeError as error:
        raise WrongUseError(f"{path}, line {error.lineno}: it is not JSON: {error.msg}") from error
    name, rows = "", content
    if isinstance(content, dict):
        lists = (one for one in JSON_LISTS if isinstance(content.get(one), list))
        # Some programs write a list of speakers that is empty where nobody looked for them.
        name = max(lists, key=lambda one: bool(content[one]), default="")
        rows = content.get(name)
    if not isinstance(rows, list):
        shown = ", ".join(list(content)[:10]) if isinstance(content, dict) else type(rows).__name__
        raise WrongUseError(
            f"{path} has {shown or 'nothing'}; give a list of turns, or an object with one of "
            f"{', '.join(JSON_LISTS)}"
        )
    for number, row in enumerate(rows, start=1):
        place = f"{path}, {name or 'the list'}, item {number}"
        if not isinstance(row, dict):
            raise WrongUseError(f"{place} is {str(row)[:40]!r}; give an object with start and end")
        for turn in _segment_turns(place, row):
            yield None, turn


def _segment_turns(place: str, row: dict[str, Any]) -> list[Turn]:
    """The turns of one segment: one of each run of words whose speakers differ."""
    start, end = _json_times(place, row)
    words = [word for word in row.get("words") or () if isinstance(word, dict)]
    if len({word["speaker"] for word in words if word.get("speaker") is not None}) < 2:
        text = row.get("text", row.get("transcript"))
        return [make_turn(place, start, end, row.get("speaker"), text)]
    runs: list[tuple[Any, list[dict[str, Any]]]] = []
    for word in words:
        # One without a speaker, such as a number that was not aligned, goes with those before it.
        speaker = word.get("speaker") or (runs[-1][0] if runs else None)
        if not runs or speaker != runs[-1][0]:
            runs.append((speaker, []))
        runs[-1][1].append(word)
    turns = []
    for speaker, own in runs:
        timed = [word for word in own if None not in (word.get("start"), word.get("end"))]
        spoken = [str(word.get("word", word.get("text", ""))) for word in own]
        if timed:
            text = ("" if any(word.startswith(" ") for word in spoken) else " ").join(spoken)
            times = timed[0]["start"], max(word["end"] for word in timed)
            turns.append(make_turn(place, *times, speaker, text))
    return turns


def _json_times(place: str, row: dict[str, Any]) -> tuple[Any, Any]:
    """Find the times of a segment, in seconds."""
    offsets, times = row.get("offsets"), row.get("timestamp")
    if isinstance(offsets, dict):  # whisper.cpp, in milliseconds
        begin, end = (
            value / 1000 if isinstance(value, (int, float)) else value
            for value in (offsets.get("from"), offsets.get("to"))
        )
        return begin, end
    if isinstance(times, list) and len(times) == 2:
        # Transformers leaves the last end open where a recording is cut off.
        return times[0], math.inf if times[1] is None else times[1]
    if not {"start", "end"} <= row.keys():
        raise WrongUseError(f"{place} has {', '.join(row) or 'nothing'}; give start and end")
    return row["start"], row["end"]


def _read_subtitles(path: Path, columns: TurnColumns) -> Iterator[tuple[str | None, Turn]]:
    """Read SubRip or WebVTT; a speaker is a voice (<v Name>), or stands in front of the text."""
    cues = list(_cues(path))
    names = Counter(found[1] for _, _, _, text in cues if (found := NAMED.match(text)))
    for place, start, end, text in cues:
        # All between "<v" and the next one is said by one voice.
        before, *voices = VOICE.split(text)
        pairs: list[tuple[str | None, str]] = list(zip(voices[::2], voices[1::2], strict=True))
        for voice, words in [(None, before), *pairs] if before.strip() or not pairs else pairs:
            spoken = html.unescape(TAG.sub("", words)).strip()
            speaker = html.unescape(voice) if voice else None
            if speaker is None:
                speaker, spoken = _split_speaker(spoken, names)
            yield None, make_turn(place, start, end, speaker, spoken)


def _cues(path: Path) -> Iterator[tuple[str, float, float, str]]:
    """Yield the place, start and end in seconds, and text of each cue."""
    lines = decode_table(path).splitlines()
    begins = [number for number, line in enumerate(lines) if "-->" in line]
    for number in begins:
        place = f"{path}, line {number + 1}"
        found = CUE.fullmatch(lines[number])
        if found is None:
            raise WrongUseError(
                f"{place} is {lines[number][:60]!r}; give 00:00:01.000 --> 00:00:02.500"
            )
        text = itertools.takewhile(lambda line: line.strip(), lines[number + 1 :])
        yield place, _seconds(*found.groups()[:3]), _seconds(*found.groups()[3:]), " ".join(text)
    if not begins and any(line.strip() not in ("", "WEBVTT") for line in lines[:1]):
        raise WrongUseError(f"{path} has no line with -->; it does not hold subtitles")


def _seconds(hours: str | None, minutes: str | None, seconds: str) -> float:
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds.replace(",", "."))
    return round(whole, 6)


def _split_speaker(text: str, names: Counter[str]) -> tuple[str | None, str]:
    """Take the speaker's name off a text; "Note: so it is" has none unless it comes again."""
    if found := BRACKETED.match(text) or NUMBERED.match(text):
        return found[1], text[found.end() :]
    found = NAMED.match(text)
    if found and (names[found[1]] > 1 or SPEAKER.fullmatch(found[1])):
        return found[1], text[found.end() :]
    return None, text


def _read_turn_table(path: Path, columns: TurnColumns) -> Iterator[tuple[str | None, Turn]]:
    """Read a table with columns of start and end, and perhaps of recording, speaker and text."""
    needed = [columns.start, columns.end]
    advice = "name them with `start_column` and `end_column`"
    rows = read_table(path, needed, advice, needed)
    times = [[_table_time(row.place, row[name]) for name in needed] for row in rows]
    unit = 1.0
    plain = all(row[name].isdecimal() for row in rows for name in needed)
    if plain and list(rows[0]) in WHISPER_HEADERS:
        lengths = sorted(end - start for start, end in times)
        if lengths[len(lengths) // 2] >= MILLISECONDS:
            unit = 1000.0
            logger.warning("%s is read as Whisper writes it: times are milliseconds", path)
    for row, (start, end) in zip(rows, times, strict=True):
        words = row.get(columns.speaker), row.get(columns.text)
        turn = make_turn(row.place, start / unit, end / unit, *words)
        yield row.get(columns.recording) or None, turn


def _table_time(place: str, cell: str) -> float:
    """Read seconds, or hours, minutes and seconds with colons."""
    try:
        if ":" in cell and (found := re.fullmatch(TIME, cell)):
            return _seconds(*found.groups())
        return parse_number(cell)
    except ValueError as error:
        raise WrongUseError(
            f"{place}: {cell!r} is not a time; give seconds, such as 62.5, or 0:01:02.5"
        ) from error


# By the suffix; the first of several files of one recording is read.
READERS: dict[str, Reader] = {
    ".rttm": _read_rttm,
    ".json": _read_json,
    ".csv": _read_turn_table,
    ".tsv": _read_turn_table,
    ".vtt": _read_subtitles,
    ".srt": _read_subtitles,
}
