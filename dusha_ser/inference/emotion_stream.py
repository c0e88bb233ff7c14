"""Emotions, and recordings that come in chunks, such as from a microphone."""

from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from dusha_ser.audio.samples import Resampler, UnreadableAudioError, to_mono
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.inference.audio_files import FileClassifier
from dusha_ser.inference.batching import ModelFailedError
from dusha_ser.inference.timeline import TimelineClassifier
from dusha_ser.timelines.merging import Segment


@dataclass(frozen=True)
class Emotion:
    """The emotion of a recording, or of a part of one.

    Attributes:
        label: the most probable label, "uncertain" if it is less probable than was asked for; None
            if speech was looked for and there was none.
        probabilities: in [0, 1] by label; their sum is 1 unless a clip may have several labels.
            Empty where there is no label.
        start: where the part begins, in seconds from the start of the recording.
        end: where it ends, in seconds.
    """

    label: str | None
    probabilities: dict[str, float]
    start: float
    end: float

    @property
    def duration(self) -> float:
        """The length in seconds."""
        return self.end - self.start


def name_emotion(segment: Segment, classifier: FileClassifier) -> Emotion:
    """Give the probabilities of a segment the names of their labels."""
    label = classifier.choose_label(segment.probabilities)
    named = zip(classifier.labels, map(float, segment.probabilities), strict=True)
    return Emotion(label, dict(named), segment.start, segment.end)


class EmotionStream:
    """A recording that comes in chunks, and the emotions of its windows as they are complete.

    As a context manager, it is closed at the end. `EmotionClassifier.stream` makes it.

    Args:
        classifier: of the windows.
        sampling_rate: of the chunks, in Hz.

    Attributes:
        emotions: of all windows so far; after `close`, of the whole recording.
    """

    def __init__(self, classifier: FileClassifier, sampling_rate: float):
        self.emotions: list[Emotion] = []
        self._classifier = classifier
        self._timeline: TimelineClassifier = classifier.open_timeline()
        self._resampler = Resampler(sampling_rate, classifier.sampling_rate)
        self._is_empty = True
        self._is_closed = False

    def __enter__(self) -> "EmotionStream":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        self._is_closed = True

    def push(self, samples: Any) -> list[Emotion]:
        """Take the next chunk of the recording.

        Args:
            samples: (samples,) or (samples, channels), any number of them, floating point of about
                [-1, 1], or integers of full scale.

        Returns:
            The emotions of the windows that this chunk completed, in order; often none.

        Raises:
            WrongUseError: if the stream is closed, or these are not finite samples.
            WorkFailedError: if the model failed.
        """
        if self._is_closed:
            raise WrongUseError("the stream is closed; open another one for the next recording")
        chunk = to_mono(np.asarray(samples))
        if not np.isfinite(chunk).all():
            raise UnreadableAudioError("the chunk holds NaN or infinite samples; give finite ones")
        return self._take(self._resampler.push(chunk))

    def close(self) -> list[Emotion]:
        """End the recording.

        Returns:
            The emotions of the windows that were yet to come: the last one, if those before it
            leave something uncovered. Closed again, or without any samples: none.

        Raises:
            WorkFailedError: if the model failed.
        """
        if self._is_closed:
            return []
        self._is_closed = True
        return self._take(self._resampler.finish(), last=True)

    @property
    def overall(self) -> Emotion:
        """The emotion of the recording so far: the mean of its windows, weighted by their lengths.

        Raises:
            WrongUseError: if no window is complete yet.
        """
        if not self.emotions:
            raise WrongUseError("no window is complete yet; push more samples, or close the stream")
        end = self.emotions[-1].end
        timeline = self._timeline
        whole = Segment(0.0, end, timeline.label, timeline.probabilities)
        return name_emotion(whole, self._classifier)

    def _take(self, samples: np.ndarray, last: bool = False) -> list[Emotion]:
        self._is_empty = self._is_empty and not len(samples)
        try:
            segments = self._timeline.push(samples)
            if last and not self._is_empty:
                segments += self._timeline.finish()
        except ModelFailedError as error:
            raise WorkFailedError(str(error)) from error
        new = [name_emotion(segment, self._classifier) for segment in segments]
        self.emotions += new
        return new
