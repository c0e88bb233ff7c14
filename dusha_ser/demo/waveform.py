"""The loudness of a recording over time, for its drawing."""

import numpy as np

# Peaks are kept this far apart, in seconds.
STEP = 0.02


class Envelope:
    """The peaks of a recording that comes piece by piece, each of `step` seconds.

    Examples:
        >>> envelope = Envelope(sampling_rate=4, step=0.5)
        >>> envelope.push(np.array([0.5, -1.0, 0.25]))
        >>> envelope.peaks().tolist(), envelope.duration
        ([1.0, 0.25], 0.75)
    """

    def __init__(self, sampling_rate: int, step: float = STEP):
        self.sampling_rate = sampling_rate
        self.size = max(1, round(step * sampling_rate))
        self._held = np.empty(0, dtype=np.float32)
        self._peaks: list[np.ndarray] = []
        self._samples = 0

    def push(self, samples: np.ndarray) -> None:
        """Take the next samples, (samples,) in [-1, 1]."""
        self._samples += len(samples)
        held = np.concatenate([self._held, np.abs(samples)], dtype=np.float32)
        whole = len(held) - len(held) % self.size
        if whole:
            self._peaks.append(held[:whole].reshape(-1, self.size).max(axis=1))
        self._held = held[whole:]

    @property
    def duration(self) -> float:
        """Length of the recording so far, in seconds."""
        return self._samples / self.sampling_rate

    def peaks(self) -> np.ndarray:
        """The loudest sample of each step, (steps,) in [0, 1]."""
        rest = [self._held.max(keepdims=True)] if len(self._held) else []
        return np.concatenate([np.empty(0, dtype=np.float32), *self._peaks, *rest])
