"""A page of a recording's timeline, with its audio, that needs no server and no other file."""

import base64
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import jinja2
import numpy as np
import soundfile

from dusha_ser.audio.reading import read_blocks
from dusha_ser.files import safe_name
from dusha_ser.timelines.colours import ink, label_colours
from dusha_ser.timelines.exports import table
from dusha_ser.timelines.recordings import Shares, Timeline, clock

# What all browsers play, by suffix.
PLAYED = {".wav": "audio/wav", ".mp3": "audio/mpeg", ".m4a": "audio/mp4", ".flac": "audio/flac"}
# A recording of up to so many bytes is put into the page as it is, any other one as MP3 ...
LARGEST = 8_000_000
# ... of 16 kHz and 48 kbit/s, if it is not longer than this, in seconds (43 MB in the page).
LONGEST = 2 * 3600.0
MP3_RATE = 16000
# Of the MP3: libsndfile maps [0, 1] to the bit rates from 160 to 8 kbit/s.
MP3_COMPRESSION = 0.74
# Pixels for each second of a long recording: its lanes are wider than the screen.
PIXELS = 2
# Times below the lanes are this far apart, in seconds; the smallest with room for all is taken.
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600)
MOST_TICKS = 8


@dataclass(frozen=True)
class PageAudio:
    """The audio of a page: its bytes in Base64, or else a link; both empty: there is none."""

    kind: str = ""
    content: str = ""
    link: str = ""


def embed_audio(path: Path, duration: float, page: Path) -> PageAudio:
    """Put a recording into a page: as it is, or as MP3; only a link to it if it is very long.

    Args:
        path: of the recording.
        duration: in seconds.
        page: the file where the page will be.
    """
    kind = PLAYED.get(path.suffix.lower())
    if kind and path.stat().st_size <= LARGEST:
        return PageAudio(kind, base64.b64encode(path.read_bytes()).decode())
    if duration > LONGEST:
        link = os.path.relpath(path.resolve(), page.resolve().parent)
        return PageAudio(link=quote(Path(link).as_posix()))
    with tempfile.TemporaryDirectory(prefix="dusha-page-") as folder:
        mp3 = Path(folder, "audio.mp3")
        # A constant rate: by it browsers jump to where they are told.
        settings = {"bitrate_mode": "CONSTANT", "compression_level": MP3_COMPRESSION}
        with soundfile.SoundFile(mp3, "w", MP3_RATE, 1, format="MP3", **settings) as file:
            for block in read_blocks(path, MP3_RATE):
                file.write(np.clip(block, -1, 1))
        return PageAudio("audio/mpeg", base64.b64encode(mp3.read_bytes()).decode())


def make_page(timeline: Timeline, audio: PageAudio) -> str:
    """Make the HTML page of a timeline.

    Args:
        timeline: of one recording.
        audio: of the same recording.

    Examples:
        >>> from dusha_ser.timelines.merging import Segment
        >>> segments = [Segment(0, 6, "sad", np.array([0.2, 0.8]))]
        >>> page = make_page(Timeline("a.wav", ["angry", "sad"], segments, segments), PageAudio())
        >>> "<title>Emotions in a.wav</title>" in page
        True
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    light, dark = label_colours(timeline.labels), label_colours(timeline.labels, dark=True)
    numbers = {label: number for number, label in enumerate(light)}
    colours = [
        {"light": light[label], "on_light": ink(light[label])}
        | {"dark": dark[label], "on_dark": ink(dark[label])}
        for label in light
    ]
    shares = Shares()
    shares.add(timeline)
    speakers = timeline.speakers
    lanes = [(name, [one for one in timeline.segments if one.speaker == name]) for name in speakers]
    return environment.get_template("page.html").render(
        timeline=timeline,
        audio=audio,
        colours=colours,
        numbers=numbers,
        shares=shares.rows(),
        lanes=lanes,
        ticks=_ticks(timeline.duration),
        width=round(PIXELS * timeline.duration),
        has_speakers=any(speakers),
        has_words=any(one.speaker or one.text for one in timeline.segments),
        csv=table(timeline),
        csv_name=f"{safe_name(Path(timeline.name).stem)}.csv",
        clock=clock,
        confidence=lambda segment: f"{max(segment.probabilities):.0%}",
    )


def _ticks(duration: float) -> list[float]:
    """The times below the lanes, in seconds."""
    # What is as wide as the screen has few; what is wider has as many on each screen.
    room = max(MOST_TICKS, MOST_TICKS * duration * PIXELS / 1000)
    step = next((one for one in STEPS if duration / one <= room), STEPS[-1])
    # The last one has room for its text.
    return np.arange(0, max(duration - step / 2, 1), step).tolist()
