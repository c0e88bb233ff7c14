"""Data sets by a short name: prepared corpora, own tables, other corpora."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets

from dusha_ser.corpus.complete_rows import complete_rows
from dusha_ser.corpus.configurations import SPELLINGS
from dusha_ser.corpus.contents import folder_state, rows_key
from dusha_ser.corpus.other_corpora import CORPORA, read_corpus
from dusha_ser.corpus.own_recordings import make_recordings, read_recordings
from dusha_ser.corpus.published import published_domains
from dusha_ser.errors import MissingInputError, WrongUseError, first_cause
from dusha_ser.files import printable_name
from dusha_ser.fingerprints import digest
from dusha_ser.options import TableOptions, is_hub_name
from dusha_ser.tables import is_table, read_table
from dusha_ser.vocabulary import EMOTIONS


@dataclass(frozen=True)
class NamedRows:
    """Rows with a name."""

    name: str  # as it was spelled, without the folders before the last
    # With id, label (a ClassLabel), audio or input_features, and, where they are known, duration,
    # source_id (the speaker) and domain.
    rows: datasets.Dataset
    # Of each row in the usual cross-validation of this corpus; None where it has none.
    folds: list[str] | None = None
    # What else the corpus says of each row, such as sex and sentence, by name.
    facts: dict[str, list[str]] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels in the order of their numbers."""
        return tuple(self.rows.features["label"].names)

    @property
    def speakers(self) -> list[str] | None:
        """The speaker of each row; None where any is not known."""
        if "source_id" not in self.rows.column_names:
            return None
        speakers = list(self.rows["source_id"])
        return None if any(speaker in (None, "") for speaker in speakers) else speakers

    @property
    def clips(self) -> set[str]:
        """What identifies clips across tables: their files, or domain and id."""
        columns = self.rows.column_names
        domains = self.rows["domain"] if "domain" in columns else [""] * len(self.rows)
        keys = [f"{domain}/{name}" for domain, name in zip(domains, self.rows["id"], strict=True)]
        if "audio" not in columns:
            return set(keys)
        files = self.rows.data.column("audio").combine_chunks().field("path").to_pylist()
        # Bytes in a corpus keep only the name of their file. (Rows come straight from a table here,
        # without an indices mapping.)
        return {
            file if file and Path(file).is_absolute() else key
            for file, key in zip(files, keys, strict=True)
        }

    @property
    def published_as(self) -> str | None:
        """What results were published for: the test set of crowd or podcast, iemocap, or None.

        Those of Dusha are known by their clips and labels, not by a name that anyone may give.
        """
        columns = self.rows.column_names
        if "domain" not in columns or self.labels != EMOTIONS:
            return None
        domains = list(self.rows["domain"])
        if len(set(domains)) != 1:
            return None
        if domains[0] == "iemocap":
            return "iemocap"
        durations = self.rows["duration"] if "duration" in columns else [None] * len(domains)
        return next(iter(published_domains(domains, durations, "test")), None)

    @property
    def fingerprint(self) -> str:
        """A short hash of the rows: their ids, labels, speakers and audio, and their folds."""
        return digest(rows_key(self.rows), self.folds)


def named_rows(
    spelling: str,
    split: str | None = None,
    allow_other_counts: bool = False,
    options: TableOptions = TableOptions(),  # noqa: B008  # it is not changed
) -> NamedRows:
    """Find the rows that a spelling means.

    Args:
        spelling: FOLDER_OR_HUB_NAME[:CONFIGURATION[:SPLIT]], TABLE.csv, a folder with
            one folder per label, or CORPUS=FOLDER.
        split: of a prepared corpus, where the spelling names none; None: all of its splits, and
            an error where it has more than one.
        allow_other_counts: whether another corpus may be incomplete.
        options: names of a table's columns, and what labels mean.

    Returns:
        The rows.

    Raises:
        MissingInputError: if there is no such data set, table, folder or corpus.
        WrongUseError: if it cannot be read, or a split must be named.
    """
    corpus, equals, folder = spelling.partition("=")
    if equals and corpus in CORPORA:
        recordings = read_corpus(corpus, folder, allow_other_counts)
        labels = list(CORPORA[corpus].counts)
        rows = make_recordings(recordings, labels, corpus, options.bad_rows)
        by_id = {one.id: one for one in recordings}
        kept = [by_id[name] for name in rows["id"]]
        folds = [one.fold for one in kept if one.fold is not None]
        told = kept[0].facts if kept else {}
        facts = {name: [one.facts[name] for one in kept] for name in told}
        return NamedRows(corpus, rows, folds if len(folds) == len(rows) else None, facts)
    path = Path(spelling)
    if path.is_file() or is_table(path):
        return NamedRows(path.name, read_recordings(path, options=options))
    name, configuration, named_split = split_spelling(spelling)
    if is_own_folder(Path(name)):
        split = named_split or split
        rows = read_recordings(name, options=options, split=split)
        parts = [Path(name).name, named_split]
        return NamedRows(":".join(part for part in parts if part), rows)
    return prepared_rows(spelling, split, options)


