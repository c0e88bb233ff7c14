"""Training on one GPU, as `dusha train` does it: a corpus of Dusha's size and lengths.

    python -m benchmarks.gpu

Without a GPU the same is measured on the processor, with few clips and batches of 8 for the step.
Features are random numbers, held on the device, and each number is printed on a line of its own:
clips a second of the step alone, at batches of 64 and 256 clips of 300 frames; then of an epoch
from held features, augmented, and of its evaluation, both in the second epoch; the time to the
first step; the most memory that was taken; and how fast the device copies its own memory, which
bounds the step.
"""

import argparse
import dataclasses
import tempfile
import time

import datasets
import numpy as np
import torch
import transformers
from torch.utils.data import Subset
from transformers import PrinterCallback, TrainerCallback

from benchmarks.measuring import write_results
from configuration_dusha import DushaConfig
from dusha_ser.cli.program import run_program
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


def make_clips(count: int, device: torch.device, seed: int) -> tuple[ClipDataset, np.ndarray]:
    """Make clips of Dusha's lengths, 4.5 s in the mean, held on a device; return their frames."""
    rng = np.random.default_rng(seed)
    frames = np.clip(rng.lognormal(np.log(410), 0.42, count), 30, 2000).astype(np.int64)
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
    trainer.create_optimizer()
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
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
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
        train_sampler=EveryClipSampler(frames / 100, batch_size=batch_size),
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
    values = torch.empty(2**28 if device.type != "cpu" else 2**25, device=device)
    copies = []
    for _ in range(5):
        wait_for(device)
        started = time.perf_counter()
        values.clone()
        wait_for(device)
        copies.append(2 * values.nbytes / (time.perf_counter() - started))
    return float(np.median(copies))


def main() -> None:
    """Measure, print and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, help=f"clips (default: {CLIPS:,}; CPU: {FEW})")
    parser.add_argument("--steps", type=int, help="steps of each size (default: 50; CPU: 1)")
    parser.add_argument("--batch_size", type=int, default=64, help="clips of a step in the epochs")
    chosen = parser.parse_args()
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        arguments = DushaTrainingArguments(
            folder,
            num_train_epochs=2,
            per_device_train_batch_size=chosen.batch_size,
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        device = arguments.device
        on_cpu = device.type == "cpu"
        clips = chosen.clips or (FEW if on_cpu else CLIPS)
        steps = chosen.steps or (1 if on_cpu else 50)
        found = {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "step_clips_per_second": {
                size: time_step(arguments, size, steps) for size in ((8,) if on_cpu else (64, 256))
            },
            **time_epochs(arguments, clips, min(clips, FEW if on_cpu else EVALUATED)),
            "copied_bytes_per_second": copy_speed(device),
            "most_memory_bytes": 0 if on_cpu else torch.accelerator.max_memory_allocated(device),
        }
    for name, value in found.items():
        print(f"{name}: {value}")
    print(f"written to {write_results('gpu', found)}")


if __name__ == "__main__":
    run_program(main)
