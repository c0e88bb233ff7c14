"""What the Hub reads from a repository's README.md and refuses in it."""

import re

import yaml

FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)\r?\n?---[ \t]*(\r?\n|\Z)", re.DOTALL)
# Fields of the card whose values the Hub checks: each a text, a list of texts, or either.
TEXTS = ("license", "pipeline_tag", "library_name", "pretty_name", "license_name")
LISTS = ("tags", "metrics", "task_categories", "size_categories")
EITHER = ("language", "datasets", "base_model", "license")


def read_card(content: str) -> tuple[dict, list[str], list[str]]:
    """Read the metadata of a README.md.

    Args:
        content: the text of the file.

    Returns:
        The metadata, the errors for which the Hub refuses the file, and its warnings.
    """
    front = FRONT_MATTER.match(content)
    if front is None:
        return {}, [], ["empty or missing yaml metadata in repo card"]
    try:
        card = yaml.safe_load(front.group(1))
    except yaml.YAMLError as error:
        return {}, [f"invalid YAML: {error}"], []
    if not isinstance(card, dict):
        return {}, ["the metadata must be a mapping"], []
    return card, [*_wrong_fields(card), *_wrong_model_index(card.get("model-index"))], []


def _wrong_fields(card: dict) -> list[str]:
    errors = []
    for name, value in card.items():
        text = isinstance(value, str)
        texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if name in EITHER:
            right, wanted = text or texts, "a string or an array of strings"
        elif name in TEXTS:
            right, wanted = text, "a string"
        elif name in LISTS:
            right, wanted = texts, "an array of strings"
        else:
            continue
        if not right:
            errors.append(f'"{name}" must be {wanted}')
    return errors


def _wrong_model_index(index: object) -> list[str]:
    if index is None:
        return []
    if not isinstance(index, list):
        return ['"model-index" must be an array']
    errors = []
    for i, model in enumerate(index):
        if not isinstance(model.get("name"), str):
            errors.append(f'"model-index[{i}].name" is required')
        for j, result in enumerate(model.get("results") or []):
            place = f"model-index[{i}].results[{j}]"
            required = {
                f"{place}.task.type": result.get("task", {}).get("type"),
                f"{place}.dataset.type": result.get("dataset", {}).get("type"),
                f"{place}.dataset.name": result.get("dataset", {}).get("name"),
            }
            metrics = result.get("metrics")
            if not metrics:
                errors.append(f'"{place}.metrics" is required')
            for k, metric in enumerate(metrics or []):
                required[f"{place}.metrics[{k}].type"] = metric.get("type")
                required[f"{place}.metrics[{k}].value"] = metric.get("value")
            errors += [f'"{name}" is required' for name, value in required.items() if value is None]
    return errors
