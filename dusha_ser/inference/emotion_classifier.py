"""One call from a recording to its emotion, in Python; what `dusha predict` is in the shell."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, overload

import numpy as np

from dusha_ser.audio.finding import AudioFile
from dusha_ser.audio.finding_turns import find_turns
from dusha_ser.audio.problems import MISSING, count_reasons
from dusha_ser.audio.samples import UnreadableAudioError
from dusha_ser.audio.sources import is_several, name_source
from dusha_ser.audio.turns import make_turns
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError
from dusha_ser.inference.audio_files import FileClassifier, load_classifier
from dusha_ser.inference.clips import GivenTurns, Recording
from dusha_ser.inference.emotion_stream import Emotion, EmotionStream, name_emotion
from dusha_ser.inference.settings import HOP, WINDOW, Settings
from dusha_ser.timelines.merging import Segment
from dusha_ser.timelines.recordings import PROBABILITY_PREFIX

if TYPE_CHECKING:
    import pandas

    from dusha_ser.audio.voice_activity import SpeechDetector

# What `name_source` takes, but for an AudioDecoder, whose library may not be installed.
Audio = str | os.PathLike[str] | bytes | BinaryIO | tuple[Any, float] | Mapping[str, Any]

# "vad", a path of turns, or turns; of several recordings, those of each.
Segments = str | os.PathLike[str] | Iterable[Any]
WORDS = ("speaker", "text")


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
        prior: how frequent predictions take the classes to be: "uniform", or the share of each, as
            {"angry": 0.1, ...} of any sum; None: as the model was trained or saved.

    Attributes:
        labels: of the model, in the order of its probabilities.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is not an audio classification model, something must be installed,
            `least_confidence` is out of range, the model has a label "uncertain" of its own, or
            it cannot assume that `prior`.

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
        prior: str | dict[str, float] | None = None,
    ):
        settings = Settings(
            os.fspath(model), least_confidence=least_confidence, prior=prior, batch_size=batch_size
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
        segments: Segments | None = ...,
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
        segments: Segments | None = ...,
    ) -> "list[pandas.DataFrame]": ...
    def timeline(
        self,
        audio: Any,
        *,
        window: float = WINDOW,
        hop: float = HOP,
        vad: bool = False,
        merge: bool = False,
        segments: Segments | None = None,
    ) -> "pandas.DataFrame | list[pandas.DataFrame]":
        """Classify a recording of any length, by windows, stretches of speech or turns.

        Args:
            audio: a recording, or a list or other iterable of recordings.
            window: length of a window, in seconds.
            hop: from the start of a window to the start of the next, in seconds.
            vad: whether windows lie within speech only (needs silero-vad).
            merge: whether windows are joined into segments, which do not overlap: each instant
                gets the mean probabilities of the windows over it, and neighbouring instants of
                the same label are one segment.
            segments: what has a row in place of a window: "vad" for each stretch of speech; the
                path of a file of turns that `dusha predict` reads, or of a folder of them; or the
                turns themselves, as `audio.turns.make_turns` takes them, of several recordings a
                list for each. What is longer than 30 seconds gets the mean of its windows.

        Returns:
            One row per window, segment or turn with the columns of `dusha predict --timeline`:
            start and end in seconds, prediction, and probability_LABEL for each label; of turns
            also speaker and text. A turn shorter than 0.1 s has the prediction None, and NaN as
            probabilities. Of several recordings, a list in their order.

        Raises:
            MissingInputError: if a file is missing.
            WrongUseError: if window or hop is out of range, or a recording or its turns cannot be
                read.
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
            >>> turns = [(0, 2, "Anna", "Да."), (1.5, 5, "Boris", "Нет.")]
            >>> print(emotions.timeline((noise, 44100), segments=turns).iloc[:, :4])
               start  end speaker  text
            0    0.0  2.0    Anna   Да.
            1    1.5  5.0   Boris  Нет.
            >>> with emotions.stream(44100, window=2, hop=1.5) as stream:
            ...     for chunk in np.array_split(noise, 50):
            ...         for emotion in stream.push(chunk):
            ...             print(emotion.start, emotion.end)
            0.0 2.0
            1.5 3.5
            >>> [(emotion.start, emotion.end) for emotion in stream.emotions]
            [(0.0, 2.0), (1.5, 3.5), (3.0, 5.0)]
        """
        options: dict[str, Any] = {"window": window, "hop": hop, "vad": vad, "merge": merge}
        if segments is None:
            options["timeline"] = True
        else:
            options["segments"] = "vad" if segments == "vad" else "turns"
        turns = None if segments == "vad" else segments
        recordings = self._classify(audio, turns, **options)
        words = options.get("segments") == "turns"
        tables = [self._table(recording.segments, words) for recording in recordings]
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
        if settings.finds_speech and self._detector is None:
            from dusha_ser.audio.voice_activity import SpeechDetector

            self._detector = SpeechDetector()
        detector = self._detector if settings.finds_speech else None
        return replace(self._classifier, settings=settings, detector=detector)

    def _classify(
        self, audio: Any, turns: Segments | None = None, **options: Any
    ) -> list[Recording]:
        """Classify one recording or several; raise an error if any fails."""
        classifier = self._configured(**options)
        if is_several(audio):
            sources = [name_source(one, f"item {number}") for number, one in enumerate(audio)]
        else:
            sources = [name_source(audio, "the recording")]
        given = _given_turns([name for name, _ in sources], is_several(audio), turns)
        recordings = classifier.classify_sources(
            [(*source, own) for source, own in zip(sources, given, strict=True)]
        )
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
        emotion = name_emotion(recording.segments[0], self._classifier)
        return replace(emotion, start=0.0, end=recording.duration)

    def _table(self, segments: list[Segment], words: bool) -> "pandas.DataFrame":
        import pandas

        unknown = np.full(len(self.labels), np.nan)
        probabilities = np.array(
            [one.probabilities if one.label else unknown for one in segments], dtype=np.float64
        )
        columns = {
            "start": np.array([one.start for one in segments], dtype=np.float64),
            "end": np.array([one.end for one in segments], dtype=np.float64),
            **{name: [getattr(one, name) for one in segments] for name in WORDS if words},
            "prediction": [one.label for one in segments],
        }
        by_label = probabilities.reshape(-1, len(self.labels)).T
        names = [PROBABILITY_PREFIX + label for label in self.labels]
        return pandas.DataFrame(columns | dict(zip(names, by_label, strict=True)))


def _given_turns(
    names: Sequence[str], several: bool, segments: Segments | None
) -> Sequence[GivenTurns]:
    """Find the turns of each of some recordings, or take them as they are."""
    if segments is None:
        return [None] * len(names)
    if isinstance(segments, (str, os.PathLike)):
        return find_turns([AudioFile(name, name) for name in names], Path(segments))
    turns = list(segments) if several else [segments]
    if len(turns) != len(names):
        raise WrongUseError(
            f"`segments` has {len(turns)} lists of turns for {len(names)} recordings; give one "
            "list for each"
        )
    return [make_turns(own) for own in turns]
