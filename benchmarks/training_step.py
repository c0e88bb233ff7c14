"""Training steps a second: this project's Trainer against the plain loop and the stock Trainer.

    python -m benchmarks.training_step [--model MODEL]

The plain loop runs the published network of torchvision's blocks, with Adam and cross-entropy, on
tensors that lie ready: contiguous as people have them, or channels-last, whichever is faster. The
stock Trainer is Transformers', with its default collator and `datasets` in PyTorch's format, on our
network as it comes. Ours is DushaTrainer as `dusha train` runs it, from the same cache to the step
of Adam. All have the same 64 clips of 300 frames a step, the same weights, random ones and those of
a trained model, and the same number of threads. Each has a process of its own, because ours changes
how a process keeps memory; they step in turn, after as many steps as they need to be steady. Batch
normalisation sees whole batches in all, and the gradients are compared.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

# As `dusha train` does, and for both: see there.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import datasets
import numpy as np
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from benchmarks.limits import network_multiply_adds, peak_multiply_adds
from benchmarks.measuring import Measurement, compare, measuring_options, print_pairs
from benchmarks.plain_network import PlainNetwork, plain_twin
from configuration_dusha import DushaConfig
from dusha_ser.cli.program import run_program
from dusha_ser.errors import WrongUseError
from dusha_ser.training.arguments import DushaTrainingArguments
from dusha_ser.training.augmentation import Augmentation
from dusha_ser.training.batches import ClipDataset, SpectrogramCollator
from dusha_ser.training.normalization import make_precise
from dusha_ser.training.sampling import EveryClipSampler
from dusha_ser.training.trainer import DushaTrainer
from modeling_dusha import DushaForAudioClassification

MELS = 64
# Steps of an epoch; more than are measured.
EPOCH = 24
# The plain loop's first steps take up to twice as long as those after the eighth.
WARM_UP = 8
PLAIN, CHANNELS_LAST, STOCK, OURS = (
    "plain loop",
    "plain loop, channels last",
    "stock Trainer",
    "ours",
)


@dataclass(frozen=True)
class Steps:
    """What is done in each step, and how often.

    Attributes:
        rounds: steps of each variant that count.
        batch_size: clips of a step.
        frames: of a clip, 100 a second.
        model: a trained model; None: random weights.
        warm_up: steps of each that do not count.
    """

    rounds: int
    batch_size: int
    frames: int
    model: str | None = None
    warm_up: int = WARM_UP


def make_model(name: str | None = None) -> DushaForAudioClassification:
    """Load a trained model, or make the published network, with attention switched on."""
    if name is not None:
        return DushaForAudioClassification.from_pretrained(name).train()
    torch.manual_seed(0)
    model = DushaForAudioClassification(DushaConfig())
    with torch.no_grad():
        model.dusha.attention.gamma.fill_(0.5)
    return model.train()


def make_clips(count: int, frames: int) -> np.ndarray:
    """Make features (clips, frames, mels) in dB."""
    rng = np.random.default_rng(0)
    return (-80 * rng.random((count, frames, MELS))).astype(np.float32)


def compare_gradients(model_name: str | None, batch_size: int, frames: int) -> dict[str, float]:
    """Compare the gradients of a whole step of ours and of the plain loop, in both precisions.

    In single precision neither can be within 1e-4 of the exact gradient: rounding decides on which
    side of 0 or 6 some activation falls, and so whether its gradient counts.

    Args:
        model_name: a trained model; None: random weights, at which single precision is poor.
        batch_size: clips.
        frames: of a clip.

    Returns:
        Norms of the differences, relative to the norm of the plain loop's in double precision.
    """
    features = torch.from_numpy(make_clips(batch_size, frames))
    labels = torch.arange(batch_size) % 4
    mask = torch.ones(features.shape[:2], dtype=torch.long)
    gradients = {}
    for kind, dtype in {"": torch.float32, ", double": torch.float64}.items():
        ours = make_model(model_name).to(memory_format=torch.channels_last)  # type: ignore[call-arg]  # typed as unbound
        make_precise(ours)
        ours.to(dtype)(features, attention_mask=mask, labels=labels).loss.backward()
        gradients["ours" + kind] = gradient_vector(ours)
        plain = plain_twin(make_model(model_name)).to(dtype)
        logits = plain(features.transpose(1, 2).unsqueeze(1).contiguous().to(dtype))
        torch.nn.functional.cross_entropy(logits, labels).backward()
        gradients["plain" + kind] = gradient_vector(twin_of_gradients(plain))
    norm = gradients["plain, double"].norm()
    pairs = [("ours, double", "plain, double"), ("ours", "plain")]
    pairs += [(one, "plain, double") for one in ("ours", "plain")]
    return {
        f"{one} and {other}": float((gradients[one] - gradients[other]).norm() / norm)
        for one, other in pairs
    }


def gradient_vector(model: torch.nn.Module) -> torch.Tensor:
    """Return all gradients of a model as one vector of doubles, in the order of their names."""
    named = sorted(model.named_parameters())
    return torch.cat([cast(torch.Tensor, one.grad).double().flatten() for _, one in named])


def twin_of_gradients(plain: PlainNetwork) -> torch.nn.Module:
    """Return our network with the gradients of the plain one, the way back of plain_twin."""
    ours = make_model().double()
    layers = [ours.dusha.stem, *ours.dusha.blocks, ours.dusha.last_1x1]
    pairs = [*zip(layers, plain.features, strict=True), (ours.classifier, plain.classifier)]
    attention, theirs = ours.dusha.attention, plain.attention
    for target, source in pairs:
        for one, other in zip(target.parameters(), source.parameters(), strict=True):
            one.grad = cast(torch.Tensor, other.grad).double()
    attention.gamma.grad = cast(torch.Tensor, theirs.gamma.grad).double()
    for name, twin in {"query": "key", "key": "query", "value": "value"}.items():
        gradient = getattr(theirs, twin).weight.grad
        getattr(attention, name).weight.grad = gradient.squeeze(-1).double()
    return ours


def run_plain(pipe, steps: Steps, options: dict) -> None:
    """Do one step of the plain loop for each message; answer with its seconds and data's, 0."""
    layout = options.get("memory_format", torch.contiguous_format)
    model = plain_twin(make_model(steps.model)).to(memory_format=layout)  # type: ignore[call-overload]  # its stub has no such overload
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-6)
    features = torch.from_numpy(make_clips(steps.batch_size, steps.frames))
    features = features.transpose(1, 2).unsqueeze(1).contiguous(memory_format=layout)
    labels = torch.arange(steps.batch_size) % 4
    while pipe.recv():
        started, used = time.perf_counter(), time.process_time()
        loss = torch.nn.functional.cross_entropy(model(features), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        pipe.send((time.perf_counter() - started, 0.0, time.process_time() - used))


def write_rows(folder: str, steps: Steps) -> datasets.Dataset:
    """Write an epoch's clips and labels as prepared data lie, in the cache of `datasets`."""
    clips = make_clips(EPOCH * steps.batch_size, steps.frames)
    column = datasets.Array2D((None, MELS), "float32")
    return datasets.Dataset.from_generator(
        lambda: ({"input_features": clip, "labels": n % 4} for n, clip in enumerate(clips)),
        features=datasets.Features({"input_features": column, "labels": datasets.Value("int64")}),
        cache_dir=folder,
    )


def run_stock(pipe, steps: Steps, options: dict) -> None:
    """Do one step of Transformers' own Trainer for each message; answer as run_plain."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            save_strategy="no",
            max_steps=100000,
            per_device_train_batch_size=steps.batch_size,
            learning_rate=1e-3,
            weight_decay=1e-6,
            max_grad_norm=0,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            **options,
        )
        Trainer(
            model=make_model(steps.model),
            args=arguments,
            train_dataset=write_rows(folder, steps).with_format("torch"),
            callbacks=[StepOnDemand(pipe)],
        ).train()


class StepOnDemand(TrainerCallback):
    """Lets the Trainer do one step for each message and answers with its seconds and data's.

    Args:
        pipe: where messages come from.
    """

    def __init__(self, pipe):
        self.pipe = pipe
        self.started = self.begun = self.used = 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        """Wait for the first message."""
        self.wait(control)

    def on_step_begin(self, args, state, control, **kwargs):
        """Take the time at which the batch was there."""
        self.begun = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        """Answer, and wait for the next message."""
        ended = time.perf_counter()
        used = time.process_time() - self.used
        self.pipe.send((ended - self.started, self.begun - self.started, used))
        self.wait(control)

    def wait(self, control):
        """Wait for a message; False ends the training."""
        control.should_training_stop = not self.pipe.recv()
        self.started, self.used = time.perf_counter(), time.process_time()


def run_ours(pipe, steps: Steps, options: dict) -> None:
    """Do one step of our Trainer, under its options, for each message; answer as run_plain."""
    batch_size = steps.batch_size // options.get("gradient_accumulation_steps", 1)
    with tempfile.TemporaryDirectory() as folder:
        rows = write_rows(folder, steps)
        arguments = DushaTrainingArguments(
            folder,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            max_steps=100000,
            per_device_train_batch_size=batch_size,
            disable_tqdm=True,
            use_cpu=True,
            **options,
        )
        trainer = DushaTrainer(
            model=make_model(steps.model),
            args=arguments,
            train_dataset=ClipDataset(rows, "input_features", np.arange(len(rows)) % 4),
            train_sampler=EveryClipSampler([steps.frames / 100] * len(rows), batch_size=batch_size),
            # No crop: the peers' clips keep their frames.
            train_collator=SpectrogramCollator(
                augmentation=Augmentation(crop=0), equal_lengths=True
            ),
            callbacks=[StepOnDemand(pipe)],
        )
        trainer.train()


def measure(variants: Mapping[str, tuple[Callable, dict]], steps: Steps) -> dict:
    """Let processes step in turn.

    Args:
        variants: function and options of training, by name.
        steps: what they do.

    Returns:
        seconds and processor_seconds as of `measure_in_turn`, and seconds_of_data.
    """
    context = multiprocessing.get_context("spawn")
    processes, pipes = [], {}
    for name, (function, options) in variants.items():
        pipes[name], theirs = context.Pipe()
        process = context.Process(target=function, args=(theirs, steps, options), daemon=True)
        process.start()
        processes.append(process)
    columns = ("seconds", "seconds_of_data", "processor_seconds")
    times: dict = {column: {name: [] for name in variants} for column in columns}
    for number in range(steps.warm_up + steps.rounds):
        for name, pipe in pipes.items():
            pipe.send(True)
            values = pipe.recv()
            if number >= steps.warm_up:
                for column, value in zip(columns, values, strict=True):
                    times[column][name].append(value)
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(False)
        process.join()
    return times


def share_of_data(times: dict) -> dict[str, float]:
    """Say which part of a step each variant waits for its batch."""
    return {
        name: sum(row) / sum(times["seconds"][name])
        for name, row in times["seconds_of_data"].items()
    }


def check_rounds(rounds: int) -> None:
    """Refuse more rounds than an epoch has steps for."""
    if not 0 < rounds < EPOCH - WARM_UP:
        raise WrongUseError(f"--rounds is {rounds}; allowed are 1 to {EPOCH - WARM_UP - 1}")


def step_options(description: str, example: str, batch_size: int) -> argparse.ArgumentParser:
    """Describe the options of a program that times steps."""
    parser = measuring_options(description, example, rounds=9)
    parser.add_argument("--batch_size", type=int, default=batch_size, help="clips of a step")
    parser.add_argument("--frames", type=int, default=300, help="frames of a clip, 100 a second")
    return parser


def measure_weights(steps: Steps, name: str) -> dict:
    """Measure all variants from some weights; returns times, pairs and the limits.

    Args:
        steps: what they do.
        name: of the weights.
    """
    times = measure(
        {
            PLAIN: (run_plain, {}),
            CHANNELS_LAST: (run_plain, {"memory_format": torch.channels_last}),
            STOCK: (run_stock, {}),
            OURS: (run_ours, {}),
        },
        steps,
    )
    seconds = {variant: float(np.median(row)) for variant, row in times["seconds"].items()}
    better = min((PLAIN, CHANNELS_LAST), key=seconds.__getitem__)
    needed = 3 * steps.batch_size * network_multiply_adds(steps.frames)
    least = needed / (peak_multiply_adds() * torch.get_num_threads())
    peers = {PLAIN: better, f"{PLAIN}, as people do": PLAIN, STOCK: STOCK}
    return {
        "times": times,
        "pairs": compare(times, {f"{name}, {pair}": (peer, OURS) for pair, peer in peers.items()}),
        "most_times_as_fast": {
            f"{name}, {pair}": seconds[one] / least for pair, one in peers.items()
        },
        "share_of_data": share_of_data(times),
    }


def main() -> None:
    """Measure, compare gradients, print and write the results."""
    parser = step_options(
        __doc__.splitlines()[0], "python -m benchmarks.training_step --model runs/sample", 64
    )
    parser.add_argument("--model", help="trained model to start from, too (default: none)")
    chosen = parser.parse_args()
    check_rounds(chosen.rounds)
    measurement = Measurement("training_step", chosen)
    weights = {"random": None} | ({"released": chosen.model} if chosen.model else {})
    measured, differences = {}, {}
    for name, model in weights.items():
        steps = Steps(chosen.rounds, chosen.batch_size, chosen.frames, model)
        measured[name] = measure_weights(steps, name)
        # Double precision of whole batches would take gigabytes.
        differences[name] = compare_gradients(model, min(16, chosen.batch_size), chosen.frames)
    pairs = {key: pair for found in measured.values() for key, pair in found["pairs"].items()}
    limit = {
        key: most
        for found in measured.values()
        for key, most in found["most_times_as_fast"].items()
    }
    print_pairs(pairs)
    for name, found in differences.items():
        for pair, difference in found.items():
            print(f"{name}: relative difference of the gradients of {pair}: {difference:.1e}")
    results = {
        "batch_size": chosen.batch_size,
        "frames": chosen.frames,
        "threads": torch.get_num_threads(),
        "pairs": pairs,
        "limit": {"most_times_as_fast": limit},
        **{
            key: {name: found[key] for name, found in measured.items()}
            for key in ("times", "share_of_data")
        },
        "gradient_differences": differences,
    }
    print(f"written to {measurement.write(results)}")


if __name__ == "__main__":
    run_program(main)
