"""The dataset card: README.md of a dataset folder, made from the footers of its shards."""

import itertools
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from dusha_ser.corpus.configurations import (
    CITATION,
    COLUMNS,
    CONFIGURATIONS,
    DESCRIPTIONS,
    HOMEPAGE,
    LICENSE,
    LICENSE_FIELDS,
    MANIFESTS,
    RAW,
    SPLITS,
    SUMMARY,
)
from dusha_ser.corpus.missing import count_left_out
from dusha_ser.corpus.parquet_folder import first_footer, lock_folder, read_footer
from dusha_ser.corpus.published import published_domains
from dusha_ser.storage import check_folder, write_text

# Which configuration is read when none is named: the first of these that is there.
DEFAULTS = ("crowd", "all")

# Why labels leave a clip out, by the names in a plan's counts.
REASONS = {
    "control": "control tasks",
    "unsure": "below the threshold",
    "other": "labelled other (no usable voice)",
}
# Of archives whose clips, by their number and length, are not Dusha's.
OWN_TITLE = (
    "# Emotional speech\n\nClips of speech with the emotions that listeners heard in them, in the "
    "form of the corpus Dusha."
)
OWN_LICENCE = (
    "Not stated: by their number and length these are not Dusha's clips as published. Those who "
    "publish them choose a licence that the speakers and the rights in the recordings allow, and "
    "name it in the header (`license`), with the language. Clips that do come from Dusha keep its "
    f"own licence: {LICENSE}. See {HOMEPAGE}."
)


@dataclass
class Prepared:
    """What a folder holds of one configuration: the paths of each split's files, our entry of their
    footers, and the columns.
    """

    name: str
    shards: dict[str, list[Path]]
    footer: dict
    features: datasets.Features

    def column(self, split: str, name: str) -> list:
        """Read one column of a split, without touching the audio."""
        return pq.read_table(self.shards[split], columns=[name])[name].to_pylist()

    def count_rows(self, split: str) -> int:
        """Count the rows of a split by its footers."""
        return sum(pq.read_metadata(path).num_rows for path in self.shards[split])

    def count_without_audio(self) -> int:
        """Count the rows without audio, which Dusha's podcasts are."""
        if "audio" not in self.features:
            return sum(map(self.count_rows, self.shards))
        paths = [path for paths in self.shards.values() for path in paths]
        return sum(
            pq.read_table(path, columns=["audio.path"]).column(0).null_count for path in paths
        )


def find_prepared(folder: Path) -> list[Prepared]:
    """Find what a dataset folder holds: its configurations, in their fixed order."""
    found = []
    for name in CONFIGURATIONS:
        paths = sorted((folder / name).glob("*.parquet"))
        footer = first_footer(paths)
        if footer is None:
            continue
        shards: dict[str, list[Path]] = {}
        for file_name in footer["files"]:
            shards.setdefault(file_name.split("-")[0], []).append(folder / name / file_name)
        features = datasets.Features.from_arrow_schema(pq.read_schema(paths[0]))
        found.append(Prepared(name, shards, footer, features))
    return found


def write_card(folder: str | os.PathLike) -> None:
    """Write README.md of a dataset folder that holds a configuration, all of it or nothing."""
    folder = Path(folder)
    with lock_folder(folder):
        prepared = find_prepared(folder)
        text = f"---\n{card_data(prepared).to_yaml()}\n---\n\n{card_text(prepared)}"
        write_text(folder / "README.md", text)


def refuse_foreign_folder(folder: str | os.PathLike) -> None:
    """Raise a WrongUseError if a folder has files and none of our configurations among them."""
    check_folder(folder, marks=[one.name for one in find_prepared(Path(folder))])


def default_name(names: list[str]) -> str:
    """Choose the configuration that is read when none is named."""
    return next((name for name in DEFAULTS if name in names), names[0])


