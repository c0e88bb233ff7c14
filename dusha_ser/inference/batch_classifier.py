"""From a batch of columns with audio to one with predictions, for any engine that maps batches.

`ClassifyBatch` does it all. `PrepareBatch` and `ClassifyPrepared` are its two halves, for engines
that give each its own machines: reading audio and computing features, then the network. None keeps
anything between two calls, so that batches may be done in any order, anywhere, and again.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow

from dusha_ser.audio.reading import AudioSource
from dusha_ser.audio.samples import UnreadableAudioError
from dusha_ser.audio.sources import name_source
from dusha_ser.audio.turns import Turn
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.inference.batching import Rows
from dusha_ser.inference.clips import Clip, ClipReader, Recording, TakesClips, load_reader
from dusha_ser.inference.prediction_rows import time_columns
from dusha_ser.inference.settings import Settings
from dusha_ser.inference.subnormals import flush_subnormals
from dusha_ser.timelines.recordings import PROBABILITY_PREFIX

if TYPE_CHECKING:
    # They import PyTorch, which programs that send these classes elsewhere do not need.
    from dusha_ser.inference.audio_files import FileClassifier
    from feature_extraction_dusha import DushaFeatureExtractor

ID, AUDIO = "id", "audio"
# Columns of a prepared batch: what is known of a recording, as JSON; its clips one after the other,
# as flat numbers; and how many of these each clip has.
RECORDING, VALUES, SIZES = "recording", "values", "sizes"
# Columns by name, or a table; what comes back is of the same kind.
Batch: TypeAlias = "Mapping[str, Sequence[Any]] | pyarrow.Table"
# What was loaded in this process, by what was asked for.
_loaded: dict[tuple, Any] = {}


@dataclass(frozen=True)
class ClassifyBatch:
    """Classifies the recordings of a batch; the model is loaded once per process, when first used.

    The rows are those of `dusha predict`. What cannot be read or classified becomes a row with an
    error. Batches are made of one call's recordings alone: of equal batches, equal rows.

    Args:
        settings: the model and how it is used; all but turns of other programs.
        device: of the model, as for `load_model`.
        threads: processors of one process; None: all, or what PyTorch is set to.
        trust_remote_code: as for `load_model`.
        id_column: column with what a recording is called.
        audio_column: column with its audio: the bytes of a file, a path or URL, or both as
            `datasets` stores them; None: the ids are paths.

    Examples:
        >>> classify = ClassifyBatch(Settings("runs/crowd_large"))
        >>> rows = dataset.map(
        ...     classify, batched=True, batch_size=64, remove_columns=dataset.column_names
        ... )  # doctest: +SKIP
    """

    settings: Settings
    device: str | None = None
    threads: int | None = None
    trust_remote_code: bool = False
    id_column: str = ID
    audio_column: str | None = AUDIO

    def __post_init__(self) -> None:
        _check_settings(self.settings)

    @property
    def classifier(self) -> "FileClassifier":
        """The model of this process, which is loaded when it is first asked for."""
        return _load_classifier(self, from_features=False)

    @property
    def schema(self) -> pyarrow.Schema:
        """The columns of what a call returns, with their types."""
        return make_schema(self.settings, self.classifier.labels)

    def __call__(self, batch: Batch) -> Batch:
        """Classify a batch.

        Args:
            batch: columns by name, of equal lengths, or a table.

        Returns:
            In the order of the batch, one row per recording or several (windows, stretches of
            speech): id; duration (and speech), or start and end, in seconds; prediction;
            probability_LABEL in [0, 1]; error, None where all went well. Without a prediction,
            the values are None.
        """
        classifier = self.classifier
        group = classifier.open_group()
        read_batch(group, classifier.reader, self._recordings(batch))
        return _answer(batch, classifier.rows(group.finish()), self.schema)

    def _recordings(self, batch: Batch) -> Iterator[tuple[str, Any]]:
        return _named_audio(batch, self.id_column, self.audio_column)


@dataclass(frozen=True)
class PrepareBatch:
    """The first half of `ClassifyBatch`, for processors: reads audio and computes features.

    Args:
        settings: as for `ClassifyBatch`.
        features: whether to compute features here, in double precision, as on a processor; False:
            samples, of which the second half computes features, on a GPU as it does alone. Models
            other than Dusha's and graphs of waveforms get samples in any case.
        trust_remote_code: as for `load_model`.
        id_column: as for `ClassifyBatch`.
        audio_column: as for `ClassifyBatch`.
    """

    settings: Settings
    features: bool = True
    trust_remote_code: bool = False
    id_column: str = ID
    audio_column: str | None = AUDIO

    def __post_init__(self) -> None:
        _check_settings(self.settings)

    def __call__(self, batch: Batch) -> Batch:
        """Read a batch, which is as for `ClassifyBatch`.

        Returns:
            One row per recording: id; recording, what is known of it, as JSON; values, float32
            numbers of its clips one after the other, features (frames, bands) or samples; sizes,
            how many numbers each clip has.
        """
        flush_subnormals()
        rate, extractor = _once(
            ("extractor", self.settings.model, self.trust_remote_code),
            lambda: load_extractor(self.settings.model, self.trust_remote_code),
        )
        reader = _once(
            ("reader", *astuple(self.settings), rate), lambda: load_reader(self.settings, rate)
        )
        taken = _Prepared(extractor if self.features else None)
        read_batch(taken, reader, _named_audio(batch, self.id_column, self.audio_column))
        return _as_given(batch, taken.columns, PREPARED)


@dataclass(frozen=True)
class ClassifyPrepared:
    """The second half of `ClassifyBatch`, for a GPU or ONNX: the network on prepared batches.

    Args:
        settings: as for `PrepareBatch`.
        features: as for `PrepareBatch`.
        device: as for `ClassifyBatch`.
        threads: as for `ClassifyBatch`.
        trust_remote_code: as for `ClassifyBatch`.
    """

    settings: Settings
    features: bool = True
    device: str | None = None
    threads: int | None = None
    trust_remote_code: bool = False

    @property
    def schema(self) -> pyarrow.Schema:
        """The columns of what a call returns, with their types."""
        return make_schema(self.settings, self._classifier()[0].labels)

    def __call__(self, batch: Batch) -> Batch:
        """Classify a batch of `PrepareBatch`; returns what `ClassifyBatch` returns."""
        classifier, bands = self._classifier()
        group = classifier.open_group()
        columns = (_column(batch, name) for name in (RECORDING, VALUES, SIZES))
        for told, values, sizes in zip(*columns, strict=True):
            recording = _read_note(told)
            ends = np.cumsum(np.asarray(sizes, np.int64))
            numbers = np.asarray(values, np.float32)
            parts = np.split(numbers, ends[:-1]) if len(ends) else []
            for clip, part in zip(recording.clips, parts, strict=True):
                group.add(part.reshape(-1, bands) if bands else part, clip.size)
            group.end(recording)
        return _answer(batch, classifier.rows(group.finish()), self.schema)

    def _classifier(self) -> tuple["FileClassifier", int]:
        """The model of this process, and the bands of its features; 0: it takes samples."""
        _, extractor = _once(
            ("extractor", self.settings.model, self.trust_remote_code),
            lambda: load_extractor(self.settings.model, self.trust_remote_code),
        )
        bands = extractor.feature_size if self.features and extractor else 0
        return _load_classifier(self, from_features=bool(bands)), bands


PREPARED = pyarrow.schema(
    [
        (ID, pyarrow.string()),
        (RECORDING, pyarrow.string()),
        (VALUES, pyarrow.large_list(pyarrow.float32())),
        (SIZES, pyarrow.list_(pyarrow.int64())),
    ]
)


@dataclass
class _Prepared:
    """Clips and recordings as the columns of a prepared batch."""

    extractor: "DushaFeatureExtractor | None"
    columns: dict[str, list] = field(
        default_factory=lambda: {name: [] for name in PREPARED.names}, init=False
    )
    _clips: list[np.ndarray] = field(default_factory=list, init=False)

    def add(self, clip: np.ndarray) -> None:
        """Take the next clip (samples,) of the recording that ends next."""
        self._clips.append(clip)

    def end(self, recording: Recording) -> None:
        """Take a recording when all its clips came."""
        try:
            values = [self._compute(clip) for clip in self._clips]
        except ValueError as error:  # as a failure of the model, of which features are a part
            recording.error = f"the model failed: {' '.join(str(error).split())}"
            recording.model_failed, recording.clips, values = True, [], []
        nothing = np.empty(0, np.float32)
        cells = (
            recording.name,
            json.dumps(asdict(recording)),
            np.concatenate([nothing, *(one.ravel() for one in values)]),
            np.array([one.size for one in values], np.int64),
        )
        for name, cell in zip(PREPARED.names, cells, strict=True):
            self.columns[name].append(cell)
        self._clips = []

    def _compute(self, clip: np.ndarray) -> np.ndarray:
        if self.extractor is None:
            return clip
        return self.extractor(clip, self.extractor.sampling_rate)["input_features"][0]


def make_schema(settings: Settings, labels: Iterable[str]) -> pyarrow.Schema:
    """Name the columns of predictions, with their types, as the CSV of `dusha predict` has them."""
    number, text = pyarrow.float64(), pyarrow.string()
    fields = [(ID, text), *((name, number) for name in time_columns(settings))]
    fields += [("prediction", text), *((PROBABILITY_PREFIX + one, number) for one in labels)]
    return pyarrow.schema([*fields, ("error", text)])


def read_batch(
    group: TakesClips, reader: ClipReader, recordings: Iterable[tuple[str, Any]]
) -> None:
    """Read recordings, given as names and the values of an audio column, into a group.

    What cannot be read ends with its error.

    Raises:
        WrongUseError: if a package is missing for the store that a URL names.
        OSError: if such a store does not answer.
    """
    for name, audio in recordings:
        recording = Recording(name)
        try:
            source = open_source(audio, name)
        except WrongUseError as error:
            recording.error = str(error)
        else:
            for clip in reader.read(recording, source):
                group.add(clip)
        group.end(recording)


def open_source(audio: Any, name: str) -> AudioSource:
    """Turn the value of an audio column into what `read_blocks` reads; of a URL, its bytes.

    Raises:
        WrongUseError: if there is no audio in it, or no such file.
    """
    if isinstance(audio, Mapping) and audio.get("bytes") is None:
        audio = audio.get("path", audio)
    if audio is None:
        raise UnreadableAudioError("has neither the bytes nor the path of a file")
    if isinstance(audio, str) and "://" in audio:
        return _fetch(audio)
    return name_source(audio, name)[1]


def _fetch(url: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(url, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise UnreadableAudioError("there is no such file") from error


def load_extractor(
    model: str, trust_remote_code: bool = False
) -> tuple[int, "DushaFeatureExtractor | None"]:
    """Load what reading a model's audio takes, without its weights.

    Returns:
        The sampling rate, in Hz, and what computes its features; None: the model takes samples.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is not such a model, or something must be installed for it.
    """
    from feature_extraction_dusha import DushaFeatureExtractor

    if model.endswith(".onnx"):
        from dusha_ser.inference.onnx_runtime import OnnxClassifier

        onnx = OnnxClassifier(model, threads=1)
        return onnx.sampling_rate, None if onnx.reads_waveforms else onnx.extractor
    from transformers import AutoFeatureExtractor

    from dusha_ser.inference.loading import explained_errors

    with explained_errors(model):
        extractor = AutoFeatureExtractor.from_pretrained(model, trust_remote_code=trust_remote_code)
    own = isinstance(extractor, DushaFeatureExtractor)
    return extractor.sampling_rate, extractor if own else None


def _load_classifier(
    asked: ClassifyBatch | ClassifyPrepared, from_features: bool
) -> "FileClassifier":
    from dusha_ser.inference.audio_files import load_classifier

    options = asked.device, asked.threads, asked.trust_remote_code, from_features
    return _once(
        ("classifier", *astuple(asked.settings), *options),
        lambda: load_classifier(asked.settings, *options),
    )


def _once(key: tuple, load: Any) -> Any:
    """Load something once per process: a class that is sent elsewhere carries no model along."""
    if key not in _loaded:
        _loaded[key] = load()
    return _loaded[key]


def _check_settings(settings: Settings) -> None:
    if settings.segments == "turns":
        raise WrongUseError(
            "`segments` is turns, and batches come without turns; give `segments=vad`, or "
            "classify files by `dusha predict`"
        )


def _column(batch: Batch, name: str) -> Sequence[Any]:
    names = batch.column_names if isinstance(batch, pyarrow.Table) else list(batch)
    if name not in names:
        raise MissingInputError(
            f"there is no column {name!r} among {', '.join(names)}; name yours with `id_column` "
            "and `audio_column`"
        )
    return batch[name].to_pylist() if isinstance(batch, pyarrow.Table) else batch[name]


def _named_audio(
    batch: Batch, id_column: str, audio_column: str | None
) -> Iterator[tuple[str, Any]]:
    ids = [str(one) for one in _column(batch, id_column)]
    yield from zip(ids, _column(batch, audio_column) if audio_column else ids, strict=True)


def _read_note(text: str) -> Recording:
    told = json.loads(text)
    told["clips"] = [Clip(*one) for one in told["clips"]]
    told["turns"] = [Turn(**one) for one in told["turns"]]
    return Recording(**told)


def _answer(batch: Batch, rows: Rows, schema: pyarrow.Schema) -> Batch:
    """Turn the rows of recordings into columns, in the form of the batch that came."""
    flat = [row for own in rows for row in own]
    columns: dict[str, list] = {}
    for name in schema.names:
        label = name.removeprefix(PROBABILITY_PREFIX)
        if label == name:
            columns[name] = [row[name] for row in flat]
        else:
            shares = (row["probabilities"] or {} for row in flat)
            columns[name] = [one.get(label) for one in shares]
    return _as_given(batch, columns, schema)


def _as_given(batch: Batch, columns: dict[str, list], schema: pyarrow.Schema) -> Batch:
    if isinstance(batch, pyarrow.Table):
        return pyarrow.table(columns, schema=schema)
    return columns
