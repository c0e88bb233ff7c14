"""Clips to annotate chosen among all that machines have classified in shards, exactly.

Of each label no more candidates are kept than clips are picked while the parts go by, so memory
does not grow with their number.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as pq

from dusha_ser.collecting.balance import Best, choose_best, merge_best
from dusha_ser.collecting.clips import WAVS, convert_clip, write_clip
from dusha_ser.collecting.options import PseudoLabelOptions
from dusha_ser.collecting.picking import best_clips, warn_of_few, write_choice
from dusha_ser.errors import WrongUseError
from dusha_ser.files import is_safe_name
from dusha_ser.fingerprints import hash_name
from dusha_ser.inference.batch_classifier import ClassifyBatch, open_source
from dusha_ser.inference.settings import Settings
from dusha_ser.shards.jobs import DoShards, Job, Outcome, part_name
from dusha_ser.shards.predicting import classify_shards
from dusha_ser.shards.reading import parquet_columns, parquet_rows, read_shard
from dusha_ser.shards.sources import PARQUET
from dusha_ser.timelines.recordings import PROBABILITY_PREFIX

# Columns of clips that stand elsewhere in the table of the picked ones.
NOT_COPIED = ("id", "audio", "error")


def choose_in_parts(job: Job, options: PseudoLabelOptions) -> list[tuple[str, int]]:
    """Choose among the rows of all parts, of which only ids and probabilities are read.

    Returns:
        Ids in order, and the numbers of the parts they are in.
    """
    best: Best = {}
    for part in sorted(job.done()):
        with job.store.files.open(job.store.path(part_name(part)), "rb") as file:
            table = pq.ParquetFile(file)
            labels = [one for one in table.schema_arrow.names if one.startswith(PROBABILITY_PREFIX)]
            scores = table.read(["id", *labels]).drop_null()
        if len(scores):
            ids = scores["id"].to_pylist()
            probabilities = np.stack([scores[name].to_numpy() for name in labels], axis=1)
            chosen = [(name, part) for name in ids]
            own = best_clips(ids, probabilities, chosen, options)
            best = merge_best(best, own, options.number)
    return sorted(choose_best(best, options.number))


def pick_in_shards(
    options: PseudoLabelOptions, do: DoShards | None = None
) -> tuple[Job, Outcome, list[dict[str, Any]]]:
    """Classify clips in shards; when all are done, write the picked ones as wavs and as a table.

    Returns:
        The job, what this program did of it, and the rows of the table; none while shards are
        missing.

    Raises:
        MissingInputError: if the clips or the model are missing.
        WrongUseError: if the folder is another model's, no clip has a prediction, or the table
            holds another choice.
    """
    trust = options.trust_remote_code
    # What spreads shards over machines gives each a processor.
    threads = 1 if do else None
    classify = ClassifyBatch(Settings(options.model), options.device, threads, trust)
    job, outcome = classify_shards(classify, options, options, do)
    if not job.is_finished:
        return job, outcome, []
    chosen = choose_in_parts(job, options)
    if not chosen:
        raise WrongUseError(f"there is no prediction for any clip of {options.clips}")
    warn_of_few(len(chosen), options.number)
    rows = sorted(_picked_rows(job, chosen, options), key=lambda row: row["id"])
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[row.get(name) for name in columns] for row in rows]
    table = [
        {name: "" if cell is None else str(cell) for name, cell in zip(columns, row, strict=True)}
        for row in cells
    ]
    write_choice(table, options)
    return job, outcome, rows


def _picked_rows(
    job: Job, chosen: list[tuple[str, int]], options: PseudoLabelOptions
) -> Iterator[dict[str, Any]]:
    """Write the chosen clips, and make their rows: of the clips' own columns and the part's."""
    wanted: dict[int, set[str]] = {}
    for name, part in chosen:
        wanted.setdefault(part, set()).add(name)
    for part, names in wanted.items():
        own = _own_columns(job, part, options.path_column)
        table = pq.read_table(pyarrow.BufferReader(job.store.read(part_name(part))))
        told = {row["id"]: row for row in table.drop_columns("error").to_pylist()}
        for name, audio in read_shard(job.shards[part], job.store, options.path_column):
            if name not in names:
                continue
            names.remove(name)
            is_safe = is_safe_name(name)
            safe = name if is_safe else hash_name(name.encode("utf-8", "surrogateescape"))
            content = convert_clip(open_source(audio, name))
            write_clip(options.output_file.parent, content, safe)
            place = {options.path_column: Path(WAVS, f"{safe}.wav").as_posix()}
            yield {"id": name} | place | told[name] | own.get(name, {})


def _own_columns(job: Job, part: int, path_column: str) -> dict[str, dict[str, Any]]:
    """The further columns of the clips of a shard of Parquet, such as source_id, by id."""
    shard = job.shards[part]
    columns = parquet_columns(shard) if shard.kind == PARQUET else []
    if "id" not in columns:
        return {}
    kept = [name for name in columns if name not in (*NOT_COPIED, path_column)]
    rows = (cells for _, cells in parquet_rows(shard, ["id", *kept]))
    return {str(row["id"]): {name: row[name] for name in kept} for row in rows}
