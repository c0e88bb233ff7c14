"""A page of headings, texts, tables and figures, as one HTML file and as Markdown."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from matplotlib.figure import Figure

from dusha_ser.files import safe_name
from dusha_ser.reports.figures import save_figure, svg_uri
from dusha_ser.storage import write_text
from dusha_ser.tables import count_columns, markdown_table

FIGURES_DIR = "figures"


@dataclass(frozen=True)
class Heading:
    """A heading; level 2 begins a section, 3 a part of one."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines to type."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells, the head first, and what they show."""

    caption: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Plot:
    """A figure."""

    caption: str
    description: str  # for those who cannot see it
    figure: Figure
    file: str = ""  # name of its PNG beside the Markdown page; empty: a number and the caption


@dataclass(frozen=True)
class Clip:
    """A clip to hear, with numbers of each label; bars show those that are shares."""

    title: str
    group: str  # what readers may choose clips by
    facts: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[Sequence[str | int | float]]
    audio: str  # address that holds the recording; empty: there is none


@dataclass(frozen=True)
class Clips:
    """Clips to hear, of which readers may choose a group."""

    caption: str
    clips: Sequence[Clip]

    @property
    def groups(self) -> dict[str, int]:
        """Number of clips by group, in the order of their names."""
        return dict(sorted(Counter(clip.group for clip in self.clips).items()))


Block = Heading | Text | Code | Table | Plot | Clips


def plain(text: str) -> str:
    """Escape what Markdown would format: names of models and labels may hold anything."""
    escapes = str.maketrans({sign: "\\" + sign for sign in "\\`*_[]<"})
    return " ".join(text.translate(escapes).split())


def write_page(title: str, blocks: Sequence[Block], output_dir: Path, name: str) -> None:
    """Write a page as NAME.html, which needs no other file, and NAME.md with its figures."""
    files: dict[int, str] = {}
    for number, block in enumerate(blocks):
        if isinstance(block, Plot):
            numbered = f"{name}_{len(files) + 1:02d}_{safe_name(block.caption)[:60]}.png"
            files[number] = block.file or f"{FIGURES_DIR}/{numbered}"
            save_figure(block.figure, output_dir / files[number])
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    for kind in (Heading, Text, Code, Table, Plot, Clips):
        environment.tests[kind.__name__] = lambda block, kind=kind: isinstance(block, kind)

    def plain_table(rows: Sequence[Sequence[str]]) -> str:
        return markdown_table([[*map(plain, row)] for row in rows]).rstrip("\n")

    def clip_table(clip: Clip) -> str:
        cells = (
            [f"{one:.3f}" if isinstance(one, float) else f"{one}" for one in row]
            for row in clip.rows
        )
        return plain_table([clip.columns, *cells])

    for function in (plain, clip_table, plain_table, count_columns, svg_uri):
        environment.filters[function.__name__] = function
    for suffix, template in {"html": "page.html", "md": "page.markdown"}.items():
        page = environment.get_template(template)
        text = page.render(title=title, blocks=blocks, files=files)
        write_text(output_dir / f"{name}.{suffix}", text)
