"""Recordings without labels, of which a network learns what its teachers say."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from dusha_ser.audio.finding import audio_suffixes, files_below
from dusha_ser.corpus.contents import TEACHER_COLUMN, row_contents
from dusha_ser.corpus.own_recordings import Recording, make_recordings
from dusha_ser.errors import WrongUseError
from dusha_ser.files import named_file
from dusha_ser.options import TableOptions
from dusha_ser.tables import read_table

# The name of their split.
UNLABELLED = "unlabelled"


def read_unlabelled(path: str, names: Sequence[str], options: TableOptions) -> datasets.Dataset:
    """List recordings without labels, with the columns of `read_recordings`.

    Args:
        path: a table with a column of paths, or a folder, which is searched through.
        names: of the classes; the label of each row is the first of them, and means nothing.
        options: the names of columns, and what to do with recordings that cannot be read.

    Raises:
        MissingInputError: if recordings are not there.
        WrongUseError: if there is nothing, or recordings cannot be read.
    """
    recordings = list(_list_unlabelled(Path(path), names[0], options))
    if not recordings:
        raise WrongUseError(
            f"{path} holds no audio files; they end in {', '.join(audio_suffixes())}"
        )
    return make_recordings(recordings, names, bad_rows=options.bad_rows)


def _list_unlabelled(path: Path, label: str, options: TableOptions) -> Iterator[Recording]:
    if path.is_dir():
        for file in files_below(path, audio_suffixes()):
            name = file.relative_to(path).as_posix()
            yield Recording(name, file.resolve(), label, speaker=None, line=str(file))
        return
    for row in read_table(path, [options.path_column], filled=[options.path_column]):
        name = row[options.path_column]
        speaker = row.get(options.speaker_column) or None
        file = named_file(name, path.parent).resolve()
        yield Recording(name, file, label, speaker, line=row.place)


def refuse_tested(splits: dict[str, datasets.Dataset]) -> None:
    """Raise a WrongUseError where unlabelled clips are also those of validation or test."""
    ids = dict(zip(row_contents(splits[UNLABELLED]), splits[UNLABELLED]["id"], strict=True))
    for split in {"validation", "test"} & set(splits):
        if shared := ids.keys() & set(row_contents(splits[split])):
            raise WrongUseError(
                f"{len(shared)} unlabelled clips, such as {min(ids[one] for one in shared)!r}, are "
                f"clips of {split}: leave them out of one"
            )


def leave_out_tested(unlabelled: datasets.Dataset, tested: datasets.Dataset) -> datasets.Dataset:
    """Leave out the unlabelled clips that are tested, and those of speakers that are.

    Args:
        unlabelled: clips; where their speakers are known, by the names that tested clips have.
        tested: the clips of a test.

    Raises:
        WrongUseError: if none is left.
    """
    contents, speakers = set(row_contents(tested)), set()
    if "source_id" in tested.column_names:
        speakers = set(tested["source_id"]) - {None, ""}
    kept = [
        content not in contents and speaker not in speakers
        for content, speaker in zip(row_contents(unlabelled), unlabelled["source_id"], strict=True)
    ]
    if not any(kept):
        raise WrongUseError(
            f"all {len(kept)} unlabelled clips are tested, or of speakers who are: give others"
        )
    return unlabelled.select(np.flatnonzero(kept))


def join_unlabelled(train: datasets.Dataset, unlabelled: datasets.Dataset) -> datasets.Dataset:
    """Put clips without labels behind training clips, with the columns of these.

    Where these have what the crowd says of the classes, theirs is what the teachers say.
    """
    names = train.features["label"].names
    table = unlabelled.with_format("arrow")[:]
    count = len(unlabelled)
    said = np.array(table[TEACHER_COLUMN].to_pylist())
    made = {
        "answers": [names] * count,
        "label_probabilities": said.tolist(),
        "log_likelihoods": np.log(np.maximum(said, np.finfo(np.float32).tiny)).tolist(),
    }
    columns = {
        name: table[name]
        if name in table.column_names
        else pa.array(made.get(name, [None] * count), kind)
        for name, kind in zip(train.column_names, train.features.arrow_schema.types, strict=True)
    }
    joined = pa.table(columns).cast(train.features.arrow_schema)
    info = datasets.DatasetInfo(features=train.features)
    return datasets.concatenate_datasets([train, datasets.Dataset(joined, info=info)])
