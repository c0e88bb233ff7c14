"""Training and prediction on one GPU, as the programs do it: clips of Dusha's number and lengths.

    python -m benchmarks.gpu

Without a GPU the same is measured on the processor, with few clips and batches of 8 for the step.
First, logits on the device are compared with those of the processor. Then each part is measured:
the step alone, at batches of 64 and 256 clips of 300 frames, and the share of the speed at which
the device copies its own memory; an epoch from held features, augmented, and its evaluation, both
in the second epoch, and the time to the first step; prediction from features and from wav files
that processes read. Features are random numbers. A part's numbers are printed and written as soon
as they are known; where no time is left, parts are left out.
"""

import argparse
import contextlib
import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import datasets
import numpy as np
import torch
import transformers
from torch.utils.data import Subset
from transformers import PrinterCallback, TrainerCallback

from benchmarks.clips import make_clip, wav_files
from benchmarks.demo_load import save_random_model
from benchmarks.measuring import write_results
from configuration_dusha import DushaConfig
from dusha_ser.audio.finding import AudioFile
from dusha_ser.cli.program import run_program
from dusha_ser.errors import WorkFailedError
from dusha_ser.inference.audio_files import ACCELERATOR_BATCH_SIZE
from dusha_ser.inference.classify import torch_classifier
from dusha_ser.inference.loading import load_model
from dusha_ser.inference.predict_files import predict_files
from dusha_ser.inference.settings import PredictOptions
from dusha_ser.training.arguments import DushaTrainingArguments
from dusha_ser.training.augmentation import SILENCE, Augmentation
from dusha_ser.training.batch_lengths import choose_lengths
from dusha_ser.training.batches import ClipDataset, SpectrogramCollator
from dusha_ser.training.held_features import FEATURE_TYPES, HeldFeatures
from dusha_ser.training.sampling import EveryClipSampler
from dusha_ser.training.trainer import DushaTrainer
from modeling_dusha import DushaForAudioClassification

MELS = 64
# Of crowd_large, and of the evaluation after each epoch; on a processor, of each.
CLIPS, EVALUATED, FEW = 150_352, 15_000, 192
FRAMES = 300
FILES, DIFFERENT_FILES = 20_000, 256
# How far logits may be from those of the processor.
TOLERANCE = 2e-3


class Clock(TrainerCallback):
    """Notes when the first step ended, and how long each epoch trained, without its evaluation."""

    def __init__(self):
        self.started = self.epoch_began = time.perf_counter()
        self.first_step = 0.0
        self.epochs: list[float] = []

    def on_epoch_begin(self, args, state, control, **kwargs):
        """Start the epoch's clock."""
        self.epoch_began = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        """Note the first one."""
        if not self.first_step:
            wait_for(args.device)
            self.first_step = time.perf_counter() - self.started

    def on_epoch_end(self, args, state, control, **kwargs):
        """Stop the epoch's clock."""
        wait_for(args.device)
        self.epochs.append(time.perf_counter() - self.epoch_began)


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that it was asked for."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def draw_lengths(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw how many frames clips have, as Dusha's, (clips,) int64."""
    return np.clip(rng.lognormal(np.log(410), 0.42, count), 30, 2000).astype(np.int64)


def make_clips(count: int, device: torch.device, seed: int) -> tuple[ClipDataset, np.ndarray]:
    """Make clips of Dusha's lengths, 4.5 s in the mean, held on a device; return their frames."""
    rng = np.random.default_rng(seed)
    frames = draw_lengths(count, rng)
    firsts = np.concatenate([[1], 1 + np.cumsum(frames)])
    kind = FEATURE_TYPES["float16"]
    values = torch.empty((int(firsts[-1]), MELS), dtype=kind, device=device).uniform_(SILENCE, 0)
    values[0] = SILENCE
    # Rows that nothing is read from.
    rows = datasets.Dataset.from_dict({"input_features": [None] * count})
    targets = rng.integers(4, size=count)
    held = HeldFeatures(values, firsts)
    return ClipDataset(rows, "input_features", targets, held=held), frames


