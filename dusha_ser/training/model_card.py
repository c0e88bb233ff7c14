"""What is written beside a trained model: its card, curves, confusion matrix and predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import transformers
import yaml
from huggingface_hub import EvalResult, ModelCardData

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
USES = """\
Predicts which of {labels} listeners would hear in a short recording of one speaker ({domain}). Cut
longer recordings into windows of about five seconds.

It is not for decisions about people: not for hiring, teaching, insurance, police or medicine. What
listeners hear in a voice is not what its speaker feels, and in the European Union emotion
recognition at work and at school is forbidden."""
LIMITS = """\
- Classes with few training clips are recognised worst: look at the recall of each.
- Acted speech is easier than spontaneous speech, and a model of one is poor at the other.
- Languages, ages, microphones and noises that the training data have not give worse results, which
  must be measured before use.
- The intervals above are over speakers; without speakers there are none.{chosen}"""
CHOSEN_ON_TEST = """
- As in the published code, the best epoch was chosen on the test set, and padding is 0 dB: the
  results above are too good to be true for new data."""
CODE = """\
```python
from transformers import pipeline

classify = pipeline("audio-classification", "{name}"{trust})
print(classify("recording.wav"))
```"""


def write_report(
    trainer: DushaTrainer,
    result: TrainingResult,
    options: RunGiven,
    splits: dict[str, datasets.Dataset],
) -> None:
    """Write all that belongs beside a model: options, predictions, metrics, pictures and card.

    Args:
        trainer: after training.
        result: of the run.
        options: that the run was given: data, recipe, Trainer's arguments.
        splits: that it was trained and tested on.
    """
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
    """Write what differs from the defaults as a setup file that repeats the run.

    Args:
        path: of the YAML file.
        options: dataclasses.
    """
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
    """Compose the card: what the model is for, how good, how it was made, its limits, its licence.

    Args:
        trainer: after training.
        result: of the run.
        options: as of `write_report`.
        splits: as of `write_report`.

    Returns:
        README.md, with the metadata that the Hub reads, model-index included.
    """
    data, recipe, arguments = options
    name = arguments.hub_model_id or result.output_dir.name
    own = bool(data.train_file)
    is_corpus = not own and data.dataset != "sample"
    from_dusha = is_corpus or bool(recipe.model_name_or_path)
    metadata = ModelCardData(
        model_name=name,
        language=None if own else "ru",
        license="other" if from_dusha else "apache-2.0",
        license_name="dusha-public-license-with-attribution" if from_dusha else None,
        library_name="transformers",
        pipeline_tag="audio-classification",
        tags=["audio-classification", "speech-emotion-recognition", "dusha"],
        base_model=hub_name(recipe.model_name_or_path),
        metrics=list(SCORES),
        eval_results=eval_results(result, data.name),
    )
    row = metrics_row(name, f"{data.name}, {result.tested_on}", result.metrics)
    labels = ", ".join(result.predictions.labels)
    trust = ", trust_remote_code=True" if trainer.model.config.model_type == "dusha" else ""
    kept = f"epoch {result.best_epoch:g}" if result.best_epoch else "the last epoch"
    counts = ", ".join(f"{len(rows):,} {split}" for split, rows in splits.items())
    parts = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {name}",
        f"Speech emotion recognition: {labels}.",
        CODE.format(name=name, trust=trust),
        "## What it is for",
        USES.format(labels=labels, domain="Russian" if is_corpus else "as in the training data"),
        "## Results",
        f"Measured once, at the end, with {kept}; numbers in brackets are 95 % intervals of a "
        "bootstrap over speakers. Balanced accuracy is the mean recall of the classes; the paper "
        "calls it WA, most of the field UA.",
        markdown_table(results_table([row])).strip(),
        markdown_table(class_table(result.metrics)).strip(),
        f"![confusion matrix]({CONFUSION_FILE})",
        "## Limits",
        LIMITS.format(chosen=CHOSEN_ON_TEST if recipe.published_quirks else ""),
        "## Training",
        f"{counts} clips of {data.name}; {type(trainer.model).__name__} with "
        f"{trainer.model.num_parameters():,} parameters, starting from "
        f"{beginning(recipe.model_name_or_path)}; "
        f"Transformers {transformers.__version__}. `{OPTIONS_FILE}` holds all options that differ "
        f"from the defaults: `dusha train {OPTIONS_FILE}` repeats the run.",
        f"![curves]({CURVES_FILE})",
        "## Licence",
        licence(own, is_corpus),
    ]
    return "\n\n".join(parts) + "\n"


def hub_name(name: str | None) -> str | None:
    """Return a model's name if it is one on the Hub, not a folder of somebody's disk."""
    return None if name is None or Path(name).exists() or name.count("/") > 1 else name


def beginning(name: str | None) -> str:
    """Name what training started from."""
    return "random weights" if name is None else hub_name(name) or "a model on disk"


def licence(own: bool, is_corpus: bool) -> str:
    """Return the terms under which the model may be used."""
    if is_corpus:
        return (
            "Trained on Dusha (Kondratenko et al. 2022, arXiv 2212.12266), whose public licence "
            "requires attribution and also covers the weights. The code is under Apache 2.0."
        )
    if own:
        return (
            "The terms of its training recordings apply, and those of the model that training "
            "started from (Dusha's own weights: public licence with attribution). The code is "
            "under Apache 2.0."
        )
    return "Trained on a synthetic corpus for trying things out; code and weights are Apache 2.0."


def eval_results(result: TrainingResult, dataset: str) -> list[EvalResult]:
    """Return the scores as the Hub's model-index has them, with data set, split and interval."""
    found = []
    for score in SCORES:
        interval = (result.metrics.get("intervals") or {}).get(score)
        detail = {"confidence_interval": interval, "confidence_level": 0.95} if interval else None
        found.append(
            EvalResult(
                task_type="audio-classification",
                task_name="Speech emotion recognition",
                dataset_type=dataset,
                dataset_name=dataset,
                dataset_split=result.tested_on,
                metric_type=score,
                metric_name=METRIC_NAMES[score],
                metric_value=result.metrics[score],
                metric_args=detail,
            )
        )
    return found
