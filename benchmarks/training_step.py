"""Training steps a second: this project's Trainer against the plain loop, on the same clips.

    python -m benchmarks.training_step [--compile]

The plain loop runs the published network of torchvision's blocks on contiguous tensors, with
Adam and cross-entropy. Ours is DushaTrainer as train.py runs it, from features in the cache of
`datasets` to the step of Adam, batches of 64 clips of 300 frames each. Each has a process of its
own, because ours changes how a process keeps memory, and they step in turn. Batch normalisation
sees whole batches in both, and the gradients are compared.
"""

import argparse
import multiprocessing
import os
import tempfile
import time

# As train.py does, and for both: see there.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import datasets
import numpy as np
import torch
from transformers import TrainerCallback

from benchmarks.measuring import speedups, write_results
from benchmarks.plain_network import plain_twin
from collation_dusha import Augmentation, Clips, PictureCollator
from command_line_dusha import run_program
from configuration_dusha import DushaConfig
from modeling_dusha import DushaForAudioClassification
from sampling_dusha import EveryClipSampler
from training_dusha import DushaTrainer, DushaTrainingArguments

MELS = 64


def make_model(seed: int = 0) -> DushaForAudioClassification:
    """Make the published network with weights that a seed decides, attention switched on."""
    torch.manual_seed(seed)
    model = DushaForAudioClassification(DushaConfig())
    with torch.no_grad():
        model.dusha.attention.gamma.fill_(0.5)
    return model.train()


def make_clips(count: int, frames: int) -> np.ndarray:
    """Make features (clips, frames, mels) in dB."""
    rng = np.random.default_rng(0)
    return (-80 * rng.random((count, frames, MELS))).astype(np.float32)


def gradients_of_ours(batch_size: int, frames: int) -> tuple[dict, dict]:
    """Return the gradients of our network and of its plain twin on one batch, by our names."""
    model = make_model().to(memory_format=torch.channels_last)
    plain = plain_twin(make_model())
    features = torch.from_numpy(make_clips(batch_size, frames))
    labels = torch.arange(batch_size) % 4
    mask = torch.ones(features.shape[:2], dtype=torch.long)
    model(features, attention_mask=mask, labels=labels).loss.backward()
    logits = plain(features.transpose(1, 2).unsqueeze(1).contiguous())
    torch.nn.functional.cross_entropy(logits, labels).backward()
    ours = {name: one.grad for name, one in model.named_parameters()}
    # The twin of our network's gradients is built as the twin of its weights is.
    twin = make_model()
    theirs = {}
    sources = [twin.dusha.stem, *twin.dusha.blocks, twin.dusha.last_1x1]
    names = {id(one): name for name, one in twin.named_parameters()}
    for target, source in zip(plain.features, sources, strict=True):
        for ours_one, one in zip(source.parameters(), target.parameters(), strict=True):
            theirs[names[id(ours_one)]] = one.grad
    for name, source in {"query": "key", "key": "query", "value": "value"}.items():
        gradient = getattr(plain.attention, source).weight.grad
        theirs[f"dusha.attention.{name}.weight"] = gradient.squeeze(-1)
    theirs["dusha.attention.gamma"] = plain.attention.gamma.grad
    theirs |= {f"classifier.{name}": one.grad for name, one in plain.classifier.named_parameters()}
    return ours, theirs


def largest_difference(ours: dict, theirs: dict) -> float:
    """Return the largest difference of two gradients, each tensor relative to its largest value."""
    return max(
        float((value - theirs[name]).abs().max() / theirs[name].abs().max())
        for name, value in ours.items()
    )


