import gzip
import io
import json

import pytest
from tqdm import tqdm

from dusha_ser.archives.members import Member
from dusha_ser.errors import WorkFailedError
from dusha_ser.labels import rows as rows_module
from dusha_ser.labels.exact_rows import BadRow, Column
from dusha_ser.labels.rows import read_rows

COLUMNS = (
    Column("hash_id", "id", required=True),
    Column("duration", "duration", required=True, number=True),
    Column("speaker_text", "text"),
)
ROWS = [
    {"hash_id": f"clip{i}", "duration": i / 8, "speaker_text": "да" if i % 3 else float("nan")}
    for i in range(1000)
]
EXPECTED = [
    {"id": f"clip{i}", "duration": i / 8, "text": "да" if i % 3 else None} for i in range(1000)
]


def as_jsonl(rows=ROWS):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_tsv(rows=ROWS):
    lines = [list(rows[0]), *([("" if v != v else v) for v in row.values()] for row in rows)]
    return "".join("\t".join(map(str, line)) + "\n" for line in lines).encode()


@pytest.fixture
def member(tmp_path):
    """Make a member of a file's name and content, which lies within a larger file."""

    def make(name, content):
        path = tmp_path / "archive"
        path.write_bytes(b"before" + content + b"after")
        return Member(name, str(path), 6, len(content))

    return make


@pytest.fixture
def only_fast(monkeypatch):
    """Make the exact way fail, so that a test shows that it was not needed."""

    def refuse(*args):
        raise AssertionError("the exact way was taken")

    monkeypatch.setattr(rows_module, "parse_lines", refuse)


@pytest.mark.parametrize("change", ["", "windows", "mark", "open", "all"])
@pytest.mark.parametrize("suffix", [".jsonl", ".tsv", ".jsonl.gz", ".tsv.gz"])
def test_read_rows_when_any_published_form_gives_the_same_quickly(
    member, only_fast, suffix, change
):
    content = as_jsonl() if ".jsonl" in suffix else as_tsv()
    if change in ("windows", "all"):
        content = content.replace(b"\n", b"\r\n")
    if change in ("mark", "all"):
        content = b"\xef\xbb\xbf" + content
    if change in ("open", "all"):
        content = content.rstrip(b"\r\n")
    if suffix.endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    table, bad = read_rows(member("part/raw" + suffix, content), COLUMNS)
    assert table.to_pylist() == EXPECTED and bad == []
    assert all(column.num_chunks == 1 for column in table.columns)


@pytest.mark.parametrize("size", [1, 500, 5000])
@pytest.mark.parametrize("suffix", [".jsonl", ".tsv.gz"])
def test_read_rows_when_cut_into_blocks_gives_the_same(member, monkeypatch, suffix, size):
    monkeypatch.setattr(rows_module, "BLOCK_SIZE", size)
    content = as_jsonl() if suffix == ".jsonl" else gzip.compress(as_tsv(), mtime=0)
    with tqdm(disable=None) as bar:
        table, _ = read_rows(member("raw" + suffix, content), COLUMNS, bar=bar)
    assert table.to_pylist() == EXPECTED
    assert len(table["text"].chunk(0).dictionary) == 1
    assert table["id"].chunk(0).dictionary.to_pylist() == [row["id"] for row in EXPECTED]


@pytest.mark.parametrize("size", [1, 700, 2**23])
@pytest.mark.parametrize("suffix", [".jsonl", ".tsv"])
def test_read_rows_when_rows_are_bad_stops_or_lists_them(member, monkeypatch, suffix, size):
    monkeypatch.setattr(rows_module, "BLOCK_SIZE", size)
    rows = [dict(row) for row in ROWS]
    rows[10]["duration"] = -1.0
    rows[500]["hash_id"] = ""
    content = as_jsonl(rows) if suffix == ".jsonl" else as_tsv(rows)
    first = 1 if suffix == ".jsonl" else 2
    file = member("part/raw" + suffix, content)
    with pytest.raises(WorkFailedError) as caught:
        read_rows(file, COLUMNS)
    shown = "-1.0"
    assert str(caught.value) == (
        f"part/raw{suffix}, line {10 + first}: duration is '{shown}': must be finite and at least "
        "0; correct the row, or leave such rows out with --bad_rows skip"
    )
    table, bad = read_rows(file, COLUMNS, "skip")
    assert bad == [
        BadRow(f"part/raw{suffix}", 10 + first, "duration", shown, "must be finite and at least 0"),
        BadRow(f"part/raw{suffix}", 500 + first, "hash_id", "", "each row needs it"),
    ]
    left = [row for i, row in enumerate(EXPECTED) if i not in (10, 500)]
    assert table.to_pylist() == left


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("raw.jsonl", b"", "raw.jsonl is empty"),
        ("raw.jsonl", b"\n \r\n", "raw.jsonl is empty"),
        ("raw.tsv", b"", "raw.tsv is empty"),
        ("raw.tsv", b"hash_id\tduration\n", "raw.tsv is empty"),
        ("raw.jsonl.gz", gzip.compress(b"", mtime=0), "raw.jsonl.gz is empty"),
        ("raw.jsonl.gz", gzip.compress(as_jsonl(), mtime=0)[:-200], "damaged or cut short"),
        ("raw.tsv.gz", b"no gzip", "damaged or cut short"),
        ("raw.tsv", b"hash_id\tlength\na\t1\n", "lacks duration"),
        ("raw.tsv", b"hash_id\tduration\tduration\na\t1\t1\n", "names a column twice"),
        ("raw.tsv", as_jsonl(), "lacks hash_id, duration"),
        ("raw.jsonl", as_tsv(), "line 1: .*broken JSON"),
        ("raw.jsonl", as_jsonl().decode().encode("utf-16"), "line 1: .*not UTF-8"),
        ("raw.jsonl", as_jsonl()[:-9], "line 1000: .*broken JSON"),
    ],
)
def test_read_rows_when_the_file_is_no_good_says_so(member, name, content, problem):
    with pytest.raises(WorkFailedError, match=problem):
        read_rows(member(name, content), COLUMNS)


@pytest.mark.parametrize(
    "content",
    [
        as_jsonl().replace(b"\n", b"\r"),
        as_jsonl().decode().encode("utf-16"),
        as_tsv(),
        json.dumps(ROWS, indent=1).encode(),
    ],
    ids=["old Mac's line ends", "UTF-16", "tsv", "one array"],
)
def test_read_rows_when_no_row_is_good_stops_also_where_bad_ones_are_skipped(member, content):
    with pytest.raises(WorkFailedError, match="raw.jsonl holds no row that can be used .*line 1: "):
        read_rows(member("raw.jsonl", content), COLUMNS, "skip")


def test_read_rows_when_a_line_never_ends_stops(member, monkeypatch):
    monkeypatch.setattr(rows_module, "BLOCK_SIZE", 100)
    monkeypatch.setattr(rows_module, "LONGEST_LINE", 1000)
    with pytest.raises(WorkFailedError, match="a line of more than 1000 bytes"):
        read_rows(member("raw.jsonl", b"x" * 3000), COLUMNS, "skip")


def test_read_rows_when_a_bar_is_given_moves_it_to_the_end(member, monkeypatch):
    monkeypatch.setattr(rows_module, "BLOCK_SIZE", 900)
    for name, content in {
        "a.jsonl": as_jsonl(),
        "a.tsv.gz": gzip.compress(as_tsv(), mtime=0),
    }.items():
        with tqdm(total=len(content), disable=False, file=io.StringIO()) as bar:
            read_rows(member(name, content), COLUMNS, bar=bar)
            assert bar.n == len(content)
