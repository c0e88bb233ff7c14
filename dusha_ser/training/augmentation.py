"""Training clips changed at random, all clips of a batch at once: where each value comes from.

The few random numbers of a clip come from its seed, on the CPU, by arithmetic alone; all else is
gathered by indices on the device of the features. So a batch is the same, to the last bit, on each
kind of device, in each process and after each resume, and nothing waits for an accelerator.
"""

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import torch

# The lowest value of the features: 80 dB below the clip's loudest point.
SILENCE = -80.0


class Draws(NamedTuple):
    """Random numbers of clips, one of each kind for a clip, uniform in [0, 1), (clips,) float64.

    New kinds are added at the end, so that the others stay what they are.
    """

    frequency_width: np.ndarray
    frequency_start: np.ndarray
    time_width: np.ndarray
    time_start: np.ndarray
    crop: np.ndarray
    start: np.ndarray
    tall: np.ndarray
    wide: np.ndarray
    place: np.ndarray
    mixed_share: np.ndarray
    mixed_order: np.ndarray


def draw(seeds: np.ndarray) -> Draws:
    """Draw the random numbers of clips, by their seeds (clips,), as `draw_numbers` does."""
    return Draws(*draw_numbers(seeds, len(Draws._fields)))


def draw_numbers(seeds: np.ndarray, count: int) -> np.ndarray:
    """Draw random numbers of clips, by SplitMix64 (Steele, Lea and Flood 2014).

    A generator of NumPy for each clip would take forty times as long.

    Args:
        seeds: of the clips, integers of at least 0 and below 2**64, (clips,).
        count: of the numbers of each clip; more leave the first ones what they are.

    Returns:
        Uniform in [0, 1), (count, clips) float64.

    Examples:
        >>> draw_numbers(np.array([0]), 1).round(6).tolist()
        [[0.883311]]
    """
    kinds = np.arange(1, count + 1, dtype=np.uint64)
    state = seeds.astype(np.uint64) + kinds[:, None] * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    state ^= state >> np.uint64(31)
    # As many bits as a float64 holds.
    return (state >> np.uint64(11)) * 2.0**-53


@dataclass(frozen=True)
class Cuts:
    """What a batch takes of each of its clips: integers, (clips,) int64 each.

    Frames and bands are counted in the stretched clip, but for `frames`; where nothing is stretched
    both are the same. Masks are from `start` to below `stop`.
    """

    frames: np.ndarray  # of the clip as it is
    stretched_frames: np.ndarray
    stretched_bands: np.ndarray
    start: np.ndarray  # first frame that is kept
    kept: np.ndarray  # number of frames that are kept
    time_start: np.ndarray
    time_stop: np.ndarray
    band_start: np.ndarray
    band_stop: np.ndarray

    @classmethod
    def whole(cls, frames: np.ndarray, mels: int) -> "Cuts":
        """Take clips as they are, of `frames` (clips,) each."""
        none = np.zeros_like(frames)
        bands = np.full_like(frames, mels)
        return cls(frames, frames, bands, none, frames, none, none, none, none)

    def take(self, numbers: np.ndarray) -> "Cuts":
        """Return those of some clips."""
        return Cuts(*(getattr(self, one.name)[numbers] for one in fields(self)))

    def shortened(self, longest: int, places: np.ndarray) -> "Cuts":
        """Cut what is longer to `longest` frames, at `places` (clips,) in [0, 1) of what goes."""
        kept = np.minimum(self.kept, longest)
        return replace(self, start=self.start + spread(places, self.kept - kept), kept=kept)


def spread(places: np.ndarray, spare: np.ndarray) -> np.ndarray:
    """Turn places in [0, 1) into integers of 0 to `spare`, each as likely, (clips,) int64."""
    return (places * (spare + 1)).astype(np.int64)


@dataclass(frozen=True)
class Augmentation:
    """How training clips are changed at random (SpecAugment, Park et al. 2019; and a crop)."""

    # As the options of RecipeOptions with the same names.

    frequency_mask: int = 16
    time_mask: int = 40
    crop: int = 40
    longest: int = 0
    stretch: float = 0.0
    either_side: bool = True  # padding is split at random between the two sides

    def cut(self, frames: np.ndarray, mels: int, draws: Draws) -> Cuts:
        """Decide what becomes of clips.

        Args:
            frames: number of frames of each clip, (clips,) int64, at least 1.
            mels: number of Mel bands.
            draws: of the clips.
        """
        cuts = Cuts.whole(frames, mels)
        if self.stretch:
            wide, tall = (1 + self.stretch * (2 * part - 1) for part in (draws.wide, draws.tall))
            cuts = replace(
                cuts,
                stretched_frames=np.maximum(np.rint(frames * wide), 1).astype(np.int64),
                stretched_bands=np.maximum(np.rint(mels * tall), 1).astype(np.int64),
            )
        frames = cuts.stretched_frames
        time_start, time_stop = span(self.time_mask, frames, draws.time_width, draws.time_start)
        band_start, band_stop = span(
            self.frequency_mask,
            np.full_like(frames, mels),
            draws.frequency_width,
            draws.frequency_start,
        )
        kept = frames - (draws.crop * np.minimum(self.crop, frames)).astype(np.int64)
        kept = np.minimum(kept, self.longest) if self.longest else kept
        return replace(
            cuts,
            start=spread(draws.start, frames - kept),
            kept=kept,
            time_start=time_start,
            time_stop=time_stop,
            band_start=band_start,
            band_stop=band_stop,
        )


