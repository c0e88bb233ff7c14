"""From recordings to the clips that a model classifies: whole short ones, windows of long ones.

Neither a model nor PyTorch is needed for it, unless speech is looked for.
"""

import itertools
import math
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from dusha_ser.audio.finding_turns import TurnsOf
from dusha_ser.audio.reading import (
    SAMPLING_RATE,
    AudioSource,
    read_blocks,
)
from dusha_ser.audio.turns import Turn, fit_turns
from dusha_ser.errors import WrongUseError
from dusha_ser.inference.settings import Settings
from dusha_ser.inference.timeline import Segment, WindowCutter

# Turns that are shorter, in seconds, hold no more than a sound, and get no prediction.
SHORTEST_TURN = 0.1
# The turns of a recording, or where they are; None: it is not cut into turns.
GivenTurns = TurnsOf | Sequence[Turn] | None


class Clip(NamedTuple):
    """Where a clip begins in its recording, and its size, in samples; and its turn's number."""

    first: int
    size: int
    turn: int = 0


@dataclass
class Recording:
    """What is known of one recording, in seconds.

    `segments` are the windows of a timeline, one per turn, or one of the whole; there are none if
    there was an error or, where speech is looked for, none of it. `turns` lie in the recording.
    """

    name: str
    duration: float = 0.0
    speech: float = 0.0
    error: str | None = None
    model_failed: bool = False  # whether the error is the model's, not one of reading
    clips: list[Clip] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)