def is_dusha(prepared: list[Prepared]) -> bool:
    """Return whether clips of a configuration are those of Dusha, not of anyone's own archives."""
    for configuration in prepared:
        if configuration.name == RAW:
            continue
        for part in SPLITS:
            splits = [one for one in configuration.shards if (one == "test") == (part == "test")]
            domains, durations = (
                [value for split in splits for value in configuration.column(split, name)]
                for name in ("domain", "duration")
            )
            if published_domains(domains, durations, part):
                return True
    return False


def card_data(prepared: list[Prepared]) -> DatasetCardData:
    """Make the card's YAML, by which the stock `load_dataset` finds configurations and splits."""
    rows = max(sum(map(one.count_rows, one.shards)) for one in prepared)
    known: dict[str, Any] = {"language": ["ru"], "pretty_name": "Dusha", **LICENSE_FIELDS}
    data = DatasetCardData(
        **(known if is_dusha(prepared) else {}),
        task_categories=["audio-classification"],
        tags=["speech-emotion-recognition", "crowdsourcing"],
        size_categories=[size_category(rows)],
    )
    default = default_name([configuration.name for configuration in prepared])
    infos, configurations = {}, {}
    for configuration in prepared:
        name = configuration.name
        infos[name] = configuration_info(configuration)
        configurations[name] = {
            "data_files": [
                {"split": split, "path": f"{name}/{split}-*"} for split in configuration.shards
            ]
        } | ({"default": True} if name == default else {})
    DatasetInfosDict(infos).to_dataset_card_data(data)
    MetadataConfigs(configurations).to_dataset_card_data(data)
    return data


def configuration_info(configuration: Prepared) -> datasets.DatasetInfo:
    """Describe a configuration to the library: columns, rows and bytes of each split."""
    splits = datasets.SplitDict()
    for split, paths in configuration.shards.items():
        splits[split] = datasets.SplitInfo(
            name=split,
            num_bytes=sum(read_footer(path)["bytes"] for path in paths),
            num_examples=configuration.count_rows(split),
        )
    paths = [path for paths in configuration.shards.values() for path in paths]
    return datasets.DatasetInfo(
        features=configuration.features,
        config_name=configuration.name,
        splits=splits,
        download_size=sum(path.stat().st_size for path in paths),
        dataset_size=sum(split.num_bytes for split in splits.values()),
    )


def size_category(rows: int) -> str:
    """Return the Hub's name for a number of rows.

    Examples:
        >>> size_category(150352)
        '100K<n<1M'
    """
    steps = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")]
    return next((name for limit, name in steps if rows < limit), "1M<n<10M")


def card_text(prepared: list[Prepared], path: str = "dusha") -> str:
    """Write the card for people; `path` is what to give to load_dataset."""
    names = [configuration.name for configuration in prepared]
    default = default_name(names)
    title, citation = f"# Dusha\n\n{SUMMARY}", "## Citation"
    licence = f"The corpus has a licence of its own: {LICENSE}. See {HOMEPAGE}."
    if not is_dusha(prepared):
        title, licence = OWN_TITLE, OWN_LICENCE
        citation = "## Citation\n\nThe way of labelling is that of Dusha:"
    sections = [
        title,
        "```python\nimport datasets\n\n"
        f'dataset = datasets.load_dataset("{path}", "{default}")\n```',
        "## Configurations\n\n" + "\n".join(f"- `{name}`: {DESCRIPTIONS[name]}" for name in names),
        *(count_section(configuration) for configuration in prepared),
        column_section(prepared),
        "## How the labels were made\n\n"
        + "\n\n".join(label_section(configuration) for configuration in prepared),
        f"## Licence\n\n{licence}",
        f"{citation}\n\n```bibtex\n{CITATION}\n```",
    ]
    return "\n\n".join(sections) + "\n"


def count_section(configuration: Prepared) -> str:
    """Count rows, hours and classes of each split."""
    return f"### {configuration.name}\n\n{table(count_table(configuration))}"