def run_plain(pipe, batch_size: int, frames: int, compile_model: bool) -> None:
    """Do one step of the plain loop for each message; answer with its seconds and data's, 0."""
    model = plain_twin(make_model())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-6)
    features = torch.from_numpy(make_clips(batch_size, frames)).transpose(1, 2).unsqueeze(1)
    features, labels = features.contiguous(), torch.arange(batch_size) % 4
    while pipe.recv():
        started = time.perf_counter()
        loss = torch.nn.functional.cross_entropy(model(features), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        pipe.send((time.perf_counter() - started, 0.0))


class StepOnDemand(TrainerCallback):
    """Lets the Trainer do one step for each message and answers with its seconds and data's.

    Args:
        pipe: where messages come from.
    """

    def __init__(self, pipe):
        self.pipe = pipe
        self.started = self.begun = None

    def on_train_begin(self, args, state, control, **kwargs):
        """Wait for the first message."""
        self.wait(control)

    def on_step_begin(self, args, state, control, **kwargs):
        """Take the time at which the batch was there."""
        self.begun = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        """Answer, and wait for the next message."""
        ended = time.perf_counter()
        self.pipe.send((ended - self.started, self.begun - self.started))
        self.wait(control)

    def wait(self, control):
        """Wait for a message; False ends the training."""
        control.should_training_stop = not self.pipe.recv()
        self.started = time.perf_counter()


def run_ours(pipe, batch_size: int, frames: int, compile_model: bool) -> None:
    """Do one step of our Trainer for each message; answer with its seconds and data's."""
    column = datasets.Array2D((None, MELS), "float32")
    clips = make_clips(2 * batch_size, frames)
    with tempfile.TemporaryDirectory() as folder:
        # From disk, as prepared data lie.
        rows = datasets.Dataset.from_generator(
            lambda: ({"input_features": clip} for clip in clips),
            features=datasets.Features({"input_features": column}),
            cache_dir=folder,
        )
        trainer = DushaTrainer(
            model=make_model(),
            args=DushaTrainingArguments(
                folder,
                eval_strategy="no",
                save_strategy="no",
                load_best_model_at_end=False,
                max_steps=100000,
                per_device_train_batch_size=batch_size,
                torch_compile=compile_model,
                disable_tqdm=True,
                use_cpu=True,
            ),
            train_dataset=Clips(rows, "input_features", np.arange(len(rows)) % 4),
            train_sampler=EveryClipSampler([frames / 100] * len(rows), batch_size=batch_size),
            # No crop: the plain loop's clips keep their 300 frames.
            train_collator=PictureCollator(Augmentation(crop=0), equal_lengths=True),
            callbacks=[StepOnDemand(pipe)],
        )
        trainer.train()


def measure(variants: dict, rounds: int, warm_up: int, batch_size: int, frames: int) -> dict:
    """Let processes step in turn.

    Args:
        variants: function and whether the model is compiled, by name.
        rounds: steps of each that count.
        warm_up: steps of each that do not.
        batch_size: clips of a step.
        frames: of a clip.

    Returns:
        For each variant (rounds, 2): seconds of the step with its data, and of the data alone.
    """
    context = multiprocessing.get_context("spawn")
    processes, pipes = [], {}
    for name, (function, compiled) in variants.items():
        pipes[name], theirs = context.Pipe()
        process = context.Process(
            target=function, args=(theirs, batch_size, frames, compiled), daemon=True
        )
        process.start()
        processes.append(process)
    times = {name: [] for name in variants}
    for number in range(warm_up + rounds):
        for name, pipe in pipes.items():
            pipe.send(True)
            step = pipe.recv()
            if number >= warm_up:
                times[name].append(step)
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(False)
        process.join()
    return {name: np.array(rows) for name, rows in times.items()}


def main() -> None:
    """Measure, compare gradients, print and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.training_step --compile",
    )
    parser.add_argument("--rounds", type=int, default=7, help="steps of each that are timed")
    parser.add_argument("--batch_size", type=int, default=64, help="clips of a step")
    parser.add_argument("--frames", type=int, default=300, help="frames of a clip, 100 a second")
    parser.add_argument(
        "--compile", action="store_true", help="measure --torch_compile, too (minutes to compile)"
    )
    options = parser.parse_args()
    variants = {"plain": (run_plain, False), "ours": (run_ours, False)}
    if options.compile:
        variants["ours, compiled"] = (run_ours, True)
    times = measure(variants, options.rounds, 3, options.batch_size, options.frames)
    steps = {name: rows[:, 0].tolist() for name, rows in times.items()}
    ratios = speedups(steps, "plain")
    difference = largest_difference(*gradients_of_ours(options.batch_size, options.frames))
    results = {
        "batch_size": options.batch_size,
        "frames": options.frames,
        "variants": {
            name: {
                "clips_per_second": options.batch_size / float(np.median(rows[:, 0])),
                "times_as_fast": ratios[name],
                "share_of_data": float(np.median(rows[:, 1] / rows[:, 0])),
            }
            for name, rows in times.items()
        },
        "largest_gradient_difference": difference,
    }
    for name, found in results["variants"].items():
        speed = f"{found['clips_per_second']:6.1f} clips/s  {found['times_as_fast']:.2f} times"
        print(f"{name:<16}{speed}  data {found['share_of_data']:.1%} of a step")
    print(f"largest difference of gradients, relative to a tensor's largest: {difference:.1e}")
    print(f"written to {write_results('training_step', results)}")


if __name__ == "__main__":
    run_program(main)
