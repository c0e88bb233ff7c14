"""Results of models on test sets, as a page to send to a colleague."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from dusha_ser.errors import MissingInputError
from dusha_ser.evaluation.group_scores import groups_notes, groups_table
from dusha_ser.evaluation.results import (
    SEARCH_NOTE,
    all_rows,
    calibration_table,
    class_table,
    comparison_notes,
    comparison_table,
    confusion_table,
    coverage_table,
    folds_table,
    metrics_row,
    read_results,
    results_table,
    search_table,
)
from dusha_ser.evaluation.seeds import noise_sentence, read_seeds_result
from dusha_ser.evaluation.ser.ser import SCORES, interval_warning
from dusha_ser.reports.figures import (
    draw_calibration,
    draw_confusion,
    draw_curves,
    draw_risk_coverage,
)
from dusha_ser.reports.page import Block, Code, Heading, Plot, Table, Text, write_page
from dusha_ser.storage import read_json, replacing_folder

NAMES = (
    "accuracy is the share of clips that are right: the Dusha paper calls it UA, most of the field "
    "WA. balanced_accuracy is the mean of the classes' recalls: the paper's WA, the field's UA. "
    "f1_macro is the mean of the classes' F1. Numbers in brackets are 95 % bootstrap intervals "
    "that draw speakers, not clips; over fewer than ten speakers they are too narrow. The first "
    "row is the best by f1_macro; rows with another source than this evaluation are what others "
    "published, or what a constant prediction gets."
)
COVERAGE_NOTE = (
    "Coverage is the share of clips that get a prediction, the most confident first; the others "
    "are uncertain. The least confidence is what the option least_confidence must be for that "
    "coverage of these clips. The dotted line of the figure is the risk without abstaining; a "
    "model whose confidence says nothing about its mistakes would stay on it."
)
HISTORY_FILES = ("metrics.json", "trainer_state.json")


def write_report(
    results: Sequence[Path],
    training: Sequence[Path],
    output_dir: Path,
    title: str,
    overwrite: bool = False,
) -> None:
    """Write results.html, which needs no other file, and results.md with its figures.

    `results` are folders that `dusha evaluate` or `dusha cross-validate` wrote; the curves of
    `training`, model folders, are shown beside theirs.

    Raises:
        MissingInputError: if a folder holds no results, or no log of a training run.
        WrongUseError: if the page is there and may not be replaced.
    """
    pairs = [(result, folder) for folder in results for result in read_results(folder)]
    means = [result for folder in results for result in read_seeds_result(folder)]
    blocks: list[Block] = [
        Table(
            "All models and test sets",
            results_table(all_rows([*means, *(result for result, _ in pairs)])),
        ),
        Text(NAMES),
        *(Text(f"{one['model']}: {noise_sentence(one['metrics'])}") for one in means),
        *comparison_blocks(results),
    ]
    for result, folder in sorted(pairs, key=lambda pair: -pair[0]["metrics"]["f1_macro"]):
        blocks += result_blocks(result, folder)
    for folder in training:
        found = list(curves_of(folder, folder.name))
        if not found:
            raise MissingInputError(
                f"{folder} holds no log of a training run; it would be in one of "
                f"{', '.join(HISTORY_FILES)}"
            )
        blocks += [Heading(f"Training of {folder.name}"), *found]
    with replacing_folder(output_dir, overwrite=overwrite, merge=True) as page:
        write_page(title, blocks, page, "results")


def read_history(folder: Path) -> list[dict]:
    """Read the Trainer's log of a model folder or a checkpoint; empty where there is none."""
    checkpoints = sorted(
        folder.glob("checkpoint-*/trainer_state.json"), key=lambda path: path.stat().st_mtime
    )
    for path in (*(folder / name for name in HISTORY_FILES), *checkpoints[::-1]):
        if path.is_file() and "log_history" in (content := read_json(path)):
            return content["log_history"]
    return []


def curves_of(folder: Path, title: str) -> Iterator[Block]:
    """Give the curves of one run, if it left a log of more than its end."""
    history = read_history(folder)
    if any("loss" in entry or "eval_loss" in entry for entry in history):
        yield Plot(
            caption=f"Training of {title}",
            description=f"loss and scores over the epochs of {title}",
            figure=draw_curves(history, title),
        )


