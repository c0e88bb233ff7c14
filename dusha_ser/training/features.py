"""A model's inputs, computed once from the audio of a data set and kept in the cache."""

import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from dusha_ser.audio.problems import warn_of_silent
from dusha_ser.audio.reading import read_audio
from dusha_ser.corpus.complete_rows import all_problems_named
from dusha_ser.corpus.contents import (
    CONTENT_COLUMN,
    ROW_COLUMNS,
    columns_of_copies,
    row_contents,
)
from dusha_ser.errors import WrongUseError
from dusha_ser.fingerprints import code_digest, digest
from dusha_ser.inference.subnormals import flush_subnormals
from dusha_ser.processes import workers_end_with_us
from dusha_ser.training.backbones import EMBEDDING_COLUMN, FrozenBackbone
from feature_extraction_dusha import DushaFeatureExtractor, trim_frames

logger = logging.getLogger(__name__)

# Whether nothing is to be heard in a clip.
SILENT_COLUMN = "is_silent"
# Whose code decides the inputs, beside that of the feature extractor.
CODE = ("dusha_ser.audio", "dusha_ser.training.features", "feature_extraction_dusha")


def compute_inputs(
    rows: datasets.Dataset,
    feature_extractor,
    cache_dir: str | None = None,
    num_proc: int | None = None,
    split: str = "the data set",
    encode: FrozenBackbone | None = None,
) -> tuple[datasets.Dataset, str]:
    """Give rows the input of a model, computed once and kept in the cache.

    Args:
        rows: with audio, or with input_features where the extractor is ours.
        feature_extractor: of the model.
        cache_dir: folder to keep the result in; None: the cache of `datasets`.
        num_proc: processes; None: one.
        split: for bars and messages.
        encode: the encoder whose embeddings of these inputs are wanted in their place.

    Returns:
        The rows without audio and with the input, and the name of its column; rows without audio
        are left out, with a warning that counts them.

    Raises:
        WrongUseError: if no row has audio, or a row has audio that the extractor refuses.
    """
    flush_subnormals()
    column = feature_extractor.model_input_names[0]
    if encode and EMBEDDING_COLUMN in rows.column_names:
        kept = [*kept_columns(rows), *columns_of_copies(rows), EMBEDDING_COLUMN]
        return rows.select_columns(kept), EMBEDDING_COLUMN
    is_ready = isinstance(feature_extractor, DushaFeatureExtractor) and column in rows.column_names
    if is_ready and feature_extractor.trim_silence is None:
        kept = [*kept_columns(rows), *columns_of_copies(rows), column]
        return rows.select_columns(kept), column
    if not is_ready:
        if "audio" not in rows.column_names:
            raise WrongUseError(
                "the data set has neither audio nor input_features: prepare it again"
            )
        rows = leave_out_silent(rows, split)
    compute: Callable[..., dict] = trim_input if is_ready else compute_input
    settings: dict[str, Any] = {"feature_extractor": feature_extractor, "column": column}
    if encode:
        compute, settings, column = (
            compute_embedding,
            settings | {"encode": encode},
            EMBEDDING_COLUMN,
        )
    with all_problems_named(rows):
        first = np.asarray(compute(rows[0], **settings)[column])
    input_feature = (
        datasets.List(datasets.Value("float32"))
        if first.ndim == 1
        else datasets.Array2D(shape=(None, first.shape[1]), dtype="float32")
    )
    # Inputs alone are kept: labels and speakers are those of today's rows.
    needed = [column] if is_ready else ["id", "audio"]
    known = [name for name in ("id", CONTENT_COLUMN) if name in rows.column_names]
    source = rows.select_columns(list(dict.fromkeys([*needed, *known])))
    fingerprint = input_fingerprint(source, feature_extractor)
    if encode:
        fingerprint = digest(fingerprint, encode.fingerprint)
    made = {column: input_feature}
    if not is_ready:
        made[SILENT_COLUMN] = datasets.Value("bool")
    with all_problems_named(rows):
        inputs = cached_map(
            rows.select_columns(needed),
            compute,
            datasets.Features(made),
            fingerprint,
            cache_dir,
            fn_kwargs=settings,
            # An encoder has threads of its own, or a device that is not to be shared.
            num_proc=num_proc if num_proc and num_proc < len(rows) and not encode else None,
            desc=f"{'embeddings' if encode else 'features'} of {split}",
        )
    if not is_ready:
        silent = inputs.select_columns([SILENT_COLUMN])[SILENT_COLUMN]
        warn_of_silent(list(itertools.compress(rows["id"], silent)), len(rows), split)
        inputs = inputs.select_columns([column])
    described = rows.select_columns([*kept_columns(rows), *columns_of_copies(rows)])
    table = described.with_format("arrow")[:]
    # In memory, because beside another data set `datasets` would write a selection to the cache.
    described = datasets.Dataset(table, info=datasets.DatasetInfo(features=described.features))
    return datasets.concatenate_datasets([described, inputs], axis=1), column


