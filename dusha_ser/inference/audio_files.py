"""From audio files to rows of predictions: short files in batches, long ones in windows.

A file that cannot be read becomes a row with its error. A prediction does not depend on when it is
made: the same list of files makes the same batches, so a resumed run writes what an undisturbed
one writes.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dusha_ser.audio.finding import AudioFile
from dusha_ser.audio.reading import SAMPLING_RATE, UnreadableAudioError, read_blocks
from dusha_ser.errors import WrongUseError
from dusha_ser.inference.batching import ModelFailedError, WaitingClips, checked_probabilities
from dusha_ser.inference.settings import Settings
from dusha_ser.inference.timeline import Classify, Segment, TimelineClassifier

BATCH_SIZE = 16


class FileClassifier:
    """Classifies groups of files.

    Args:
        settings: what to do.
        classify: gives the probabilities (clips, labels) of clips, each (samples,).
        labels: names of the labels, in the order of the probabilities.
        sampling_rate: of the clips, in Hz.
        detector: finds speech, an audio.voice_activity.SpeechDetector; None: everything counts.
    """

    def __init__(
        self,
        settings: Settings,
        classify: Classify,
        labels: Sequence[str],
        sampling_rate: int,
        detector=None,
    ):
        self.settings = settings
        self.classify = classify
        self.labels = list(labels)
        self.sampling_rate = sampling_rate
        self.detector = detector
        self.batch_size = settings.batch_size or BATCH_SIZE
        self.longest = settings.window if settings.timeline else settings.whole

    def __call__(self, sounds: Sequence[AudioFile]) -> list[list[dict]]:
        """Classify a group of files.

        Args:
            sounds: the files; batches are made of these alone.

        Returns:
            The rows of each file, at least one: id; start and end, or duration (and speech, where
            silence is cut), in seconds; prediction; probabilities by label; error, None where all
            went well. Without an answer, the values are None.
        """
        waiting = WaitingClips(self.classify, self.sampling_rate, self.batch_size, self.longest)
        files = [self._file(number, sound, waiting) for number, sound in enumerate(sounds)]
        waiting.flush()
        return [self._rows(number, file, waiting) for number, file in enumerate(files)]

    def _file(self, number: int, sound: AudioFile, waiting: "WaitingClips") -> "_File":
        file = _File(sound.name)
        try:
            for offset, pieces in itertools.groupby(
                self._pieces(sound, file), key=lambda piece: piece[0]
            ):
                self._part(file, (number, offset), (samples for _, samples in pieces), waiting)
        except (UnreadableAudioError, ModelFailedError) as error:
            file.error = str(error)
        return file

    def _pieces(self, sound: AudioFile, file: "_File") -> Iterator[tuple[int, np.ndarray]]:
        """Read what is to be classified; pieces of one number (a first sample) belong together."""
        if self.detector is None:
            size = 0
            for block in read_blocks(sound.path, self.sampling_rate):
                size += len(block)
                file.duration = size / self.sampling_rate
                yield 0, block
            return
        from dusha_ser.audio.voice_activity import cut_spans

        spans, file.duration = self.detector(read_blocks(sound.path, SAMPLING_RATE))
        file.speech = sum(end - start for start, end in spans)
        if not spans:
            return
        blocks = read_blocks(sound.path, self.sampling_rate)
        for start, samples in cut_spans(blocks, spans, self.sampling_rate):
            yield start if self.settings.timeline else 0, samples

    def _part(self, file, key, blocks: Iterable[np.ndarray], waiting: "WaitingClips") -> None:
        """Classify what belongs together: later in a batch if it is short, else in windows."""
        blocks, held, size = iter(blocks), [], 0
        for block in blocks:
            held.append(block)
            size += len(block)
            if size > self.longest * self.sampling_rate:
                break
        else:
            file.waiting.append((key, size))
            waiting.add(key, np.concatenate(held))
            return
        timeline = TimelineClassifier(
            lambda windows: checked_probabilities(self.classify, windows),
            self.labels,
            self.sampling_rate,
            self.settings.window,
            self.settings.hop,
            self.batch_size,
        )
        segments = []
        for block in itertools.chain(held, blocks):
            segments += timeline.push(block)
        segments += timeline.finish()
        if not self.settings.timeline:
            end = segments[-1].end
            segments = [Segment(0.0, end, timeline.label, timeline.probabilities)]
        offset = key[1] / self.sampling_rate
        file.segments += [
            Segment(offset + one.start, offset + one.end, one.label, one.probabilities)
            for one in segments
        ]

    def _rows(self, number: int, file: "_File", waiting: "WaitingClips") -> list[dict]:
        if file.error is None:
            try:
                for key, size in file.waiting:
                    row = waiting.probabilities(key)
                    start, end = key[1] / self.sampling_rate, (key[1] + size) / self.sampling_rate
                    label = self.labels[int(np.argmax(row))]
                    file.segments.append(Segment(start, end, label, row))
            except ModelFailedError as error:
                file.error = str(error)
        if file.error is not None or not file.segments:
            return [self._row(file, None)]
        return [self._row(file, one) for one in sorted(file.segments, key=lambda one: one.start)]

    def _row(self, file: "_File", segment: Segment | None) -> dict:
        row: dict[str, Any] = {"id": file.name}
        if self.settings.timeline:
            row["start"] = None if segment is None else round(segment.start, 3)
            row["end"] = None if segment is None else round(segment.end, 3)
        else:
            row["duration"] = None if file.error is not None else round(file.duration, 3)
            if self.settings.vad:
                row["speech"] = None if file.error is not None else round(file.speech, 3)
        row["prediction"] = None if segment is None else segment.label
        row["probabilities"] = (
            None
            if segment is None
            else {
                # Around the sixth digit, a probability depends on what else was in its batch.
                label: round(float(value), 6)
                for label, value in zip(self.labels, segment.probabilities, strict=True)
            }
        )
        return row | {"error": file.error}


class _File:
    """What is known so far of one file."""

    def __init__(self, name: str):
        self.name = name
        self.duration = 0.0
        self.speech = 0.0
        self.error: str | None = None
        self.segments: list[Segment] = []
        self.waiting: list[tuple[tuple[int, int], int]] = []


def load_classifier(
    settings: Settings,
    device: str | None = None,
    threads: int | None = None,
    trust_remote_code: bool = False,
) -> FileClassifier:
    """Load the model that the settings name, and the detector of speech where it is wanted.

    Args:
        settings: what to do.
        device: "cpu", "cuda" and so on; None: a GPU if there is one. ONNX runs on the processor.
        threads: processors to use; None: as many as there are.
        trust_remote_code: whether code that came with the model may run; Dusha's needs none.

    Returns:
        The classifier of files.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is not such a model, or something must be installed for it.
    """
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


def fingerprint(settings: Settings, trust_remote_code: bool = False) -> str:
    """A short hash of the model's weights: models that predict the same have the same one."""
    from dusha_ser.inference.loading import model_fingerprint

    if not settings.model.endswith(".onnx"):
        return model_fingerprint(settings.model, trust_remote_code)
    with Path(settings.model).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
