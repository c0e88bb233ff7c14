"""Recordings cut into clips by any number of machines: Parquet shards of clips with their audio."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow

from dusha_ser.audio.reading import AudioSource, UnreadableAudioError
from dusha_ser.audio.voice_activity import SpeechDetector
from dusha_ser.collecting.options import Cut, SliceOptions
from dusha_ser.collecting.slicing import CODE, slice_recording
from dusha_ser.errors import WrongUseError
from dusha_ser.fingerprints import code_digest, hash_name
from dusha_ser.inference.batch_classifier import open_source
from dusha_ser.shards.jobs import DoShards, Job, Outcome, Recordings, run_job
from dusha_ser.shards.options import LONG_SHARD_SIZE, ShardOptions
from dusha_ser.shards.predicting import begin

_text, _number = pyarrow.string(), pyarrow.float64()
SCHEMA = pyarrow.schema(
    [
        ("id", _text),
        # As `datasets` stores audio.
        ("audio", pyarrow.struct([("bytes", pyarrow.binary()), ("path", _text)])),
        ("recording", _text),
        ("source_id", _text),
        ("start", _number),
        ("end", _number),
        ("duration", _number),
        ("error", _text),
    ]
)


@dataclass(frozen=True)
class SliceShards:
    """Cuts the recordings of shards into clips, a `jobs.Work`.

    Args:
        cut: the limits.
        source: as for `slicing.slice_recordings`.
        path_column: column of tables that holds paths.
    """

    cut: Cut
    source: str = "file"
    path_column: str = "path"
    by_content = True

    @property
    def schema(self) -> pyarrow.Schema:
        """The columns of clips."""
        return SCHEMA

    @cached_property
    def detector(self) -> SpeechDetector:
        """What finds speech, loaded when it is first asked for."""
        return SpeechDetector(self.cut.threshold)

    def __call__(self, recordings: Recordings) -> Iterator[pyarrow.Table]:
        """Cut recordings; a clip of the same content as an earlier one of the shard is left out.

        Yields:
            The clips of each recording: id, audio, recording (its name), source_id, start, end and
            duration in seconds; or one row whose id is the recording, with its error.
        """
        seen: set[str] = set()
        for name, audio in recordings:
            rows = [row for row in self._cut(name, audio) if row["id"] not in seen]
            seen |= {row["id"] for row in rows}
            yield pyarrow.Table.from_pylist(rows, SCHEMA)

    def _cut(self, name: str, audio: Any) -> list[dict[str, Any]]:
        wavs: dict[str, bytes] = {}

        def keep(content: bytes) -> str:
            clip = hash_name(content)
            wavs[clip] = content
            return clip

        nothing = dict.fromkeys(SCHEMA.names) | {"recording": name}
        try:
            source = open_source(audio, name)
            origin = _digest(source) if self.source == "file" else str(PurePosixPath(name).parent)
        except UnreadableAudioError as error:
            return [nothing | {"id": name, "error": str(error)}]
        found = slice_recording(source, keep, self.detector, self.cut)
        if found["error"] is not None:
            return [nothing | {"id": name, "error": found["error"]}]
        source_id = hash_name(origin.encode("utf-8", "surrogateescape"))
        clips = {clip["id"]: clip for clip in reversed(found["clips"])}
        return [
            nothing
            | {
                "id": one,
                "audio": {"bytes": wavs[one], "path": f"{one}.wav"},
                "source_id": source_id,
                "start": clip["start"],
                "end": clip["end"],
                "duration": clip["end"] - clip["start"],
            }
            for one, clip in reversed(clips.items())
        ]


def _digest(source: AudioSource) -> str:
    """Hash the content of a recording, a path or bytes."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    try:
        with Path(str(source)).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise UnreadableAudioError("there is no such file") from error


def slice_in_shards(
    options: SliceOptions, cut: Cut, shards: ShardOptions, do: DoShards | None = None
) -> tuple[Job, Outcome]:
    """Cut the inputs of `dusha collect slice` into a folder of Parquet shards.

    Returns:
        The job, and what this program did of it.

    Raises:
        MissingInputError: if an input is missing.
        WrongUseError: if silero-vad is not installed, or the folder is of others or other limits.
    """
    if options.overwrite:
        raise WrongUseError(shards.no_overwriting())
    cut.check()
    work = SliceShards(cut, options.source, options.path_column)
    _ = work.detector  # refused here rather than in the first shard where it is not installed
    made_with = asdict(cut) | {
        "source": options.source,
        "version of the software": [code_digest(*CODE), metadata.version("silero-vad")],
    }
    job = begin(options, shards, made_with, LONG_SHARD_SIZE)
    return job, run_job(job, work, shards.share, quiet=options.quiet, do=do)
