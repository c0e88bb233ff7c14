"""Models as teachers: their probabilities of clips, each computed once and kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm import tqdm
from transformers import AutoConfig

from configuration_dusha import DushaConfig
from dusha_ser.audio.reading import SAMPLING_RATE
from dusha_ser.corpus.contents import copy_column, row_contents
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.evaluation.predictions import Probabilities
from dusha_ser.fingerprints import code_digest, digest
from dusha_ser.inference.audio_files import decisive, load_classifier
from dusha_ser.inference.classify import torch_classifier
from dusha_ser.inference.loading import explained_errors, load_model
from dusha_ser.inference.settings import Settings
from dusha_ser.storage import replacing
from dusha_ser.training.features import lack_audio
from dusha_ser.training.teacher_options import check_teacher, is_probability_file, teacher_name
from dusha_ser.training.waveforms import COPY_CODE, WaveformAugmentation

# Clips that are classified between two writes to the cache.
CHUNK = 512
# Features that are classified at once.
BATCH_SIZE = 16
# Of a model: what it says of the clips that it learnt.
TOLD_FOLDER = "told"
# Whose code decides what a teacher says, beside that of inference.
CODE = ("dusha_ser.training.teacher_models",)
Tell = Callable[[str], object] | None
Copy = tuple[WaveformAugmentation, int]


@dataclass
class TeacherModel:
    """A model whose probabilities of each clip are kept in the cache, by the clip's content.

    Attributes:
        name: a model folder, a name on the Hub or an .onnx file.
        cache_dir: folder that holds the cache; None: that of `datasets`.
        trust_remote_code: whether code that came with the model may run.
    """

    name: str
    cache_dir: str | None = None
    trust_remote_code: bool = False
    _loaded: Any = field(default=None, init=False, repr=False)

    @property
    def cache(self) -> Path:
        """Where the probabilities of all teachers are."""
        return Path(self.cache_dir or datasets.config.HF_DATASETS_CACHE, "dusha_teachers")

    @property
    def key(self) -> str:
        """Names its probabilities: by its content, how clips are read, and the code."""
        made_of = decisive(Settings(self.name), self.trust_remote_code)
        # Equal models of different names say the same.
        made_of.pop("model")
        return digest(made_of, code_digest(*CODE))

    def classify(
        self, rows: datasets.Dataset, split: str, tell: Tell = None, copy: Copy | None = None
    ) -> Probabilities:
        """Return its probabilities of rows; clips that are not in the cache are classified.

        Args:
            rows: with audio, or with features where it is a network of Dusha's.
            split: their name, for messages.
            tell: called with a line if there is something to classify.
            copy: of the clips that is heard in their place, by its number; None: the clips.

        Raises:
            WrongUseError: if rows have nothing that it reads.
            WorkFailedError: if the model fails.
        """
        check_teacher(self.name)
        ids = list(map(str, rows["id"]))
        place, contents = self._kept(ids, row_contents(rows), copy)
        folder = self.cache / place
        if copy:
            split = f"copy {copy[1] + 1} of {split}"
        labels, known = read_cached(folder)
        if not known.keys() >= set(contents):
            told, more = read_cached(Path(self.name, TOLD_FOLDER, place))
            labels, known = labels or told, known | more
        first = {content: row for row, content in reversed(list(enumerate(contents)))}
        missing = sorted(row for content, row in first.items() if content not in known)
        if missing and tell:
            name = teacher_name(self.name)
            tell(f"the teacher {name} classifies {len(missing):,} clips of {split}")
        quiet = datasets.utils.are_progress_bars_disabled()
        with tqdm(
            total=len(missing), unit="clip", desc=f"teacher of {split}", disable=quiet or None
        ) as bar:
            for start in range(0, len(missing), CHUNK):
                chunk = missing[start : start + CHUNK]
                labels, found = self._hear(rows.select(chunk), split, copy)
                added = dict(zip([contents[row] for row in chunk], found, strict=True))
                write_cached(folder, labels, added)
                known |= added
                bar.update(len(chunk))
        values = np.array([known[content] for content in contents])
        return Probabilities(tuple(labels), ids, values)

    def remember(
        self,
        rows: datasets.Dataset,
        said: Probabilities,
        augmentation: WaveformAugmentation | None = None,
    ) -> None:
        """Keep what it is known to say in its own folder, so that it need not hear these clips.

        There it stays when the cache is gone: by the last bits, a run that is resumed would be
        another one with what is heard.

        Args:
            rows: clips, with audio or their contents; where two have one id, nothing is kept.
            said: of some of them and of their copies, whose ids are as of `copy_column`.
            augmentation: of the copies; None: there are none.
        """
        ids, contents = list(map(str, rows["id"])), row_contents(rows)
        if len(set(ids)) < len(ids):
            # Which of them is meant cannot be told.
            return
        known = dict(zip(said.ids, said.probabilities, strict=True))
        for copy in versions(augmentation):
            place, keys = self._kept(ids, contents, copy)
            names = [copy_column(one, copy[1]) for one in ids] if copy else ids
            pairs = zip(keys, names, strict=True)
            found = {key: known[name] for key, name in pairs if name in known}
            if found:
                write_cached(Path(self.name, TOLD_FOLDER, place), said.labels, found)

    def _kept(
        self, ids: Sequence[str], contents: list[str], copy: Copy | None
    ) -> tuple[str, list[str]]:
        """Return in which folder the probabilities of clips or a copy are, and by which keys."""
        if not copy:
            return self.key, contents
        drawn = digest(copy[0].drawn_from, copy[1], code_digest(*COPY_CODE))
        # A copy is drawn by the clip's id.
        return f"{self.key}/{drawn}", [digest(*one) for one in zip(ids, contents, strict=True)]

    def _hear(
        self, rows: datasets.Dataset, split: str, copy: Copy | None
    ) -> tuple[list[str], Sequence[np.ndarray] | np.ndarray]:
        """Classify rows by their audio, or by their features where they have no audio."""
        silent = np.ones(len(rows), bool)
        if "audio" in rows.column_names:
            silent = lack_audio(rows)
        if silent.all() and "input_features" in rows.column_names and not copy:
            return self._read_features(rows, split)
        if silent.any():
            name = str(rows[int(np.argmax(silent))]["id"])
            raise WrongUseError(
                f"the clip {name!r} of {split} has no audio that a teacher could hear: prepare the "
                "data set with audio, or leave the clip out"
            )
        if self._loaded is None:
            settings = Settings(self.name)
            trusted = self.trust_remote_code
            self._loaded = load_classifier(settings, trust_remote_code=trusted)
        ids, audio = list(map(str, rows["id"])), list(rows["audio"])
        if copy:
            place = SAMPLING_RATE, torch.device("cpu")
            changed = copy[0].copy({"id": ids, "audio": audio}, copy[1], *place)
            audio = [(one, SAMPLING_RATE) for one in changed]
        recordings = self._loaded.classify_sources(
            [(name, one, None) for name, one in zip(ids, audio, strict=True)]
        )
        for one in recordings:
            if one.error is not None or not one.segments:
                kind = WorkFailedError if one.model_failed else WrongUseError
                reason = one.error or "nothing is to be heard"
                raise kind(f"the teacher {self.name} cannot classify {one.name!r}: {reason}")
        return list(self._loaded.labels), [one.segments[0].probabilities for one in recordings]

    def _read_features(self, rows: datasets.Dataset, split: str) -> tuple[list[str], np.ndarray]:
        if not reads_features(self.name, self.trust_remote_code):
            raise WrongUseError(
                f"the clips of {split} have features alone, which Dusha's networks read and the "
                f"teacher {self.name} does not: prepare the data set with audio"
            )
        if self._loaded is None:
            self._loaded = load_model(self.name, None, self.trust_remote_code)
        model, extractor = self._loaded
        classify = torch_classifier(model, extractor, from_features=True)
        lengths = [len(one) for one in rows["input_features"]]
        values = np.empty((len(rows), model.config.num_labels))
        order = np.argsort(lengths, kind="stable")
        for start in range(0, len(order), BATCH_SIZE):
            batch = order[start : start + BATCH_SIZE]
            features = [np.asarray(rows[int(row)]["input_features"], np.float32) for row in batch]
            values[batch] = classify(features)
        return [model.config.id2label[number] for number in range(values.shape[1])], values


def versions(augmentation: WaveformAugmentation | None) -> list[Copy | None]:
    """List what is heard of a clip: itself as None, and its copies."""
    if augmentation is None:
        return [None]
    return [None, *((augmentation, copy) for copy in range(augmentation.copies))]


def reads_features(name: str, trust_remote_code: bool = False) -> bool:
    """Return whether a teacher reads Dusha's features, without loading it."""
    if is_probability_file(name):
        return True
    if name.endswith(".onnx"):
        return False
    check_teacher(name)
    with explained_errors(name):
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    return config.model_type == DushaConfig.model_type


def read_cached(folder: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Read what is known of clips: labels, and the probabilities (labels,) by a clip's content.

    Damaged files are removed: what they held is computed again.
    """
    labels: list[str] = []
    known: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.parquet")):
        try:
            table = pq.read_table(path)
            values = np.array([column.to_numpy() for column in table.columns[1:]]).T
            contents = table.column(0).to_pylist()
        except (OSError, pa.ArrowException, IndexError, ValueError):
            path.unlink(missing_ok=True)
            continue
        labels = table.column_names[1:]
        known |= dict(zip(contents, values, strict=True))
    return labels, known


def write_cached(folder: Path, labels: Sequence[str], found: dict[str, np.ndarray]) -> None:
    """Add a file to what is known of clips; each has a name of its own, so nobody need wait."""
    values = np.array(list(found.values()), np.float32)
    table = pa.table([pa.array(list(found)), *map(pa.array, values.T)], ["content", *labels])
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / f"{digest(sorted(found))}.parquet") as unfinished:
        pq.write_table(table, unfinished)