def span(
    widest: int, sizes: np.ndarray, widths: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Place a mask as SpecAugment and torchaudio do, by draws in [0, 1); return start and stop."""
    width = widths * np.minimum(widest, sizes)
    start = (starts * (sizes - width)).astype(np.int64)
    return start, start + width.astype(np.int64)


def assemble(
    frames: torch.Tensor, firsts: np.ndarray, cuts: Cuts, lefts: np.ndarray, length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gather a batch on the device of the features; nothing waits for it.

    Args:
        frames: of all clips, one after the other, (rows, mels), in dB; the first row is what
            padding and masks are filled with.
        firsts: the first row of each clip, (clips,).
        cuts: what to take of each clip.
        lefts: number of padded frames before each clip, (clips,).
        length: of the batch, in frames.

    Returns:
        Features (clips, length, mels) float32, and the mask (clips, length) int64, 1 for a real
        frame.
    """
    numbers = [firsts, lefts, *(getattr(cuts, one.name) for one in fields(cuts))]
    columns = send(torch.from_numpy(np.stack(numbers).astype(np.int64)), frames.device)
    columns = columns.unsqueeze(2)
    first, left, size, stretched_frames, stretched_bands = columns[:5].unbind()
    start, kept, time_start, time_stop, band_start, band_stop = columns[5:].unbind()

    position = torch.arange(length, device=frames.device) - left
    real = (position >= 0) & (position < kept)
    frame = position + start
    shown = real & ((frame < time_start) | (frame >= time_stop))
    mels = frames.shape[1]
    band = torch.arange(mels, device=frames.device)

    def rows(frame: torch.Tensor) -> torch.Tensor:
        chosen = torch.where(shown, first + frame, 0)
        return frames.index_select(0, chosen.view(-1)).view(*chosen.shape, mels).float()

    if np.array_equal(cuts.frames, cuts.stretched_frames) and (cuts.stretched_bands == mels).all():
        features = rows(frame)
    else:
        below, above, share = neighbours(frame, size, stretched_frames)
        features = blend(rows(below), rows(above), share.unsqueeze(2))
        bands = torch.full_like(stretched_bands, mels)
        below, above, share = neighbours(band, bands, stretched_bands)
        shape = features.shape
        features = blend(
            features.gather(2, below.unsqueeze(1).expand(shape)),
            features.gather(2, above.unsqueeze(1).expand(shape)),
            share.unsqueeze(1),
        )
    # Bands that a shorter Mel axis leaves empty are filled, too.
    seen = ((band < band_start) | (band >= band_stop)) & (band < stretched_bands)
    kept_part = seen.float().unsqueeze(1)
    filling = torch.where(seen.unsqueeze(1), 0.0, frames[0].float())
    # Products with 0 and 1 are exact, and a sixth of the time of masked_fill.
    return torch.addcmul(filling, features, kept_part, out=features), real.long()


def send(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy values to a device without waiting for it, as only pinned memory can be."""
    values = values.pin_memory() if device.type == "cuda" and not values.is_cuda else values
    return values.to(device, non_blocking=True)


def neighbours(
    places: torch.Tensor, size: torch.Tensor, stretched: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find what bilinear interpolation takes, as functional.interpolate without aligned corners.

    Args:
        places: in the stretched axis, integers; they may lie outside of it.
        size: of the axis as it is.
        stretched: its size stretched.

    Returns:
        The places below and above in the axis as it is, and the share of the one above, in [0, 1].
    """
    source = ((places + 0.5) * (size / stretched) - 0.5).clamp(min=0)
    below = torch.minimum(source.long(), size - 1)
    return below, torch.minimum(below + 1, size - 1), (source - below).clamp(max=1)


def blend(below: torch.Tensor, above: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return what lies between: steps that no device fuses, and of equal values that value."""
    return above.sub_(below).mul_(share).add_(below)
