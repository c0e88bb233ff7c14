"""What the paper shows of the corpus, from any prepared one: Tables 1 and 2, Figures 1 and 2."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from dusha_ser.corpus.configurations import RAW
from dusha_ser.corpus.dataset_card import Prepared, find_prepared, format_length
from dusha_ser.corpus.published import PAPER_PARTS
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.reports.figures import tidy
from dusha_ser.reports.page import Block, Heading, Plot, Table, Text, write_page
from dusha_ser.storage import replacing_folder, write_text

PAPER = "Kondratenko et al., Hybrid Dataset for Speech Emotion Recognition in Russian Language"
# Its Table 1: clips of each emotion, control tasks and `other` included.
PAPER_CLASSES = {
    "crowd": {"positive": 15446, "sad": 23316, "angry": 17120, "neutral": 106850, "other": 1655},
    "podcast": {"positive": 5909, "sad": 1170, "angry": 2057, "neutral": 81104, "other": 222},
}
# From this share of a domain's clips on it is the full corpus, maybe with other options.
FULL_SHARE = 0.8
# The paper's colours in Figures 1 and 2; a class that it does not know gets the next one.
DOMAIN_COLOURS = {"crowd": "tab:blue", "podcast": "tab:orange"}
CLASS_COLOURS = {
    "neutral": "tab:blue",
    "sad": "tab:orange",
    "positive": "tab:green",
    "angry": "tab:red",
}
OTHER_COLOURS = ("tab:purple", "tab:brown", "tab:pink", "tab:gray", "tab:olive", "tab:cyan")
# Figure 1: width of a bar, in seconds.
BAR_SECONDS = 0.25
# Figure 1: share of the clips that are not longer than what its last bar stands for.
SHOWN_SHARE = 0.999


@dataclass
class Clips:
    """All clips of a prepared corpus."""

    table: pd.DataFrame  # domain, split (validation is part of train), label, duration in seconds
    classes: list[str]  # in the paper's order as far as it has them
    configurations: list[str]
    options: dict  # how it was prepared

    def full_domains(self) -> list[str]:
        """Return the domains, crowd first, that are the published ones by their number of clips."""
        counts = self.table.domain.value_counts()
        return [
            domain
            for domain, classes in PAPER_CLASSES.items()
            if counts.get(domain, 0) >= FULL_SHARE * sum(classes.values())
        ]


def read_clips(folder: Path, configuration: str | None = None) -> Clips:
    """Read a dataset folder without audio (by default all, crowd and podcast, or the first).

    Raises:
        MissingInputError: it is not a dataset folder, or the configuration is missing.
        WrongUseError: the configuration has no labels.
    """
    prepared = {one.name: one for one in find_prepared(folder)} if folder.is_dir() else {}
    if not prepared:
        raise MissingInputError(
            f"{folder} holds no prepared corpus: name a folder that `dusha corpus` wrote"
        )
    chosen = choose(prepared, configuration)
    names = chosen[0].features["label"].names
    columns = ["domain", "label", "duration"]
    table = pd.concat(
        [
            pq.read_table(paths, columns=columns)
            .to_pandas()
            .assign(split="test" if split == "test" else "train")
            for one in chosen
            for split, paths in one.shards.items()
        ],
        ignore_index=True,
    )
    table = table.assign(label=[names[number] for number in table.label])
    table = table.fillna({"domain": "unknown", "duration": 0.0})
    present = set(table.label)
    classes = [one for one in dict.fromkeys([*PAPER_CLASSES["crowd"], *names]) if one in present]
    return Clips(table, classes, [one.name for one in chosen], chosen[0].footer["options"])


def choose(prepared: dict[str, Prepared], configuration: str | None) -> list[Prepared]:
    """Choose what to report on: one configuration, or crowd and podcast."""
    if configuration is not None and configuration not in prepared:
        raise MissingInputError(
            f"there is no configuration {configuration!r}: the folder has {', '.join(prepared)}"
        )
    if configuration is None and "all" not in prepared and {"crowd", "podcast"} <= set(prepared):
        pair = [prepared["crowd"], prepared["podcast"]]
        if pair[0].features["label"] == pair[1].features["label"]:
            return pair
    labelled = [name for name in prepared if name != RAW]
    name = configuration or next((name for name in ("all", *labelled) if name in prepared), RAW)
    if name == RAW:
        raise WrongUseError(
            "configuration raw has answers and no labels: prepare another one, for instance all"
        )
    return [prepared[name]]


def write_report(clips: Clips, output_dir: Path, overwrite: bool = False) -> None:
    """Write corpus.html and corpus.md, the tables as CSV and the figures as PNG to a folder.

    Raises:
        WrongUseError: if one of them is there and may not be replaced.
    """
    with replacing_folder(output_dir, overwrite=overwrite, merge=True) as folder:
        for number, table in enumerate((class_table(clips), part_table(clips, round)), start=1):
            frame = pd.DataFrame(table[1:], columns=table[0])
            text = frame.to_csv(index=False, lineterminator="\n")
            write_text(folder / f"table_{number}.csv", text)
        write_page("The corpus", make_blocks(clips), folder, "corpus")


def make_blocks(clips: Clips) -> list[Block]:
    """Return what the page shows, from top to bottom."""
    options = clips.options
    kept = [
        f"{'with' if options[option] else 'without'} {meaning}"
        for option, meaning in {"keep_control": "control tasks", "keep_other": '"other"'}.items()
    ]
    differences = "This is not the full corpus, so no differences are given."
    if compared := " and ".join(clips.full_domains()):
        differences = f"Differences (ours less the paper's) are of the full {compared}."
    return [
        Text(
            f"Configuration {' and '.join(clips.configurations)}, {' and '.join(kept)}; labels by "
            f'{options["method"]}, threshold {options["threshold"]}. Rows marked "paper" are from '
            f'{PAPER}; its Table 1 includes control tasks and "other". {differences}'
        ),
        Heading("Table 1: clips of each emotion"),
        Table("Number of clips", text_cells(class_table(clips))),
        Heading("Table 2: amount of data"),
        Table("Clips and their length", text_cells(part_table(clips))),
        Text("Clips of a validation split count as training: they were carved from it."),
        Heading("Figure 1: how long clips are"),
        Plot(
            "Lengths of clips by domain",
            "lengths of clips by domain",
            draw_lengths(clips),
            "figure_1.png",
        ),
        Heading("Figure 2: how much there is of each emotion"),
        Plot(
            "Seconds of each emotion by domain",
            "seconds of each class by domain",
            draw_classes(clips),
            "figure_2.png",
        ),
    ]


def text_cells(table: Sequence[Sequence[object]]) -> list[list[str]]:
    """Return the cells of a table as text, counts with commas."""
    return [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in table]


def class_table(clips: Clips) -> list[list]:
    """Count the clips of each class, as the paper's Table 1; rows of cells, the head first."""
    classes = list(clips.classes)
    ours = pd.crosstab(clips.table.domain, clips.table.label)
    if set(ours.index) & set(PAPER_CLASSES):
        # The paper's totals count all of its classes, so each of them is shown.
        classes += [name for name in PAPER_CLASSES["crowd"] if name not in classes]
    paper = pd.DataFrame(PAPER_CLASSES).T
    ours, paper = (
        one.reindex(columns=classes).assign(total=one.sum(axis=1)) for one in (ours, paper)
    )
    return beside(clips, ours.fillna(0), paper, [int] * len(ours.columns))


