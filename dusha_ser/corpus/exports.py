"""The corpus for other toolkits: EmoBox and s3prl JSON lines, CSV, lhotse manifests.

Everything is made from a dataset folder, so the archives are not needed any more. Paths in the
files are relative to the folder of the export, exports/CONFIGURATION, where `wavs` is as well if
the recordings are extracted.
"""

import contextlib
import csv
import functools
import gzip
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import soundfile
from tqdm.auto import tqdm

from dusha_ser.corpus.dataset_card import Prepared, find_prepared
from dusha_ser.corpus.parquet_folder import lock_folder
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.storage import replacing_folder

logger = logging.getLogger(__name__)

WAVS = "wavs"
# Tells of which content an export was made.
MARK = ".content_id"
LANGUAGE = "ru"
# EmoBox calls it so in file names.
EMOBOX_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
# What would make a path of the name of a file, on any system.
NO_FILE_NAME = frozenset("/\\:\0")
# Columns that no table of text can hold.
BINARY = {"audio", "input_features"}


@dataclass
class Clip:
    """A row on its way out.

    Args:
        row: all columns except the binary ones.
        emotion: name of the label, None where there is none.
        has_audio: whether there is a recording.
        content: the recording; None where there is none, or nobody needs it.
    """

    row: dict
    emotion: str | None
    has_audio: bool
    content: bytes | None

    @property
    def wav(self) -> str:
        """Path of the recording, relative to the folder of the export; empty without one.

        Raises:
            WorkFailedError: if the id, which whoever made the archives chose, leads elsewhere.
        """
        name = self.row["id"]
        if self.has_audio and NO_FILE_NAME & set(name):
            raise WorkFailedError(
                f"the clip {name!r} would be a file outside the folder of recordings; an id has "
                "no slash, colon or zero byte: nothing was exported"
            )
        return f"{WAVS}/{name}.wav" if self.has_audio else ""

    @functools.cached_property
    def audio(self):
        """What libsndfile says of the recording: samplerate (Hz), frames and channels."""
        return soundfile.info(io.BytesIO(self.content))


def export_configuration(
    output_dir: str | os.PathLike,
    name: str,
    formats: list[str],
    export_audio: bool = False,
    quiet: bool = False,
) -> Path:
    """Write a configuration of a dataset folder in the formats of other toolkits.

    Args:
        output_dir: the dataset folder.
        name: of the configuration.
        formats: of FORMATS.
        export_audio: whether to extract the recordings too, where there are any.
        quiet: no progress bar.

    Returns:
        The folder of the export.

    Raises:
        WrongUseError: no such format, or the configuration has no audio and the format needs it.
    """
    folder = Path(output_dir)
    formats = list(dict.fromkeys(formats))
    check_formats(formats)
    with lock_folder(folder):
        configuration = find_configuration(folder, name)
        check_audio(configuration, formats)
        export_audio = export_audio and has_audio(configuration)
        place = folder / "exports" / name
        with replacing_folder(place) as unfinished:
            for split in configuration.shards:
                export_split(configuration, split, unfinished, formats, export_audio, quiet)
            keep_others(place, unfinished, configuration.footer["content_id"])
    return place


def find_configuration(folder: Path, name: str) -> Prepared:
    """Return what a dataset folder holds of a configuration that is there."""
    return next(one for one in find_prepared(folder) if one.name == name)


def check_exports(output_dir: str | os.PathLike, names: list[str], formats: list[str]) -> None:
    """Raise a WrongUseError unless all of several exports can be written.

    Args:
        output_dir: the dataset folder.
        names: of its configurations.
        formats: of FORMATS.
    """
    for name in names:
        check_audio(find_configuration(Path(output_dir), name), formats)