def read_column(
    rows: NamedRows, name: str, spelling: str, path_column: str = TableOptions.path_column
) -> list[str]:
    """Read a column of named rows, as text.

    Args:
        rows: what `named_rows` made of the spelling.
        name: of a column of the rows, of the table that they came from, or of what their corpus
            says of each (sex, intensity and statement of RAVDESS).
        spelling: of the rows.
        path_column: of the table, which holds the paths of its recordings.

    Raises:
        WrongUseError: if there is no such column, or a row has no value in it.
    """
    path, values = Path(spelling), list[Any]()
    if name in rows.facts:
        values = list(rows.facts[name])
    elif name in rows.rows.column_names:
        values = list(rows.rows[name])
    elif path.is_file():
        table = read_table(path, [path_column])
        found = {printable_name(row[path_column]): row for row in table}
        # Only the rows that became clips, in their order.
        values = [found[clip].get(name) for clip in rows.rows["id"]]
    if not values or any(value in (None, "") for value in values):
        raise WrongUseError(
            f"{spelling} has no column {name!r} with a value in each row; it has "
            f"{', '.join([*rows.rows.column_names, *rows.facts])}"
        )
    return list(map(str, values))


def prepared_rows(spelling: str, split: str | None, options: TableOptions) -> NamedRows:
    """Read a split of a folder of Parquet files or of a data set on the Hub."""
    name, configuration, named_split = split_spelling(spelling)
    loaded = complete_rows(load_folder_or_hub(name, configuration), name, options)
    wanted = named_split or split
    if wanted is None and len(loaded) == 1:
        wanted = next(iter(loaded))
    if wanted not in loaded:
        raise WrongUseError(
            f"{spelling} has the splits {', '.join(loaded)}; name one as "
            f"{name}:{configuration or 'default'}:{next(iter(loaded))}"
        )
    rows = loaded[wanted]
    parts = [Path(name).name, configuration, wanted]
    return NamedRows(":".join(part for part in parts if part), rows)


def load_folder_or_hub(
    name: str, configuration: str | None = None, allowed: str = f"give {SPELLINGS}"
) -> datasets.DatasetDict:
    """Read a folder of Parquet files with its card, or a data set on the Hub.

    Args:
        name: folder, or name on the Hub.
        configuration: of it; None: its default.
        allowed: what to do if there is no such data set, for the message.

    Returns:
        Its splits, with audio as bytes and path: `datasets` would ask for torchcodec to decode it.

    Raises:
        MissingInputError: if there is no such data set.
        WrongUseError: if it cannot be read.
    """
    cache_dir = None
    if Path(name).is_dir():
        # The cache of `datasets` knows a local folder by its last name and its card alone, so one
        # that was prepared again would come out as the old one. Each state has its own cache.
        cache_dir = str(Path(datasets.config.HF_DATASETS_CACHE) / f"folder-{folder_state(name)}")
    elif not is_hub_name(name):
        raise MissingInputError(f"no data set {name!r}; {allowed}")
    try:
        if is_saved(Path(name)):
            loaded = datasets.load_from_disk(name)
        else:
            loaded = datasets.load_dataset(name, configuration, cache_dir=cache_dir)
    except (FileNotFoundError, datasets.exceptions.DatasetNotFoundError, ConnectionError) as error:
        raise MissingInputError(f"no data set {name!r}; {allowed}") from error
    except (ValueError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(first_cause(error)).split())
        raise WrongUseError(f"{name} cannot be read as a data set: {reason}") from error
    if isinstance(loaded, datasets.Dataset):
        loaded = datasets.DatasetDict({str(loaded.split or "train"): loaded})
    for split, rows in loaded.items():
        for column, kind in rows.features.items():
            if isinstance(kind, datasets.Audio):
                rows = rows.cast_column(column, datasets.Audio(decode=False))
        loaded[split] = rows
    return loaded


def is_saved(folder: Path) -> bool:
    """Tell whether a folder holds what `save_to_disk` of `datasets` writes."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def is_own_folder(folder: Path) -> bool:
    """Tell whether a folder holds recordings, in place of Parquet files or a saved data set."""
    if not folder.is_dir() or is_saved(folder):
        return False
    # Hidden folders are other programs' business.
    return not any(folder.glob("[!.]*.parquet")) and not any(folder.glob("[!.]*/*.parquet"))


def split_spelling(spelling: str) -> tuple[str, str | None, str | None]:
    """Return name, configuration and split of "NAME[:CONFIGURATION[:SPLIT]]".

    Examples:
        >>> split_spelling("data/dusha:crowd:test"), split_spelling("user/dusha")
        (('data/dusha', 'crowd', 'test'), ('user/dusha', None, None))
    """
    # A folder may hold a colon in its own name.
    if Path(spelling).is_dir():
        return spelling, None, None
    name, *rest = spelling.split(":")
    if len(rest) > 2:
        raise WrongUseError(f"{spelling!r} has {len(rest)} colons; give {SPELLINGS}")
    configuration, split = [*rest, None, None][:2]
    return name, configuration or None, split or None


def refuse_other_labels(parts: Sequence[NamedRows]) -> None:
    """Raise a WrongUseError unless all rows have the same labels in the same order."""
    for part in parts:
        if part.labels != parts[0].labels:
            raise WrongUseError(
                f"{part.name} has the labels {', '.join(part.labels)} and {parts[0].name} "
                f"{', '.join(parts[0].labels)}; they must be the same, in the same order"
            )
