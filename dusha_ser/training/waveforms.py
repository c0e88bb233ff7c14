"""Copies of training clips whose waveforms are changed at random, by torchaudio where training is.

What is drawn of a copy comes from its seed on the CPU, so copies are the same on each kind of
device but for rounding, and for what a codec makes of it. They are made once, and kept in the cache
as the clips' own features are.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import datasets
import numpy as np
import torch
import torchaudio.functional
from transformers import TrainingArguments

from dusha_ser.audio.reading import read_audio
from dusha_ser.corpus.contents import TEACHER_COLUMN, copy_column
from dusha_ser.errors import WrongUseError
from dusha_ser.fingerprints import code_digest, digest
from dusha_ser.inference.device_features import DeviceFeatures
from dusha_ser.inference.subnormals import flush_subnormals
from dusha_ser.training.augmentation import draw_numbers
from dusha_ser.training.backbones import FrozenBackbone
from dusha_ser.training.features import (
    CODE,
    cached_map,
    compute_inputs,
    input_fingerprint,
    kept_columns,
    lack_audio,
)
from dusha_ser.training.recording_conditions import PHONE_CODECS, as_mp3, in_rooms, over_phone
from dusha_ser.training.waveform_options import NOISE, PHONE, PODCAST, SPEEDS, WaveformOptions
from feature_extraction_dusha import DushaFeatureExtractor, trim_frames

# Clips that are changed at once.
BATCH_SIZE = 64
# Of filters that colour noise: a quarter of a second of it at 16 kHz.
FILTER_TAPS = 4096
# Whose code decides the copies, beside that of features.
COPY_CODE = (
    *("dusha_ser.inference.device_features", "dusha_ser.training.recording_conditions"),
    __name__,
)
# Seeds of clips, copies and runs do not meet.
MOST_CLIPS, MOST_COPIES = 2**32, 2**8


@dataclass(frozen=True)
class WaveformAugmentation:
    """How copies differ from their clips.

    A gain alone is left out: features do not depend on it. Codecs do, so a copy gets one before its
    codec.

    Attributes:
        copies: of each clip.
        seed: of the run.
        conditions: that copies are heard under, each as likely; every copy has noise and a speed.
        lowest_snr: least level of speech above the noise that is added, in dB.
        highest_snr: highest one.
        steepest: the noise falls by up to this many dB per octave; by 0 it is white.
        speeds: as many times as fast, pitch included (Ko et al. 2015), each as likely.
        peaks: lowest and highest peak of what is coded, in dB of full scale.
        reverberation: shortest and longest time of a room until 60 dB less, in seconds.
        direct: lowest and highest level of direct sound above a room's reverberation, in dB.
        compression: least and most of MP3, 64 to 24 kbit/s at 16 kHz.
    """

    copies: int
    seed: int = 0
    conditions: tuple[str, ...] = (NOISE,)
    lowest_snr: float = 5.0
    highest_snr: float = 30.0
    steepest: float = 6.0
    speeds: tuple[float, ...] = SPEEDS
    peaks: tuple[float, float] = (-30.0, -1.0)
    reverberation: tuple[float, float] = (0.2, 0.8)
    direct: tuple[float, float] = (-3.0, 12.0)
    compression: tuple[float, float] = (0.6, 0.9)

    @classmethod
    def of(cls, options: WaveformOptions, seed: int) -> "WaveformAugmentation":
        """Make what a run's options ask for."""
        return cls(options.waveform_copies, seed, tuple(options.waveform_augmentation))

    @property
    def drawn_from(self) -> dict[str, Any]:
        """What decides a copy, beside its number and its clip, fit for JSON."""
        return {name: value for name, value in asdict(self).items() if name != "copies"}

    def seeds(self, ids: Iterable[object], copy: int) -> np.ndarray:
        """Return the seeds of one copy of clips, (clips,).

        They follow from the clips' ids, so a copy is the same beside other clips, and the same for
        a network and its teachers.
        """
        run = (self.seed * MOST_COPIES + copy) * MOST_CLIPS % 2**63
        return np.array([int(digest(str(one))[:8], 16) for one in ids], np.uint64) + np.uint64(run)

    def copy(
        self,
        rows: Mapping[str, Sequence],
        copy: int,
        sampling_rate: int,
        device: torch.device,
    ) -> list[np.ndarray]:
        """Make one copy of clips.

        Args:
            rows: with the columns id and audio.
            copy: its number, from 0.
            sampling_rate: of the copies, in Hz.
            device: that computes them.

        Returns:
            (samples,) float32 each.
        """
        clips = [read_audio(one, sampling_rate) for one in rows["audio"]]
        placed = [torch.from_numpy(one).to(device) for one in clips]
        changed = self(placed, sampling_rate, self.seeds(rows["id"], copy))
        return [one.cpu().numpy() for one in changed]

    def __call__(
        self, clips: list[torch.Tensor], sampling_rate: int, seeds: np.ndarray
    ) -> list[torch.Tensor]:
        """Change clips.

        Args:
            clips: (samples,) float32 each, all on one device.
            sampling_rate: in Hz.
            seeds: of the copies, (clips,).

        Returns:
            (samples,) float32 each, on that device.
        """
        # More numbers leave the first ones, and copies with noise alone, what they were.
        fast, level, colour, condition, peak, codec, rate, *room = draw_numbers(seeds, 10)
        chosen = (fast * len(self.speeds)).astype(int)
        changed = list(clips)
        for number, speed in enumerate(self.speeds):
            own = np.flatnonzero(chosen == number)
            if speed != 1 and len(own):
                rates = round(speed * sampling_rate), sampling_rate
                for place, one in zip(own, resample([clips[i] for i in own], *rates), strict=True):
                    changed[place] = one
        names = np.array(self.conditions)[(condition * len(self.conditions)).astype(int)]
        if len(own := np.flatnonzero(names == PODCAST)):
            seconds, direct, room_seeds = (numbers[own] for numbers in room)
            heard = in_rooms(
                [changed[place] for place in own],
                sampling_rate,
                between(seconds, self.reverberation),
                between(direct, self.direct),
                (room_seeds * 2.0**53).astype(np.uint64),
            )
            for place, one in zip(own, heard, strict=True):
                changed[place] = one
        snr = between(level, (self.lowest_snr, self.highest_snr))
        changed = add_noise(changed, snr, colour * self.steepest, seeds)
        peaks, parts = between(peak, self.peaks), between(rate, self.compression)
        for place in np.flatnonzero(names != NOISE):
            samples, at = changed[place].cpu().numpy(), float(peaks[place])
            if names[place] == PHONE:
                coded = over_phone(
                    samples, sampling_rate, PHONE_CODECS[int(codec[place] * len(PHONE_CODECS))], at
                )
            else:
                coded = as_mp3(samples, sampling_rate, float(parts[place]), at)
            changed[place] = torch.from_numpy(coded).to(changed[place])
        return changed


