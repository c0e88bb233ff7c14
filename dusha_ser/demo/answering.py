"""Predictions for the page: of a file, and of a microphone while somebody speaks."""

import contextlib
import hashlib
import importlib.util
import queue
import secrets
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import soundfile

from dusha_ser.audio.finding import AudioFile
from dusha_ser.audio.reading import SAMPLING_RATE, UnreadableAudioError, read_blocks
from dusha_ser.audio.samples import Resampler, to_mono
from dusha_ser.demo.options import DemoOptions
from dusha_ser.demo.waveform import Envelope
from dusha_ser.inference.audio_files import FileClassifier, load_classifier
from dusha_ser.inference.timeline import Classify, TimelineClassifier
from dusha_ser.timelines.merging import Segment

# While somebody speaks, a prediction comes each second: windows shorter than those of files.
LIVE_WINDOW = 3.0
LIVE_HOP = 1.0
# A visitor who has sent nothing for this time, in seconds, has left.
SILENT = 60.0


@dataclass
class Answer:
    """What there is to show of a recording.

    `probabilities` are those of all labels, in their order, and empty where there is no prediction.
    `prediction` is None where there is no speech, or an `error`, which says why; `problem` is its
    kind, a key of the page's texts, and `limit` how many minutes are allowed. Of a recording that
    `is_long`, the prediction is the mean of many windows. `name` is that of its file.
    """

    labels: list[str]
    prediction: str | None = None
    probabilities: list[float] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    envelope: Envelope = field(default_factory=lambda: Envelope(SAMPLING_RATE))
    error: str | None = None
    problem: str = "failed"
    limit: float = 0.0
    name: str = ""
    is_long: bool = False


class Answerer:
    """Predicts files as `dusha predict` does, and opens sessions for microphones.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is not such a model, or something must be installed for it.
    """

    def __init__(self, options: DemoOptions):
        loaded = load_classifier(
            options.settings, options.device, trust_remote_code=options.trust_remote_code
        )
        self.settings = loaded.settings
        self.labels = loaded.labels
        self.sampling_rate = loaded.sampling_rate
        self.classify = _one_at_a_time(loaded.classify)
        self.longest = 60 * options.longest
        self.longest_live = 60 * options.longest_live
        self.speakers = options.speakers
        self.can_find_speech = importlib.util.find_spec("silero_vad") is not None
        self._detectors: queue.SimpleQueue = queue.SimpleQueue()
        self._sessions: weakref.WeakSet[LiveSession] = weakref.WeakSet()
        self._sessions_lock = threading.Lock()

    def answer_file(self, path: str | Path, vad: bool = False) -> Answer:
        """Classify a file as `dusha predict FILE` does, with and without --timeline."""
        answer = Answer(self.labels, envelope=Envelope(self.sampling_rate), name=Path(path).name)
        try:
            for block in read_blocks(path, self.sampling_rate):
                answer.envelope.push(block)
                if answer.envelope.duration > self.longest:
                    answer.limit = self.longest / 60
                    answer.error = f"is longer than {answer.limit:g} minutes, the limit here"
                    answer.problem = "too_long"
                    return answer
        except UnreadableAudioError as error:
            answer.error, answer.problem = str(error), "unreadable"
            return answer
        file, classify = AudioFile("", str(path)), _Remembering(self.classify)
        model = classify, self.labels, self.sampling_rate
        with self._detector(vad) as detector:
            (whole,), windows = (
                FileClassifier(
                    replace(self.settings, timeline=timeline, vad=vad), *model, detector
                )([file])[0]
                for timeline in (False, True)
            )
        answer.error = whole["error"] or windows[0]["error"]
        if answer.error is None and whole["prediction"] is not None:
            answer.prediction = whole["prediction"]
            answer.is_long = answer.envelope.duration > self.settings.whole
            answer.probabilities = list(whole["probabilities"].values())
            answer.segments = [
                Segment(row["start"], row["end"], row["prediction"], np.array(list(shares)))
                for row in windows
                for shares in [row["probabilities"].values()]
            ]
        return answer

    def open_session(self, folder: str | Path) -> "LiveSession | None":
        """Begin to record a microphone into a folder; None where all places are taken."""
        silent_since = time.monotonic() - SILENT
        with self._sessions_lock:
            speaking = [
                one for one in self._sessions if not one.finished and one.heard_at > silent_since
            ]
            if len(speaking) >= self.speakers:
                return None
            session = LiveSession(self, Path(folder))
            self._sessions.add(session)
        return session

    @contextlib.contextmanager
    def _detector(self, wanted: bool) -> Iterator:
        """Lend a detector of speech, which has a state and so serves one file at a time."""
        if not wanted:
            yield None
            return
        from dusha_ser.audio.voice_activity import SpeechDetector

        try:
            detector = self._detectors.get_nowait()
        except queue.Empty:
            detector = SpeechDetector()
        try:
            yield detector
        finally:
            self._detectors.put(detector)


