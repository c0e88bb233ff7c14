"""From audio files to rows of predictions: short files in batches, long ones in windows.

The same list of files makes the same batches, so a resumed run writes what an undisturbed one does.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dusha_ser.audio.finding import AudioFile
from dusha_ser.audio.reading import (
    SAMPLING_RATE,
    AudioSource,
    UnreadableAudioError,
    read_blocks,
)
from dusha_ser.errors import WrongUseError
from dusha_ser.fingerprints import code_digest
from dusha_ser.inference.batching import ModelFailedError, WaitingClips, checked_probabilities
from dusha_ser.inference.prediction_rows import time_columns
from dusha_ser.inference.settings import CODE, Settings
from dusha_ser.inference.subnormals import flush_subnormals
from dusha_ser.inference.timeline import Classify, Segment, TimelineClassifier

BATCH_SIZE = 16


@dataclass
class Recording:
    """What is known of one recording, in seconds.

    `segments` are the windows of a timeline, or one of the whole; there are none if there was an
    error or, where silence is cut, no speech. `waiting` has first sample and size of clips that
    are yet to be classified.
    """

    name: str
    duration: float = 0.0
    speech: float = 0.0
    error: str | None = None
    model_failed: bool = False  # whether the error is the model's, not one of reading
    segments: list[Segment] = field(default_factory=list)
    waiting: list[tuple[int, int]] = field(default_factory=list)


@dataclass(eq=False)
class FileClassifier:
    """Classifies groups of files and other recordings."""

    settings: Settings
    classify: Classify
    labels: list[str]  # in the order of the probabilities
    sampling_rate: int  # of the clips, in Hz
    detector: Any = None  # an audio.voice_activity.SpeechDetector; None: everything is speech

    def __post_init__(self) -> None:
        settings = self.settings
        self.batch_size = settings.batch_size or BATCH_SIZE
        self.longest = settings.window if settings.timeline else settings.whole

    def __call__(self, files: Sequence[AudioFile]) -> list[list[dict]]:
        """Classify a group of files, of which alone batches are made.

        Returns:
            The rows of each file, at least one: id; start and end, or duration (and speech, where
            silence is cut), in seconds; prediction; probabilities by label; error, None where all
            went well. Without a prediction, the values are None.
        """
        recordings = self.classify_sources([(file.name, file.path) for file in files])
        return [
            [self._row(recording, segment) for segment in recording.segments]
            or [self._row(recording, None)]
            for recording in recordings
        ]

    def classify_sources(self, sources: Sequence[tuple[str, AudioSource]]) -> list[Recording]:
        """Classify a group of recordings, of which alone batches are made.

        Args:
            sources: names, and what `read_blocks` reads.
        """
        waiting = WaitingClips(self.classify, self.sampling_rate, self.batch_size, self.longest)
        begun = [self._begin(number, *one, waiting) for number, one in enumerate(sources)]
        waiting.flush()
        for number, recording in enumerate(begun):
            self._finish(number, recording, waiting)
        return begun

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

    def _begin(
        self, number: int, name: str, source: AudioSource, waiting: WaitingClips
    ) -> Recording:
        """Read a recording, and classify what is long; what is short waits."""
        recording = Recording(name)
        try:
            pieces = self._pieces(source, recording)
            for first, own in itertools.groupby(pieces, lambda piece: piece[0]):
                blocks = (samples for _, samples in own)
                held, size = [], 0
                for block in blocks:
                    held.append(block)
                    size += len(block)
                    if size > self.longest * self.sampling_rate:
                        long = itertools.chain(held, blocks)
                        recording.segments += self._classify_windows(first, long)
                        break
                else:
                    recording.waiting.append((first, size))
                    waiting.add((number, first), np.concatenate(held))
        except (UnreadableAudioError, ModelFailedError) as error:
            recording.error = str(error)
            recording.model_failed = isinstance(error, ModelFailedError)
        return recording

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

    def _classify_windows(self, first: int, blocks: Iterable[np.ndarray]) -> list[Segment]:
        """Classify a long recording, or part of one from its sample `first` on, in windows."""
        timeline = self.open_timeline()
        segments = [segment for block in blocks for segment in timeline.push(block)]
        segments += timeline.finish()
        if not self.settings.timeline:
            return [Segment(0.0, segments[-1].end, timeline.label, timeline.probabilities)]
        offset = first / self.sampling_rate
        return [replace(one, start=offset + one.start, end=offset + one.end) for one in segments]

    def _finish(self, number: int, recording: Recording, waiting: WaitingClips) -> None:
        """Complete a recording's segments when the clips that waited are classified."""
        try:
            for first, size in recording.waiting if recording.error is None else ():
                row = waiting.probabilities((number, first))
                start, end = first / self.sampling_rate, (first + size) / self.sampling_rate
                label = self.labels[int(np.argmax(row))]
                recording.segments.append(Segment(start, end, label, row))
        except ModelFailedError as error:
            recording.error, recording.model_failed = str(error), True
        if recording.error is not None:
            recording.segments = []
        recording.segments.sort(key=lambda one: one.start)

    def _row(self, recording: Recording, segment: Segment | None) -> dict:
        whole = recording if recording.error is None else None
        timed = segment if self.settings.timeline else whole
        columns = time_columns(self.settings.timeline, self.settings.vad)
        times = {name: timed and round(getattr(timed, name), 3) for name in columns}
        # Around the sixth digit, a probability depends on what else was in its batch.
        probabilities = segment and [round(float(value), 6) for value in segment.probabilities]
        return {
            "id": recording.name,
            **times,
            "prediction": segment and segment.label,
            "probabilities": probabilities and dict(zip(self.labels, probabilities, strict=True)),
            "error": recording.error,
        }


def load_classifier(
    settings: Settings,
    device: str | None = None,
    threads: int | None = None,
    trust_remote_code: bool = False,
) -> FileClassifier:
    """Load the model that the settings name, and the detector of speech where it is wanted.

    ONNX runs on the processor, whatever the device; without `threads`, on as many as there are.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is not such a model, or something must be installed for it.
    """
    flush_subnormals()
    detector = None
    if settings.vad:
        from dusha_ser.audio.voice_activity import SpeechDetector

        detector = SpeechDetector()
    if settings.model.endswith(".onnx"):
        try:
            from dusha_ser.inference.onnx_runtime import OnnxClassifier

            onnx = OnnxClassifier(settings.model, threads)
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
        model, extractor = load_model(settings.model, device, trust_remote_code)
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
    classify = torch_classifier(model, extractor)
    return FileClassifier(settings, classify, labels, extractor.sampling_rate, detector)


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
