"""What a dataset folder was made of, for the screen: clips per class, those left out, what next."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from dusha_ser.archives.find import BASE_URL, cache_folder
from dusha_ser.archives.mirrors import Mirror
from dusha_ser.corpus.configurations import RAW
from dusha_ser.corpus.dataset_card import (
    Prepared,
    count_table,
    default_name,
    find_prepared,
    left_out,
)
from dusha_ser.corpus.missing import BAD_ROWS_FILE, MISSING_FILE
from dusha_ser.corpus.options import SourceOptions
from dusha_ser.corpus.parquet_folder import lock_folder
from dusha_ser.tables import screen_table
from dusha_ser.vocabulary import ANSWERS, BAD_ROWS


def describe_folder(folder: Path, names: Sequence[str]) -> str:
    """Describe configurations of a dataset folder in lines: clips per class, and those left out."""
    with lock_folder(folder):  # another process may be replacing one of them
        prepared = {one.name: one for one in find_prepared(folder)}
        return "\n".join(describe(folder, prepared[name]) for name in dict.fromkeys(names))


def describe(folder: Path, configuration: Prepared) -> str:
    """Describe one configuration in lines; its second table adds up to all clips there were."""
    name, footer = configuration.name, configuration.footer
    noun = "answers" if name == RAW else "clips"
    kept = sum(map(configuration.count_rows, configuration.shards))
    reasons, bad_rows = left_out(configuration), footer.get("bad_rows", 0)
    parts = [screen_table(text_cells(count_table(configuration)))]
    if reasons is None:
        parts.append("What was left out is not known: an older version wrote this.\n")
    elif reasons:
        total = kept + bad_rows if name == RAW else footer["counts"]["clips"]
        counts = {f"left out, {reason}": count for reason, count in reasons.items()}
        counts = {"all": total} | counts | {"in the splits": kept}
        parts.append(screen_table(text_cells([("", noun), *counts.items()])))
    else:
        parts.append(f"None of the {kept:,} {noun} was left out.\n")
    if name != RAW and (without_audio := configuration.count_without_audio()):
        parts.append(f"Clips without audio: {without_audio:,}.\n")
    if name != RAW and bad_rows:
        parts.append(f"Answers that could not be read: {bad_rows:,}.\n")
    places = [folder / name / file for file in (MISSING_FILE, BAD_ROWS_FILE)]
    if listed := [str(place) for place in places if place.exists()]:
        parts.append(f"One by one: {', '.join(listed)}.\n")
    return f"\n{name}\n\n" + "\n".join(parts)


def text_cells(rows: Sequence[Sequence]) -> list[list[str]]:
    """Write the cells of a table, numbers with commas between thousands."""
    return [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]


def next_command(folder: Path, names: Sequence[str], source: SourceOptions) -> str:
    """Return the command to type after configurations were prepared.

    Args:
        folder: the dataset folder.
        names: of the configurations.
        source: where their archives came from.
    """
    labelled = [name for name in names if name != RAW]
    with lock_folder(folder):
        prepared = {one.name: one for one in find_prepared(folder)}
        if not labelled:
            return shlex.join(["dusha", *annotators_command(source, prepared[RAW])])
        trainable = [name for name in labelled if can_be_trained_on(prepared[name])]
    name = (trainable or labelled)[0]
    which = [] if name == default_name(list(prepared)) else ["--configuration", name]
    if trainable:
        words = ["train", "--dataset", str(folder), *which, "--output_dir", f"runs/{name}"]
    else:
        words = ["report", "corpus", str(folder), "--configuration", name, "--output_dir", "report"]
    return shlex.join(["dusha", *words])


def annotators_command(source: SourceOptions, raw: Prepared) -> list[str]:
    """Return the words that report on the annotators whose answers were prepared."""
    words, options = ["report", "annotators"], raw.footer["options"]
    if source.data_dir:
        words += [source.data_dir]
    else:
        # Credentials are not shown.
        kept = cache_folder(source.cache_dir)
        words += [Mirror(one, kept).shown("") for one in source.base_url or (BASE_URL,)]
    if tuple(options["labels"]) != ANSWERS:
        words += ["--labels", ",".join(options["labels"])]
    if options["bad_rows"] != BAD_ROWS[0]:
        words += ["--bad_rows", options["bad_rows"]]
    if source.cache_dir:
        words += ["--cache_dir", source.cache_dir]
    return [*words, "--output_dir", "annotators"]


def can_be_trained_on(configuration: Prepared) -> bool:
    """Tell whether a configuration has a train split, and audio or features."""
    rows = sum(map(configuration.count_rows, configuration.shards))
    has_input = "input_features" in configuration.features
    return "train" in configuration.shards and (
        has_input or configuration.count_without_audio() < rows
    )
