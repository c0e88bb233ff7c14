"""The columns of the corpus, and rows with their audio and features as Arrow tables."""

from collections.abc import Iterator

import datasets
import numpy as np
import pyarrow as pa

from dusha_ser.audio.reading import SAMPLING_RATE
from dusha_ser.corpus.clip_sources import (
    MEL_BANDS,
    MISSING_COLUMNS,
    compute_features,
    load_features,
    read_wav,
    row_member,
)
from dusha_ser.corpus.configurations import MANIFESTS, RAW, RAW_COLUMNS
from dusha_ser.corpus.options import CorpusOptions
from dusha_ser.vocabulary import EMOTIONS

# Rows read at a time: memory stays small, and so do the row groups of Parquet files.
BATCH_BYTES = 16 * 10**6
# What a row takes beside its audio and features, generously: text, vectors, bookkeeping.
ROW_BYTES = 1000
# Parquet stores where each list begins; measured below this share of the numbers themselves.
LIST_OVERHEAD = 1.1
FRAMES_A_SECOND = 100


def corpus_features(name: str, options: CorpusOptions) -> datasets.Features:
    """Describe the columns of a configuration.

    Args:
        name: one of `dusha_ser.corpus.configurations.CONFIGURATIONS`.
        options: labels and whether there are multi-labels and features.

    Returns:
        Features in the order of the columns.
    """
    text = datasets.Value("string")
    if name == RAW:
        types = dict.fromkeys((*RAW_COLUMNS, "domain"), text)
        return datasets.Features(types | {"duration": datasets.Value("float64")})
    classes = list(EMOTIONS) if name in MANIFESTS else options.class_names()
    columns = {
        "id": text,
        "audio": datasets.Audio(sampling_rate=SAMPLING_RATE, decode=False),
        "input_features": datasets.Array2D(shape=(None, MEL_BANDS), dtype="float32"),
        "duration": datasets.Value("float64"),
        "label": datasets.ClassLabel(names=classes),
        "labels": datasets.Sequence(datasets.ClassLabel(names=classes)),
        "label_probabilities": datasets.Sequence(
            datasets.Value("float64"), length=len(options.labels)
        ),
        "votes": datasets.Sequence(datasets.Value("int32"), length=len(options.labels)),
        "text": text,
        "speaker_emotion": text,
        "golden_emotion": text,
        "source_id": text,
        "domain": text,
    }
    if not options.input_features:
        del columns["input_features"]
    if options.multi_threshold is None:
        del columns["labels"]
    return datasets.Features(columns)


def row_bytes(rows: pa.Table, input_features: bool) -> np.ndarray:
    """Estimate how many bytes each row of a plan takes, rather too many than too few.

    Args:
        rows: of a split's plan.
        input_features: whether they get features.

    Returns:
        float64 (rows,).
    """
    size = np.full(len(rows), float(ROW_BYTES))
    if "wav_size" in rows.column_names:
        size += rows["wav_size"].fill_null(0).to_numpy()
    if input_features:
        frames = np.nan_to_num(rows["duration"].to_numpy()) * FRAMES_A_SECOND + 1
        size += frames * MEL_BANDS * 4 * LIST_OVERHEAD
    return size


def cut_rows(sizes: np.ndarray, limit: float) -> list[tuple[int, int]]:
    """Cut rows into runs that stay below a size.

    Args:
        sizes: of each row, in bytes.
        limit: most bytes of a run; a larger row is a run of its own.

    Returns:
        First row and the row after the last of each run; at least one run.

    Example:
        >>> cut_rows(np.array([2, 2, 3, 9, 1]), limit=5)
        [(0, 2), (2, 3), (3, 4), (4, 5)]
    """
    runs, start, total = [], 0, 0.0
    for row, size in enumerate(sizes):
        if row > start and total + size > limit:
            runs.append((start, row))
            start, total = row, 0.0
        total += size
    return [*runs, (start, len(sizes))]


def read_tables(
    rows: pa.Table, split: str, features: datasets.Features
) -> Iterator[tuple[pa.Table, list[dict]]]:
    """Read the audio and features of rows, some megabytes at a time.

    Args:
        rows: of a split's plan.
        split: its name.
        features: the columns to make.

    Yields:
        A table with these columns, and the clips that it lacks because their files are broken:
        id, split, domain and reason.
    """
    for start, stop in cut_rows(row_bytes(rows, "input_features" in features), BATCH_BYTES):
        yield read_table(rows.slice(start, stop - start), split, features)


