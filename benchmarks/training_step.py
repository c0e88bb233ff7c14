"""Training steps a second: this project's Trainer against the plain loop, on the same clips.

    python -m benchmarks.training_step [--compile]

The plain loop runs the published network of torchvision's blocks on contiguous tensors, with
Adam and cross-entropy. Ours is DushaTrainer as `dusha train` runs it, from features in the cache of
`datasets` to the step of Adam, batches of 64 clips of 300 frames each. Each has a process of its
own, because ours changes how a process keeps memory, and they step in turn. Batch normalisation
sees whole batches in both, and the gradients are compared.
"""

import argparse
import multiprocessing
import os
import tempfile
import time

# As `dusha train` does, and for both: see there.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import datasets
import numpy as np
import torch
from transformers import TrainerCallback

from benchmarks.measuring import speedups, write_results
from benchmarks.plain_network import plain_twin
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
# Steps of an epoch of ours; more than are measured.
EPOCH = 16
WARM_UP = 2


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

    def fresh() -> DushaForAudioClassification:
        if model_name is None:
            return make_model()
        return DushaForAudioClassification.from_pretrained(model_name).train()

    features = torch.from_numpy(make_clips(batch_size, frames))
    labels = torch.arange(batch_size) % 4
    mask = torch.ones(features.shape[:2], dtype=torch.long)
    gradients = {}
    for kind, dtype in {"": torch.float32, ", double": torch.float64}.items():
        ours = fresh().to(memory_format=torch.channels_last)
        make_precise(ours)
        ours.to(dtype)(features, attention_mask=mask, labels=labels).loss.backward()
        gradients["ours" + kind] = gradient_vector(ours)
        plain = plain_twin(fresh()).to(dtype)
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
    return torch.cat([one.grad.double().flatten() for _, one in named])


def twin_of_gradients(plain: torch.nn.Module) -> torch.nn.Module:
    """Return our network with the gradients of the plain one, the way back of plain_twin."""
    ours = make_model().double()
    layers = [ours.dusha.stem, *ours.dusha.blocks, ours.dusha.last_1x1]
    pairs = [*zip(layers, plain.features, strict=True), (ours.classifier, plain.classifier)]
    attention, theirs = ours.dusha.attention, plain.attention
    for target, source in pairs:
        for one, other in zip(target.parameters(), source.parameters(), strict=True):
            one.grad = other.grad.double()
    attention.gamma.grad = theirs.gamma.grad.double()
    for name, source in {"query": "key", "key": "query", "value": "value"}.items():
        gradient = getattr(theirs, source).weight.grad
        getattr(attention, name).weight.grad = gradient.squeeze(-1).double()
    return ours


