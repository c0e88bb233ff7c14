"""The columns of the corpus, and rows with their audio and features as Arrow tables."""

from collections.abc import Iterator

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets.features.features import list_of_np_array_to_pyarrow_listarray

from dusha_ser.archives.members import Member
from dusha_ser.audio.reading import SAMPLING_RATE
from dusha_ser.corpus.clip_sources import (
    MEL_BANDS,
    compute_features,
    load_features,
    missing_clip,
    read_wav,
)
from dusha_ser.corpus.configurations import LIKELIHOODS, MANIFESTS, RAW, RAW_COLUMNS
from dusha_ser.corpus.missing import KEPT
from dusha_ser.corpus.options import CorpusOptions
from dusha_ser.vocabulary import EMOTIONS

# Rows read at a time: memory stays small, and so do the row groups of Parquet files.
BATCH_BYTES = 16 * 10**6
# An upper bound of a row's bytes beyond its audio and features: text, vectors, bookkeeping.
ROW_BYTES = 1000
# Parquet stores where each list begins; with the numbers, less than this factor of their bytes.
LIST_OVERHEAD = 1.1
FRAMES_PER_SECOND = 100


def corpus_features(name: str, options: CorpusOptions) -> datasets.Features:
    """Describe the columns of a configuration, in their order."""
    text = datasets.Value("string")
    if name == RAW:
        types = dict.fromkeys((*RAW_COLUMNS, "domain"), text)
        return datasets.Features(types | {"duration": datasets.Value("float64")})
    classes = list(EMOTIONS) if name in MANIFESTS else options.class_names()
    count = len(options.labels)
    columns = {
        "id": text,
        "audio": datasets.Audio(sampling_rate=SAMPLING_RATE, decode=False),
        "input_features": datasets.Array2D(shape=(None, MEL_BANDS), dtype="float32"),
        "duration": datasets.Value("float64"),
        "label": datasets.ClassLabel(names=classes),
        "labels": datasets.Sequence(datasets.ClassLabel(names=classes)),
        "answers": datasets.Sequence(text, length=count),
        "label_probabilities": datasets.Sequence(datasets.Value("float64"), length=count),
        LIKELIHOODS: datasets.Sequence(datasets.Value("float64"), length=count),
        "votes": datasets.Sequence(datasets.Value("int32"), length=count),
        "text": text,
        "speaker_emotion": text,
        "golden_emotion": text,
        "source_id": text,
        "domain": text,
    }
    if not options.input_features:
        del columns["input_features"]
    if not options.log_likelihoods:
        del columns[LIKELIHOODS]
    if options.multi_threshold is None:
        del columns["labels"]
    return datasets.Features(columns)


def row_bytes(rows: pa.Table, input_features: bool) -> np.ndarray:
    """Estimate how many bytes each row of a plan takes at most, float64 (rows,)."""
    size = np.full(len(rows), float(ROW_BYTES))
    if "wav" in rows.column_names:
        size += pc.fill_null(pc.struct_field(rows["wav"], "size"), 0).to_numpy()
    if input_features:
        frames = np.nan_to_num(rows["duration"].to_numpy()) * FRAMES_PER_SECOND + 1
        size += frames * MEL_BANDS * 4 * LIST_OVERHEAD
    return size


def cut_rows(sizes: np.ndarray, limit: float) -> list[tuple[int, int]]:
    """Cut rows into runs of at most `limit` bytes; a larger row is a run of its own.

    Returns:
        First row and the row after the last of each run; at least one run.

    Examples:
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
    """Read the audio and features of a split's rows, some megabytes at a time.

    Yields:
        A table with these columns, and the clips that are missing in it because their files are
        broken, as `missing_clip` gives them.
    """
    schema, input_features = features.arrow_schema, "input_features" in features
    for start, stop in cut_rows(row_bytes(rows, input_features), BATCH_BYTES):
        part, missing, columns = rows.slice(start, stop - start), [], {}
        if "audio" in features:
            stays, audio, arrays = np.ones(len(part), bool), [], []
            for index, row in enumerate(part.select(["id", "domain", "wav", "npy"]).to_pylist()):
                try:
                    content, array, reason = read_row(row, input_features)
                    audio.append(content and {"bytes": content, "path": f"{row['id']}.wav"})
                    arrays.append(array)
                except ValueError as error:
                    stays[index], reason = False, str(error)
                if reason:
                    missing.append(missing_clip(row["id"], split, row["domain"], reason))
            part = part.filter(pa.array(stays))
            columns["audio"] = pa.array(audio, schema.field("audio").type)
            if input_features:
                column_type = schema.field("input_features").type
                columns["input_features"] = array_column(arrays, column_type)
        for field in schema:
            if field.name not in columns:
                columns[field.name] = part[field.name].cast(field.type)
        yield pa.table(columns, schema), missing


def read_row(row: dict, input_features: bool) -> tuple[bytes | None, np.ndarray | None, str | None]:
    """Read a clip's recording and, if asked for, its features: float32 (frames, 64) in dB.

    Last comes why a podcast's clip, which stays without audio, has none although there is a file.
    A ValueError says why the clip cannot stay.
    """
    wav, npy = (row[name] and Member(**row[name]) for name in ("wav", "npy"))
    content, reason = None, None
    try:
        content = read_wav(wav) if wav else None
    except ValueError as error:
        if row["domain"] != "podcast" or (input_features and npy is None):
            raise
        reason = f"{error}{KEPT}"
    if not input_features:
        return content, None, reason
    if npy:
        return content, load_features(npy), reason
    if content is None:
        raise ValueError("neither features nor wav")
    return content, compute_features(content), reason


def array_column(
    arrays: list[np.ndarray | None], column_type: pa.ExtensionType
) -> pa.ExtensionArray:
    """Make the column that `datasets.Array2D` stores of arrays, float32 (frames, 64) each."""
    storage = list_of_np_array_to_pyarrow_listarray(arrays).cast(column_type.storage_type)
    return pa.ExtensionArray.from_storage(column_type, storage)
