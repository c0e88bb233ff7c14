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
import subprocess
import sys
from pathlib import Path

import pytest
from documentation import NOTEBOOK, PAGES, SHOWN, blocks, commands
from long_recordings import write_podcast
from small_models import save_model

from dusha_ser.cli.main import GROUPS, has_steps, list_commands, main

REPOSITORY = Path(__file__).resolve().parent.parent
MODULES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for pattern in ("*.py", "dusha_ser/**/*.py", "demo/*.py", "benchmarks/*.py")
    for path in REPOSITORY.glob(pattern)
)
WITH_EXAMPLES = [name for name in MODULES if ">>> " in (REPOSITORY / name).read_text()]
PRINTED = "#> "


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder to stand in that shows the project's files, and keeps it clean of new ones."""
    for path in REPOSITORY.iterdir():
        if path.suffix in (".py", ".md", ".cfg") or path.name in SHOWN:
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def reader(project):
    """The same, after the README's first line: a model, and a recording of the reader's own."""
    save_model(project / "model")
    write_podcast(project / "recording.wav", 3, phrases=2)
    return project


def load(name: str):
    """Import a file of the project."""
    return importlib.import_module(name.removesuffix(".py").replace("/", "."))


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
    # Only train.py is not installed: its name would be a module of everybody's.
    assert at_the_top == {*installed, "train"}, "py_modules of setup.cfg lacks modules"


COMMANDS = [
    pytest.param(words, id=f"{page}: {' '.join(words)}")
    for page in (*PAGES, NOTEBOOK)
    for words in commands(page)
    if words[0] == "dusha" or any(word.endswith(".py") for word in words)
]
# The commands that stand for two of the programs.
SCRIPTS = {"train.py": "train", "dusha.py": "corpus"}


@functools.cache
def help_text(*command: str) -> str:
    """What the command `dusha`, or a subcommand of it, prints for --help; of train, all."""
    # In this process, where PyTorch is imported already: a dozen programs would take a minute.
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            status = main([*command, "--help_all" if command == ("train",) else "--help"])
        except SystemExit as end:
            status = end.code
    assert not status
    return printed.getvalue()


@pytest.mark.parametrize("command", list_commands(), ids=" ".join)
def test_help_of_each_command_has_an_example(command):
    words = r"\s+".join(("dusha", *command))
    assert re.search(words, help_text(*command).split("options:")[-1])


@pytest.mark.parametrize("words", COMMANDS)
def test_command_when_a_page_shows_it(words):
    script = next((word for word in words if word in SCRIPTS), None)
    if script is not None:
        place = words.index(script)
        command = SCRIPTS[script]
        assert (REPOSITORY / script).is_file()
    else:
        place = words.index("dusha") + 1
        command = words[place]
    if has_steps(command, words[place + 1 :]) and words[place + 1 :]:
        place += 1
        assert words[place] in GROUPS[command]
        described = help_text(command, words[place])
    else:
        described = help_text(command)
    options = {word.split("=")[0] for word in words[place + 1 :] if re.match(r"--?[a-z]", word)}
    choices = re.search(r"^  \{([\w,-]+)\}", described, re.MULTILINE)
    if choices and words[place + 1 :]:
        assert words[place + 1] in choices[1].split(",")
        described = help_text(command, words[place + 1])
    if "Any option of `dusha train` may follow" in " ".join(described.split()):
        described += help_text("train")
    assert options <= set(re.findall(r"(?<![\w-])--?\w[\w-]*", described))


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
def test_page_when_its_python_runs(page, reader):
    lines = [
        # What stands after PRINTED is marked in the output, to be compared below.
        f"print({line!r})" if line.startswith(PRINTED) else line
        for line in "\n".join(blocks(page, "python")).splitlines()
    ]
    process = subprocess.run(
        [sys.executable, "-"],
        input="\n".join(lines),
        cwd=reader,
        env={**os.environ, "PYTHONPATH": str(reader)},
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
