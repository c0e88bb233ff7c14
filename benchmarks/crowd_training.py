"""What a network learns from the same answers of a crowd, by how labels or a loss are made of them.

    python -m benchmarks.crowd_training --crowd PROGRAM --model MODEL --work FOLDER

PROGRAM simulates a crowd about real clips with a known truth (functions `annotators` and `clips`,
whose clips name an actor). Speakers up to the 16th train, the others test, against the truth. Each
seed draws another crowd and another order of the clips. MODEL is what training starts from. Each
training leaves FOLDER/cells/NAME.json, and is not repeated; `--collect` only makes the table.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import datasets
import numpy as np
import torch
from torch.nn import functional

from benchmarks.label_doubts import draw_answers, load
from benchmarks.measuring import processor_seconds, write_results
from benchmarks.mixed_predictions import difference_cell, score
from dusha_ser.cli.program import run_program
from dusha_ser.corpus.own_recordings import Recording, make_recordings
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predictions import Predictions
from dusha_ser.evaluation.seeds import run_confusions
from dusha_ser.evaluation.ser.ser import scores
from dusha_ser.labels.crowd_answers import CrowdAnswers
from dusha_ser.labels.dawid_skene import dawid_skene
from dusha_ser.labels.likelihoods import answer_log_likelihoods
from dusha_ser.labels.regularised import regularised_dawid_skene
from dusha_ser.training.arguments import DushaTrainingArguments
from dusha_ser.training.batches import ClipDataset
from dusha_ser.training.options import DataOptions, RecipeOptions
from dusha_ser.training.preparation import Preparation, prepare
from dusha_ser.training.result import final_test
from dusha_ser.training.run import make_trainer
from dusha_ser.training.trainer import DushaTrainer
from dusha_ser.vocabulary import ANSWERS, EMOTIONS, THRESHOLD

COUNTS = (3, 5, 7)
SEEDS = range(3)
LAST_TRAINING_ACTOR = 16
TRUTH, PUBLISHED, BY_ANSWERS, CROWD_LAYER = "truth", "published", "answers", "crowd_layer"
METHODS = {
    TRUTH: "the true labels",
    PUBLISHED: "Dawid-Skene's labels from 0.9 on, as published",
    "regularised": "regularised labels from 0.9 on",
    "unsure": "regularised labels of all clips, by their probability (`keep_unsure`)",
    "soft": "regularised probabilities of all clips (`loss=soft`)",
    BY_ANSWERS: "the answers, by the annotators' confusions (`loss=answers`)",
    CROWD_LAYER: "the answers, confusions learnt (crowd-kit's CrowdLayer)",
}
# What the others are compared with.
BASES = {PUBLISHED: "more than published labels", BY_ANSWERS: "more than `loss=answers`"}
# The setup own_recordings, but that more blocks stay as they are and few epochs are taken.
RECIPE = RecipeOptions(
    label_smoothing=0.1,
    frozen_blocks=9,
    longest=300,
    equal_lengths=True,
    frequency_mask=8,
    time_mask=20,
    crop=20,
    stretch=0.1,
    class_weights="balanced",
)
RUN: dict[str, Any] = {
    "num_train_epochs": 6,
    "per_device_train_batch_size": 16,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 30,
    "average_decay": 0.98,
    "save_strategy": "no",
    "quiet": True,
}


@dataclass(frozen=True)
class Cell:
    """One training: the seed, how many answers each clip has, and what is made of them."""

    seed: int
    count: int
    method: str

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.seed}_{self.count}_{self.method}"


def all_cells() -> list[Cell]:
    """List the trainings, one seed of all methods first.

    The truth does not depend on answers, and with many answers all clips are as good as sure.
    """
    return [
        Cell(seed, count, method)
        for seed in SEEDS
        for count in COUNTS
        for method in METHODS
        if method not in (TRUTH, "unsure") or count == COUNTS[0]
    ]


def ask_crowd(program: Any, cell: Cell) -> tuple[datasets.Dataset, datasets.Dataset, CrowdAnswers]:
    """Return all training clips and test clips, and the answers to the former."""
    clips = list(program.clips())
    recordings = [
        Recording(clip["hash_id"], Path(clip["path"]), clip["emotion"], str(clip["actor"]))
        for clip in clips
    ]
    rows = make_recordings(recordings, EMOTIONS)
    trains = np.array([clip["actor"] <= LAST_TRAINING_ACTOR for clip in clips])
    _, people, given = draw_answers(program, max(COUNTS), cell.seed)
    people, given = people[trains, : cell.count], given[trains, : cell.count]
    task = np.repeat(np.arange(len(people)), cell.count)
    names = range(len(people)), range(people.max() + 1), ANSWERS
    answers = CrowdAnswers(task, people.ravel(), given.ravel(), *names)
    train, test = (rows.select(np.flatnonzero(own)) for own in (trains, ~trains))
    return train, test, answers


def label_clips(
    clips: datasets.Dataset, answers: CrowdAnswers, method: str
) -> tuple[datasets.Dataset, np.ndarray]:
    """Give clips what the crowd says of them, as `dusha corpus` would.

    Returns:
        The clips that the method learns from, and their numbers among all.
    """
    if method == TRUTH:
        return clips, np.arange(len(clips))
    aggregate = dawid_skene if method == PUBLISHED else regularised_dawid_skene
    found = aggregate(answers)
    classes = found.probabilities[:, : len(EMOTIONS)]
    kept = classes.sum(1) > 0
    if method in (PUBLISHED, "regularised"):
        kept = classes.max(1) >= THRESHOLD
    columns = {
        "answers": [list(ANSWERS)] * len(clips),
        "label_probabilities": found.probabilities.tolist(),
        "log_likelihoods": answer_log_likelihoods(answers, found).tolist(),
    }
    clips = clips.remove_columns("label").add_column("label", classes.argmax(1))
    clips = clips.cast_column("label", datasets.ClassLabel(names=list(EMOTIONS)))
    for name, values in columns.items():
        clips = clips.add_column(name, values)
    numbers = np.flatnonzero(kept)
    return clips.select(numbers), numbers


class CrowdLayerLoss:
    """Rodrigues and Pereira 2018: each annotator's answer by a layer of theirs upon the network's.

    Labels of a batch are (clips, annotators), -1 where an annotator did not answer. The answer
    `other`, which is no class, has a probability of 0 before the layer.

    Args:
        layer: crowd-kit's, for as many labels as there are answers; the optimizer must know it.
    """

    def __init__(self, layer: torch.nn.Module):
        self.layer = layer

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of each clip's answers, (clips,)."""
        if labels.ndim == 1:
            # Of the test, which has labels and no answers.
            return functional.cross_entropy(logits, labels, reduction="none")
        clip, annotator = torch.nonzero(labels >= 0, as_tuple=True)
        chances = functional.pad(logits.float().softmax(1), (0, len(ANSWERS) - logits.shape[1]))
        answers = self.layer(chances[clip], annotator).view(-1, len(ANSWERS))
        losses = functional.cross_entropy(answers, labels[clip, annotator], reduction="none")
        counts = (labels >= 0).sum(1).clamp(min=1)
        return torch.zeros_like(counts, dtype=losses.dtype).index_add(0, clip, losses) / counts

    def factors(self, labels: torch.Tensor) -> torch.Tensor:
        """Return 1 for each clip."""
        return torch.ones(len(labels), device=labels.device)