def run_plain(pipe, batch_size: int, frames: int, options: dict) -> None:
    """Do one step of the plain loop for each message; answer with its seconds and data's, 0."""
    model = plain_twin(make_model())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-6)
    features = torch.from_numpy(make_clips(batch_size, frames)).transpose(1, 2).unsqueeze(1)
    features, labels = features.contiguous(), torch.arange(batch_size) % 4
    while pipe.recv():
        started, used = time.perf_counter(), time.process_time()
        loss = torch.nn.functional.cross_entropy(model(features), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        pipe.send((time.perf_counter() - started, 0.0, time.process_time() - used))


class StepOnDemand(TrainerCallback):
    """Lets the Trainer do one step for each message and answers with its seconds and data's.

    Args:
        pipe: where messages come from.
    """

    def __init__(self, pipe):
        self.pipe = pipe
        self.started = self.begun = self.used = None

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


def run_ours(pipe, batch_size: int, frames: int, options: dict) -> None:
    """Do one step of our Trainer, under its options, for each message; answer as run_plain."""
    accumulated = options.get("gradient_accumulation_steps", 1)
    column = datasets.Array2D((None, MELS), "float32")
    # So many that no epoch ends: batches are fetched one ahead, and the last for nothing.
    clips = make_clips(EPOCH * batch_size, frames)
    with tempfile.TemporaryDirectory() as folder:
        # From disk, as prepared data lie.
        rows = datasets.Dataset.from_generator(
            lambda: ({"input_features": clip} for clip in clips),
            features=datasets.Features({"input_features": column}),
            cache_dir=folder,
        )
        arguments = DushaTrainingArguments(
            folder,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            max_steps=100000,
            per_device_train_batch_size=batch_size // accumulated,
            disable_tqdm=True,
            use_cpu=True,
            **options,
        )
        trainer = DushaTrainer(
            model=make_model(),
            args=arguments,
            train_dataset=ClipDataset(rows, "input_features", np.arange(len(rows)) % 4),
            train_sampler=EveryClipSampler(
                [frames / 100] * len(rows), batch_size=batch_size // accumulated
            ),
            # No crop: the plain loop's clips keep their 300 frames.
            train_collator=SpectrogramCollator(
                augmentation=Augmentation(crop=0), equal_lengths=True
            ),
            callbacks=[StepOnDemand(pipe)],
        )
        trainer.train()


def measure(variants: dict, rounds: int, warm_up: int, batch_size: int, frames: int) -> dict:
    """Let processes step in turn.

    Args:
        variants: function and options of training, by name.
        rounds: steps of each that count.
        warm_up: steps of each that do not.
        batch_size: clips of a step.
        frames: of a clip.

    Returns:
        For each variant (rounds, 3): seconds of the step with its data, of the data alone, and
        of processor time.
    """
    context = multiprocessing.get_context("spawn")
    processes, pipes = [], {}
    for name, (function, options) in variants.items():
        pipes[name], theirs = context.Pipe()
        process = context.Process(
            target=function, args=(theirs, batch_size, frames, options), daemon=True
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


def compare(times: dict[str, np.ndarray], peer: str, batch_size: int) -> dict[str, dict]:
    """Say what `measure` found of each variant, and how many times as fast as the peer it is."""
    by_clock, used = (
        speedups({name: rows[:, column].tolist() for name, rows in times.items()}, peer)
        for column in (0, 2)
    )
    return {
        name: {
            "clips_per_second": batch_size / float(np.median(rows[:, 0])),
            "times_as_fast": used[name],
            "times_as_fast_by_the_clock": by_clock[name],
            "seconds": rows[:, 0].tolist(),
            "processor_seconds": rows[:, 2].tolist(),
            "share_of_data": float(rows[:, 1].sum() / rows[:, 0].sum()),
        }
        for name, rows in times.items()
    }


def check_rounds(rounds: int) -> None:
    """Refuse more rounds than an epoch of ours has steps for."""
    if not 0 < rounds < EPOCH - WARM_UP:
        raise WrongUseError(f"--rounds is {rounds}; allowed are 1 to {EPOCH - WARM_UP - 1}")


def step_options(description: str, example: str, batch_size: int) -> argparse.ArgumentParser:
    """Describe the options of a program that times steps."""
    parser = argparse.ArgumentParser(description=description, epilog=f"example: {example}")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each that are timed")
    parser.add_argument("--batch_size", type=int, default=batch_size, help="clips of a step")
    parser.add_argument("--frames", type=int, default=300, help="frames of a clip, 100 a second")
    return parser


def main() -> None:
    """Measure, compare gradients, print and write the results."""
    parser = step_options(
        __doc__.splitlines()[0], "python -m benchmarks.training_step --compile", 64
    )
    parser.add_argument("--model", help="trained model at which gradients are compared")
    parser.add_argument(
        "--compile", action="store_true", help="measure --torch_compile, too (minutes to compile)"
    )
    options = parser.parse_args()
    check_rounds(options.rounds)
    variants = {"plain": (run_plain, {}), "ours": (run_ours, {})}
    if options.compile:
        variants["ours, compiled"] = (run_ours, {"torch_compile": True})
    times = measure(variants, options.rounds, WARM_UP, options.batch_size, options.frames)
    # Double precision of whole batches would take gigabytes.
    differences = compare_gradients(options.model, min(16, options.batch_size), options.frames)
    results = {
        "batch_size": options.batch_size,
        "frames": options.frames,
        "variants": compare(times, "plain", options.batch_size),
        "weights": "trained" if options.model else "random",
        "gradient_differences": differences,
    }
    for name, found in results["variants"].items():
        speed = f"{found['clips_per_second']:6.1f} clips/s  {found['times_as_fast']:.2f} times"
        print(f"{name:<16}{speed}  data {found['share_of_data']:.1%} of a step")
    for pair, difference in differences.items():
        print(f"relative difference of the gradients of {pair}: {difference:.1e}")
    print(f"written to {write_results('training_step', results)}")


if __name__ == "__main__":
    run_program(main)