def part_table(clips: Clips, write: Callable[[float], object] = format_length) -> list[list]:
    """Count clips and hours, which are written by `write`, as the paper's Table 2."""
    unit = "length" if write is format_length else "seconds"
    head = ["training clips", f"training {unit}", "test clips", f"test {unit}"]
    wanted = [(amount, split) for split in ("train", "test") for amount in ("count", "sum")]
    ours = clips.table.pivot_table("duration", "domain", "split", ["count", "sum"], fill_value=0)
    ours = ours.reindex(columns=wanted, fill_value=0).set_axis(head, axis=1)
    published = {
        domain: [
            value
            for count, hours, minutes in (parts["train"], parts["test"])
            for value in (count, 3600 * hours + 60 * minutes)
        ]
        for domain, parts in PAPER_PARTS.items()
        if domain in ours.index
    }
    paper = pd.DataFrame.from_dict(published, "index", columns=head)
    for table in (ours, paper):
        if len(table) > 1:
            table.loc["total"] = table.sum()
    return beside(clips, ours, paper, [int, write] * 2)


def beside(
    clips: Clips, ours: pd.DataFrame, paper: pd.DataFrame, writers: Sequence[Callable]
) -> list[list]:
    """Return the rows of each domain in a table, the head first.

    They hold our numbers, the paper's where it has the domain, and their difference if the domain
    is full; writers turn the numbers of each column to cells.
    """
    table: list[list] = [["domain", "whose", *ours.columns]]
    for domain in ours.index:
        rows = {"ours": ours.loc[domain]}
        if domain in paper.index:
            rows["paper"] = paper.loc[domain]
        if domain in clips.full_domains():
            rows["difference"] = rows["ours"] - rows["paper"]
        for whose, row in rows.items():
            cells: list[object] = []
            for number, write in zip(row, writers, strict=True):
                cell = "" if pd.isna(number) else write(abs(number))
                signed = whose == "difference" and cell != ""
                cells.append(f"{'-' if number < 0 else '+'}{cell}" if signed else cell)
            table.append([domain, whose, *cells])
    return table