def keep_others(place: Path, unfinished: Path, content_id: str) -> None:
    """Keep what an earlier run exported of the same content in other formats in the new export.

    Nothing is moved: were this run stopped, the earlier export would lack it.

    Args:
        place: folder of the earlier export, if there is one.
        unfinished: folder of the new one.
        content_id: of what is exported; earlier exports of other labels are not kept.
    """
    mark = place / MARK
    if mark.exists() and mark.read_text() == content_id:
        for old in place.iterdir():
            if old.name == MARK or (unfinished / old.name).exists():
                continue
            if old.is_dir():
                shutil.copytree(old, unfinished / old.name, copy_function=link_or_copy)
            else:
                link_or_copy(old, unfinished / old.name)
    (unfinished / MARK).write_text(content_id)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file a second name, or copy it where the disk knows no such thing."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def check_formats(formats: list[str]) -> None:
    """Raise a WrongUseError unless all formats are known."""
    for name in formats:
        if name not in FORMATS:
            raise WrongUseError(f"there is no export {name!r}: take one of {', '.join(FORMATS)}")


def check_audio(configuration: Prepared, formats: list[str]) -> None:
    """Raise a WrongUseError if a format is about audio and a configuration has none."""
    needs = [name for name in formats if name != "csv"]
    if needs and not has_audio(configuration):
        raise WrongUseError(
            f"configuration {configuration.name} has no audio, which {needs[0]} is about: "
            "export it as csv, or another configuration"
        )


def has_audio(configuration: Prepared) -> bool:
    """Tell whether any row of a configuration has audio."""
    return "audio" in configuration.features and any(
        count_audio(path) for paths in configuration.shards.values() for path in paths
    )


def count_audio(path: Path) -> int:
    """Count the rows of a shard that have audio, from its footer alone."""
    metadata = pq.read_metadata(path)
    names = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    column = names.index("audio.path")
    count = 0
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(column).statistics
        count += metadata.row_group(group).num_rows - statistics.null_count
    return count


def export_split(
    configuration: Prepared,
    split: str,
    folder: Path,
    formats: list[str],
    export_audio: bool,
    quiet: bool,
) -> None:
    """Write one split; arguments as in `export_configuration`."""
    if export_audio:
        (folder / WAVS).mkdir(exist_ok=True)
    needs_content = export_audio or set(formats) > {"csv"} or "csv" not in formats
    silent = 0
    total = sum(pq.read_metadata(path).num_rows for path in configuration.shards[split])
    with (
        contextlib.ExitStack() as stack,
        tqdm(total=total, unit=" rows", desc=f"Exporting {split}", disable=quiet) as bar,
    ):
        writers = []
        for name in formats:
            writers.append(FORMATS[name](folder, split, configuration))
            # Also where another fails: what a file could not take is told by its end, once.
            stack.callback(writers[-1].close)
        for clip in read_clips(configuration, split, needs_content):
            silent += not clip.has_audio
            for writer in writers:
                writer.send(clip)
            if export_audio and clip.has_audio:
                (folder / clip.wav).write_bytes(clip.content)
            bar.update()
    if silent and needs_content:
        logger.warning(
            "%d of %d clips of %s have no audio: of what was exported, only a csv has them",
            silent,
            total,
            split,
        )


def read_clips(configuration: Prepared, split: str, needs_content: bool) -> Iterator[Clip]:
    """Read the rows of a split one by one, some megabytes at a time.

    Args:
        configuration: what the dataset folder holds of it.
        split: which split.
        needs_content: whether to read the recordings too.

    Yields:
        The rows.
    """
    label = configuration.features.get("label")
    columns = [column for column in configuration.features if column not in BINARY]
    if "audio" in configuration.features:
        columns.append("audio" if needs_content else "audio.path")
    for path in configuration.shards[split]:
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            for row in file.read_row_group(group, columns=columns).to_pylist():
                audio = row.pop("audio", None)
                yield Clip(
                    row,
                    None if label is None else label.names[row["label"]],
                    audio is not None and audio["path"] is not None,
                    audio["bytes"] if audio and needs_content else None,
                )