class LiveSession:
    """One visitor at the microphone: takes what the browser sends, and predicts as it comes.

    The recording is kept in the folder until it is handed over.
    """

    def __init__(self, answerer: Answerer, folder: Path):
        self.answerer = answerer
        rate = answerer.sampling_rate
        self.timeline = TimelineClassifier(
            answerer.classify, answerer.labels, rate, LIVE_WINDOW, LIVE_HOP
        )
        self.envelope = Envelope(rate)
        self.segments: list[Segment] = []
        self.recording = folder / f"{secrets.token_hex(8)}.wav"
        self.finished = False
        self.heard_at = time.monotonic()
        self._resampler: Resampler | None = None
        self._old_rate = 0
        # The page sends one piece after the other; others may send several at once.
        self._lock = threading.Lock()
        # 32-bit samples: classifying the recording gives the predictions that were shown live.
        self._file = soundfile.SoundFile(self.recording, "w", rate, 1, "FLOAT")

    @property
    def is_full(self) -> bool:
        """Whether no more is taken."""
        return self.envelope.duration >= self.answerer.longest_live

    def push(self, samples: np.ndarray, rate: int) -> Answer:
        """Take the next piece of the recording, (samples,) int16 at the same rate in Hz as before.

        The prediction of the state that it returns is that of the last window.

        Raises:
            ValueError: if the rate changed.
        """
        self.heard_at = time.monotonic()
        with self._lock:
            if self._resampler is None:
                self._old_rate = rate
                self._resampler = Resampler(rate, self.answerer.sampling_rate)
            if rate != self._old_rate:
                raise ValueError(f"its rate went from {self._old_rate} Hz to {rate} Hz")
            if not self.finished:
                self._take(self._resampler.push(to_mono(samples)))
            return self._answer()

    def finish(self) -> Answer:
        """End the recording; the prediction is that of all of it."""
        with self._lock:
            if not self.finished:
                self.finished = True
                if self._resampler is not None:
                    self._take(self._resampler.finish())
                if self.envelope.duration:
                    self.segments += self.timeline.finish()
                self._file.close()
            return self._answer()

    def close(self) -> None:
        """Forget the recording."""
        with self._lock:
            self.finished = True
            self._file.close()
            self.recording.unlink(missing_ok=True)

    def _take(self, samples: np.ndarray) -> None:
        left = self.answerer.longest_live - self.envelope.duration
        samples = samples[: max(0, round(left * self.answerer.sampling_rate))]
        self._file.write(samples)
        self.envelope.push(samples)
        self.segments += self.timeline.push(samples)

    def _answer(self) -> Answer:
        answer = Answer(
            self.answerer.labels,
            envelope=self.envelope,
            segments=self.segments,
            name=self.recording.name,
        )
        if self.segments:
            shown = self.timeline if self.finished else self.segments[-1]
            answer.prediction, answer.probabilities = shown.label, shown.probabilities.tolist()
            answer.is_long = self.finished and len(self.segments) > 1
        return answer


def _one_at_a_time(classify: Classify) -> Classify:
    """Let visitors share the model batch by batch, so that memory does not grow with them."""
    lock = threading.Lock()

    def classify_alone(clips: list[np.ndarray]) -> np.ndarray:
        with lock:
            return classify(clips)

    return classify_alone


class _Remembering:
    """Remembers the probabilities of one file's clips, so that the model sees each clip once.

    A long file's prediction is the mean of the windows that its timeline shows, and a short file is
    itself its only window.
    """

    def __init__(self, classify: Classify):
        self.classify = classify
        self._known: dict[bytes, np.ndarray] = {}

    def __call__(self, clips: list[np.ndarray]) -> np.ndarray:
        keys = [hashlib.sha256(clip.tobytes()).digest() for clip in clips]
        new = {key: clip for key, clip in zip(keys, clips, strict=True) if key not in self._known}
        if new:
            self._known |= zip(new, self.classify(list(new.values())), strict=True)
        return np.stack([self._known[key] for key in keys])
