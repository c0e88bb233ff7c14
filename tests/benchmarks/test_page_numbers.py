"""Every measured number of the pages stands in a file that a program wrote."""

import json
from pathlib import Path

import pytest

from benchmarks import page_numbers as readme_numbers
from benchmarks.page_numbers import KNOWN, main, pages, rewrite, sources, unmarked_numbers
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError
from dusha_ser.evaluation.results import PUBLISHED

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [path.relative_to(REPOSITORY).as_posix() for path in pages()]


@pytest.mark.parametrize("page", PAGES)
def test_page_has_the_numbers_of_its_files(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    assert rewrite(text) == text, "run python -m benchmarks.page_numbers"


@pytest.mark.parametrize("page", PAGES)
def test_page_names_the_command_that_rewrites_each_file(page):
    text = " ".join((REPOSITORY / page).read_text(encoding="utf-8").split())
    for name in sources((REPOSITORY / page).read_text(encoding="utf-8")):
        command = json.loads((REPOSITORY / name).read_text(encoding="utf-8")).get("command")
        assert command, f"{name} does not say which command wrote it"
        assert command in text, f"{page} does not show the command that writes {name}: {command}"


def test_rewrite_when_nothing_was_measured_says_so(tmp_path):
    (tmp_path / "results.json").write_text('{"found": {"job": null}}')
    page = "<!-- number: results.json#found/job/times_as_fast .0f -->3<!-- end -->"
    assert "-->not measured<!-- end -->" in rewrite(page, tmp_path)


@pytest.mark.parametrize("page", PAGES)
def test_page_names_sources_of_known_numbers_that_are_there(page):
    for source in KNOWN.findall((REPOSITORY / page).read_text(encoding="utf-8")):
        assert source.startswith("https://") or (REPOSITORY / source).is_file(), source


@pytest.mark.parametrize("page", PAGES)
def test_page_has_no_number_without_a_source(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    assert unmarked_numbers(text) == [], (
        "put these between the marks that benchmarks.page_numbers describes"
    )


def test_published_results_in_the_file_are_those_of_the_programs():
    content = json.loads((REPOSITORY / readme_numbers.PUBLISHED_FILE).read_text())
    rows = {(row[0], row[1]): row[2:5] for row in content["rows"]}
    assert len(rows) == len(content["rows"]) == len(PUBLISHED)
    for one in PUBLISHED:
        spread = " ± 0.01" if one.test_set == "iemocap" else ""
        shown = [f"{value:.2f}{spread}" for value in one.scores.values()]
        assert rows[one.test_set, one.model] == shown == list(one.cells.values())


@pytest.fixture
def files(tmp_path):
    table = {"columns": ["setup", "clips", "f1"], "rows": [["a", 1234, 0.5], ["b", None, "x|y"]]}
    (tmp_path / "first.json").write_text(json.dumps(table))
    (tmp_path / "second.json").write_text(json.dumps(table | {"rows": [["c", 1, 1.0]]}))
    (tmp_path / "third.json").write_text(json.dumps({"tables": {"own": table | {"rows": []}}}))
    (tmp_path / "other.json").write_text(json.dumps(table | {"columns": ["a", "b", "c"]}))
    speed = {"ours": [3.25, 1234.5], "tar -x": {"times": 2}, "name": "x"}
    (tmp_path / "speed.json").write_text(json.dumps(speed))
    return tmp_path


def test_rewrite_fills_tables_and_numbers_and_leaves_the_rest(files):
    page = (
        "# Page\n\n<!-- table: first.json third.json#tables/own second.json -->\nold\n"
        "<!-- end -->\n\n"
        "It takes <!-- number: speed.json#ours/0 .1f -->9.9<!-- end --> s, "
        "<!-- number: speed.json#tar -x/times .2f --><!-- end --> times 0.99.\n"
    )
    new = rewrite(page, files)
    assert new == (
        "# Page\n\n<!-- table: first.json third.json#tables/own second.json -->\n"
        "| setup   | clips   | f1    |\n|:--------|:--------|:------|\n"
        "| a       | 1,234   | 0.500 |\n| b       | –       | x\\|y  |\n"
        "| c       | 1       | 1.000 |\n<!-- end -->\n\n"
        "It takes <!-- number: speed.json#ours/0 .1f -->3.2<!-- end --> s, "
        "<!-- number: speed.json#tar -x/times .2f -->2.00<!-- end --> times 0.99.\n"
    )
    assert rewrite(new, files) == new
    assert sources(page) == ["first.json", "third.json", "second.json", "speed.json"]


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("<!-- table: first.json other.json -->\n<!-- end -->", "needs the same"),
        ("<!-- table: speed.json -->\n<!-- end -->", "speed.json is not a table"),
        ("<!-- number: speed.json#theirs .1f --><!-- end -->", "has no 'theirs'"),
        ("<!-- number: speed.json#ours/7 .1f --><!-- end -->", "there is no '7' in it"),
        ("<!-- number: speed.json#name .1f --><!-- end -->", "not a number of the form .1f"),
    ],
)
def test_rewrite_says_what_a_mark_lacks(mark, message, files):
    with pytest.raises(WrongUseError, match=message):
        rewrite(mark, files)
    with pytest.raises(MissingInputError, match="none.json"):
        rewrite("<!-- number: none.json#a .1f --><!-- end -->", files)


@pytest.mark.parametrize(
    "line",
    [
        *(
            "f1 of 0.77",
            "| x | 0.833 |",
            "12 times as fast",
            "takes 3 minutes",
            "98 % of",
            "1,234 ms",
        ),
        *("in 4 s", "3.9 µs a row", "files of 2.1 MB", "to 3e-6", "0.5 ± 0.1", "81 ± 2", "0.4 dB"),
        *("10 % (`run`)", "`dusha` took 5 s", "[it](a.md) takes 1.5 s", "0 to 3 s"),
        *("gains six to eight points of F1", "one in three is wrong", "four times as fast"),
    ],
)
def test_unmarked_numbers_finds_what_was_measured(line):
    assert unmarked_numbers(f"text\n{line}\n```\n0.99\n```\n") == [line]


@pytest.mark.parametrize(
    "line",
    [
        *("Python 3.11", "version 0.1.0", "58 GB", "Apache License 2.0", "four emotions", "0.9"),
        *("`name==0.43`", "[a](b.md#0.25)", "up to 30 seconds (`--whole`)", "80 % (`--mark`)"),
        *("0 dB", "| in less than 60 MB | `tests/a/test_b.py::test_c` |", "16 kHz", "300 frames"),
        *("three times as many", "two points", "up to two hours"),
    ],
)
def test_unmarked_numbers_leaves_versions_names_and_defaults(line):
    assert unmarked_numbers(line) == []


def test_main_writes_pages_or_only_checks_them(files, monkeypatch):
    monkeypatch.setattr(readme_numbers, "REPOSITORY", files)
    page = files / "README.md"
    page.write_text("<!-- number: speed.json#ours/0 .1f -->old<!-- end -->\n")
    with pytest.raises(WorkFailedError, match="README.md: numbers differ"):
        main(["--check"])
    assert "old" in page.read_text()
    main([])
    assert (files / readme_numbers.PUBLISHED_FILE).is_file()
    assert "-->3.2<!-- end -->" in page.read_text()
    main(["--check", str(page)])