def trainer_of(
    prepared: Preparation,
    recipe: RecipeOptions,
    arguments: DushaTrainingArguments,
    answers: CrowdAnswers | None,
) -> DushaTrainer:
    """Make the trainer; with answers, that of a CrowdLayer."""
    if answers is None:
        return make_trainer(prepared, recipe, arguments)
    from crowdkit.learning import CrowdLayer

    tasks, annotators, labels = answers.shape
    prepared.model.crowd_layer = CrowdLayer(labels, annotators)
    trainer = make_trainer(prepared, recipe, arguments)
    table = np.full((tasks, annotators), -1)
    table[answers.task, answers.annotator] = answers.label
    cast(ClipDataset, trainer.train_dataset).targets = torch.as_tensor(table)
    trainer.classification_loss = cast(Any, CrowdLayerLoss(prepared.model.crowd_layer))
    return trainer


def train_cell(cell: Cell, program: Any, model: str, work: Path) -> dict:
    """Train and test; return predictions of the test clips by speaker, and what it took."""
    began = processor_seconds()
    all_clips, test, answers = ask_crowd(program, cell)
    train, numbers = label_clips(all_clips, answers, cell.method)
    # Of "soft", CrowdLayer has the sampling.
    losses = {"soft": "soft", BY_ANSWERS: "answers", CROWD_LAYER: "soft"}
    recipe = replace(
        RECIPE,
        model_name_or_path=model,
        loss=losses.get(cell.method, "hard"),
        posterior_weights=cell.method == "unsure",
    )
    folder = work / "model"
    shutil.rmtree(folder, ignore_errors=True)
    arguments = DushaTrainingArguments(str(folder), seed=cell.seed, **RUN)
    data = DataOptions(validation=0, cache_dir=str(work / "cache"))
    torch.manual_seed(cell.seed)
    prepared = prepare(data, recipe, arguments, {"train": train, "test": test})
    layered = answers if cell.method == CROWD_LAYER else None
    if layered is not None and len(prepared.splits["train"]) != len(all_clips):
        raise WrongUseError("a clip was called other by all: draw another crowd for CrowdLayer")
    trainer = trainer_of(prepared, recipe, arguments, layered)
    trainer.train()
    found = final_test(trainer, prepared).predictions
    shutil.rmtree(folder, ignore_errors=True)
    truth = np.array(all_clips["label"])[numbers]
    return {
        "clips": len(train),
        "right_labels": float((np.array(train["label"]) == truth).mean()),
        "references": found.references.tolist(),
        "predicted": found.predicted.tolist(),
        "speakers": found.speakers,
        "processor_seconds": round(processor_seconds() - began, 1),
    }


