"""The result of a training run: the test set, classified once, and what to do next."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import Subset

from configuration_dusha import DushaConfig
from dusha_ser.corpus.contents import copy_column
from dusha_ser.evaluation.calibration import TemperatureFit, fit_temperature
from dusha_ser.evaluation.predict_rows import known_temperature
from dusha_ser.evaluation.predictions import Predictions, Probabilities, score_predictions
from dusha_ser.evaluation.results import confusion_table, metrics_row, results_table
from dusha_ser.inference.class_prior import assume_prior, describe_prior
from dusha_ser.inference.loading import label_names
from dusha_ser.inference.settings import WHOLE
from dusha_ser.storage import free_name
from dusha_ser.tables import screen_table
from dusha_ser.training.options import OPTIONS_FILE, RecipeOptions
from dusha_ser.training.preparation import Preparation
from dusha_ser.training.trainer import DushaTrainer, first_output
from modeling_dusha import class_probabilities, is_multi_label


@dataclass
class TrainingResult:
    """The result of a run.

    Attributes:
        predictions: on the split `tested_on`.
        tested_on: "test", or "validation" or "train" where there is no other.
        metrics: of `dusha_ser.evaluation.ser.ser.ser_metrics`, with intervals over speakers.
        best_epoch: epoch of the weights that were kept; None: the last.
        log_history: of the Trainer.
        output_dir: folder of the model and all about it.
        chosen_on_test: whether the best epoch was chosen on the test split, as published.
        calibration: the temperature of the model, and the clips that it was fitted to or the
            reason why there is none.
        scores: all of `score_predictions`, the metrics among them.
        prior: how frequent the model's predictions take the classes to be, in a sentence; "":
            this is not known.
        told: what a classifier on a frozen encoder says of the clips that it learnt.
    """

    predictions: Predictions
    tested_on: str
    metrics: dict
    best_epoch: float | None
    log_history: list[dict]
    output_dir: Path
    chosen_on_test: bool = False
    calibration: TemperatureFit = field(default_factory=TemperatureFit)
    scores: dict = field(default_factory=dict)
    prior: str = ""
    told: Probabilities | None = None

    @property
    def kept(self) -> str:
        """The epoch whose weights were kept, in words."""
        return f"epoch {self.best_epoch:g}" if self.best_epoch else "the last epoch"

    @property
    def note(self) -> str:
        """What must be known to read the scores, in a sentence; "": they are of a final test."""
        if self.tested_on == "train":
            return (
                "These are scores of training clips, which say nothing about new recordings: there "
                "is neither a test nor a validation split."
            )
        if self.tested_on == "validation":
            chosen = f", on which {self.kept} was chosen: expect less" if self.best_epoch else ""
            return f"There is no test split: these are scores of the validation split{chosen}."
        if self.chosen_on_test:
            return f"{self.kept.capitalize()} was chosen on the test split itself: expect less."
        return ""


def calibrate(trainer: DushaTrainer, prepared: Preparation) -> TemperatureFit:
    """Fit a temperature to the validation clips and give it to the model, which it is saved with.

    It stays 1 where these clips are those of the test, or do not tell what it should be.
    """
    config, splits = trainer.model.config, prepared.splits
    if config.model_type != DushaConfig.model_type:
        return TemperatureFit(problem=f"{config.model_type} has no temperature")
    if "validation" not in splits:
        return TemperatureFit(problem="there are no validation clips")
    if splits["validation"] is splits.get("test"):
        return TemperatureFit(problem="the validation clips are those of the test")
    logits = classify_split(trainer, prepared, "validation").numpy()
    references = np.array(splits["validation"]["label"])
    adjustment = trainer.classification_loss.adjustment
    # The validation clips have the shares that the adjustment takes out of the logits.
    offset = 0.0 if adjustment is None else adjustment[prepared.order]
    fit = fit_temperature(logits, references, is_multi_label(config.problem_type), offset)
    config.temperature = fit.temperature
    return fit


def settle_prior(prepared: Preparation, recipe: RecipeOptions) -> None:
    """Let the model say which shares of the classes it assumes, and assume those asked for."""
    config = prepared.model.config
    if config.model_type != DushaConfig.model_type or prepared.class_prior is None:
        return
    config.class_prior = prepared.class_prior.tolist()
    if recipe.prior is not None:
        assume_prior(config, recipe.prior)


def classify_split(trainer: DushaTrainer, prepared: Preparation, split: str) -> torch.Tensor:
    """Return the logits of a split, (clips, classes) float64, clips and classes in their order."""
    clips = cast(Subset, prepared.longest_first(split))
    output = trainer.predict(clips, metric_key_prefix=split)
    in_order = first_output(output.predictions)[np.argsort(clips.indices)]
    return torch.from_numpy(in_order).double()[:, prepared.order]


def final_test(
    trainer: DushaTrainer, prepared: Preparation, calibration: TemperatureFit | None = None
) -> TrainingResult:
    """Classify the test set, once; without one, the validation set, or else the train set."""
    splits, calibration = prepared.splits, calibration or TemperatureFit()
    tested_on = next(split for split in ("test", "validation", "train") if split in splits)
    rows = splits[tested_on]
    logits = classify_split(trainer, prepared, tested_on)
    problem_type = trainer.model.config.problem_type
    speakers = list(rows["source_id"]) if "source_id" in rows.column_names else []
    predictions = Predictions(
        labels=tuple(prepared.labels),
        ids=list(map(str, rows["id"] if "id" in rows.column_names else range(len(rows)))),
        references=np.array(rows["label"]),
        probabilities=class_probabilities(logits, problem_type).numpy(),
        speakers=None if None in speakers else speakers or None,
        multi_label=is_multi_label(problem_type),
        temperature=known_temperature(trainer.model.config),
    )
    scores = score_predictions(predictions)
    state = trainer.state
    best = state.best_global_step if trainer.args.load_best_model_at_end else None
    return TrainingResult(
        predictions=predictions,
        tested_on=tested_on,
        metrics=scores["metrics"],
        best_epoch=best and round(best * state.num_train_epochs / state.max_steps, 2),
        log_history=state.log_history,
        output_dir=Path(trainer.args.output_dir),
        # `published_quirks` takes the test split as the validation split.
        chosen_on_test=bool(best) and splits.get("validation") is splits.get("test"),
        calibration=calibration,
        scores=scores,
        prior=prior_sentence(trainer.model.config),
    )


def tell_of_learnt(prepared: Preparation) -> Probabilities | None:
    """Return what a classifier on a frozen encoder says of the clips that it learnt.

    Their layers are known, so this takes no time, and whom it teaches may learn it.

    Returns:
        Of clips and copies, whose ids are as of `copy_column`; without those that it heard the
        start of, of which it says other things when it hears all. None: the encoder is not frozen,
        there are no such clips, or it is not known how long they are.
    """
    rows = prepared.all_rows("train")
    if prepared.backbone is None or "duration" not in rows.column_names:
        return None
    rows = rows.select(range(len(rows) - prepared.unlabelled))
    seconds = list(rows["duration"])
    if None in seconds:
        return None
    ids = list(map(str, prepared.splits["train"]["id"]))
    copies = len(rows) // len(ids) - 1
    ids += [copy_column(name, copy) for copy in range(copies) for name in ids]
    extractor: Any = prepared.extractor
    samples = getattr(extractor, "n_samples", math.inf)
    heard = np.array(seconds) <= min(WHOLE, samples / extractor.sampling_rate)
    if not heard.any():
        return None
    rows = rows.select(np.flatnonzero(heard))
    return Probabilities(
        tuple(label_names(prepared.model.config, "the model")),
        [name for name, whole in zip(ids, heard, strict=True) if whole],
        prepared.backbone.classify(rows, prepared.column),
    )


def describe_calibration(result: TrainingResult) -> str:
    """Return the temperature, and what it changed on the clips tested on, in a sentence."""
    fit = result.calibration
    if fit.problem:
        return f"Probabilities are as learnt, without a temperature: {fit.problem}."
    text = f"Temperature {fit.temperature:.3f}, fitted to {fit.clips:,} validation clips"
    before = result.scores.get("uncalibrated")
    if before is None:
        return f"{text}."
    changes = ", ".join(
        f"{name.replace('_', ' ')} {before[name]:.3f} before and {result.metrics[name]:.3f} with it"
        for name in ("log_loss", "expected_calibration_error")
    )
    return f"{text}: on the {result.tested_on} split {changes}."


def prior_sentence(config: Any) -> str:
    """Say how frequent the model's predictions take the classes to be; "" where it is not known."""
    if getattr(config, "class_prior", None) is None:
        return ""
    shares = describe_prior(label_names(config, "the model"), config.class_prior)
    return f"Predictions assume these shares of the classes: {shares}."


def describe_result(result: TrainingResult) -> str:
    """Describe a run in lines: a table of scores, the confusion matrix and the next steps."""
    metrics, folder = result.metrics, result.output_dir
    row = metrics_row(result.kept, result.tested_on, metrics)
    return "\n".join(
        [
            screen_table(results_table([row])),
            screen_table(confusion_table(metrics)),
            *([result.note] if result.note else []),
            describe_calibration(result),
            *([result.prior] if result.prior else []),
            f"Model, card, curves and predictions are in {folder}. Next:",
            f"  dusha predict {folder} recording.wav   classify a recording",
            f"  dusha train --train_file clips.csv --model_name_or_path {folder} "
            f"--output_dir {free_name(folder, 'tuned')}   train it further on your own recordings",
            f"  dusha train {folder / OPTIONS_FILE} --output_dir {free_name(folder, 'again')}   "
            "train the same again",
        ]
    )
