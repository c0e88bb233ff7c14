"""The corpus for other toolkits: EmoBox and s3prl JSON lines, CSV, lhotse manifests.

All is made from a dataset folder, without the archives. Paths in the files are relative to the
export's folder, exports/CONFIGURATION, which holds `wavs` if the recordings are extracted.
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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from dusha_ser.audio.reading import AudioInfo, read_info
from dusha_ser.corpus.dataset_card import Prepared, find_prepared
from dusha_ser.corpus.parquet_folder import lock_folder
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.storage import replacing_folder, restore_folder

logger = logging.getLogger(__name__)

WAVS = "wavs"
# Holds the content_id of what was exported.
MARK = ".content_id"
# All that an export's folder may hold.
OWN = (MARK, WAVS, "emobox", "lhotse", "train.csv", "validation.csv", "test.csv")
# EmoBox's names of the splits.
EMOBOX = {"train": "train", "validation": "valid", "test": "test"}
# What would make a path of the name of a file, on any system.
NO_FILE_NAME = frozenset("/\\:\0")
# Columns that no table of text can hold.
BINARY = {"audio", "input_features"}
# Rows read at a time, with their recordings.
BATCH_ROWS = 64


@dataclass
class Clip:
    """A row on its way out."""

    row: dict  # all columns except the binary ones
    emotion: str | None  # name of the label, None where there is none
    has_audio: bool  # whether there is a recording
    content: bytes  # the recording; empty where there is none, or none is needed

    @property
    def wav(self) -> str:
        """Path of the recording, relative to the folder of the export; empty without one.

        Raises:
            WorkFailedError: if the id, which the maker of the archives chose, leads elsewhere.
        """
        name = self.row["id"]
        if self.has_audio and NO_FILE_NAME & set(name):
            raise WorkFailedError(
                f"the clip {name!r} would be a file outside the folder of recordings; an id has "
                "no slash, colon or zero byte: nothing was exported"
            )
        return f"{WAVS}/{name}.wav" if self.has_audio else ""

    @functools.cached_property
    def audio(self) -> AudioInfo:
        """The recording's header."""
        return read_info(self.content)


def export_configuration(
    output_dir: str | os.PathLike,
    name: str,
    formats: list[str],
    export_audio: bool = False,
    quiet: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write a configuration of a dataset folder in the formats of other toolkits.

    What is there of the same content stays.

    Args:
        output_dir: the dataset folder.
        name: of the configuration.
        formats: of FORMATS.
        export_audio: whether to extract the recordings too, where there are any.
        quiet: no progress bar.
        overwrite: whether to write it again, and replace an export of other content.

    Returns:
        The folder of the export.

    Raises:
        WrongUseError: no such format, the configuration has no audio and the format needs it, or
            the folder holds files of others or of other content.
        WorkFailedError: a clip's id would lead out of the folder.
    """
    folder = Path(output_dir)
    formats = list(dict.fromkeys(formats))
    with lock_folder(folder):
        (configuration,) = check_exports(folder, [name], formats)
        export_audio = export_audio and has_audio(configuration)
        place = folder / "exports" / name
        content_id = configuration.footer["content_id"]
        restore_folder(place)
        same = not overwrite and read_mark(place) == content_id
        if same:
            formats = [name for name in formats if not is_exported(place, name)]
            export_audio = export_audio and not (place / WAVS).is_dir()
            if not formats and not export_audio:
                return place
        with replacing_folder(place, OWN, overwrite or same) as unfinished:
            if "emobox" in formats:
                names = configuration.features["label"].names
                label_map = {name: name.capitalize() for name in names}
                with open_text(unfinished / "emobox" / "label_map.json") as file:
                    file.write(json.dumps(label_map, indent=4) + "\n")
            for split in configuration.shards:
                _export_split(configuration, split, unfinished, formats, export_audio, quiet)
            keep_others(place, unfinished, content_id)
    return place


def check_exports(
    output_dir: str | os.PathLike, names: list[str], formats: list[str]
) -> list[Prepared]:
    """Find configurations of a dataset folder, and check that they can be exported.

    Raises:
        WrongUseError: no such format, or a configuration has no audio and a format needs it.
    """
    for name in formats:
        if name not in FORMATS:
            raise WrongUseError(f"there is no export {name!r}: take one of {', '.join(FORMATS)}")
    found = [one for one in find_prepared(Path(output_dir)) if one.name in names]
    needs = [name for name in formats if name != "csv"]
    for configuration in found if needs else ():
        if not has_audio(configuration):
            raise WrongUseError(
                f"configuration {configuration.name} has no audio, which {needs[0]} is about: "
                "export it as csv, or another configuration"
            )
    return found


def keep_others(place: Path, unfinished: Path, content_id: str) -> None:
    """Keep what an earlier run exported of the same content in other formats in the new export.

    Nothing is moved: if this run is stopped, the earlier export is still whole.
    """
    if read_mark(place) == content_id:
        new = {MARK, *(path.name for path in unfinished.iterdir())}
        shutil.copytree(
            place,
            unfinished,
            ignore=lambda folder, names: new if Path(folder) == place else (),
            copy_function=link_or_copy,
            dirs_exist_ok=True,
        )
    (unfinished / MARK).write_text(content_id)


def read_mark(place: Path) -> str | None:
    """Return the content_id of what was exported to a folder; None where nothing was."""
    mark = place / MARK
    return mark.read_text() if mark.exists() else None


def is_exported(place: Path, name: str) -> bool:
    """Tell whether a folder holds an export in a format."""
    files = (path.format(split, EMOBOX[split]) for path in FORMATS[name] for split in EMOBOX)
    return any((place / path).exists() for path in files)


def link_or_copy(source: str, target: str) -> None:
    """Give a file a second name, or copy it where the disk has no hard links."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def has_audio(configuration: Prepared) -> bool:
    """Tell whether any row of a configuration has audio."""
    paths = [str(path) for paths in configuration.shards.values() for path in paths]
    return "audio" in configuration.features and bool(
        pyarrow.dataset.dataset(paths).head(
            1, columns=["id"], filter=pc.field("audio", "path").is_valid()
        )
    )


def _export_split(
    configuration: Prepared,
    split: str,
    folder: Path,
    formats: list[str],
    export_audio: bool,
    quiet: bool,
) -> None:
    if export_audio:
        (folder / WAVS).mkdir(exist_ok=True)
    needs_content = export_audio or formats != ["csv"]
    silent, total = 0, configuration.count_rows(split)
    with (
        contextlib.ExitStack() as stack,
        tqdm(total=total, unit=" rows", desc=f"Exporting {split}", disable=quiet) as bar,
    ):
        files = [
            (stack.enter_context(open_text(folder / path.format(split, EMOBOX[split]))), line)
            for name in formats
            for path, line in FORMATS[name].items()
        ]
        if "csv" in formats:
            emotion = ["emotion"] if "label" in configuration.features else []
            header = csv_text([*text_columns(configuration), "wav", *emotion])
            next(file for file, line in files if line is csv_line).write(header)
        for clip in read_clips(configuration, split, needs_content):
            silent += not clip.has_audio
            for file, line in files:
                if clip.has_audio or line is csv_line:
                    file.write(line(clip))
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
    """Read the rows of a split one by one, some megabytes at a time, with recordings if needed."""
    label = configuration.features.get("label")
    columns = text_columns(configuration)
    if "audio" in configuration.features:
        columns.append("audio" if needs_content else "audio.path")
    for path in configuration.shards[split]:
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=columns):
            for row in batch.to_pylist():
                audio = row.pop("audio", None) or {}
                yield Clip(
                    row,
                    None if label is None else label.names[row["label"]],
                    audio.get("path") is not None,
                    audio.get("bytes") or b"",
                )