def time_step(arguments: DushaTrainingArguments, batch_size: int, steps: int) -> float:
    """Return the clips a second of the step alone, all of one length."""
    device = arguments.device
    plain = dataclasses.replace(arguments, eval_strategy="no", load_best_model_at_end=False)
    trainer = DushaTrainer(model=make_model(), args=plain)
    optimizer = trainer.create_optimizer()
    # As in training: in bfloat16 where that is chosen.
    model = trainer.accelerator.prepare_model(trainer.model)
    batch = {
        "input_features": torch.empty(batch_size, FRAMES, MELS, device=device).uniform_(-80, 0),
        "attention_mask": torch.ones(batch_size, FRAMES, dtype=torch.long, device=device),
        "labels": torch.arange(batch_size, device=device) % 4,
        "weights": torch.ones(batch_size, device=device),
    }
    for number in range(2 * steps):
        if number == steps:
            wait_for(device)
            started = time.perf_counter()
        trainer.training_step(model, dict(batch), trainer.step_weight([batch]))
        optimizer.step()
        optimizer.zero_grad()
    wait_for(device)
    return batch_size * steps / (time.perf_counter() - started)


def make_model() -> DushaForAudioClassification:
    """Make the published network."""
    torch.manual_seed(0)
    return DushaForAudioClassification(DushaConfig())


def time_epochs(arguments: DushaTrainingArguments, clips: int, evaluated: int) -> dict:
    """Train two epochs; return what the second one took, and the time to the first step."""
    clock = Clock()
    train, frames = make_clips(clips, arguments.device, seed=0)
    validation, longest = make_clips(evaluated, arguments.device, seed=1)
    lengths = choose_lengths(frames) if arguments.pads_to_few_lengths else ()
    batch_size = arguments.train_batch_size
    trainer = DushaTrainer(
        model=make_model(),
        args=arguments,
        train_dataset=train,
        eval_dataset=Subset(validation, np.argsort(-longest).tolist()),
        train_sampler=EveryClipSampler(cast(Sequence[float], frames / 100), batch_size=batch_size),
        train_collator=SpectrogramCollator(augmentation=Augmentation(), lengths=lengths),
        data_collator=SpectrogramCollator(lengths=lengths),
        callbacks=[clock],
    )
    # It prints each line of the log.
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    seconds = [one["eval_runtime"] for one in trainer.state.log_history if "eval_runtime" in one]
    return {
        "clips": clips,
        "lengths": lengths,
        "train_clips_per_second": clips / clock.epochs[-1],
        "epoch_seconds": clock.epochs[-1],
        "evaluated_clips_per_second": evaluated / seconds[-1],
        "first_step_seconds": clock.first_step,
    }


def copy_speed(device: torch.device) -> float:
    """Return how many bytes a second a device reads and writes in copying its own memory."""
    values = torch.zeros(2**28 if device.type != "cpu" else 2**25, device=device)
    copy = torch.zeros_like(values)
    copies = []
    for _ in range(5):
        wait_for(device)
        started = time.perf_counter()
        copy.copy_(values)
        wait_for(device)
        copies.append(2 * values.nbytes / (time.perf_counter() - started))
    return float(np.median(copies))


def step_bytes(arguments: DushaTrainingArguments) -> float:
    """Count the bytes that a training step moves for each clip of FRAMES frames, at the least.

    Each layer reads its input and writes its output; backward it reads the gradient of its output
    and its input again, and writes the gradient of its input. Layers that are fused move less,
    masks and what is between layers move more.
    """
    moved = 0

    def count(layer: torch.nn.Module, inputs: Sequence[Any], output: Any) -> None:
        nonlocal moved
        read = sum(one.nbytes for one in inputs if isinstance(one, torch.Tensor))
        written = output.nbytes if isinstance(output, torch.Tensor) else 0
        moved += 3 * read + 2 * written

    model = make_model().to(arguments.device)  # type: ignore[arg-type]  # typed as unbound
    for layer in model.modules():
        if not any(layer.children()):
            layer.register_forward_hook(count)
    size = 4
    features = torch.zeros(size, FRAMES, MELS, device=arguments.device)
    mask = torch.ones(size, FRAMES, dtype=torch.long, device=arguments.device)
    with (
        torch.no_grad(),
        torch.autocast(arguments.device.type, torch.bfloat16, enabled=bool(arguments.bf16)),
    ):
        model(input_features=features, attention_mask=mask)
    return moved / size


