"""One call from a recording to its emotion, in Python; what `dusha predict` is in the shell."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, overload

import numpy as np

from dusha_ser.audio.problems import MISSING, count_reasons
from dusha_ser.audio.samples import Resampler, UnreadableAudioError, to_mono
from dusha_ser.audio.sources import is_several, name_source
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError
from dusha_ser.inference.audio_files import FileClassifier, load_classifier
from dusha_ser.inference.batching import ModelFailedError
from dusha_ser.inference.clips import Recording
from dusha_ser.inference.prediction_rows import PROBABILITY_PREFIX
from dusha_ser.inference.settings import HOP, WINDOW, Settings
from dusha_ser.inference.timeline import TimelineClassifier
from dusha_ser.timelines.merging import Segment

if TYPE_CHECKING:
    import pandas

    from dusha_ser.audio.voice_activity import SpeechDetector

# What `name_source` takes, but for an AudioDecoder, whose library may not be installed.
Audio = str | os.PathLike[str] | bytes | BinaryIO | tuple[Any, float] | Mapping[str, Any]


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


class EmotionClassifier:
    """A model, ready to hear recordings of any format and sampling rate.

    Recordings are a path; (samples, sampling_rate), where samples are (samples,) or
    (samples, channels), floating point of about [-1, 1] or integers of full scale; the bytes of an
    audio file; a file opened in binary mode; a row of a data set, or the value of its audio column
    ({"bytes", "path"}, {"array", "sampling_rate"} or an AudioDecoder).

    Args:
        model: a model folder, a name on the Hub, or an .onnx file that `dusha export` wrote.
        device: "cpu", "cuda" and so on; None: a GPU if there is one. An .onnx file runs on the CPU.
        least_confidence: probability in [0, 1] of the most probable label below which the label is
            "uncertain"; probabilities stay.
        batch_size: the most clips that are classified at once; None: 16, or 1 where padding may
            change a model's predictions.
        trust_remote_code: whether code that came with the model may run; Dusha's needs none.

    Attributes:
        labels: of the model, in the order of its probabilities.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is not an audio classification model, something must be installed, or
            `least_confidence` is out of range or the model has a label "uncertain" of its own.

    Examples:
        >>> import tempfile
        >>> from configuration_dusha import DushaConfig
        >>> from dusha_ser import EmotionClassifier
        >>> from dusha_ser.corpus.sample_voice import draw_voice, speak
        >>> from feature_extraction_dusha import DushaFeatureExtractor
        >>> from modeling_dusha import DushaForAudioClassification
        >>> folder = tempfile.TemporaryDirectory()
        >>> DushaForAudioClassification(DushaConfig()).save_pretrained(folder.name)
        >>> _ = DushaFeatureExtractor().save_pretrained(folder.name)
        >>> emotions = EmotionClassifier(folder.name)  # an untrained model
        >>> emotions.labels
        ['angry', 'sad', 'neutral', 'positive']
        >>> rng = np.random.default_rng(0)
        >>> samples, text = speak(rng, draw_voice(rng), "angry")
        >>> emotion = emotions.predict((samples, 16000))
        >>> emotion.label in emotions.labels, list(emotion.probabilities)
        (True, ['angry', 'sad', 'neutral', 'positive'])
        >>> emotion.duration == len(samples) / 16000
        True
        >>> len(emotions.predict([(samples, 16000), (samples[:8000], 16000)]))
        2
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        device: str | None = None,
        *,
        least_confidence: float = 0.0,
        batch_size: int | None = None,
        trust_remote_code: bool = False,
    ):
        settings = Settings(
            os.fspath(model), least_confidence=least_confidence, batch_size=batch_size
        )
        settings.check()
        self._classifier = load_classifier(settings, device, trust_remote_code=trust_remote_code)
        self._detector: SpeechDetector | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._classifier.settings.model!r})"

    @property
    def labels(self) -> list[str]:
        """The labels of the model, in the order of its probabilities."""
        return list(self._classifier.labels)

    @overload
    def predict(self, audio: Audio, *, vad: bool = ...) -> Emotion: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, audio: Iterable[Audio], *, vad: bool = ...) -> list[Emotion]: ...
    def predict(self, audio: Any, *, vad: bool = False) -> Emotion | list[Emotion]:
        """Classify a recording or, in batches, several.

        One longer than 30 seconds gets the mean of its windows, weighted by their lengths.

        Args:
            audio: a recording, or a list or other iterable of recordings.
            vad: whether to leave out what is not speech (needs silero-vad).

        Returns:
            The emotion; of several recordings, a list in their order.

        Raises:
            MissingInputError: if a file is missing.
            WrongUseError: if a recording cannot be read; of several, it counts and names them.
            WorkFailedError: if the model failed.
        """
        recordings = self._classify(audio, vad=vad)
        emotions = [self._whole(recording) for recording in recordings]
        return emotions if is_several(audio) else emotions[0]

    @overload
    def timeline(  # type: ignore[overload-overlap]
        self,
        audio: Audio,
        *,
        window: float = ...,
        hop: float = ...,
        vad: bool = ...,
        merge: bool = ...,
    ) -> "pandas.DataFrame": ...
    @overload
    def timeline(
        self,
        audio: Iterable[Audio],
        *,
        window: float = ...,
        hop: float = ...,
        vad: bool = ...,
        merge: bool = ...,
    ) -> "list[pandas.DataFrame]": ...
    def timeline(
        self,
        audio: Any,
        *,
        window: float = WINDOW,
        hop: float = HOP,
        vad: bool = False,
        merge: bool = False,
    ) -> "pandas.DataFrame | list[pandas.DataFrame]":
        """Classify a recording of any length window by window.

        Args:
            audio: a recording, or a list or other iterable of recordings.
            window: length of a window, in seconds.
            hop: from the start of a window to the start of the next, in seconds.
            vad: whether windows lie within speech only (needs silero-vad).
            merge: whether windows are joined into segments, which do not overlap: each instant
                gets the mean probabilities of the windows over it, and neighbouring instants of
                the same label are one segment.

        Returns:
            One row per window or segment with the columns of `dusha predict --timeline`: start and
            end in seconds, prediction, and probability_LABEL for each label. Of several recordings,
            a list in their order.

        Raises:
            MissingInputError: if a file is missing.
            WrongUseError: if window or hop is out of range, or a recording cannot be read.
            WorkFailedError: if the model failed.

        Examples:
            >>> import tempfile
            >>> from configuration_dusha import DushaConfig
            >>> from feature_extraction_dusha import DushaFeatureExtractor
            >>> from modeling_dusha import DushaForAudioClassification
            >>> folder = tempfile.TemporaryDirectory()
            >>> DushaForAudioClassification(DushaConfig()).save_pretrained(folder.name)
            >>> _ = DushaFeatureExtractor().save_pretrained(folder.name)
            >>> emotions = EmotionClassifier(folder.name)
            >>> noise = np.random.default_rng(0).uniform(-0.1, 0.1, 5 * 44100)
            >>> table = emotions.timeline((noise, 44100), window=2, hop=1.5)
            >>> print(table[["start", "end"]])
               start  end
            0    0.0  2.0
            1    1.5  3.5
            2    3.0  5.0
            >>> with emotions.stream(44100, window=2, hop=1.5) as stream:
            ...     for chunk in np.array_split(noise, 50):
            ...         for emotion in stream.push(chunk):
            ...             print(emotion.start, emotion.end)
            0.0 2.0
            1.5 3.5
            >>> [(emotion.start, emotion.end) for emotion in stream.emotions]
            [(0.0, 2.0), (1.5, 3.5), (3.0, 5.0)]
        """
        options = {"timeline": True, "window": window, "hop": hop, "vad": vad, "merge": merge}
        tables = [self._table(recording.segments) for recording in self._classify(audio, **options)]
        return tables if is_several(audio) else tables[0]

    def stream(
        self, sampling_rate: float, *, window: float = WINDOW, hop: float = HOP
    ) -> "EmotionStream":
        """Begin a recording that comes in chunks, from a microphone or a call.

        Its emotions are those of `timeline`.

        Args:
            sampling_rate: of the chunks, in Hz.
            window: length of a window, in seconds.
            hop: from the start of a window to the start of the next, in seconds.

        Raises:
            WrongUseError: if one of them is out of range.
        """
        return EmotionStream(self._configured(timeline=True, window=window, hop=hop), sampling_rate)

    def _configured(self, **options: Any) -> FileClassifier:
        settings = replace(self._classifier.settings, **options)
        settings.check()
        if settings.vad and self._detector is None:
            from dusha_ser.audio.voice_activity import SpeechDetector

            self._detector = SpeechDetector()
        detector = self._detector if settings.vad else None
        return replace(self._classifier, settings=settings, detector=detector)

    def _classify(self, audio: Any, **options: Any) -> list[Recording]:
        """Classify one recording or several; raise an error if any fails."""
        classifier = self._configured(**options)
        if is_several(audio):
            sources = [name_source(one, f"item {number}") for number, one in enumerate(audio)]
        else:
            sources = [name_source(audio, "the recording")]
        recordings = classifier.classify_sources(sources)
        problems = {one.name: one.error for one in recordings if one.error is not None}
        if not problems:
            return recordings
        error: type[Exception] = UnreadableAudioError
        if any(one.model_failed for one in recordings):
            error = WorkFailedError
        elif set(problems.values()) == {MISSING}:
            error = MissingInputError
        if not is_several(audio):
            ((name, reason),) = problems.items()
            raise error(f"cannot classify {name}: {reason}")
        count = sum(one.error is not None for one in recordings)
        raise error(
            f"{count} of {len(recordings)} recordings cannot be classified: "
            f"{count_reasons(problems)}; leave them out"
        )

    def _whole(self, recording: Recording) -> Emotion:
        if not recording.segments:
            return Emotion(None, {}, 0.0, recording.duration)
        emotion = _emotion(recording.segments[0], self._classifier)
        return replace(emotion, start=0.0, end=recording.duration)

    def _table(self, segments: list[Segment]) -> "pandas.DataFrame":
        import pandas

        probabilities = np.array([one.probabilities for one in segments], dtype=np.float64)
        columns = {
            "start": np.array([one.start for one in segments], dtype=np.float64),
            "end": np.array([one.end for one in segments], dtype=np.float64),
            "prediction": [one.label for one in segments],
        }
        by_label = probabilities.reshape(-1, len(self.labels)).T
        names = [PROBABILITY_PREFIX + label for label in self.labels]
        return pandas.DataFrame(columns | dict(zip(names, by_label, strict=True)))


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
        return _emotion(whole, self._classifier)

    def _take(self, samples: np.ndarray, last: bool = False) -> list[Emotion]:
        self._is_empty = self._is_empty and not len(samples)
        try:
            segments = self._timeline.push(samples)
            if last and not self._is_empty:
                segments += self._timeline.finish()
        except ModelFailedError as error:
            raise WorkFailedError(str(error)) from error
        new = [_emotion(segment, self._classifier) for segment in segments]
        self.emotions += new
        return new


def _emotion(segment: Segment, classifier: FileClassifier) -> Emotion:
    """Give the probabilities of a segment the names of their labels."""
    label = classifier.choose_label(segment.probabilities)
    named = zip(classifier.labels, map(float, segment.probabilities), strict=True)
    return Emotion(label, dict(named), segment.start, segment.end)