def as_predictions(found: dict) -> Predictions:
    """Return what a training left as predictions, whose probabilities are 0 or 1."""
    clips = list(map(str, range(len(found["predicted"]))))
    certain = np.eye(len(EMOTIONS))[found["predicted"]]
    references = np.array(found["references"])
    return Predictions(EMOTIONS, clips, references, certain, found["speakers"])


def compare(cells: dict[Cell, dict]) -> dict:
    """Make the table: balanced accuracy as the mean of seeds, their spread, and differences.

    Intervals are of 95 % and draw speakers, of both methods that are compared alike.
    """
    rows = []

    def runs_of(count: int, method: str, seeds: Sequence[int]) -> list[Predictions]:
        wanted = [Cell(seed, count, method) for seed in seeds]
        return [as_predictions(cells[one]) for one in wanted if one in cells]

    for count in COUNTS:
        for method, title in METHODS.items():
            own = [one for one in cells if one.method == method and one.count == count]
            seeds = [one.seed for one in own]
            if not own:
                continue
            runs = runs_of(count, method, seeds)
            metrics = score(runs)
            low, high = metrics["intervals"]["balanced_accuracy"]
            each = scores(run_confusions(runs, None).sum(0))[1]
            gains = []
            for other in BASES:
                base = runs_of(count, other, seeds)
                alike = method in (other, TRUTH) or len(base) < len(runs)
                gains.append("-" if alike else difference_cell(runs, base))
            rows.append(
                [
                    "all true" if method == TRUTH else str(count),
                    title,
                    f"{np.mean([cells[one]['clips'] for one in own]):.0f}",
                    f"{np.mean([cells[one]['right_labels'] for one in own]):.3f}",
                    str(len(seeds)),
                    f"{metrics['balanced_accuracy']:.3f} [{low:.3f}, {high:.3f}]",
                    f"{each.min():.3f} to {each.max():.3f}",
                    *gains,
                ]
            )
    columns = ["answers per clip", "learnt from", "clips", "right labels", "seeds"]
    columns += ["balanced accuracy", "of single seeds", *BASES.values()]
    return {"columns": columns, "rows": rows}


def main() -> None:
    """Train what is missing, and write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crowd", type=Path, required=True, help="program that simulates a crowd")
    parser.add_argument("--model", required=True, help="folder of the model to start from")
    parser.add_argument("--work", type=Path, required=True, help="folder of cells/")
    parser.add_argument("--most", type=int, default=None, help="trainings to do now (default: all)")
    parser.add_argument("--collect", action="store_true", help="train nothing")
    chosen = parser.parse_args()
    folder = chosen.work / "cells"
    folder.mkdir(parents=True, exist_ok=True)
    files = {cell: folder / f"{cell.name}.json" for cell in all_cells()}
    missing = [] if chosen.collect else [cell for cell, file in files.items() if not file.exists()]
    program = load(chosen.crowd)
    for cell in missing[: chosen.most]:
        found = train_cell(cell, program, chosen.model, chosen.work)
        unfinished = folder / f"{cell.name}.part"
        unfinished.write_text(json.dumps(found))
        unfinished.rename(files[cell])
        print(cell.name, found["clips"], found["processor_seconds"], "s", flush=True)
    cells = {cell: json.loads(file.read_text()) for cell, file in files.items() if file.exists()}
    if not cells:
        raise WrongUseError(f"{folder} holds no training yet: leave --collect out")
    table = compare(cells)
    for row in [table["columns"], *table["rows"]]:
        print(" | ".join(row))
    seconds = sum(one["processor_seconds"] for one in cells.values())
    speakers = set().union(*(one["speakers"] for one in cells.values()))
    results = {
        "trainings": len(cells),
        "of": len(files),
        "test_speakers": len(speakers),
        "processor_minutes": round(seconds / 60),
        **table,
    }
    shown = ["--crowd", "PROGRAM", "--model", "MODEL", "--work", "FOLDER"]
    print(f"written to {write_results('crowd_training', results, shown)}")


if __name__ == "__main__":
    run_program(main)