def draw_lengths(clips: Clips) -> Figure:
    """Draw a histogram of how long the clips of each domain are, as the paper's Figure 1."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    # A few very long clips would press all others together: the last bar holds them.
    longest = clips.table.duration.quantile(SHOWN_SHARE)
    edges = np.arange(0, longest + 2 * BAR_SECONDS, BAR_SECONDS).tolist()
    shown = clips.table.duration.clip(upper=edges[-1])
    for number, (domain, lengths) in enumerate(shown.groupby(clips.table.domain)):
        colour = DOMAIN_COLOURS.get(domain, OTHER_COLOURS[number])
        axis.hist(lengths, edges, color=colour, alpha=0.6, label=domain.capitalize())
    axis.set(xlabel="length of a clip, seconds (longer ones in the last bar)", ylabel="clips")
    axis.set_xlim(0, edges[-1])
    axis.legend(frameon=False)
    tidy(axis)
    return figure


def draw_classes(clips: Clips) -> Figure:
    """Draw how many seconds of each class a domain has, as the paper's Figure 2."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    order = [name for name in CLASS_COLOURS if name in clips.classes]
    order += [name for name in clips.classes if name not in order]
    further = itertools.cycle(OTHER_COLOURS)
    seconds = clips.table.groupby(["domain", "label"]).duration.sum().unstack(fill_value=0)
    width = 0.8 / max(1, len(order))
    for number, name in enumerate(order):
        places = np.arange(len(seconds)) + (number - (len(order) - 1) / 2) * width
        colour = CLASS_COLOURS.get(name) or next(further)
        bars = axis.bar(places, seconds[name], width, color=colour, label=name.capitalize())
        axis.bar_label(bars, [shorten(value) for value in seconds[name]], fontsize=7, padding=1)
    axis.set_xticks(range(len(seconds)), [domain.capitalize() for domain in seconds.index])
    axis.set(ylabel="seconds")
    axis.yaxis.set_major_formatter("{x:,.0f}")
    axis.margins(y=0.08)
    axis.legend(frameon=False)
    tidy(axis)
    axis.grid(visible=False, axis="x")
    return figure


def shorten(seconds: float) -> str:
    """Return a length in the largest unit that it fills: 138 h, 2.1 min, 24 s."""
    for unit, size in {"h": 3600, "min": 60}.items():
        if seconds >= size:
            return f"{seconds / size:.{0 if seconds >= 10 * size else 1}f} {unit}"
    return f"{seconds:.0f} s"
