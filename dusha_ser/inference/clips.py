"""From recordings to the clips that a model classifies: whole short ones, windows of long ones.

Neither a model nor PyTorch is needed for it, unless speech is looked for.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from dusha_ser.audio.reading import (
    SAMPLING_RATE,
    AudioSource,
    UnreadableAudioError,
    read_blocks,
)
from dusha_ser.inference.settings import Settings
from dusha_ser.inference.timeline import Segment, WindowCutter


@dataclass
class Recording:
    """What is known of one recording, in seconds.

    `clips` has first sample and size of each clip. `segments` are the windows of a timeline, or one
    of the whole; there are none if there was an error or, where silence is cut, no speech.
    """

    name: str
    duration: float = 0.0
    speech: float = 0.0
    error: str | None = None
    model_failed: bool = False  # whether the error is the model's, not one of reading
    clips: list[tuple[int, int]] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)


@dataclass(eq=False)
class ClipReader:
    """Reads recordings of any format as clips of at most `longest` seconds, at one rate."""

    settings: Settings
    sampling_rate: int  # of the clips, in Hz
    detector: Any = None  # an audio.voice_activity.SpeechDetector; None: everything is speech

    def __post_init__(self) -> None:
        self.longest = self.settings.window if self.settings.timeline else self.settings.whole

    def read(self, recording: Recording, source: AudioSource) -> Iterator[np.ndarray]:
        """Read a recording, and note in it what is found, or why it cannot be read.

        Args:
            recording: with its name alone.
            source: what `read_blocks` reads.

        Yields:
            Its clips (samples,), as `recording.clips` names them.
        """
        try:
            pieces = self._pieces(source, recording)
            for first, own in itertools.groupby(pieces, lambda piece: piece[0]):
                for start, clip in self._cut(samples for _, samples in own):
                    recording.clips.append((first + start, len(clip)))
                    yield clip
        except UnreadableAudioError as error:
            recording.error = str(error)

    def _pieces(
        self, source: AudioSource, recording: Recording
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Read what is to be classified; pieces of one number (a first sample) belong together."""
        if self.detector is None:
            size = 0
            for block in read_blocks(source, self.sampling_rate):
                size += len(block)
                recording.duration = size / self.sampling_rate
                yield 0, block
            return
        from dusha_ser.audio.voice_activity import cut_spans

        spans, recording.duration = self.detector(read_blocks(source, SAMPLING_RATE))
        recording.speech = sum(end - start for start, end in spans)
        if spans:
            blocks = read_blocks(source, self.sampling_rate)
            for start, samples in cut_spans(blocks, spans, self.sampling_rate):
                yield start if self.settings.timeline else 0, samples

    def _cut(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield all in one, or windows of what is longer, and the first sample of each."""
        blocks = iter(blocks)
        held, size = [], 0
        for block in blocks:
            held.append(block)
            size += len(block)
            if size > self.longest * self.sampling_rate:
                break
        else:
            yield 0, np.concatenate(held)
            return
        cutter = WindowCutter(self.sampling_rate, self.settings.window, self.settings.hop)
        for block in itertools.chain(held, blocks):
            yield from cutter.push(block)
        yield from cutter.finish()


class TakesClips(Protocol):
    """Takes the clips of recordings, and each recording after its clips."""

    def add(self, clip: np.ndarray) -> None:
        """Take the next clip (samples,) of the recording that ends next."""

    def end(self, recording: Recording) -> None:
        """Take a recording when all its clips came."""


def read_into(
    group: TakesClips, reader: ClipReader, sources: Iterable[tuple[str, AudioSource]]
) -> None:
    """Read recordings, given as their names and what `read_blocks` reads, into a group."""
    for name, source in sources:
        recording = Recording(name)
        for clip in reader.read(recording, source):
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
    if not settings.vad:
        return None
    from dusha_ser.audio.voice_activity import SpeechDetector

    return SpeechDetector()
