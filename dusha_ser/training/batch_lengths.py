"""The few lengths that batches are padded to, so that an accelerator soon knows all their shapes.

For each new shape cuDNN plans its convolutions again, a compiler compiles, and memory is asked for.
"""

import numpy as np

# What is padded, as a share of the clips' own frames, stays below this.
MOST_PADDED = 0.08
# Frames: kernels take lengths that such numbers divide in full vectors.
STEP = 8


def choose_lengths(
    frames: np.ndarray, step: int = STEP, most_padded: float = MOST_PADDED
) -> tuple[int, ...]:
    """Choose as few lengths as keep the padding of clips to the next of them small.

    The least padding by k lengths is that by k - 1 for the shorter clips and one for the others,
    for the best place to part them (dynamic programming).

    Args:
        frames: number of frames of each clip, (clips,), at least 1.
        step: what each length is a multiple of, in frames.
        most_padded: what is padded, as a share of the clips' own frames, is below this; where
            rounding up to `step` alone pads more, all multiples are chosen.

    Returns:
        The lengths, rising, the last of which holds the longest clip.

    Examples:
        >>> choose_lengths(np.array([100, 101, 102, 400]))
        (104, 400)
    """
    lengths, counts = np.unique(-(-frames // step) * step, return_counts=True)
    clips = np.concatenate([[0], np.cumsum(counts)])
    allowed = most_padded * frames.sum()
    # padded[i, j]: frames of a batch of all clips of the lengths i to j, each as long as j.
    padded = (clips[1:] - clips[:-1, None]) * lengths.astype(np.float64)
    padded[np.tril_indices(len(lengths), -1)] = np.inf
    best, parts = padded[0], list[np.ndarray]()
    while best[-1] - frames.sum() >= allowed and len(parts) + 1 < len(lengths):
        # Lengths up to i - 1 as before, and one more for those from i on.
        totals = best[:-1, None] + padded[1:]
        parts.append(totals.argmin(0))
        best = totals.min(0)
    chosen, last = [], len(lengths) - 1
    for part in reversed(parts):
        chosen.append(last)
        last = part[last]
    return tuple(lengths[[last, *reversed(chosen)]].tolist())