def text_columns(configuration: Prepared) -> list[str]:
    """Name the columns that a table of text can hold."""
    return [column for column in configuration.features if column not in BINARY]


def open_text(path: Path) -> TextIO:
    """Open a file for text, gzipped if its suffix is .gz; the same text gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.GzipFile(path, "wb", mtime=0), encoding="utf-8")
    return path.open("w", newline="", encoding="utf-8")


def csv_text(cells: Iterable) -> str:
    """Return a line of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def json_text(content: dict) -> str:
    """Return a line of a JSON lines file."""
    return json.dumps(content, ensure_ascii=False) + "\n"


def csv_line(clip: Clip) -> str:
    """Return a clip as a line of SPLIT.csv: all columns but the binary ones, wav and emotion."""
    cells = (json.dumps(cell) if isinstance(cell, list) else cell for cell in clip.row.values())
    return csv_text([*cells, clip.wav, *([] if clip.emotion is None else [clip.emotion])])


def emobox_line(clip: Clip) -> str:
    """Return a clip as a line of EmoBox's dusha_SPLIT_fold_1.jsonl."""
    return json_text(
        {
            "key": clip.row["id"],
            "dataset": "dusha",
            "wav": clip.wav,
            "type": "raw",
            "sample_rate": clip.audio.sampling_rate,
            "num_frame": clip.audio.frames,
            "task": "category",
            "length": clip.audio.duration,
            "emo": clip.emotion,
            "channel": clip.audio.channels,
        }
    )


def lhotse_recording(clip: Clip) -> str:
    """Return a clip as a line of lhotse's recordings; without lhotse, so nobody must install it."""
    channels = list(range(clip.audio.channels))
    return json_text(
        {
            "id": clip.row["id"],
            "sources": [{"type": "file", "channels": channels, "source": clip.wav}],
            "sampling_rate": clip.audio.sampling_rate,
            "num_samples": clip.audio.frames,
            "duration": clip.audio.duration,
            "channel_ids": channels,
        }
    )


def lhotse_supervision(clip: Clip) -> str:
    """Return a clip as a line of lhotse's supervisions."""
    channels = list(range(clip.audio.channels))
    return json_text(
        {
            "id": clip.row["id"],
            "recording_id": clip.row["id"],
            "start": 0.0,
            "duration": clip.audio.duration,
            "channel": channels if len(channels) > 1 else 0,
            "text": clip.row["text"],
            "language": "ru",
            "speaker": clip.row["source_id"],
            "custom": {"emotion": clip.emotion, "domain": clip.row["domain"]},
        }
    )


# By format, the files of a split ({1}: its name in EmoBox) and what each clip becomes in them.
FORMATS: dict[str, dict[str, Callable[[Clip], str]]] = {
    "csv": {"{0}.csv": csv_line},
    "emobox": {"emobox/fold_1/dusha_{1}_fold_1.jsonl": emobox_line},
    "lhotse": {
        "lhotse/dusha_recordings_{0}.jsonl.gz": lhotse_recording,
        "lhotse/dusha_supervisions_{0}.jsonl.gz": lhotse_supervision,
    },
}
