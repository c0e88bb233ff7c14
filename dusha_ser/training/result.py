"""What a training run has found: the test set, classified once, and what to do next."""

from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch

from dusha_ser.evaluation.predictions import Predictions, score_predictions
from dusha_ser.evaluation.results import confusion_table, results_table
from dusha_ser.tables import screen_table
from dusha_ser.training.batches import Clips
from dusha_ser.training.model_card import OPTIONS_FILE
from dusha_ser.training.trainer import DushaTrainer


@dataclass
class TrainingResult:
    """What a run has found.

    Attributes:
        predictions: on the test set, or on the validation set where there is no test set.
        tested_on: "test" or "validation".
        metrics: as `metrics.ser.ser.ser_metrics` gives them, with intervals over speakers.
        best_epoch: epoch of the weights that were kept; None: the last.
        log_history: of the Trainer.
        output_dir: where everything lies.
    """

    predictions: Predictions
    tested_on: str
    metrics: dict
    best_epoch: float | None
    log_history: list[dict]
    output_dir: Path


def labelled_clips(rows: datasets.Dataset, column: str, order: np.ndarray) -> Clips:
    """Return clips with the model's class numbers, for evaluation.

    Args:
        rows: with label, and the model's input.
        column: of the input.
        order: the model's number of each class of the rows, (classes,).

    Returns:
        As many clips, in the order of the rows.
    """
    return Clips(rows, column, order[np.array(rows["label"])])


def final_test(
    trainer: DushaTrainer, splits: dict[str, datasets.Dataset], column: str
) -> TrainingResult:
    """Classify the test set, once; where there is none, what is left to look at.

    Args:
        trainer: after training.
        splits: with test, or validation, or else train.
        column: of the inputs.

    Returns:
        What was found.
    """
    tested_on = next(split for split in ("test", "validation", "train") if split in splits)
    rows = splits[tested_on]
    names = rows.features["label"].names
    order = np.array([trainer.model.config.label2id[name] for name in names])
    output = trainer.predict(labelled_clips(rows, column, order), metric_key_prefix=tested_on)
    logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
    logits = torch.from_numpy(logits).double()[:, order]
    if trainer.classification_loss.kind == "multi":
        probabilities = logits.sigmoid() / logits.sigmoid().sum(1, keepdim=True)
    else:
        probabilities = logits.softmax(1)
    speakers = list(rows["source_id"]) if "source_id" in rows.column_names else [None]
    predictions = Predictions(
        labels=tuple(names),
        ids=list(map(str, rows["id"] if "id" in rows.column_names else range(len(rows)))),
        references=np.array(rows["label"]),
        probabilities=probabilities.numpy(),
        speakers=None if None in speakers else speakers,
    )
    state = trainer.state
    best = state.best_global_step if trainer.args.load_best_model_at_end else None
    return TrainingResult(
        predictions=predictions,
        tested_on=tested_on,
        metrics=score_predictions(predictions)["metrics"],
        best_epoch=best and round(best * state.num_train_epochs / state.max_steps, 2),
        log_history=state.log_history,
        output_dir=Path(trainer.args.output_dir),
    )


def describe_result(result: TrainingResult) -> str:
    """Say what a run has found and what to do with it.

    Args:
        result: of the run.

    Returns:
        A table, the confusion matrix and the next steps, in lines.
    """
    metrics, folder = result.metrics, result.output_dir
    chosen = f"epoch {result.best_epoch:g}" if result.best_epoch else "the last epoch"
    row = {
        "model": chosen,
        "test_set": result.tested_on,
        "scores": metrics,
        "intervals": metrics.get("intervals"),
        "clips": metrics["count"],
        "speakers": metrics.get("group_count"),
        "source": "",
    }
    return "\n".join(
        [
            screen_table(results_table([row])),
            screen_table(confusion_table(metrics)),
            f"Model, card, curves and predictions are in {folder}. Next:",
            f"  dusha predict {folder} recording.wav   classify a recording",
            f"  dusha train --train_file clips.csv --model_name_or_path {folder}   "
            "go on with your own recordings",
            f"  dusha train {folder / OPTIONS_FILE}   train the same again",
        ]
    )