def read_table(
    rows: pa.Table, split: str, features: datasets.Features
) -> tuple[pa.Table, list[dict]]:
    """Read the audio and features of rows; arguments and result as in `read_tables`."""
    schema = features.arrow_schema
    stays, missing, columns = np.ones(len(rows), bool), [], {}
    if "audio" in features:
        files = rows.select(
            [name for name in rows.column_names if name.startswith(("wav_", "npy_"))]
            + ["id", "domain"]
        ).to_pylist()
        audio, arrays = [], []
        for index, row in enumerate(files):
            reason = None
            try:
                content, array, reason = read_row(row, "input_features" in features)
                audio.append(content)
                arrays.append(array)
            except ValueError as error:
                stays[index], reason = False, str(error)
            if reason:
                values = (row["id"], split, row["domain"], reason)
                missing.append(dict(zip(MISSING_COLUMNS, values, strict=True)))
        rows = rows.filter(pa.array(stays))
        columns["audio"] = audio_column(rows["id"], audio, schema.field("audio").type)
        if "input_features" in features:
            columns["input_features"] = array_column(arrays, schema.field("input_features").type)
    arrays = [
        columns[field.name] if field.name in columns else rows[field.name].cast(field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema), missing


def read_row(row: dict, input_features: bool) -> tuple[bytes | None, np.ndarray | None, str | None]:
    """Read a clip's recording and, if asked for, its features.

    Args:
        row: id, domain and the file columns.
        input_features: whether to load or compute features.

    Returns:
        The sound file or None; float32 (frames, 64) in dB or None; why a podcast's clip, which
        stays without audio, has none although there is a file.

    Raises:
        ValueError: the clip cannot stay; the message is the reason.
    """
    wav, npy = row_member(row, "wav"), row_member(row, "npy")
    content, reason = None, None
    try:
        content = read_wav(wav) if wav else None
    except ValueError as error:
        if row["domain"] != "podcast" or (input_features and npy is None):
            raise
        reason = f"{error}, kept without audio"
    if not input_features:
        return content, None, reason
    return content, load_features(npy) if npy else compute_features(content), reason


def audio_column(
    ids: pa.ChunkedArray, contents: list[bytes | None], column_type: pa.DataType
) -> pa.StructArray:
    """Make the column that `datasets.Audio` stores: bytes and a file name.

    Args:
        ids: of the clips; file names are made of them.
        contents: sound files, None where there is none.
        column_type: of the feature.

    Returns:
        structs (rows,), null where there is no audio.
    """
    names = [
        None if content is None else f"{name}.wav"
        for name, content in zip(ids.to_pylist(), contents, strict=True)
    ]
    absent = np.array([content is None for content in contents], bool)
    arrays = [binary_column(contents, absent), pa.array(names, pa.string())]
    column = pa.StructArray.from_arrays(arrays, ["bytes", "path"], mask=pa.array(absent))
    return column.cast(column_type)


def binary_column(contents: list[bytes | None], absent: np.ndarray) -> pa.BinaryArray:
    """Join byte strings to a column, copying each once; pyarrow would copy them twice.

    Args:
        contents: byte strings or None.
        absent: bool (rows,), where they are None.

    Returns:
        binary (rows,).
    """
    ends = np.cumsum([0, *(0 if content is None else len(content) for content in contents)])
    validity = np.packbits(~absent, bitorder="little")
    buffers = [
        pa.py_buffer(validity) if absent.any() else None,
        pa.py_buffer(ends.astype(np.int32)),
        pa.py_buffer(b"".join(content for content in contents if content is not None)),
    ]
    return pa.BinaryArray.from_buffers(pa.binary(), len(contents), buffers, int(absent.sum()))


def array_column(arrays: list[np.ndarray], column_type: pa.ExtensionType) -> pa.ExtensionArray:
    """Make the column that `datasets.Array2D` stores.

    Args:
        arrays: float32 (frames, 64) each.
        column_type: of the feature.

    Returns:
        arrays (rows,).
    """
    values = np.concatenate([*arrays, np.empty((0, MEL_BANDS), np.float32)])
    frames = np.cumsum([0, *map(len, arrays)])
    inner = pa.ListArray.from_arrays(
        pa.array(np.arange(len(values) + 1) * MEL_BANDS, pa.int32()), pa.array(values.reshape(-1))
    )
    outer = pa.ListArray.from_arrays(pa.array(frames, pa.int32()), inner)
    return pa.ExtensionArray.from_storage(column_type, outer.cast(column_type.storage_type))
