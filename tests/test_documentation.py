"""What the documentation says is true: examples run, commands and their options exist.

In Markdown files, Python blocks run in order in one process a file, in a folder that shows the
project's files and takes what they write; a line `#> text` in a block is what the lines above it
print. A block of code that cannot run in a test (it needs the Hub or the real corpus) has
`<!-- not run: REASON -->` above it.
"""

import configparser
import contextlib
import doctest
import functools
import importlib.util
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MODULES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for pattern in ("*.py", "tools/*.py", "metrics/*/*.py", "demo/*.py", "benchmarks/*.py")
    for path in REPOSITORY.glob(pattern)
)
WITH_EXAMPLES = [name for name in MODULES if ">>> " in (REPOSITORY / name).read_text()]
# Folders of the project; a run of train.py leaves others, with pages of their own.
SHOWN = ("metrics", "setups", "tools", "demo", "benchmarks", "docs")
PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for pattern in ("*.md", *(f"{folder}/*.md" for folder in SHOWN), "metrics/*/*.md")
    for path in REPOSITORY.glob(pattern)
)
BLOCK = re.compile(
    r"(?P<mark><!-- not run: [^>]+ -->\s*\n+)?^```(?P<language>\w+)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
PRINTED = "#> "


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder to stand in that shows the project's files, and keeps it clean of new ones."""
    for path in REPOSITORY.iterdir():
        if path.suffix in (".py", ".md", ".cfg") or path.name in SHOWN:
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(name: str):
    """Import a file of the project by its path."""
    if "/" not in name:
        return importlib.import_module(Path(name).stem)
    # doctest passes over what belongs to another module of the same name.
    there = sys.modules.get(Path(name).stem)
    if getattr(there, "__file__", None) == str(REPOSITORY / name):
        return there
    specification = importlib.util.spec_from_file_location(Path(name).stem, REPOSITORY / name)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_when_they_run(name, project, monkeypatch):
    monkeypatch.syspath_prepend(str((REPOSITORY / name).parent))
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.testmod(load(name), optionflags=flags)
    assert results.attempted > 0
    assert results.failed == 0, "the report of doctest is above"


def test_setup_when_a_module_stands_at_the_top():
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    installed = setup["options"]["py_modules"].split()
    missing = [
        name for name in installed if not (REPOSITORY / f"{name.replace('.', '/')}.py").is_file()
    ]
    assert not missing, "py_modules of setup.cfg names modules that are not there"
    at_the_top = {Path(name).stem for name in MODULES if "/" not in name}
    assert at_the_top <= set(installed), "py_modules of setup.cfg lacks modules"


def blocks(page: str, *languages: str) -> list[str]:
    """The blocks of code in a page that are meant to run, in any of the languages."""
    return [
        found["text"]
        for found in BLOCK.finditer((REPOSITORY / page).read_text())
        if found["language"] in languages and not found["mark"]
    ]


def commands(page: str) -> list[list[str]]:
    """The commands of a page's shell blocks and of its lines, each as a list of words."""
    found = []
    inline = re.findall(r"`(python [^`]+)`", (REPOSITORY / page).read_text())
    for text in [*blocks(page, "bash", "sh", "shell", "console"), *inline]:
        for line in text.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\||[;|]", line.removeprefix("$ ")):
                words = shlex.split(part, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words = words[1:]
                if words:
                    found.append(words)
    return found


COMMANDS = [
    pytest.param(words, id=f"{page}: {' '.join(words)}")
    for page in PAGES
    for words in commands(page)
    if any(word.endswith(".py") for word in words)
]


# Benchmarks are modules of a package, and are shown as such.
PROGRAMS = [
    name
    for name in MODULES
    if 'if __name__ == "__main__"' in (REPOSITORY / name).read_text()
    and not name.startswith("benchmarks/")
]


@functools.cache
def help_text(program: str, *command: str) -> str:
    """What a program, or a command of it, prints for --help."""
    # In this process, where PyTorch is imported already: a dozen programs would take a minute.
    printed = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patched,
        contextlib.redirect_stdout(printed),
        pytest.raises(SystemExit) as end,
    ):
        patched.setattr(sys, "argv", [program, *command, "--help"])
        patched.syspath_prepend(str((REPOSITORY / program).parent))
        runpy.run_path(str(REPOSITORY / program), run_name="__main__")
    assert not end.value.code
    return printed.getvalue()


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_of_each_program_has_an_example(program):
    # The usage has the program's name alone; "python" begins a command to type.
    assert re.search(r"python\s+(\w+/)?\w+\.py", help_text(program))


@pytest.mark.parametrize("words", COMMANDS)
def test_command_when_a_page_shows_it(words):
    place = next(i for i, word in enumerate(words) if word.endswith(".py"))
    program = words[place]
    assert (REPOSITORY / program).is_file()
    options = {word.split("=")[0] for word in words[place + 1 :] if re.match(r"--?[a-z]", word)}
    described = help_text(program)
    if choices := re.search(r"^  \{([\w,-]+)\}", described, re.MULTILINE):
        assert words[place + 1] in choices[1].split(",")
        described = help_text(program, words[place + 1])
    if "Any option of train.py may follow" in " ".join(described.split()):
        described += help_text("train.py")
    assert options <= set(re.findall(r"(?<![\w-])--?\w[\w-]*", described))
    setups = [word for word in words[place + 1 :] if word.startswith("setups/")]
    assert all((REPOSITORY / name).is_file() for name in setups)


@pytest.mark.parametrize("page", PAGES)
def test_page_when_it_names_files(page):
    text = (REPOSITORY / page).read_text()
    linked = re.findall(r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)", text)
    missing = [name for name in linked if not (REPOSITORY / page).parent.joinpath(name).exists()]
    modules = set(re.findall(r"`(\w+_dusha)(?:\.py)?`", text))
    missing += [name for name in modules if not (REPOSITORY / f"{name}.py").is_file()]
    assert not missing


def test_readme_when_a_newcomer_reads_the_first_screen():
    screen = (REPOSITORY / "README.md").read_text().splitlines()[:40]
    automatic = (REPOSITORY / ".ci" / "run").read_text()
    for line in ("pip install -e . && python train.py", 'pip install -e ".[test]" && pytest'):
        assert line in screen
        for part in line.split(" && "):
            assert part in automatic


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_page_when_its_python_runs(page, project):
    lines = [
        # What stands after PRINTED is marked in the output, to be compared below.
        f"print({line!r})" if line.startswith(PRINTED) else line
        for line in "\n".join(blocks(page, "python")).splitlines()
    ]
    process = subprocess.run(
        [sys.executable, "-"],
        input="\n".join(lines),
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert_printed(process.stdout)


def assert_printed(output: str) -> None:
    """Check that each line after PRINTED is among those that were printed before it."""
    printed: list[str] = []
    for line in output.splitlines():
        if line.startswith(PRINTED):
            assert line.removeprefix(PRINTED) in printed
        else:
            printed.append(line)
