"""Predictions on a cluster of Ray: features in tasks of one processor, then the network."""

import json
from dataclasses import dataclass, fields
from typing import Any

import pyarrow

from dusha_ser.engines.cluster import connect
from dusha_ser.engines.options import RAY, EngineOptions
from dusha_ser.engines.recordings import PROBLEM
from dusha_ser.inference.audio_files import ACCELERATOR_BATCH_SIZE, decisive
from dusha_ser.inference.batch_classifier import RECORDING, ClassifyPrepared, PrepareBatch
from dusha_ser.inference.batching import BATCH_SIZE
from dusha_ser.inference.settings import PredictOptions, Settings
from dusha_ser.shards.jobs import Job, Outcome
from dusha_ser.shards.options import SHARD_SIZE, ShardOptions
from dusha_ser.shards.predicting import begin, refuse_others


@dataclass(frozen=True)
class Prepare:
    """The first stage: reads audio, computes features, and notes what was wrong with a shard."""

    prepare: PrepareBatch

    def __call__(self, rows: pyarrow.Table) -> pyarrow.Table:
        """Prepare a group of recordings."""
        prepared: Any = self.prepare(rows)
        problems = rows[PROBLEM].to_pylist()
        if not any(problems):
            return prepared
        notes = [
            json.dumps(json.loads(note) | {"error": problem}) if problem else note
            for note, problem in zip(prepared[RECORDING].to_pylist(), problems, strict=True)
        ]
        place = prepared.column_names.index(RECORDING)
        return prepared.set_column(place, RECORDING, pyarrow.array(notes, pyarrow.string()))


def predict_on_ray(
    options: PredictOptions, shards: ShardOptions, engine: EngineOptions
) -> tuple[Job, Outcome]:
    """Classify the inputs of `dusha predict` on a cluster; the same call resumes what was stopped.

    Without a GPU, or with an .onnx model, each task does all of a shard on one processor; with GPUs
    tasks compute features, and an actor on each GPU classifies them.

    Args:
        options: model, inputs and settings.
        shards: the folder that gets Parquet files with the rows of `dusha predict`.
        engine: where the cluster is.

    Returns:
        The job, and all of its rows, of earlier runs too.

    Raises:
        MissingInputError: an input or the model is missing.
        WrongUseError: Ray is not installed, shards leave no place for an option, or the folder is
            of others, or was begun with another model, settings or engine.
        WorkFailedError: nobody answers at the address, or the cluster failed.
    """
    refuse_others(options, shards)
    settings = Settings(**{one.name: getattr(options, one.name) for one in fields(Settings)})
    made_with = decisive(settings, options.trust_remote_code) | {"engine": RAY}
    with connect(engine.address, options.quiet) as processors:
        # It imports Ray, whose absence has been told by now.
        from dusha_ser.engines.jobs import RayJob

        job = begin(options, shards, made_with, SHARD_SIZE)
        gpus = 0 if settings.model.endswith(".onnx") or options.device == "cpu" else processors.gpus
        threads = None if gpus else 1
        common: dict[str, Any] = {"features": not gpus}
        common["trust_remote_code"] = options.trust_remote_code
        stages: list[Any] = [
            Prepare(PrepareBatch(settings, **common)),
            ClassifyPrepared(settings, device=options.device, threads=threads, **common),
        ]
        usual = ACCELERATOR_BATCH_SIZE if gpus else BATCH_SIZE
        size = settings.batch_size or usual
        path_column, quiet = options.path_column, options.quiet
        work = RayJob(job, stages, size, path_column, gpus, quiet)
        return job, work.run()
