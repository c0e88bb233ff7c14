"""From audio files to rows of predictions: short files in batches, long ones in windows.

The same list of files makes the same batches, so a resumed run writes what an undisturbed one does.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dusha_ser.audio.finding import AudioFile
from dusha_ser.audio.reading import AudioSource
from dusha_ser.errors import WrongUseError
from dusha_ser.fingerprints import code_digest
from dusha_ser.inference.batching import (
    BATCH_SIZE,
    TIMELINE_SECONDS,
    ModelFailedError,
    Rows,
    WaitingClips,
    checked_probabilities,
)
from dusha_ser.inference.clips import ClipReader, GivenTurns, Recording, load_detector, read_into
from dusha_ser.inference.prediction_rows import time_columns, word_columns
from dusha_ser.inference.settings import CODE, Settings
from dusha_ser.inference.subnormals import flush_subnormals
from dusha_ser.inference.timeline import Classify, TimelineClassifier
from dusha_ser.timelines.merging import Segment, merge_segments
from dusha_ser.vocabulary import PROBABILITY_DIGITS, UNCERTAIN, choose_label

# A GPU is kept busy by no less.
ACCELERATOR_BATCH_SIZE = 64


@dataclass(eq=False)
class FileClassifier:
    """Classifies groups of files and other recordings."""

    settings: Settings
    classify: Classify
    labels: list[str]  # in the order of the probabilities
    sampling_rate: int  # of the clips, in Hz
    detector: Any = None  # an audio.voice_activity.SpeechDetector; None: everything is speech
    on_accelerator: bool = False  # where the model is

    def __post_init__(self) -> None:
        usual = ACCELERATOR_BATCH_SIZE if self.on_accelerator else BATCH_SIZE
        self.batch_size = self.settings.batch_size or usual
        self.reader = ClipReader(self.settings, self.sampling_rate, self.detector)
        if self.settings.least_confidence and UNCERTAIN in self.labels:
            raise WrongUseError(
                f"{self.settings.model} has a label {UNCERTAIN!r} of its own, which nobody could "
                "tell from doubt: leave out `least_confidence`, or rename the label in its "
                "config.json"
            )

    def choose_label(self, probabilities: np.ndarray) -> str:
        """Return what the probabilities (labels,) predict, as the settings ask for it."""
        return choose_label(self.labels, probabilities.tolist(), self.settings.least_confidence)

    def __call__(self, files: Sequence[AudioFile]) -> Rows:
        """Classify a group of files, of which alone batches are made.

        Returns:
            The rows of each file, at least one: id; start and end (and speaker and text, of turns),
            or duration (and speech, where silence is cut), in seconds; prediction; probabilities
            by label; error, None where all went well. Without a prediction, the values are None.
        """
        sources = [(file.name, file.path, file.turns) for file in files]
        return self.rows(self.classify_sources(sources))

    def rows(self, recordings: Iterable[Recording]) -> Rows:
        """Turn classified recordings into the rows of each, as a call does."""
        return [
            [self._row(recording, segment) for segment in recording.segments]
            or [self._row(recording, None)]
            for recording in recordings
        ]

    def classify_sources(
        self, sources: Sequence[tuple[str, AudioSource, GivenTurns]]
    ) -> list[Recording]:
        """Classify a group of recordings, of which alone batches are made.

        Args:
            sources: names, what `read_blocks` reads, and turns, where each has a row.
        """
        group = self.open_group()
        read_into(group, self.reader, sources)
        return group.finish()

    def open_group(self) -> "Group":
        """Begin a group of recordings."""
        return Group(self)

    def open_timeline(self) -> TimelineClassifier:
        """Begin the timeline of a recording; its `push` and `finish` raise a ModelFailedError."""
        return TimelineClassifier(
            lambda windows: checked_probabilities(self.classify, windows),
            self.labels,
            self.sampling_rate,
            self.settings.window,
            self.settings.hop,
            self.batch_size,
        )

    def complete(self, recording: Recording, rows: np.ndarray) -> None:
        """Give a recording its segments, by the probabilities (clips, labels) of its clips."""
        if self.settings.segments:
            recording.segments = self._turn_segments(recording, rows)
            return
        spans = [(one.first, one.first + one.size) for one in recording.clips]
        if not self.settings.timeline and len(spans) > 1:
            rows = np.average(rows, axis=0, weights=[one.size for one in recording.clips])[None]
            spans = [(0, spans[-1][1])]
        recording.segments = [
            Segment(
                start / self.sampling_rate,
                end / self.sampling_rate,
                self.choose_label(row),
                row,
            )
            for (start, end), row in zip(spans, rows, strict=True)
        ]
        if self.settings.merge:
            shortest = self.settings.shortest
            recording.segments = merge_segments(recording.segments, self.choose_label, shortest)

    def _turn_segments(self, recording: Recording, rows: np.ndarray) -> list[Segment]:
        """Make one segment per turn: of the mean of its windows, if it has several."""
        by_turn: dict[int, list[int]] = {}
        for number, clip in enumerate(recording.clips):
            by_turn.setdefault(clip.turn, []).append(number)
        segments = []
        for number, turn in enumerate(recording.turns):
            own = by_turn.get(number, [])
            label, row = None, np.empty(0)
            if own:
                row = np.average(rows[own], axis=0, weights=[recording.clips[n].size for n in own])
                label = self.choose_label(row)
            segments.append(Segment(turn.start, turn.end, label, row, turn.speaker, turn.text))
        return segments

    def _row(self, recording: Recording, segment: Segment | None) -> dict:
        whole = recording if recording.error is None else None
        timed = segment if self.settings.several_rows else whole
        times = {
            name: timed and round(getattr(timed, name), 3) for name in time_columns(self.settings)
        }
        words = {name: segment and getattr(segment, name) for name in word_columns(self.settings)}
        probabilities = segment and [
            round(float(value), PROBABILITY_DIGITS) for value in segment.probabilities
        ]
        return {
            "id": recording.name,
            **times,
            **words,
            "prediction": segment and segment.label,
            "probabilities": probabilities and dict(zip(self.labels, probabilities, strict=True)),
            "error": recording.error,
        }


class Group:
    """Recordings whose clips are classified together, in batches of similar length."""

    def __init__(self, classifier: FileClassifier):
        self.classifier = classifier
        self.recordings: list[Recording] = []
        self._clips = 0
        is_light = classifier.settings.timeline and not classifier.on_accelerator
        self._waiting = WaitingClips(
            classifier.classify,
            classifier.sampling_rate,
            classifier.batch_size,
            classifier.reader.longest,
            TIMELINE_SECONDS if is_light else None,
        )

    def add(self, clip: np.ndarray, size: int | None = None) -> None:
        """Take the next clip (samples,) of the recording that ends next; of features, its size."""
        self._waiting.add((len(self.recordings), self._clips), clip, size)
        self._clips += 1

    def end(self, recording: Recording) -> None:
        """Take a recording when all its clips came."""
        self.recordings.append(recording)
        self._clips = 0

    def finish(self) -> list[Recording]:
        """Classify the clips that wait; return the recordings with their segments."""
        self._waiting.flush()
        for number, one in enumerate(self.recordings):
            if one.error is not None or not (one.clips or one.turns):
                continue
            try:
                keys = [(number, clip) for clip in range(len(one.clips))]
                self.classifier.complete(one, np.array([*map(self._waiting.probabilities, keys)]))
            except ModelFailedError as error:
                one.error, one.model_failed = str(error), True
        return self.recordings


def load_classifier(
    settings: Settings,
    device: str | None = None,
    threads: int | None = None,
    trust_remote_code: bool = False,
    from_features: bool = False,
) -> FileClassifier:
    """Load the model that the settings name, and the detector of speech where it is wanted.

    ONNX runs on the processor, whatever the device; without `threads`, on as many as there are.
    `from_features` is for clips that are features already: such a one reads no files.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is not such a model, or something must be installed for it.
    """
    flush_subnormals()
    detector = None if from_features else load_detector(settings)
    if settings.model.endswith(".onnx"):
        try:
            from dusha_ser.inference.onnx_runtime import OnnxClassifier

            onnx = OnnxClassifier(settings.model, threads, from_features)
        except ImportError as error:
            raise WrongUseError(
                f'{error}; .onnx files need the extra: pip install "dusha-ser[onnx]"'
            ) from error
        return FileClassifier(settings, onnx, onnx.labels, onnx.sampling_rate, detector)

    import torch

    from dusha_ser.inference.classify import torch_classifier
    from dusha_ser.inference.loading import load_model

    if threads:
        torch.set_num_threads(threads)
    try:
        model, extractor = load_model(settings.model, device, trust_remote_code, settings.prior)
    except WrongUseError as error:
        if "trust_remote_code" not in str(error.__cause__):
            raise
        raise WrongUseError(
            f"{settings.model} brings code of its own, which would run here with your rights; "
            "read it, and pass `trust_remote_code=True` if you trust it"
        ) from error
    if settings.batch_size is None and model.config.model_type != "dusha":
        settings = replace(settings, batch_size=1)
    labels = [model.config.id2label[number] for number in range(model.config.num_labels)]
    classify = torch_classifier(model, extractor, from_features)
    rate, on_accelerator = extractor.sampling_rate, model.device.type != "cpu"
    return FileClassifier(settings, classify, labels, rate, detector, on_accelerator)


def decisive(settings: Settings, trust_remote_code: bool = False) -> dict[str, Any]:
    """Return what decides predictions, fit for JSON: settings, the model's content, the code."""
    from dusha_ser.inference.loading import model_fingerprint

    if settings.model.endswith(".onnx"):
        with Path(settings.model).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    else:
        content = model_fingerprint(settings.model, trust_remote_code)
    return settings.decisive() | {
        "content of the model": content,
        "version of the software": code_digest(*CODE),
    }
