"""A page of headings, texts, tables and pictures, as one HTML file and as Markdown."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from dusha_ser.reports.figures import picture_address, save_picture
from dusha_ser.storage import safe_name, write_text
from dusha_ser.tables import markdown_table

PICTURES_DIR = "pictures"
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff;
       max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.9rem; line-height: 1.2; }
h2 { font-size: 1.35rem; margin-top: 2.5rem; padding-bottom: .2rem; border-bottom: 2px solid #ddd; }
h3 { font-size: 1.05rem; margin-bottom: .3rem; }
.scroll { overflow-x: auto; margin: .8rem 0 1.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
caption { text-align: left; color: #555; padding-bottom: .3rem; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #e3e3e3;
         vertical-align: top; }
thead th { border-bottom: 2px solid #888; white-space: nowrap; }
tbody th { font-weight: 600; }
td { min-width: 3rem; }
th.number, td.number { text-align: right; }
.score { white-space: nowrap; }
figure { display: inline-block; margin: .5rem 1.5rem .5rem 0; vertical-align: top;
         max-width: 100%; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #555; font-size: .88rem; }
pre { background: #f5f5f5; padding: .6rem .8rem; font-size: .88rem; white-space: pre-wrap; }
@media print { body { max-width: none; margin: 0; } h2 { break-after: avoid; }
               figure, tr { break-inside: avoid; } }
"""


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
class Table:
    """Rows of cells, the head first, and what they show."""

    caption: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A figure, what it shows in one line, and a word for those who cannot see it."""

    caption: str
    description: str
    figure: Figure


@dataclass(frozen=True)
class Code:
    """Lines to type."""

    text: str


Block = Heading | Text | Table | Picture | Code


def write_page(title: str, blocks: Sequence[Block], output_dir: Path, name: str) -> None:
    """Write a page as NAME.html, which needs no other file, and NAME.md with its pictures.

    Args:
        title: of the page.
        blocks: from top to bottom.
        output_dir: folder for both.
        name: of the files, without suffix.
    """
    output_dir = Path(output_dir)
    body = "\n".join(block_html(block) for block in blocks)
    escaped = html.escape(title)
    write_text(
        output_dir / f"{name}.html",
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escaped}</h1>\n{body}\n</main>\n</body>\n</html>\n",
    )
    parts, pictures = [f"# {title}\n"], 0
    for block in blocks:
        place = ""
        if isinstance(block, Picture):
            pictures += 1
            place = f"{PICTURES_DIR}/{name}_{pictures:02d}_{safe_name(block.caption)[:60]}.png"
            save_picture(block.figure, output_dir / place)
        parts.append(block_markdown(block, place))
    write_text(output_dir / f"{name}.md", "\n".join(parts))


def block_html(block: Block) -> str:
    """A block in HTML, all text escaped."""
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{html.escape(block.text)}</p>"
    if isinstance(block, Code):
        return f"<pre><code>{html.escape(block.text)}</code></pre>"
    if isinstance(block, Picture):
        return (
            f'<figure><img src="{picture_address(block.figure)}" '
            f'alt="{html.escape(block.description)}">'
            f"<figcaption>{html.escape(block.caption)}</figcaption></figure>"
        )
    head, *rows = block.rows
    # Counts stand to the right, below one another; scores may have an interval behind them.
    counts = [all(map(is_count, column)) for column in zip(*rows, strict=True)]
    kind = [" class=number" if is_right else "" for is_right in counts]
    scores = " class=score"
    cells = "".join(
        f'<th scope="col"{which}>{html.escape(cell)}</th>'
        for cell, which in zip(head, kind, strict=True)
    )
    lines = [f"<caption>{html.escape(block.caption)}</caption><thead><tr>{cells}</tr></thead>"]
    for first, *others in rows:
        cells = "".join(
            f"<td{which or (scores if cell[:1].isdigit() else '')}>{html.escape(cell)}</td>"
            for cell, which in zip(others, kind[1:], strict=True)
        )
        lines.append(f'<tr><th scope="row">{html.escape(first)}</th>{cells}</tr>')
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def block_markdown(block: Block, place: str) -> str:
    """A block in Markdown; `place` is where a picture's file lies."""
    if isinstance(block, Heading):
        return f"{'#' * block.level} {plain(block.text)}\n"
    if isinstance(block, Text):
        return f"{plain(block.text)}\n"
    if isinstance(block, Code):
        return f"```\n{block.text}\n```\n"
    if isinstance(block, Picture):
        return f"![{plain(block.description)}]({place})\n\n{plain(block.caption)}\n"
    rows = [[plain(cell) for cell in row] for row in block.rows]
    return f"{plain(block.caption)}\n\n{markdown_table(rows)}"


def plain(text: str) -> str:
    """Text that Markdown leaves as it is: names of models and labels are anybody's."""
    for sign in ("\\", "`", "*", "_", "[", "]", "<"):
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())


def is_count(cell: str) -> bool:
    """Whether a cell is a whole number, or empty."""
    return not cell.strip("0123456789,")
