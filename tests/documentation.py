"""Pages of the documentation and what stands in them: blocks of code, and commands."""

import json
import re
import shlex
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
# Folders of the project; a run of train.py leaves others, with pages of their own.
SHOWN = ("dusha_ser", "demo", "benchmarks", "docs")
PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for pattern in ("*.md", *(f"{folder}/**/*.md" for folder in SHOWN))
    for path in REPOSITORY.glob(pattern)
)
# Its cells are run by `pytest --nbmake`; its commands have options that must exist, too.
NOTEBOOK = "docs/tutorial.ipynb"
BLOCK = re.compile(
    r"(?P<mark><!-- not run: [^>]+ -->\s*\n+)?^```(?P<language>\w+)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)


def text_of(page: str) -> str:
    """A page as Markdown; of a notebook, the cells for the shell as blocks."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    if not page.endswith(".ipynb"):
        return text
    cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"]]
    shell = [cell.removeprefix("%%bash\n") for cell in cells if cell.startswith("%%bash\n")]
    return "".join(f"```bash\n{cell}\n```\n" for cell in shell)


def blocks(page: str, *languages: str) -> list[str]:
    """The blocks of code in a page that are meant to run, in any of the languages."""
    return [
        found["text"]
        for found in BLOCK.finditer(text_of(page))
        if found["language"] in languages and not found["mark"]
    ]


def commands(page: str, inline: bool = True) -> list[list[str]]:
    """The commands of a page, each as a list of words.

    Args:
        page: its path in the repository.
        inline: whether commands in sentences and tables count, or only those in blocks.
    """
    found = []
    sentences = re.findall(r"`((?:python|dusha) [^`]+)`", text_of(page))
    for text in [*blocks(page, "bash", "sh", "shell", "console"), *(sentences if inline else ())]:
        for line in text.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\||[;|]", line.removeprefix("$ ")):
                words = shlex.split(part, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words = words[1:]
                if words:
                    found.append(words)
    return found