def cached_map(
    rows: datasets.Dataset,
    compute: Callable[..., dict],
    made: datasets.Features,
    fingerprint: str,
    cache_dir: str | None,
    **options: Any,
) -> datasets.Dataset:
    """Compute columns from rows, once, and keep them in the cache.

    Args:
        rows: with the columns that are needed, which go.
        compute: as of `datasets.Dataset.map`, and so are the options.
        made: the columns that it makes.
        fingerprint: names what is made.
        cache_dir: folder to keep it in; None: the cache of `datasets`.
    """
    folder = Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "dusha_inputs"
    folder.mkdir(parents=True, exist_ok=True)
    remove_damaged(folder, fingerprint, len(rows))
    with workers_end_with_us():
        return rows.map(
            compute,
            remove_columns=rows.column_names,
            features=made,
            cache_file_name=str(folder / f"{fingerprint}.arrow"),
            new_fingerprint=fingerprint,
            load_from_cache_file=True,
            # Features of a thousand clips would be held in memory.
            writer_batch_size=100,
            **options,
        )


def kept_columns(rows: datasets.Dataset) -> list[str]:
    """Name the columns that stay beside the input."""
    return [name for name in (*ROW_COLUMNS, CONTENT_COLUMN) if name in rows.column_names]


def trim_input(row: dict, feature_extractor, column: str) -> dict[str, np.ndarray]:
    """Cut silence off features that came ready-made, as the extractor does with its own."""
    features = torch.tensor(row[column], dtype=torch.float32)
    return {column: trim_frames(features, feature_extractor.trim_silence).numpy()}


def remove_damaged(folder: Path, fingerprint: str, count: int) -> None:
    """Remove cached features that are damaged or not of `count` rows: they are computed again."""
    for file in folder.glob(f"{fingerprint}*.arrow"):
        try:
            # Several processes have one file each, which may be in the making.
            whole = len(datasets.Dataset.from_file(str(file))) == count or "_" in file.stem
        except (OSError, pa.ArrowException, ValueError, TypeError):
            whole = False
        if not whole:
            file.unlink(missing_ok=True)


def leave_out_silent(rows: datasets.Dataset, split: str) -> datasets.Dataset:
    """Leave out the rows that have no audio, as Dusha's podcasts have none."""
    silent = lack_audio(rows)
    if silent.all():
        raise WrongUseError(
            f"no clip of {split} has audio (Dusha's podcasts are published as features only): "
            "prepare it with `input_features=True`, or take another data set"
        )
    if silent.any():
        logger.warning(
            "%d of %d clips of %s have no audio and are left out; a data set that was prepared "
            "with `input_features=True` has their features",
            *(silent.sum(), len(rows), split),
        )
        rows = rows.select(np.flatnonzero(~silent))
    return rows


def lack_audio(rows: datasets.Dataset) -> np.ndarray:
    """Return which rows have no audio, (rows,) bool."""
    # Whole tables, because reading 28 GB of audio to see that it is there takes minutes.
    tables = rows.select_columns(["audio"]).with_format("arrow").iter(1000)
    bytes_and_path = [
        [pc.is_null(pc.struct_field(table["audio"], name)) for name in ("bytes", "path")]
        for table in tables
    ]
    return np.concatenate([pc.and_(*missing).to_numpy() for missing in bytes_and_path])


def compute_input(row: dict, feature_extractor, column: str) -> dict[str, np.ndarray | bool]:
    """Compute the model's input of one row, (frames, mels) or (samples,) float32; is it silent?"""
    rate = feature_extractor.sampling_rate
    samples = read_audio(row["audio"], rate)
    try:
        inputs = feature_extractor(samples, sampling_rate=rate)
    except ValueError as error:
        raise WrongUseError(f"the clip {row['id']} is unusable: {error}; leave it out") from error
    is_silent = not samples.any()
    return {column: np.asarray(inputs[column][0], dtype=np.float32), SILENT_COLUMN: is_silent}


def compute_embedding(
    row: dict, feature_extractor, column: str, encode: FrozenBackbone
) -> dict[str, np.ndarray | bool]:
    """Compute an encoder's embeddings of one row, (layers, hidden) float32; is it silent?"""
    inputs = compute_input(row, feature_extractor, column)
    return {EMBEDDING_COLUMN: encode(np.asarray(inputs.pop(column))), **inputs}


def input_fingerprint(rows: datasets.Dataset, feature_extractor) -> str:
    """Name what an extractor computes from rows, the same in every process."""
    ids = list(rows["id"]) if "id" in rows.column_names else []
    files = sorted({entry["filename"] for entry in rows.cache_files})
    # What lies in the cache of `datasets` is gigabytes in files that are written once: their
    # states, ids and sizes name it. Everything else is named by its content.
    stored = bool(files) and len(set(ids)) == len(rows)
    states = [(path, Path(path).stat()) for path in files] if stored else []
    kind = type(feature_extractor)
    return digest(
        code_digest(*CODE, *{kind.__module__} - {"__main__"}),
        {"class": kind.__name__} | feature_extractor.to_dict(),
        row_contents(rows, sizes_only=stored),
        [(path, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for path, one in states],
        ids if stored else [],
    )


def durations(rows: datasets.Dataset, column: str) -> list[float]:
    """Return the length of each clip in seconds; where it is not known, in tens of frames."""
    if "duration" in rows.column_names and None not in (known := list(rows["duration"])):
        return known
    return [len(one[column]) / 100 for one in rows.select_columns([column])]