def count_table(configuration: Prepared) -> list[tuple]:
    """Count clips, hours and classes of each split, of `raw` answers; the head comes first."""
    if is_raw := configuration.name == RAW:
        classes = keys = configuration.footer["options"]["labels"]
    else:
        classes = configuration.features["label"].names
        keys = range(len(classes))
    rows: list[tuple] = []
    total: Counter = Counter()
    total_seconds = 0.0

    def add_row(split: str, counts: Counter, seconds: float) -> None:
        # The length of a clip would count once for each of its answers.
        length = () if is_raw else (format_length(seconds),)
        rows.append((split, counts.total(), *length, *(counts[key] for key in keys)))

    for split in configuration.shards:
        column = "annotator_emotion" if is_raw else "label"
        counts = Counter(configuration.column(split, column))
        seconds = 0 if is_raw else sum(filter(None, configuration.column(split, "duration")))
        add_row(split, counts, seconds)
        total, total_seconds = total + counts, total_seconds + seconds
    if len(rows) > 1:
        add_row("total", total, total_seconds)
    return [("split", *(("answers",) if is_raw else ("clips", "length")), *classes), *rows]


def left_out(configuration: Prepared) -> dict[str, int] | None:
    """Count the clips that were left out, each by its first reason; of `raw`, the answers.

    None where that is not known, because an older version wrote the folder.
    """
    footer = configuration.footer
    if "without_files" not in footer:
        return None
    if configuration.name == RAW:
        reasons = Counter({"rows that cannot be read": footer["bad_rows"]})
    else:
        reasons = Counter(
            {meaning: footer["counts"].get(reason, 0) for reason, meaning in REASONS.items()}
        )
        audio = Counter(footer["without_files"])
        for path in itertools.chain.from_iterable(configuration.shards.values()):
            audio += count_left_out(read_footer(path)["missing"])
        reasons.update({f"audio: {reason}": count for reason, count in audio.items()})
    return {reason: count for reason, count in reasons.items() if count}


def table(rows: list[tuple]) -> str:
    """Return a Markdown table; the stock loader needs no tabulate, so neither does this."""
    head, *lines = ["| " + " | ".join(map(str, cells)) + " |" for cells in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *lines])


def format_length(seconds: float) -> str:
    """Return a length as the paper's Table 2 gives it.

    Examples:
        >>> format_length(679440)
        '188 h 44 min'
    """
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def column_section(prepared: list[Prepared]) -> str:
    """Explain the columns of all configurations."""
    rows = [("column", "what it holds")]
    for column, meaning in COLUMNS.items():
        holders = [one for one in prepared if column in one.features]
        if holders:
            labels = ", ".join(holders[0].footer["options"]["labels"])
            rows.append((f"`{column}`", meaning.format(labels=labels)))
    return f"## Columns\n\n{table(rows)}"


def label_section(configuration: Prepared) -> str:
    """Describe how the labels of a configuration were made, and what was left out."""
    name, footer = configuration.name, configuration.footer
    options = footer["options"]
    if name == RAW:
        return f"`{name}`: the answers as they were given, not aggregated."
    parts = ", ".join(options["parts"])
    reasons = left_out(configuration)
    if name in MANIFESTS:
        text = f"`{name}`: clips and labels are those of the published experiment's manifest."
    else:
        known = " with control tasks' known answers as truth" if options["golden"] else ""
        text = (
            f"`{name}`: one run of `{options['method']}` (at most {options['iterations']} "
            f"iterations) over the answers of {parts}{known}; a clip has its most probable label, "
            f"kept where the probability is at least {options['threshold']}."
        )
    if reasons is not None:
        said = "; ".join(f"{count} {reason}" for reason, count in reasons.items())
        text += (
            f" Of {footer['counts']['clips']} clips, left out were (each by the first reason): "
            f"{said or 'none'}."
        )
    if options["validation"]:
        text += (
            f" The validation split is {options['validation']:.0%} of train by whole speakers, "
            "none of whom is left in train."
        )
    if footer["shared_sources"]:
        text += (
            f" Note that {footer['shared_sources']} speakers or podcasts are in both "
            f"{'train or validation' if options['validation'] else 'train'} and test."
        )
    return text
