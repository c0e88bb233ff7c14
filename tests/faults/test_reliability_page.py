"""The table of docs/maintainers/reliability.md names tests that exist, and all tests of faults."""

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PAGE = REPOSITORY / "docs" / "maintainers" / "reliability.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
FEWEST_FAULTS = 60
FEWEST_CACHES = 25


def faults() -> list[list[str]]:
    """The table's rows, cut into their three cells."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows if NAMED.search(row[-1])]


def names_of_tests(path: Path) -> set[str]:
    """Names of the test functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_page_names_tests_that_exist():
    for row in faults():
        assert len(row) == 3 and all(row), row
        for path, name in NAMED.findall(row[2]):
            assert (REPOSITORY / path).is_file(), row
            assert name in names_of_tests(REPOSITORY / path), row


def test_page_of_caches_names_tests_that_exist():
    named = NAMED.findall(PAGE.with_name("caches.md").read_text(encoding="utf-8"))
    assert len(named) >= FEWEST_CACHES
    for path, name in named:
        assert name in names_of_tests(REPOSITORY / path), (path, name)


def test_page_names_all_tests_of_faults():
    named = {name for row in faults() for name in NAMED.findall(row[2])}
    lacking = [
        f"{path.name}::{name}"
        for path in sorted((REPOSITORY / "tests" / "faults").glob("test_*.py"))
        for name in sorted(names_of_tests(path))
        if path.name != Path(__file__).name
        and (path.relative_to(REPOSITORY).as_posix(), name) not in named
    ]
    assert not lacking, f"docs/maintainers/reliability.md has no row for {lacking}"


def test_page_has_as_many_faults_as_promised():
    assert len({row[0] for row in faults()}) >= FEWEST_FAULTS
