"""Pages of the documentation and what stands in them: blocks of code, and commands."""

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
BLOCK = re.compile(
    r"(?P<mark><!-- not run: [^>]+ -->\s*\n+)?^```(?P<language>\w+)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)


def blocks(page: str, *languages: str) -> list[str]:
    """The blocks of code in a page that are meant to run, in any of the languages."""
    return [
        found["text"]
        for found in BLOCK.finditer((REPOSITORY / page).read_text())
        if found["language"] in languages and not found["mark"]
    ]


def commands(page: str, inline: bool = True) -> list[list[str]]:
    """The commands of a page, each as a list of words.

    Args:
        page: its path in the repository.
        inline: whether commands in sentences and tables count, or only those in blocks.
    """
    found = []
    sentences = re.findall(r"`((?:python|dusha) [^`]+)`", (REPOSITORY / page).read_text())
    for text in [*blocks(page, "bash", "sh", "shell", "console"), *(sentences if inline else ())]:
        for line in text.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\||[;|]", line.removeprefix("$ ")):
                words = shlex.split(part, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words = words[1:]
                if words:
                    found.append(words)
    return found
