"""Cross-validation of a training setup: folds of named rows, and the results of all together."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from dusha_ser.corpus.named import NamedRows, named_rows
from dusha_ser.evaluation.group_scores import groups_table
from dusha_ser.evaluation.predictions import Predictions, read_predictions, write_predictions
from dusha_ser.evaluation.results import (
    SEARCH_NOTE,
    all_rows,
    check_table,
    folds_table,
    results_table,
    search_table,
    write_table,
)
from dusha_ser.evaluation.seeds import (
    SEEDS_FILE,
    noise_sentence,
    seed_metrics,
    seeds_folds_table,
)
from dusha_ser.evaluation.ser.ser import SCORES, ser_metrics
from dusha_ser.experiments.backbone_teachers import divide_teacher
from dusha_ser.experiments.evaluation import (
    Measures,
    scores_by_text,
    with_facts,
    write_figures,
    write_result,
    write_scores_by,
)
from dusha_ser.experiments.folds import Fold, choose_folds, make_folds, run_each
from dusha_ser.experiments.nested_search import search_folds
from dusha_ser.experiments.options import CrossValidateOptions
from dusha_ser.experiments.runs import settings_of, train_run
from dusha_ser.storage import read_json, write_json, write_text
from dusha_ser.tables import markdown_table, screen_table
from dusha_ser.training.search_space import Space, read_space
from dusha_ser.training.teachers import describe_teachers

FOLD_FILE = "fold.json"
PREDICTIONS_FILE = "predictions.csv"


def cross_validate(options: CrossValidateOptions, tell: Callable[[str], None]) -> str:
    """Divide the rows, run the folds, and return the tables of their results for a screen.

    With `teacher_backbone` the teachers of the folds come first, cross-validated themselves.

    Raises:
        MissingInputError: if the data are missing.
        WrongUseError: if they cannot be divided so, or a folder is not of these options.
        WorkFailedError: if training fails.
    """
    for path in filter(
        None, (options.table, options.folds_table, options.search_table, options.scores_by_table)
    ):
        check_table(path, options.command, options.overwrite)
    space = read_space(options.search_space, options.training) if options.search else None
    if not options.training[1].teacher_backbone:
        return validate_folds(options, space, tell)
    teachers, options = divide_teacher(options)
    tell(f"teachers of the folds, in {teachers.output_dir}:")
    large = validate_folds(teachers, None, tell)
    tell(f"those that learn from them, in {options.output_dir}:")
    return f"{large}\n{validate_folds(options, None, tell)}"


def validate_folds(
    options: CrossValidateOptions, space: Space | None, tell: Callable[[str], None]
) -> str:
    """Run the folds with the teachers that are there; as `cross_validate`."""
    rows = named_rows(options.data, options.split, options.allow_other_counts, options)
    rows = with_facts(rows, options.scores_by, options.data, options)
    folds, fold_of = make_folds(
        options, rows, tell, with_audio=space is not None and space.of_inputs
    )
    folds, chosen = choose_folds(folds, options.folds_only), list[dict]()
    if space is not None:
        folds, chosen = search_folds(options, folds, space, tell)
    results = run_folds(folds, options.jobs, tell)
    if options.folds_only:
        return (
            f"folds {', '.join(options.folds_only)} are finished; the same command without "
            f"`folds_only` pools all folds, once they are in {options.output_dir}\n"
        )
    return write_results(options, rows, list(zip(folds, results, strict=True)), fold_of, chosen)


def run_fold(fold: Fold) -> dict:
    """Train and test one fold, unless it is done; return the content of its file."""
    folder = fold.run.output_dir
    path = folder / FOLD_FILE
    settings = settings_of(fold.run, fold.splits)
    if path.is_file() and (folder / PREDICTIONS_FILE).is_file() and not fold.overwrite:
        done = read_json(path)
        if done["settings"] == settings:
            return done
    started = time.perf_counter()
    result = train_run(fold.run, fold.splits, fold.overwrite)
    predictions = replace(result.predictions, folds=[fold.name] * len(result.predictions.ids))
    write_predictions(folder / PREDICTIONS_FILE, predictions)
    predictions = read_predictions(folder / PREDICTIONS_FILE)
    done = {
        "fold": fold.name,
        "seed": fold.seed,
        "settings": settings,
        "best_epoch": result.best_epoch,
        "seconds": round(time.perf_counter() - started, 1),
        "metrics": ser_metrics(
            predictions.predicted,
            predictions.references,
            predictions.distributions,
            labels=predictions.labels,
        ),
    }
    write_json(path, done)
    return done


def run_folds(folds: Sequence[Fold], jobs: int, tell: Callable[[str], None]) -> list[dict]:
    """Run all folds, and tell of each that has ended; what is done is kept if one fails."""

    def told(done: dict) -> None:
        scores = ", ".join(f"{name} {done['metrics'][name]:.3f}" for name in SCORES)
        seed = "" if done.get("seed") is None else f"seed {done['seed']}, "
        tell(f"{seed}fold {done['fold']}: {scores} ({done['seconds']:.0f} s)")

    return run_each(run_fold, folds, jobs, told)


def pool_folds(folds: Sequence[Fold], rows: NamedRows) -> Predictions:
    """Put the predictions of all folds together, in the order of the rows."""
    parts = [read_predictions(fold.run.output_dir / PREDICTIONS_FILE) for fold in folds]
    found = {
        clip: (probabilities, fold.name)
        for fold, part in zip(folds, parts, strict=True)
        for clip, probabilities in zip(
            part.ids,
            part.probabilities[:, [part.labels.index(label) for label in rows.labels]],
            strict=True,
        )
    }
    ids = list(map(str, rows.rows["id"]))
    return Predictions(
        labels=rows.labels,
        ids=ids,
        references=np.array(rows.rows["label"]),
        probabilities=np.array([found[clip][0] for clip in ids]),
        speakers=rows.speakers,
        folds=[found[clip][1] for clip in ids],
        multi_label=any(part.multi_label for part in parts),
    )


def shared_speakers(rows: NamedRows, folds: Sequence[str]) -> int:
    """Count the speakers that are in more than one fold."""
    if rows.speakers is None:
        return 0
    return int((pd.Series(list(folds)).groupby(rows.speakers).nunique() > 1).sum())


def write_results(
    options: CrossValidateOptions,
    rows: NamedRows,
    pairs: Sequence[tuple[Fold, dict]],
    fold_of: Sequence[str],
    chosen: Sequence[dict] = (),
) -> str:
    """Write pooled predictions, metrics, tables and figures; return the tables for a screen.

    Each fold comes with its result, and with a search `chosen` is what it chose for each fold.
    """
    found = [
        write_pooled(
            options, rows, [pair for pair in pairs if pair[0].seed == seed], fold_of, chosen
        )
        for seed in dict.fromkeys(fold.seed for fold, _ in pairs)
    ]
    tables, note = [folds_table(found[0]), results_table(all_rows(found))], ""
    if len(found) > 1:
        combined = write_seeds(options, found)
        tables = [seeds_folds_table(found), results_table(all_rows([combined]))]
        note = f" {noise_sentence(combined['metrics'])}"
    if chosen:
        tables.append(search_table(chosen))
        note += f" {SEARCH_NOTE}"
    paths = options.folds_table, options.table, options.search_table
    for path, table in zip(paths, tables, strict=False):
        if path:
            write_table(path, options.command, table)
    page = "\n".join(markdown_table(table) for table in tables)
    write_text(
        options.output_dir / "results.md",
        f"# {options.shown_name} on {found[0]['test_set']}\n\n{explain(options, rows)}{note}\n\n"
        + "\n\n".join(filter(None, [found[0].get("teachers"), page]))
        + scores_by_text(found),
    )
    write_figures(options.output_dir, found)
    write_scores_by(options, found)
    tables += [groups_table(result["scores_by"]) for result in found if "scores_by" in result]
    return "\n".join(
        [*(screen_table(table) for table in tables), *([f"{note[1:]}\n"] * bool(note))]
    )


def explain(options: CrossValidateOptions, rows: NamedRows) -> str:
    """Say what the tables of a cross-validation are."""
    groups = "folds" if rows.speakers is None else "speakers"
    text = (
        "Each clip is tested once, by a model that was trained on the other folds. `mean ± sd` is "
        "over folds (n - 1); below, all clips are pooled"
    )
    if len(options.seeds) < 2:
        return f"{text}, and intervals are over {groups}."
    return (
        f"{text} and scored for each seed of training: the mean over seeds ± their standard "
        f"deviation (n - 1), and the interval of the mean over {groups}. A fold has its mean and "
        "deviation over seeds."
    )


def write_seeds(options: CrossValidateOptions, found: Sequence[dict]) -> dict:
    """Write the mean over seeds of their results; return it in the form of a result."""
    runs = [read_predictions(options.output_dir / one["predictions"]) for one in found]
    first, metrics = found[0], seed_metrics(runs)
    seeds = [one["seed"] for one in found]
    combined = {
        **{key: first[key] for key in ("test_set", "published_as", "command", "majority")},
        "model": options.shown_name,
        "source": f"mean of {len(found)} seeds ± deviation, {first['source']}",
        "seconds": sum(one["seconds"] for one in found),
        "groups": metrics["groups"],
        "metrics": metrics | {key: first["metrics"][key] for key in ("support", "absent_classes")},
        "seeds": {
            str(seed): {score: one["metrics"][score] for score in SCORES}
            for seed, one in zip(seeds, found, strict=True)
        },
    }
    write_json(options.output_dir / SEEDS_FILE, combined)
    return combined


def write_pooled(
    options: CrossValidateOptions,
    rows: NamedRows,
    pairs: Sequence[tuple[Fold, dict]],
    fold_of: Sequence[str],
    chosen: Sequence[dict],
) -> dict:
    """Write the pooled predictions and the metrics of all folds of one seed; return the result."""
    folds, results = zip(*pairs, strict=True)
    seed, name = folds[0].seed, options.shown_name
    taught = describe_teachers(options.training[1], "Each model")
    shared = shared_speakers(rows, fold_of)
    values = {score: [result["metrics"][score] for result in results] for score in SCORES}
    source = f"pooled over {len(folds)} folds"
    if options.train_clips:
        source += f", {options.train_clips} training clips per class"
    if shared:
        source += f"; {shared} speakers are in several folds"
    five_sessions = rows.published_as == "iemocap" and rows.folds == list(fold_of)
    result = {
        "model": name if seed is None else f"{name}, seed {seed}",
        "model_path": None,
        "test_set": f"{rows.name}, {len(folds)} folds",
        "published_as": "iemocap" if five_sessions else None,
        "command": options.command,
        **({"teachers": taught} if taught else {}),
        "seconds": sum(result["seconds"] for result in results),
        "source": source,
        "shared_speakers": shared,
        "seed": seed,
        "folds": {
            one["fold"]: {key: one[key] for key in ("best_epoch", "seconds", "metrics")}
            for one in results
        },
        "mean": {score: float(np.mean(values[score])) for score in SCORES},
        "standard_deviation": {score: float(np.std(values[score], ddof=1)) for score in SCORES},
    }
    if chosen:
        result["search"] = list(chosen)
    measures = Measures(columns={column: rows.facts[column] for column in options.scores_by})
    return write_result(options.output_dir, result, pool_folds(folds, rows), "csv", measures)