def primed(write: Callable) -> Callable:
    """Make a generator function one whose generators wait for their first clip at once."""

    def start(*arguments):
        writer = write(*arguments)
        next(writer)
        return writer

    return start


@primed
def write_csv_export(folder: Path, split: str, configuration: Prepared):
    """Write SPLIT.csv: all columns but the binary ones, then wav and, of clips, emotion."""
    columns = [column for column in configuration.features if column not in BINARY]
    extra = ["wav", *(["emotion"] if "label" in columns else [])]
    with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, [*columns, *extra], lineterminator="\n", extrasaction="ignore"
        )
        writer.writeheader()
        while True:
            clip = yield
            texts = {
                column: json.dumps(value) if isinstance(value, list) else value
                for column, value in clip.row.items()
            }
            writer.writerow(texts | {"wav": clip.wav, "emotion": clip.emotion})


@primed
def write_emobox(folder: Path, split: str, configuration: Prepared):
    """Write EmoBox's layout: emobox/fold_1/dusha_SPLIT_fold_1.jsonl and emobox/label_map.json."""
    fold = folder / "emobox" / "fold_1"
    fold.mkdir(parents=True, exist_ok=True)
    names = configuration.features["label"].names
    label_map = json.dumps({name: name.capitalize() for name in names}, indent=4)
    (folder / "emobox" / "label_map.json").write_text(label_map + "\n", encoding="utf-8")
    path = fold / f"dusha_{EMOBOX_SPLITS[split]}_fold_1.jsonl"
    with path.open("w", encoding="utf-8") as file:
        while True:
            clip = yield
            if clip.has_audio:
                entry = {
                    "key": clip.row["id"],
                    "dataset": "dusha",
                    "wav": clip.wav,
                    "type": "raw",
                    "sample_rate": clip.audio.samplerate,
                    "num_frame": clip.audio.frames,
                    "task": "category",
                    "length": clip.audio.frames / clip.audio.samplerate,
                    "emo": clip.emotion,
                    "channel": clip.audio.channels,
                }
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")


@primed
def write_lhotse(folder: Path, split: str, configuration: Prepared):
    """Write lhotse/dusha_recordings_SPLIT.jsonl.gz and lhotse/dusha_supervisions_SPLIT.jsonl.gz."""
    (folder / "lhotse").mkdir(exist_ok=True)
    with (
        open_lines(folder / "lhotse" / f"dusha_recordings_{split}.jsonl.gz") as recordings,
        open_lines(folder / "lhotse" / f"dusha_supervisions_{split}.jsonl.gz") as supervisions,
    ):
        while True:
            clip = yield
            if not clip.has_audio:
                continue
            name, audio = clip.row["id"], clip.audio
            channels = list(range(audio.channels))
            recording = {
                "id": name,
                "sources": [{"type": "file", "channels": channels, "source": clip.wav}],
                "sampling_rate": audio.samplerate,
                "num_samples": audio.frames,
                "duration": audio.frames / audio.samplerate,
                "channel_ids": channels,
            }
            supervision = {
                "id": name,
                "recording_id": name,
                "start": 0.0,
                "duration": recording["duration"],
                "channel": channels if len(channels) > 1 else 0,
                "text": clip.row["text"],
                "language": LANGUAGE,
                "speaker": clip.row["source_id"],
                "custom": {"emotion": clip.emotion, "domain": clip.row["domain"]},
            }
            recordings.write(json.dumps(recording, ensure_ascii=False) + "\n")
            supervisions.write(json.dumps(supervision, ensure_ascii=False) + "\n")


def open_lines(path: Path):
    """Open a gzipped text file for writing; the same text gives the same bytes."""
    return io.TextIOWrapper(gzip.GzipFile(path, "wb", mtime=0), encoding="utf-8")


FORMATS = {"csv": write_csv_export, "emobox": write_emobox, "lhotse": write_lhotse}
