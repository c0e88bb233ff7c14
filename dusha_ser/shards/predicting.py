"""Predictions in shards: the rows of `dusha predict`, by any number of machines."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import pyarrow

from dusha_ser.errors import WrongUseError
from dusha_ser.inference.audio_files import decisive
from dusha_ser.inference.batch_classifier import ClassifyBatch
from dusha_ser.inference.batching import cut_groups, file_size
from dusha_ser.inference.settings import PredictOptions, Settings
from dusha_ser.shards.jobs import DoShards, Job, Outcome, Recordings, open_job, run_job
from dusha_ser.shards.options import SHARD_SIZE, ShardOptions
from dusha_ser.shards.planning import plan_shards
from dusha_ser.shards.stores import Store


@dataclass(frozen=True)
class PredictShards:
    """Classifies the recordings of shards, a `jobs.Work`."""

    classify: ClassifyBatch
    path_column: str = "path"
    by_content = False

    @property
    def schema(self) -> pyarrow.Schema:
        """The columns of predictions."""
        return self.classify.schema

    def __call__(self, recordings: Recordings) -> Iterator[pyarrow.Table]:
        """Classify recordings in the groups that `dusha predict` makes of files."""
        batch_size = self.classify.classifier.batch_size
        for group in cut_groups(recordings, _size, batch_size):
            names, audio = zip(*group, strict=True)
            rows: Any = self.classify({"id": names, "audio": audio})
            yield pyarrow.table(rows, schema=self.schema)


def _size(recording: tuple[str, Any]) -> int:
    audio = recording[1]
    return file_size(audio) if isinstance(audio, str) else len(audio or b"")


def predict_shards(options: PredictOptions, shards: ShardOptions) -> tuple[Job, Outcome]:
    """Classify the inputs of `dusha predict` into a folder of Parquet shards.

    Returns:
        The job, and what this program did of it.

    Raises:
        MissingInputError: if an input or the model is missing.
        WrongUseError: if the folder is of others, or was begun with another model or settings.
        WorkFailedError: if a worker process was killed.
    """
    refuse_others(options, shards)
    settings = Settings(**{one.name: getattr(options, one.name) for one in fields(Settings)})
    threads = None if options.num_proc == 1 else max(1, (os.cpu_count() or 1) // options.num_proc)
    classify = ClassifyBatch(settings, options.device, threads, options.trust_remote_code)
    return classify_shards(classify, options, shards)


def refuse_others(options: PredictOptions, shards: ShardOptions) -> None:
    """Raise a WrongUseError for options of `dusha predict` that shards leave no place for."""
    shards.refuse(
        **{
            name: getattr(options, name)
            for name in ("output_file", "turns", "export", "speakers_file")
        }
    )
    if options.overwrite:
        raise WrongUseError(shards.no_overwriting())


def classify_shards(
    classify: ClassifyBatch, options: Any, shards: ShardOptions, do: DoShards | None = None
) -> tuple[Job, Outcome]:
    """Classify `options.inputs` by a model; see `predict_shards`."""
    work = PredictShards(classify, options.path_column)
    made_with = decisive(classify.settings, classify.trust_remote_code)
    job = begin(options, shards, made_with, SHARD_SIZE)
    num_proc = getattr(options, "num_proc", 1)
    return job, run_job(job, work, shards.share, num_proc, options.quiet, do)


def begin(options: Any, shards: ShardOptions, made_with: dict[str, Any], usual_size: int) -> Job:
    """Open the job of a command's inputs, which are pinned with what its parts are made with."""
    store = Store(str(shards.output_shards))
    size = shards.shard_size or usual_size
    inputs = [str(one) for one in options.inputs]
    pinned = {"inputs": inputs, "path_column": options.path_column, "shard_size": size}
    plan = partial(plan_shards, inputs, size, options.path_column, store)
    return open_job(store, made_with | pinned, plan)
