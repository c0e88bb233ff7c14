"""What is written beside a trained model: its card, curves, confusion matrix and predictions."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import transformers
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from dusha_ser.archives.mirrors import Mirror
from dusha_ser.evaluation.calibration import at_coverage
from dusha_ser.evaluation.predictions import write_predictions
from dusha_ser.evaluation.results import class_table, metrics_row, results_table
from dusha_ser.evaluation.ser.ser import SCORES, interval_warning
from dusha_ser.reports.figures import draw_confusion, draw_curves, save_figure
from dusha_ser.storage import write_json, write_text
from dusha_ser.tables import markdown_table
from dusha_ser.training.arguments import DushaTrainingArguments
from dusha_ser.training.options import OPTIONS_FILE, DataOptions, RecipeOptions, changed_options
from dusha_ser.training.origins import Origins
from dusha_ser.training.result import TrainingResult, describe_calibration
from dusha_ser.training.teachers import describe_teachers, teacher_names
from dusha_ser.training.trainer import DushaTrainer
from dusha_ser.vocabulary import UNCERTAIN

RunGiven = tuple[DataOptions, RecipeOptions, DushaTrainingArguments]
CURVES_FILE = "curves.png"
CONFUSION_FILE = "confusion_matrix.png"
METRICS_FILE = "metrics.json"
# What the file of metrics holds of the scores of the final test, next to its metrics.
KEPT_SCORES = ("uncalibrated", "confidence")
# The card says how often the model is right where it is allowed to abstain from the rest.
COVERAGE = 0.8
METRIC_NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy (mean recall)",
    "f1_macro": "Macro F1",
}
# Options that say where and how to run rather than what to learn.
LEFT_OUT = (
    "output_dir",
    "hub_token",
    "push_to_hub",
    "resume_from_checkpoint",
    "disable_tqdm",
    "overwrite",
)
TEMPLATE = Path(__file__).with_name("model_card.markdown")


def write_report(
    trainer: DushaTrainer,
    result: TrainingResult,
    options: RunGiven,
    splits: dict[str, datasets.Dataset],
    origins: Origins,
) -> None:
    """Write options, predictions, metrics, figures and card of a run beside its model.

    Scores of training clips stay in the file of metrics, under that name: nobody else could know
    what they are worth.
    """
    folder = result.output_dir
    data, recipe, arguments = options
    # The teacher that it trained itself is trained again where the run is repeated.
    others = tuple(name for name in recipe.teacher if name != recipe.own_teacher)
    given = data, dataclasses.replace(recipe, teacher=others), arguments.given
    write_options(folder / OPTIONS_FILE, given)
    write_predictions(folder / f"{result.tested_on}_predictions.csv", result.predictions)
    write_json(
        folder / METRICS_FILE,
        {
            result.tested_on: result.metrics,
            "note": result.note,
            "calibration": dataclasses.asdict(result.calibration),
            **{name: result.scores[name] for name in KEPT_SCORES if name in result.scores},
            "best_epoch": result.best_epoch,
            **(
                {
                    "teachers": {
                        "names": teacher_names(recipe),
                        "weight": recipe.teacher_weight,
                        "temperature": recipe.teacher_temperature,
                    }
                }
                if recipe.is_taught
                else {}
            ),
            "clips": {split: len(rows) for split, rows in splits.items()},
            "log_history": result.log_history,
        },
    )
    title = f"{folder.name} on {options[0].shown_name}"
    save_figure(draw_curves(result.log_history, title), folder / CURVES_FILE)
    if result.tested_on != "train":
        confusion = draw_confusion({result.tested_on: result.metrics}, title)
        save_figure(confusion, folder / CONFUSION_FILE)
    trainer.card_text = model_card(trainer, result, options, splits, origins)
    write_text(folder / "README.md", trainer.card_text)


def write_options(path: Path, options: Sequence[Any]) -> None:
    """Write what was given and differs from the defaults as a setup that repeats the run."""
    changed = changed_options(options, LEFT_OUT)
    if "base_url" in changed:
        # This file is pushed with the model: addresses go without name, password and signature.
        changed["base_url"] = [Mirror(url, path.parent).shown("") for url in changed["base_url"]]
    write_text(path, "# What a run was given; the rest are defaults\n" + yaml.safe_dump(changed))


def model_card(
    trainer: DushaTrainer,
    result: TrainingResult,
    options: RunGiven,
    splits: dict[str, datasets.Dataset],
    origins: Origins,
) -> str:
    """Compose README.md with the metadata that the Hub reads."""
    data, recipe, arguments = options
    extractor: Any = trainer.processing_class
    fields: dict[str, Any] = {**(origins.license or {})}
    name = arguments.hub_model_id or result.output_dir.name
    start = recipe.start
    # A folder of somebody's disk is not named.
    base = None if start is None or Path(start).exists() or start.count("/") > 1 else start
    measured = result.tested_on != "train"
    warp = getattr(trainer.model.config, "frequency_warp", 0.0)
    row = metrics_row(name, f"{data.shown_name}, {result.tested_on}", result.metrics)
    card = ModelCard.from_template(
        ModelCardData(
            model_name=name,
            language=origins.data.languages or None,
            **fields,
            library_name="transformers",
            pipeline_tag="audio-classification",
            tags=["audio-classification", "speech-emotion-recognition", "dusha"],
            datasets=origins.data.datasets or None,
            base_model=base,
            metrics=list(SCORES) if measured else None,
            eval_results=eval_results(data, result) if measured else None,
        ),
        template_path=str(TEMPLATE),
        name=name,
        labels=", ".join(result.predictions.labels),
        ours=trainer.model.config.model_type == "dusha",
        rate=extractor.sampling_rate,
        russian=origins.data.languages == ["ru"],
        measured=describe_measurement(result),
        confidence=describe_confidence(result) if measured else "",
        prior=result.prior,
        frequency_warp=warp and f"{100 * warp:g}",
        results=markdown_table(results_table([row])).strip() if measured else "",
        classes=markdown_table(class_table(result.metrics)).strip(),
        confusion_file=CONFUSION_FILE,
        chosen_on_test=recipe.published_quirks,
        counts=", ".join(f"{len(rows):,} {split}" for split, rows in splits.items()),
        data=origins.data.what,
        network=type(trainer.model).__name__,
        parameters=f"{trainer.model.num_parameters():,}",
        beginning=base or ("a model on disk" if start else "random weights"),
        teachers=describe_teachers(recipe),
        transformers=transformers.__version__,
        options_file=OPTIONS_FILE,
        curves_file=CURVES_FILE,
        licence=origins.describe_license(),
    )
    return f"{card}\n"


def eval_results(data: DataOptions, result: TrainingResult) -> list[EvalResult]:
    """Return the scores as the Hub reads them, with their intervals and what these are worth."""
    metrics = result.metrics
    intervals = metrics.get("intervals") or {}
    about = {
        "confidence_level": 0.95,
        "speakers": metrics.get("group_count"),
        "warning": interval_warning(metrics.get("group_count"), "speakers"),
    }
    known = {name: value for name, value in about.items() if value is not None}
    return [
        EvalResult(
            task_type="audio-classification",
            task_name="Speech emotion recognition",
            dataset_type=data.shown_name,
            dataset_name=data.shown_name,
            dataset_split=result.tested_on,
            metric_type=score,
            metric_name=METRIC_NAMES[score],
            metric_value=metrics[score],
            metric_args={"confidence_interval": interval, **known}
            if (interval := intervals.get(score))
            else None,
        )
        for score in SCORES
    ]


def describe_confidence(result: TrainingResult) -> str:
    """Return how far the probabilities can be trusted, in sentences."""
    kept = at_coverage(result.scores["confidence"]["curve"], COVERAGE)
    share = f"{100 * COVERAGE:.0f} %"
    return (
        f"Accuracy at {share} coverage: {kept['accuracy']:.3f}. That is the accuracy on the "
        f"{share} of the {result.tested_on} clips of which the model is most confident; "
        f"`--least_confidence {kept['least_confidence']:.2f}` keeps about these, and makes the "
        f"others `{UNCERTAIN}`. {describe_calibration(result)}"
    )


def describe_measurement(result: TrainingResult) -> str:
    """Return on what the scores were measured, in sentences."""
    if result.tested_on == "train":
        return (
            "Not measured: there was neither a test nor a validation split, and scores of training "
            f"clips say nothing about new recordings. `{METRICS_FILE}` has those, as `train`."
        )
    count, speakers = result.metrics["count"], result.metrics.get("group_count")
    clips = f"{count:,} clips of {f'{speakers:,}' if speakers else 'unknown'} speakers"
    when = "" if result.note else " once, at the end,"
    text = f"Measured{when} on the {result.tested_on} split ({clips}), with {result.kept}."
    return f"{text} {result.note}".strip()
