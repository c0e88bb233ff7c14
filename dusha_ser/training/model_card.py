"""What is written beside a trained model: its card, curves, confusion matrix and predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import transformers
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from dusha_ser.archives.mirrors import Mirror
from dusha_ser.evaluation.predictions import write_predictions
from dusha_ser.evaluation.results import class_table, metrics_row, results_table
from dusha_ser.evaluation.ser.ser import SCORES
from dusha_ser.reports.figures import draw_confusion, draw_curves, save_figure
from dusha_ser.storage import write_json, write_text
from dusha_ser.tables import markdown_table
from dusha_ser.training.arguments import DushaTrainingArguments
from dusha_ser.training.options import OPTIONS_FILE, DataOptions, RecipeOptions, changed_options
from dusha_ser.training.result import TrainingResult
from dusha_ser.training.trainer import DushaTrainer

RunGiven = tuple[DataOptions, RecipeOptions, DushaTrainingArguments]
CURVES_FILE = "curves.png"
CONFUSION_FILE = "confusion_matrix.png"
METRICS_FILE = "metrics.json"
METRIC_NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy (mean recall)",
    "f1_macro": "Macro F1",
}
# Options that say where and how to run rather than what to learn.
LEFT_OUT = ("output_dir", "hub_token", "push_to_hub", "resume_from_checkpoint", "disable_tqdm")
TEMPLATE = Path(__file__).with_name("model_card.markdown")


def write_report(
    trainer: DushaTrainer,
    result: TrainingResult,
    options: RunGiven,
    splits: dict[str, datasets.Dataset],
) -> None:
    """Write options, predictions, metrics, figures and card of a run beside its model."""
    folder = result.output_dir
    write_options(folder / OPTIONS_FILE, options)
    write_predictions(folder / f"{result.tested_on}_predictions.csv", result.predictions)
    write_json(
        folder / METRICS_FILE,
        {
            result.tested_on: result.metrics,
            "best_epoch": result.best_epoch,
            "clips": {split: len(rows) for split, rows in splits.items()},
            "log_history": result.log_history,
        },
    )
    title = f"{folder.name} on {options[0].name}"
    save_figure(draw_curves(result.log_history, title), folder / CURVES_FILE)
    confusion = draw_confusion({result.tested_on: result.metrics}, title)
    save_figure(confusion, folder / CONFUSION_FILE)
    trainer.card_text = model_card(trainer, result, options, splits)
    write_text(folder / "README.md", trainer.card_text)


def write_options(path: Path, options: Sequence[Any]) -> None:
    """Write what differs from the defaults as a setup file that repeats the run."""
    changed = changed_options(options, LEFT_OUT)
    if "base_url" in changed:
        # This file is pushed with the model: addresses go without name, password and signature.
        addresses = changed["base_url"].split(",")
        changed["base_url"] = ",".join(Mirror(url, path.parent).shown("") for url in addresses)
    write_text(path, "# What a run was given; the rest are defaults\n" + yaml.safe_dump(changed))


def model_card(
    trainer: DushaTrainer,
    result: TrainingResult,
    options: RunGiven,
    splits: dict[str, datasets.Dataset],
) -> str:
    """Compose README.md with the metadata that the Hub reads."""
    data, recipe, arguments = options
    name = arguments.hub_model_id or result.output_dir.name
    start = recipe.model_name_or_path
    # A folder of somebody's disk is not named.
    base = None if start is None or Path(start).exists() or start.count("/") > 1 else start
    own = bool(data.train_file)
    is_corpus = not own and data.dataset != "sample"
    from_dusha = is_corpus or bool(start)
    intervals = result.metrics.get("intervals") or {}
    row = metrics_row(name, f"{data.name}, {result.tested_on}", result.metrics)
    card = ModelCard.from_template(
        ModelCardData(
            model_name=name,
            language=None if own else "ru",
            license="other" if from_dusha else "apache-2.0",
            license_name="dusha-public-license-with-attribution" if from_dusha else None,
            library_name="transformers",
            pipeline_tag="audio-classification",
            tags=["audio-classification", "speech-emotion-recognition", "dusha"],
            base_model=base,
            metrics=list(SCORES),
            eval_results=[
                EvalResult(
                    task_type="audio-classification",
                    task_name="Speech emotion recognition",
                    dataset_type=data.name,
                    dataset_name=data.name,
                    dataset_split=result.tested_on,
                    metric_type=score,
                    metric_name=METRIC_NAMES[score],
                    metric_value=result.metrics[score],
                    metric_args={"confidence_interval": interval, "confidence_level": 0.95}
                    if (interval := intervals.get(score))
                    else None,
                )
                for score in SCORES
            ],
        ),
        template_path=str(TEMPLATE),
        name=name,
        labels=", ".join(result.predictions.labels),
        ours=trainer.model.config.model_type == "dusha",
        own=own,
        is_corpus=is_corpus,
        kept=result.kept,
        results=markdown_table(results_table([row])).strip(),
        classes=markdown_table(class_table(result.metrics)).strip(),
        confusion_file=CONFUSION_FILE,
        chosen_on_test=recipe.published_quirks,
        counts=", ".join(f"{len(rows):,} {split}" for split, rows in splits.items()),
        data=data.name,
        network=type(trainer.model).__name__,
        parameters=f"{trainer.model.num_parameters():,}",
        beginning=base or ("a model on disk" if start else "random weights"),
        transformers=transformers.__version__,
        options_file=OPTIONS_FILE,
        curves_file=CURVES_FILE,
    )
    return f"{card}\n"