@contextlib.contextmanager
def single_precision() -> Iterator[None]:
    """Leave TF32 out by the newer way of setting it, as the Trainer does: PyTorch refuses both."""
    places = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]  # not in the stubs
    held = [one.fp32_precision for one in places]
    for one in places:
        one.fp32_precision = "ieee"
    try:
        yield
    finally:
        for one, kept in zip(places, held, strict=True):
            one.fp32_precision = kept


def compare_logits(model: Path, device: torch.device) -> float:
    """Return by how much logits of clips on a device differ from the processor's, without TF32.

    Raises:
        WorkFailedError: if that is more than TOLERANCE.
    """
    rng = np.random.default_rng(0)
    clips = [make_clip(rng, seconds).astype(np.float32) for seconds in (0.4, 1.7, 3.1, 4.5, 7.9)]
    found = []
    with single_precision():
        for where in ("cpu", str(device)):
            network, extractor = load_model(str(model), where)
            logits: list[torch.Tensor] = []
            network.register_forward_hook(
                lambda _, __, output, kept=logits: kept.append(output.logits)
            )
            torch_classifier(network, extractor)(clips)
            found.append(logits[0].float().cpu())
    difference = (found[0] - found[1]).abs().max().item()
    if not difference <= TOLERANCE:
        raise WorkFailedError(f"logits differ from the processor's by {difference}: a bug")
    return difference


def time_features(model: Path, device: torch.device, count: int) -> float:
    """Return the clips a second of prediction from features, in batches of similar length."""
    network, extractor = load_model(str(model), str(device))
    classify = torch_classifier(network, extractor, from_features=True)
    rng = np.random.default_rng(2)
    pool = rng.uniform(SILENCE, 0, (2000, MELS)).astype(np.float32)
    clips = [pool[:length] for length in np.sort(draw_lengths(count, rng))]
    size = ACCELERATOR_BATCH_SIZE
    batches = [clips[first : first + size] for first in range(0, count, size)]
    for batch in (batches[0], batches[-1]):
        classify(batch)
    started = time.perf_counter()
    for batch in batches:
        classify(batch)
    return count / (time.perf_counter() - started)