def result_blocks(result: dict, folder: Path) -> Iterator[Block]:
    """Give all that is known of one model on one test set."""
    metrics, title = result["metrics"], f"{result['model']} on {result['test_set']}"
    yield Heading(title)
    yield Text(summary(result))
    if "folds" in result:
        yield Table("Scores of each fold", folds_table(result))
    if "search" in result:
        yield Table("Options chosen for each fold", search_table(result["search"]))
        yield Text(SEARCH_NOTE)
    yield Table("Each emotion", class_table(metrics))
    yield Table("Confusion matrix in clips", confusion_table(metrics))
    yield Plot(
        caption="Confusion matrix: share of the true emotion, and clips",
        description=f"confusion matrix of {title}, in the table above",
        figure=draw_confusion({result["test_set"]: metrics}, result["model"]),
    )
    if parts := result.get("scores_by"):
        yield Table(f"Scores by {', '.join(parts)}", groups_table(parts))
        yield Text(" ".join(groups_notes(parts)))
    yield from confidence_blocks(result, title)
    if result.get("model_path") and Path(result["model_path"]).is_dir():
        yield from curves_of(Path(result["model_path"]), result["model"])
    place = folder if result.get("seed") is None else folder / f"seed_{result['seed']}"
    for fold in sorted((place / "folds").glob("*")) if "folds" in result else []:
        yield from curves_of(fold, f"fold {fold.name}")
    yield Text("Made by:")
    yield Code(result["command"])


def confidence_blocks(result: dict, title: str) -> Iterator[Block]:
    """Give how far probabilities can be trusted, and what is gained where a model may abstain."""
    metrics = result["metrics"]
    if "log_loss" in metrics:
        lines = {result["model"]: result["reliability"]}
        if "uncalibrated" in result:
            temperature = f"temperature {result['temperature']:.3f}"
            before = result["uncalibrated"]["reliability"]
            lines = {"as learnt": before, temperature: result["reliability"]}
        yield Table("Probabilities, the lower the better", calibration_table(result))
        yield Plot(
            caption=f"Calibration: expected error {metrics['expected_calibration_error']:.3f}",
            description=f"share of right predictions of {title} by their probability",
            figure=draw_calibration(lines, "calibration"),
        )
    # Earlier versions did not measure it.
    if measured := result.get("confidence"):
        yield Table("Accuracy of the most confident predictions", coverage_table(measured["curve"]))
        yield Text(COVERAGE_NOTE)
        yield Plot(
            caption=f"Risk by coverage: area under the curve {measured['aurc']:.3f}",
            description=f"share of wrong predictions of {title} among the most confident ones",
            figure=draw_risk_coverage({result["model"]: measured}, "risk by coverage"),
        )


def summary(result: dict) -> str:
    """Return the scores in a sentence, and what must be known to read them."""
    metrics = result["metrics"]
    cells = metrics_row(result["model"], result["test_set"], metrics).cells
    scores = ", ".join(f"{name} {cell}" for name, cell in cells.items())
    sentences = [f"{scores}, on {metrics['count']:,} clips"]
    count, groups = metrics.get("group_count"), result.get("groups") or "speakers"
    if count:
        sentences[0] += f" of {count:,} {groups}"
    if warning := interval_warning(count, groups):
        sentences.append(warning)
    if "log_loss" in metrics:
        sentences.append(f"log loss {metrics['log_loss']:.3f} nats")
    if abstaining := result.get("abstaining"):
        found = abstaining["metrics"]
        scores = ", ".join(f"{name} {found[name]:.3f}" for name in SCORES) if found else "no clips"
        sentences.append(
            f"at least {abstaining['least_confidence']:g} sure of "
            f"{100 * abstaining['coverage']:.1f} % of the clips, on which {scores}"
        )
    for absent in metrics["absent_classes"]:
        sentences.append(f"the test set has no {absent} clips")
    for unpredicted in metrics["unpredicted_classes"]:
        sentences.append(f"{unpredicted} was never predicted")
    if result.get("shared_speakers"):
        sentences.append(f"{result['shared_speakers']} speakers are in several folds")
    return "; ".join(sentences) + "."


def comparison_blocks(folders: Sequence[Path]) -> Iterator[Block]:
    """Give the comparisons of two models, where there are any."""
    paths = [path for folder in folders for path in sorted((folder / "comparisons").glob("*.json"))]
    if paths:
        yield Heading("Two models on the same clips")
        yield Text(
            "Intervals draw the same speakers for both models; p is that of an exact test that "
            "exchanges the models' results speaker by speaker."
        )
    for path in paths:
        content = read_json(path)
        caption = f"{content['first']} (first), {content['second']} (second), {content['test_set']}"
        yield Table(caption, comparison_table(content["scores"]))
        yield from map(Text, comparison_notes(content["scores"]))
