"""Where in a recording somebody speaks: Silero's voice activity detector, offline."""

import contextlib
from collections.abc import Iterable, Iterator

import numpy as np

from dusha_ser.audio.reading import SAMPLING_RATE
from dusha_ser.errors import WrongUseError

# The samples that the detector judges at once.
FRAME = 512


class SpeechDetector:
    """Finds speech in recordings of any length, which come piece by piece.

    Silero VAD (Silero Team, https://github.com/snakers4/silero-vad) judges 32 ms at a time; its
    own rule joins them: speech of at least 250 ms, ended by at least 100 ms of silence, with
    30 ms to spare on both sides. Its package holds its weights, so nothing is downloaded.

    Args:
        threshold: the probability of speech from which on a frame counts as speech, in (0, 1).

    Raises:
        WrongUseError: if silero-vad is not installed, or the threshold is out of range.
    """

    def __init__(self, threshold: float = 0.5):
        if not 0 < threshold < 1:
            raise WrongUseError(f"the threshold of speech is {threshold}; it must be in (0, 1)")
        # Importing silero_vad leaves PyTorch with one thread.
        with one_thread():
            try:
                import silero_vad
            except ImportError as error:
                raise WrongUseError(
                    'finding speech needs silero-vad: pip install "dusha-ser[vad]"'
                ) from error
        self.threshold = threshold
        self.model = silero_vad.load_silero_vad()
        self.join_frames = silero_vad.get_speech_timestamps_from_probs

    def __call__(self, blocks: Iterable[np.ndarray]) -> tuple[list[tuple[float, float]], float]:
        """Find the speech of one recording.

        Args:
            blocks: (samples,) each, at 16000 Hz, one after the other.

        Returns:
            Beginnings and ends of speech in seconds, in order, without overlap; and the length of
            the recording in seconds.
        """
        import torch

        size = 0

        def counted():
            nonlocal size
            for block in blocks:
                size += len(block)
                yield block

        self.model.reset_states()
        with torch.inference_mode(), one_thread():
            probabilities = [
                self.model(torch.from_numpy(frame), SAMPLING_RATE).item()
                for frame in frames(counted())
            ]
        found = self.join_frames(
            probabilities,
            sampling_rate=SAMPLING_RATE,
            threshold=self.threshold,
            audio_length_samples=size,
        )
        spans = [(one["start"] / SAMPLING_RATE, one["end"] / SAMPLING_RATE) for one in found]
        return spans, size / SAMPLING_RATE


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch work with one thread: frames of 32 ms are too little to share."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def frames(blocks: Iterable[np.ndarray], size: int = FRAME) -> Iterator[np.ndarray]:
    """Cut samples that come in pieces of any length into frames of one, the last filled by zeros.

    Examples:
        >>> [frame.tolist() for frame in frames([np.ones(3), np.ones(2)], size=2)]
        [[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]
    """
    held = np.empty(0, dtype=np.float32)
    for block in blocks:
        held = np.concatenate([held, block], dtype=np.float32)
        whole = len(held) - len(held) % size
        yield from held[:whole].reshape(-1, size)
        held = held[whole:]
    if len(held):
        yield np.pad(held, (0, size - len(held)))


def cut_spans(
    blocks: Iterable[np.ndarray], spans: Iterable[tuple[float, float]], sampling_rate: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Take spans out of a recording that comes in pieces (samples,).

    Args:
        blocks: the pieces.
        spans: beginnings and ends in seconds, in order, without overlap.
        sampling_rate: in Hz.

    Yields:
        The first sample's number of a span, and (samples,) of it; several times for a long one.

    Examples:
        >>> blocks = [np.arange(4), np.arange(4, 8)]
        >>> [(start, part.tolist()) for start, part in cut_spans(blocks, [(1, 2), (3, 6)], 1)]
        [(1, [1]), (3, [3]), (3, [4, 5])]
    """
    edges = [(round(start * sampling_rate), round(end * sampling_rate)) for start, end in spans]
    position = 0
    for block in blocks:
        for start, end in edges:
            if start < position + len(block) and end > position:
                yield start, block[max(0, start - position) : end - position]
        position += len(block)
        edges = [edge for edge in edges if edge[1] > position]