def time_files(model: Path, folder: Path, device: torch.device, count: int, processes: int) -> dict:
    """Return the clips a second of prediction from wav files, and with half as many once more.

    What starts processes and model takes as long for both, so the difference is the work alone.
    """
    (folder / "wavs").mkdir()
    paths = wav_files(folder / "wavs", None, min(count, DIFFERENT_FILES))
    files = [AudioFile(str(number), str(paths[number % len(paths)])) for number in range(count)]
    seconds = []
    for number, part in enumerate((files, files[: count // 2])):
        options = PredictOptions(
            model=str(model),
            inputs=[str(folder)],
            output_file=folder / f"{number}.csv",
            device=str(device),
            num_proc=processes,
            quiet=True,
        )
        options.check()
        started = time.perf_counter()
        failed = predict_files(options, part, decode_in_workers=True)
        seconds.append(time.perf_counter() - started)
        if failed:
            raise WorkFailedError(f"{len(failed)} files failed: {next(iter(failed.values()))}")
    rest = seconds[0] - seconds[1]
    return {
        "files": count,
        "decoding_processes": processes,
        "files_clips_per_second_with_start": count / seconds[0],
        "files_clips_per_second": (count - count // 2) / rest if rest > 0 else None,
    }


class Findings:
    """Numbers that are printed and written as soon as they are known."""

    def __init__(self, device: torch.device, minutes: float, arguments: Sequence[str]):
        self.device = device
        self.end = time.monotonic() + 60 * minutes
        self.arguments = arguments
        self.found: dict[str, Any] = {}

    @property
    def seconds_left(self) -> float:
        """Until the time is up."""
        return self.end - time.monotonic()

    def add(self, part: str, measure: Callable[[], dict]) -> None:
        """Measure a part, and the most memory that it took, unless the time is up."""
        if self.seconds_left < 0:
            found: dict[str, Any] = {"left_out": [*self.found.get("left_out", []), part]}
        else:
            on_gpu = self.device.type == "cuda"
            if on_gpu:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(self.device)
            started = time.perf_counter()
            found = measure()
            found[f"{part}_seconds"] = time.perf_counter() - started
            if on_gpu:
                found[f"{part}_most_bytes"] = torch.cuda.max_memory_allocated(self.device)
        for name, value in found.items():
            print(f"{name}: {value}", flush=True)
        self.found |= found
        write_results("gpu", self.found, self.arguments)


def main() -> None:
    """Measure, print and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, help=f"clips (default: {CLIPS:,}; CPU: {FEW})")
    parser.add_argument("--steps", type=int, help="steps of each size (default: 50; CPU: 1)")
    parser.add_argument("--files", type=int, help=f"wav files (default: {FILES:,}; CPU: {FEW})")
    parser.add_argument("--batch_size", type=int, default=64, help="clips of a step in the epochs")
    parser.add_argument(
        "--num_proc", type=int, default=os.cpu_count() or 1, help="processes that read files"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=9.0,
        help="no part begins later, and epochs have no more clips than fit (default: 9)",
    )
    chosen = parser.parse_args()
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="gpu-") as name:
        folder = Path(name)
        arguments = DushaTrainingArguments(
            str(folder / "run"),
            num_train_epochs=2,
            per_device_train_batch_size=chosen.batch_size,
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        device = arguments.device
        on_cpu = device.type == "cpu"
        usual = {"clips": FEW, "files": FEW, "steps": 1} if on_cpu else {}
        clips, files, steps = (
            getattr(chosen, name) or usual.get(name, many)
            for name, many in (("clips", CLIPS), ("files", FILES), ("steps", 50))
        )
        model = save_random_model(folder / "model")
        findings = Findings(device, chosen.minutes, sys.argv[1:])
        findings.add(
            "check",
            lambda: {
                "device": device.type if on_cpu else torch.cuda.get_device_name(device),
                "logits_differ_by": compare_logits(model, device),
                "copied_bytes_per_second": copy_speed(device),
                "step_bytes_per_clip": step_bytes(arguments),
            },
        )
        for size in (8,) if on_cpu else (64, 256):
            findings.add(f"step_{size}", partial(share, findings, arguments, size, steps))
        # Two epochs, and as much again for the start and the evaluations.
        speeds = [value for key, value in findings.found.items() if key.endswith("clips_a_second")]
        fitting = int(min(speeds, default=0) * findings.seconds_left / 4)
        clips = clips if chosen.clips else max(min(clips, fitting), chosen.batch_size)
        evaluated = min(clips, FEW if on_cpu else EVALUATED)
        findings.add("epochs", lambda: time_epochs(arguments, clips, evaluated))
        findings.add(
            "features",
            lambda: {"features_clips_per_second": time_features(model, device, files)},
        )
        findings.add("files", lambda: time_files(model, folder, device, files, chosen.num_proc))
    print(f"written to {write_results('gpu', findings.found, sys.argv[1:])}")


def share(findings: Findings, arguments: DushaTrainingArguments, size: int, steps: int) -> dict:
    """Time the step of one size, and tell how much of the copying speed it reaches."""
    speed = time_step(arguments, size, steps)
    moved = speed * findings.found["step_bytes_per_clip"]
    return {
        f"step_{size}_clips_a_second": speed,
        f"step_{size}_share_of_bandwidth": moved / findings.found["copied_bytes_per_second"],
    }


if __name__ == "__main__":
    run_program(main)