def between(drawn: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """Turn numbers in [0, 1) into some between two ends."""
    return ends[0] + drawn * (ends[1] - ends[0])


def resample(clips: list[torch.Tensor], old_rate: int, new_rate: int) -> list[torch.Tensor]:
    """Change the rate of clips, (samples,) each, where they are.

    Below 7/8 of the lower Nyquist frequency, the result is that of the project's own resampling of
    files (soxr) to 1e-4 of full scale; tests compare them.

    Examples:
        >>> [len(one) for one in resample([torch.ones(48), torch.ones(31)], 48000, 16000)]
        [16, 11]
    """
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    # Known as kaiser_best: torchaudio's page on resampling compares its filters.
    resampled = torchaudio.functional.resample(
        padded,
        old_rate,
        new_rate,
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser",
        beta=14.769656459379492,
    )
    sizes = [-(-len(clip) * new_rate // old_rate) for clip in clips]
    return [row[:size] for row, size in zip(resampled, sizes, strict=True)]


def add_noise(
    clips: list[torch.Tensor], snr: np.ndarray, slopes: np.ndarray, seeds: np.ndarray
) -> list[torch.Tensor]:
    """Add noise to clips where they are; what is silent stays silent.

    Args:
        clips: (samples,) float32 each.
        snr: level of the clip above the noise, in dB, (clips,).
        slopes: by how many dB per octave the noise falls, (clips,).
        seeds: of the noise, (clips,).
    """
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    device = padded.device
    noise = torch.zeros(padded.shape)
    for row, clip, seed in zip(noise, clips, seeds, strict=True):
        # Drawn on the CPU, because each kind of device draws its own numbers.
        row[: len(clip)].normal_(generator=torch.Generator().manual_seed(int(seed)))
    coloured = torchaudio.functional.fftconvolve(
        noise.to(device), slope_filters(slopes).to(device), mode="same"
    )
    lengths = torch.tensor([len(clip) for clip in clips], device=device)
    levels = torch.as_tensor(snr, dtype=torch.float32, device=device)
    mixed = torchaudio.functional.add_noise(padded, coloured, levels, lengths)
    return [row[: len(clip)] for row, clip in zip(mixed, clips, strict=True)]


def slope_filters(slopes: np.ndarray) -> torch.Tensor:
    """Return filters whose response falls by so many dB per octave, (clips, taps) float32."""
    bins = np.maximum(np.arange(FILTER_TAPS // 2 + 1), 1)
    # A factor of 2 in amplitude is 6.02 dB.
    response = bins ** -(slopes[:, None] / (20 * np.log10(2)))
    filters = np.fft.fftshift(np.fft.irfft(response, FILTER_TAPS), axes=1)
    return torch.from_numpy(filters.astype(np.float32))


def inputs_with_copies(
    rows: datasets.Dataset,
    recipe: WaveformOptions,
    feature_extractor: Any,
    arguments: TrainingArguments,
    cache_dir: str | None = None,
    num_proc: int | None = None,
    split: str = "train",
    encode: FrozenBackbone | None = None,
) -> tuple[datasets.Dataset, str]:
    """Give training clips their inputs and, where a recipe wants copies, those of the copies.

    Args:
        recipe: the copies.
        arguments: the device that computes them, and the seed that they are drawn by.

    Other arguments, what is returned and errors as of `compute_inputs` and `compute_copies`.
    """
    inputs, column = compute_inputs(rows, feature_extractor, cache_dir, num_proc, split, encode)
    if recipe.waveform_copies:
        augmentation = WaveformAugmentation.of(recipe, arguments.seed)
        computing = feature_extractor, augmentation, arguments.device, cache_dir, encode
        inputs = compute_copies(rows, inputs, column, *computing)
    return inputs, column


def compute_copies(
    source: datasets.Dataset,
    rows: datasets.Dataset,
    column: str,
    feature_extractor: Any,
    augmentation: WaveformAugmentation,
    device: torch.device,
    cache_dir: str | None = None,
    encode: FrozenBackbone | None = None,
) -> datasets.Dataset:
    """Give clips the inputs of their copies, computed once and kept in the cache.

    Args:
        source: the clips with their audio.
        rows: those of them that have audio, as `compute_inputs` returns them; where they have the
            inputs of these copies already, nothing is done.
        column: of their inputs.
        feature_extractor: of the model.
        augmentation: of the copies.
        device: that computes them.
        cache_dir: as of `compute_inputs`.
        encode: as of `compute_inputs`.

    Returns:
        The rows, with two more columns for each copy, as `copy_column` names them.

    Raises:
        WrongUseError: if the clips have no audio.
    """
    if copy_column(column, augmentation.copies - 1) in rows.column_names:
        return rows
    heard = ~lack_audio(source) if "audio" in source.column_names else np.zeros(len(source), bool)
    if heard.sum() < len(rows):
        raise WrongUseError(
            f"`waveform_copies` changes audio, and {len(source) - heard.sum()} of {len(source)} "
            "training clips have features alone: prepare the data set with audio, or take 0"
        )
    flush_subnormals()
    source = source.select(np.flatnonzero(heard))
    compute = CopyInputs(feature_extractor, augmentation, device, column, encode)
    fingerprint = digest(
        input_fingerprint(source, feature_extractor),
        list(map(str, source["id"])),
        augmentation.drawn_from,
        code_digest(*CODE, *COPY_CODE),
        encode and encode.fingerprint,
    )
    parts = [rows]
    for copy in range(augmentation.copies):
        kinds = {column: rows.features[column], "duration": datasets.Value("float64")}
        made = {copy_column(name, copy): kind for name, kind in kinds.items()}
        part = cached_map(
            source.select_columns(["id", "audio"]),
            partial(compute, copy),
            datasets.Features(made),
            digest(fingerprint, copy),
            cache_dir,
            batched=True,
            batch_size=BATCH_SIZE,
            desc=f"copy {copy + 1} of {augmentation.copies} of train",
        )
        parts.append(part)
    return datasets.concatenate_datasets(parts, axis=1)


class CopyInputs:
    """Computes what a model sees of copies, on a device where the features are Dusha's."""

    def __init__(
        self,
        feature_extractor: Any,
        augmentation: WaveformAugmentation,
        device: torch.device,
        column: str,
        encode: FrozenBackbone | None = None,
    ):
        self.extractor = feature_extractor
        self.augmentation = augmentation
        self.device = device
        self.column = column
        self.encode = encode
        self.features = None
        if isinstance(feature_extractor, DushaFeatureExtractor):
            self.features = DeviceFeatures(feature_extractor, device)

    def __call__(self, copy: int, batch: dict[str, list]) -> dict[str, list]:
        """Compute the inputs of one copy of clips, (frames, mels) or (samples,), and their seconds.

        Args:
            copy: its number.
            batch: with the ids and the audio of the clips.
        """
        rate = self.extractor.sampling_rate
        changed = self.augmentation.copy(batch, copy, rate, self.device)
        made = {
            self.column: self._inputs(changed),
            "duration": [len(one) / rate for one in changed],
        }
        return {copy_column(name, copy): values for name, values in made.items()}

    def _inputs(self, clips: list[np.ndarray]) -> list[np.ndarray]:
        name = self.extractor.model_input_names[0]
        if self.features is None:
            rate = self.extractor.sampling_rate
            made = [self.extractor(clip, sampling_rate=rate)[name][0] for clip in clips]
            made = [np.asarray(one, dtype=np.float32) for one in made]
            return list(map(self.encode, made)) if self.encode else made
        features, mask = self.features(clips).values()
        rows = [
            row[:count] for row, count in zip(features.cpu(), mask.sum(1).tolist(), strict=True)
        ]
        decibels = self.extractor.trim_silence
        return [(row if decibels is None else trim_frames(row, decibels)).numpy() for row in rows]


def without_copies(rows: datasets.Dataset, column: str) -> datasets.Dataset:
    """Return clips with what they are known by, and their input, alone."""
    return rows.select_columns([*kept_columns(rows), column])


def with_copies(rows: datasets.Dataset, column: str, copies: int) -> datasets.Dataset:
    """Return clips and, behind them, their copies as rows of their own."""
    parts = [without_copies(rows, column)]
    names = parts[0].column_names
    for copy in range(copies):
        own = {copy_column(name, copy): name for name in (column, "duration", TEACHER_COLUMN)}
        own = {name: of_clip for name, of_clip in own.items() if name in rows.column_names}
        part = rows.remove_columns([one for one in own.values() if one in names])
        parts.append(part.rename_columns(own).select_columns(names))
    return datasets.concatenate_datasets(parts)