@dataclass(eq=False)
class ClipReader:
    """Reads recordings of any format as clips of at most `longest` seconds, at one rate."""

    settings: Settings
    sampling_rate: int  # of the clips, in Hz
    detector: Any = None  # an audio.voice_activity.SpeechDetector; None: everything is speech

    def __post_init__(self) -> None:
        self.longest = self.settings.window if self.settings.timeline else self.settings.whole

    def read(
        self, recording: Recording, source: AudioSource, turns: GivenTurns = None
    ) -> Iterator[np.ndarray]:
        """Read a recording, and note in it what is found, or why it cannot be read.

        Args:
            recording: with its name alone.
            source: what `read_blocks` reads.
            turns: of somebody else, where each is classified by itself.

        Yields:
            Its clips (samples,), as `recording.clips` names them.
        """
        try:
            if self.settings.segments:
                yield from self._read_turns(recording, source, turns)
                return
            pieces = self._pieces(source, recording)
            for first, own in itertools.groupby(pieces, lambda piece: piece[0]):
                for start, clip in self._cut(samples for _, samples in own):
                    recording.clips.append(Clip(first + start, len(clip)))
                    yield clip
        except WrongUseError as error:
            recording.error = str(error)

    def _pieces(
        self, source: AudioSource, recording: Recording
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Read what is to be classified; pieces of one number (a first sample) belong together."""
        if self.detector is None:
            yield from ((0, block) for block in self._counted(source, recording))
            return
        from dusha_ser.audio.voice_activity import cut_spans

        spans, recording.duration = self.detector(read_blocks(source, SAMPLING_RATE))
        recording.speech = sum(end - start for start, end in spans)
        if spans:
            blocks = read_blocks(source, self.sampling_rate)
            for start, samples in cut_spans(blocks, spans, self.sampling_rate):
                yield start if self.settings.timeline else 0, samples

    def _counted(self, source: AudioSource, recording: Recording) -> Iterator[np.ndarray]:
        """Read blocks (samples,), and note how long the recording is."""
        size = 0
        for block in read_blocks(source, self.sampling_rate):
            size += len(block)
            recording.duration = size / self.sampling_rate
            yield block

    def _read_turns(
        self, recording: Recording, source: AudioSource, given: GivenTurns
    ) -> Iterator[np.ndarray]:
        """Read the clips of turns, or of stretches of speech; as many wait as overlap."""
        if self.settings.segments == "vad":
            spans, recording.duration = self.detector(read_blocks(source, SAMPLING_RATE))
            turns = [Turn(*span) for span in spans]
        else:
            turns = given.read() if isinstance(given, TurnsOf) else list(given or ())
        for number, first, clip in self._cut_turns(self._counted(source, recording), turns):
            recording.clips.append(Clip(first, len(clip), number))
            yield clip
        recording.turns = fit_turns(turns, recording.duration, recording.name)

    def _cut_turns(
        self, blocks: Iterable[np.ndarray], turns: Sequence[Turn]
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield the clips of turns, each with the turn's number and its own first sample."""
        coming = deque(enumerate(turns))
        speaking: list[_OpenTurn] = []
        position = 0
        for block in blocks:
            end = position + len(block)
            while coming and round(coming[0][1].start * self.sampling_rate) < end:
                speaking.append(_OpenTurn(*coming.popleft(), self.sampling_rate, self._open()))
            for one in speaking:
                yield from one.push(block, position)
            position = end
            for one in speaking:
                if one.last <= position:
                    yield from one.finish()
            speaking = [one for one in speaking if one.last > position]
        for one in speaking:
            yield from one.finish()

    def _cut(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield all in one, or windows of what is longer, and the first sample of each."""
        cutter = self._open()
        for block in blocks:
            yield from cutter.push(block)
        yield from cutter.finish()

    def _open(self) -> "ClipCutter":
        windows = WindowCutter(self.sampling_rate, self.settings.window, self.settings.hop)
        return ClipCutter(int(self.longest * self.sampling_rate), windows)


class ClipCutter:
    """Cuts what comes in pieces: all in one clip, or windows of what is longer.

    Args:
        longest: of a clip that is not a window, in samples.
        windows: cuts what is longer.
    """

    def __init__(self, longest: int, windows: WindowCutter):
        self.longest, self.windows = longest, windows
        self.size = 0
        self._held: list[np.ndarray] = []

    def push(self, samples: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Take the next samples (samples,); yield the first sample and (samples,) of windows."""
        self.size += len(samples)
        self._held.append(samples)
        if self.size > self.longest:
            for held in self._held:
                yield from self.windows.push(held)
            self._held = []

    def finish(self) -> Iterator[tuple[int, np.ndarray]]:
        """End it; yield the last window, or the only clip."""
        if self.size > self.longest:
            yield from self.windows.finish()
        elif self.size:
            yield 0, np.concatenate(self._held)


class _OpenTurn:
    """A turn some of whose samples are still to come."""

    def __init__(self, number: int, turn: Turn, sampling_rate: int, cutter: ClipCutter):
        self.number, self.cutter = number, cutter
        self.first = round(turn.start * sampling_rate)
        self.last = sys.maxsize if turn.end == math.inf else round(turn.end * sampling_rate)
        self.shortest = SHORTEST_TURN * sampling_rate

    def push(self, block: np.ndarray, position: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Take its part of a block of the recording, whose first sample is at a position."""
        part = block[max(0, self.first - position) : self.last - position]
        return self._placed(self.cutter.push(part))

    def finish(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """End it."""
        return self._placed(self.cutter.finish() if self.cutter.size >= self.shortest else ())

    def _placed(
        self, clips: Iterable[tuple[int, np.ndarray]]
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        return ((self.number, self.first + start, clip) for start, clip in clips)


class TakesClips(Protocol):
    """Takes the clips of recordings, and each recording after its clips."""

    def add(self, clip: np.ndarray) -> None:
        """Take the next clip (samples,) of the recording that ends next."""

    def end(self, recording: Recording) -> None:
        """Take a recording when all its clips came."""


def read_into(
    group: TakesClips, reader: ClipReader, sources: Iterable[tuple[str, AudioSource, GivenTurns]]
) -> None:
    """Read recordings, given as names, what `read_blocks` reads and turns, into a group."""
    for name, source, turns in sources:
        recording = Recording(name)
        for clip in reader.read(recording, source, turns):
            group.add(clip)
        group.end(recording)


def load_reader(settings: Settings, sampling_rate: int) -> ClipReader:
    """Make what reads recordings, with the detector of speech where it is wanted.

    Raises:
        WrongUseError: if something must be installed for it.
    """
    return ClipReader(settings, sampling_rate, load_detector(settings))


def load_detector(settings: Settings) -> Any:
    """Load the detector of speech where it is wanted, else None.

    Raises:
        WrongUseError: if something must be installed for it.
    """
    if not settings.finds_speech:
        return None
    from dusha_ser.audio.voice_activity import SpeechDetector

    return SpeechDetector()
