"""Files of rows: any published form gives the same table, and a bad row is named."""

import gzip
import io
import json
import math
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tqdm import tqdm

from dusha_ser.archives.members import Member
from dusha_ser.errors import WorkFailedError
from dusha_ser.labels import rows as rows_module
from dusha_ser.labels.rows import (
    BLOCK_SIZE,
    BadRow,
    BadValueError,
    Column,
    check_column,
    check_value,
    parse_block,
    parse_line,
    parse_objects,
    read_rows,
)

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
def only_at_once(monkeypatch):
    """Make the slower way of jsonl fail, so that a test shows that it was not needed."""

    def refuse(line, header):
        assert header is not None, "the lines were parsed one by one"
        return parse_line(line, header)

    monkeypatch.setattr(rows_module, "parse_line", refuse)


@pytest.mark.parametrize("change", ["", "windows", "mark", "open", "all"])
@pytest.mark.parametrize("suffix", [".jsonl", ".tsv", ".jsonl.gz", ".tsv.gz"])
def test_read_rows_when_any_published_form_gives_the_same_quickly(
    member, only_at_once, suffix, change
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


def elsewhere(function, items):
    """Do what `map` does with copies, as another process would."""
    for item in items:
        there, sent = pickle.loads(pickle.dumps((function, item)))
        yield pickle.loads(pickle.dumps(there(sent)))


@pytest.mark.parametrize("suffix", [".jsonl", ".tsv"])
def test_read_rows_when_blocks_are_parsed_elsewhere_gives_the_same(member, monkeypatch, suffix):
    monkeypatch.setattr(rows_module, "BLOCK_SIZE", 500)
    bad = ROWS[:700] + [ROWS[0] | {"duration": -1}] + ROWS[700:]
    content = as_jsonl(bad) if suffix == ".jsonl" else as_tsv(bad)
    file = member("raw" + suffix, content)
    table, found = read_rows(file, COLUMNS, "skip", mapper=elsewhere)
    assert table.to_pylist() == EXPECTED
    assert [(one.line, one.field) for one in found] == [(701 + (suffix == ".tsv"), "duration")]
    assert found == read_rows(file, COLUMNS, "skip")[1]
    with pytest.raises(WorkFailedError, match=f"line {found[0].line}: duration"):
        read_rows(file, COLUMNS, mapper=elsewhere)


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
        "0; correct the row, or leave such rows out with `bad_rows=skip`"
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
        ("raw.tsv", b"hash_id\tlength\na\t1\n", "does not name duration"),
        ("raw.tsv", b"hash_id\tduration\tduration\na\t1\t1\n", "names a column twice"),
        ("raw.tsv", as_jsonl(), "does not name hash_id, duration"),
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


# One value, one line.

TEXT = Column("speaker_text", "text")
ID = Column("hash_id", "id", required=True)
ANNOTATOR = Column("annotator_id", "annotator_id", identifier=True)
EMOTION = Column("golden_emo", "golden_emotion", allowed=("sad", "2"))
DURATION = Column("duration", "duration", required=True, number=True)


@pytest.mark.parametrize("missing", [None, math.nan, "", "nan", "NaN"])
def test_check_value_when_missing_gives_none_or_refuses(missing):
    assert check_value(TEXT, missing) is None
    assert check_value(EMOTION, missing) is None
    for column in (ID, DURATION):
        with pytest.raises(BadValueError, match="each row needs it"):
            check_value(column, missing)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        (TEXT, 'да, нет\t"', 'да, нет\t"'),
        (TEXT, 12, "12"),
        (TEXT, 12.0, "12"),
        (TEXT, "12.0", "12.0"),
        (ANNOTATOR, "12.0", "12"),
        (ANNOTATOR, 12.0, "12"),
        (ANNOTATOR, "a.0", "a.0"),
        (EMOTION, "sad", "sad"),
        (EMOTION, 2, "2"),
        (DURATION, 0, 0.0),
        (DURATION, 2.5, 2.5),
        (DURATION, "2.5", 2.5),
        (DURATION, "2,5", 2.5),
        (DURATION, "1e1", 10.0),
    ],
)
def test_check_value_when_good_gives_it(column, value, expected):
    found = check_value(column, value)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        (TEXT, True, "must be text"),
        (TEXT, 1.5, "must be text"),
        (ANNOTATOR, 2.0**60, "must be text"),
        (TEXT, ["a"], "must be text"),
        (TEXT, "a\ud83d", "half a character"),
        (EMOTION, "Sad", "must be one of sad, 2"),
        (EMOTION, 3, "must be one of sad, 2"),
        (DURATION, -0.1, "at least 0"),
        (DURATION, math.inf, "finite"),
        (DURATION, "-inf", "finite"),
        (DURATION, 10**400, "finite"),
        (DURATION, "1,000", "must be a number"),
        (DURATION, "1_000", "must be a number"),
        (DURATION, "١", "must be a number"),
        (DURATION, "long", "must be a number"),
        (DURATION, True, "must be a number"),
        (DURATION, [1], "must be a number"),
    ],
)
def test_check_value_when_bad_refuses(column, value, problem):
    with pytest.raises(BadValueError, match=problem) as caught:
        check_value(column, value)
    assert caught.value.field == column.field


def test_parse_line_when_empty_or_an_object_gives_it():
    assert parse_line(b" \t\r", None) is None
    assert parse_line('{"a": "я", "b": NaN}'.encode(), None)["a"] == "я"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a": 1', "broken JSON: Expecting ',' delimiter at column 8"),
        (b'{"a": 1} {', "broken JSON: Extra data"),
        (b'{"a": ' + b"9" * 5000 + b"}", "broken JSON"),
        (b'{"a": ' + b"[" * 100_000, "broken JSON"),
        (b"[1]", "a row is a JSON object"),
        (b"\xff\xfe{", "byte 1 is not UTF-8"),
    ],
)
def test_parse_line_when_bad_says_why(line, problem):
    with pytest.raises(BadValueError, match=problem):
        parse_line(line, None)


def test_parse_line_when_columns_differ_says_how_many():
    assert parse_line(b"", ["a"]) is None
    assert parse_line(b'1\t"', ["a", "b"]) == {"a": "1", "b": '"'}
    with pytest.raises(BadValueError, match="3 columns, the header has 2$"):
        parse_line(b"1\t2\t3", ["a", "b"])


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        (b'"he said: ""yes"""\t2', ['he said: "yes"', "2"]),
        (b'"a\tb"\t2', ["a\tb", "2"]),
        (b'"yes" and "no"\t2', ['"yes" and "no"', "2"]),
        (b'"a\tb"', ['"a', 'b"']),
    ],
)
def test_parse_line_when_cells_are_in_quotes_takes_what_they_mean(line, cells):
    assert parse_line(line, ["a", "b"]) == dict(zip("ab", cells, strict=True))


def test_parse_line_when_a_cell_in_quotes_goes_on_says_so():
    for line in (b'"he said', b'yes"\t2\t3'):
        with pytest.raises(BadValueError, match="must end in its line, take line ends out"):
            parse_line(line, ["a", "b"])


def test_read_rows_when_pandas_wrote_them_gives_the_same(member):
    frame = pd.DataFrame(ROWS)
    frame["speaker_text"] = ['он: "да"' if number % 2 else math.nan for number in range(1000)]
    columns = (*COLUMNS, ANNOTATOR)
    tables = []
    for numbers in (range(1000), np.arange(1000.0), list(map(str, range(1000)))):
        frame["annotator_id"] = numbers
        for index in (False, True):
            text = frame.to_csv(sep="\t", index=index)
            tables.append(read_rows(member("raw.tsv", text.encode()), columns)[0])
        text = frame.to_json(orient="records", lines=True, force_ascii=False)
        tables.append(read_rows(member("raw.jsonl", text.encode()), columns)[0])
    assert tables[0]["text"][1].as_py() == 'он: "да"'
    assert tables[0]["annotator_id"][999].as_py() == "999"
    assert all(table.to_pylist() == tables[0].to_pylist() for table in tables)


def test_parse_block_when_some_are_bad_gives_the_others():
    content = (
        b'{"hash_id": "a"}\r\n\n{"hash_id": ""}\n{"hash_id": "' + b"x" * 100 + b'"\n{"hash_id": 7}'
    )
    table, bad = parse_block("part/raw.jsonl", content, 10, (ID,), None)
    assert table.schema == pa.schema([("id", pa.dictionary(pa.int32(), pa.string()))])
    assert table.to_pylist() == [{"id": "a"}, {"id": "7"}]
    assert bad[0] == BadRow("part/raw.jsonl", 12, "hash_id", "", "each row needs it")
    assert str(bad[0]) == "part/raw.jsonl, line 12: hash_id is '': each row needs it"
    assert (bad[1].line, bad[1].field, len(bad[1].value)) == (13, "", 80)
    assert str(bad[1]).startswith('part/raw.jsonl, line 13: \'{"hash_id": "xxx')


def test_parse_block_when_a_row_has_two_faults_names_the_first_column():
    _, bad = parse_block("raw.jsonl", b'{"duration": -1}\n{"duration": -1, "hash_id": "a"}', 1,
                         (ID, DURATION), None)  # fmt: skip
    assert [(row.line, row.field) for row in bad] == [(1, "hash_id"), (2, "duration")]


def test_parse_block_when_nothing_is_there_gives_an_empty_table():
    table, bad = parse_block("file", b"\n", 1, (ID, DURATION), None)
    text = pa.dictionary(pa.int32(), pa.string())
    assert table.equals(pa.schema([("id", text), ("duration", pa.float64())]).empty_table())
    assert bad == []


# Blocks, by what their lines and values are one by one.

ANSWERS = (
    Column("hash_id", "id", required=True),
    Column("duration", "duration", required=True, number=True),
    Column("annotator_emo", "emotion", required=True, allowed=("angry", "sad", "other one")),
    Column("golden_emo", "golden", allowed=("angry", "sad", "other one")),
    Column("speaker_text", "text"),
    Column("score", "score", number=True),
)
FIELDS = [column.field for column in ANSWERS]
PLAIN = {"hash_id": "a1", "duration": 1.5, "annotator_emo": "sad", "golden_emo": float("nan")}
# What might be mistaken for structure.
PIECES = (
    *(
        '"golden_emo": NaN',
        '": NaN',
        "NaN",
        "nan",
        "null",
        "Infinity",
        "\\",
        '"',
        "'",
        "\\n",
        "\\u0000",
    ),
    *(
        "}\n{",
        "\n",
        "\r",
        "\r\n",
        "}{",
        "{",
        "}",
        ",",
        ":",
        "\t",
        "\u2028",
        "\ud800",
        "\\ud83d",
        "-",
        "1_0",
    ),
    *(" ", "0", "word", "слово", "\U0001f600", "\x00", "\x1c", "\ufeff", "[", "]", "N", "a"),
)
texts = st.one_of(
    st.lists(st.sampled_from([p for p in PIECES if p != "\ud800"]), max_size=5).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
missing = st.sampled_from([None, float("nan"), "", "nan", "NaN"])
numbers = st.one_of(
    st.floats(0, 1e300, width=64),
    st.floats(),
    st.integers(-3, 2**70),
    st.sampled_from(["1.5", " 2", "1e3", "+1", "1_0", ".5", "5.", "0x1p3", "١", "inf", "1e999"]),
)
values = {
    "hash_id": st.one_of(texts, st.just("a1")),
    "duration": st.one_of(st.floats(0, 100), st.floats(0, 100), numbers),
    "annotator_emo": st.sampled_from(["angry", "sad", "other one"]),
    "golden_emo": st.one_of(missing, st.sampled_from(["angry", "sad", "unknown"])),
    "speaker_text": st.one_of(texts, texts, missing, st.integers(), st.booleans()),
    "score": st.one_of(missing, missing, numbers),
    "another": st.one_of(missing, st.integers(), st.lists(texts, max_size=2), texts),
}
rows = st.lists(
    st.fixed_dictionaries(
        {key: values[key] for key in FIELDS[:3]},
        optional={key: values[key] for key in (*FIELDS[3:], "another")},
    ),
    min_size=1,
    max_size=4,
)
clean_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: text not in ("nan", "NaN")
)
clean_rows = st.lists(
    st.fixed_dictionaries(
        {
            "hash_id": clean_texts,
            "duration": st.floats(0, 1e6) | st.integers(0, 100),
            "annotator_emo": st.sampled_from(["angry", "sad"]),
            "golden_emo": st.sampled_from(["angry", "sad", None, float("nan")]),
            "speaker_text": clean_texts | st.none() | st.just(float("nan")),
        },
        optional={"another": st.integers() | clean_texts | st.just(float("nan"))},
    ),
    min_size=1,
)


harm = st.lists(
    st.tuples(st.integers(0, 2000), st.integers(0, 3), st.sampled_from(PIECES)), max_size=2
)


def damage(content, changes):
    """Cut some bytes at a place and put a piece there, for each of the changes."""
    for place, cut, piece in changes:
        place %= len(content) + 1
        piece = piece.encode("utf-8", "surrogatepass")
        content = content[:place] + piece + content[place + cut :]
    return content


def parse_exactly(content, header):
    """Rows and bad rows by the definition: line by line, value by value."""
    found, bad = [], []
    for number, line in enumerate(content.split(b"\n"), 1):
        try:
            fields = parse_line(line, header)
            if fields is not None:
                found.append({c.name: check_value(c, fields.get(c.field)) for c in ANSWERS})
        except BadValueError as error:
            bad.append(error.in_row("file", number))
    return found, bad


def check_equal(content, header=None):
    """What is parsed and checked at once is what it is by the definition."""
    table, bad = parse_block("file", content, 1, ANSWERS, header)
    assert (table.to_pylist(), bad) == parse_exactly(content, header)
    assert table.schema == parse_block("file", b"", 1, ANSWERS, None)[0].schema
    return table, bad


def jsonl(objects, **options):
    return "".join(json.dumps(row, **options) + "\n" for row in objects).encode()


@settings(deadline=None, max_examples=400)
@given(
    clean_rows | clean_rows | rows,
    st.booleans(),
    st.sampled_from([None, (",", ":"), (" , ", " : ")]),
    st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \n"]),
    harm,
)
def test_parse_block_when_jsonl_is_damaged_gives_what_its_lines_hold(
    objects, ascii_only, separators, end, changes
):
    content = jsonl(objects, ensure_ascii=ascii_only, separators=separators).replace(b"\n", end)
    check_equal(damage(content, changes))


def tsv(objects):
    return "".join(
        "\t".join("" if value != value else str(value) for value in row) + "\n" for row in objects
    ).encode("utf-8", "surrogatepass")


@settings(deadline=None, max_examples=400)
@given(clean_rows | clean_rows | rows, st.sampled_from([b"\n", b"\r\n", b"\n\n"]), harm)
@example([{"hash_id": "\ufeffa1", "duration": 0.0, "annotator_emo": "angry"}], b"\n", [])
def test_parse_block_when_tsv_is_damaged_gives_what_its_lines_hold(objects, end, changes):
    header = [*FIELDS, "another"]
    content = tsv([row.get(field, "") for field in header] for row in objects)
    check_equal(damage(content.replace(b"\n", end), changes), header)


@settings(deadline=None, max_examples=150)
@given(clean_rows, st.booleans())
def test_parse_block_when_rows_are_valid_takes_them_at_once(objects, ascii_only):
    content = jsonl(objects, ensure_ascii=ascii_only)
    table, bad = check_equal(content)
    assert bad == [] and table["id"].to_pylist() == [row["hash_id"] for row in objects]
    assert table["golden"].null_count == sum(
        row["golden_emo"] not in ("angry", "sad") for row in objects
    )
    nested = any("}" in str(value) for row in objects for value in row.values())
    assert nested or len(parse_objects(content)) == len(objects)


@settings(deadline=None, max_examples=400)
@given(st.lists(st.one_of(*values.values()), max_size=4), st.sampled_from(ANSWERS))
@example([True, 1], Column("speaker_text", "text"))
@example([1, True], Column("speaker_text", "text"))
@example([-0.0, True], Column("speaker_text", "text"))
@example([1, 1.0], Column("speaker_text", "text"))
@example([12, float("nan")], Column("speaker_text", "text"))
@example([2**63, None], Column("speaker_text", "text"))
@example([2**60 + 1, 0.5], Column("score", "score", number=True))
@example(["\ud83d", "a"], Column("speaker_text", "text"))
def test_check_column_when_values_are_any_is_as_one_by_one(found, column):
    array, faults = check_column(column, found)
    for place, value in enumerate(found):
        try:
            expected = check_value(column, value)
        except BadValueError as error:
            assert str(faults[place]) == str(error) and faults[place].field == column.field
        else:
            assert array[place].as_py() == expected and place not in faults


@pytest.mark.parametrize("value", ["Infinity", "-1", "NaN", "null", '"x"', '"1.5"', "[1]"])
def test_parse_block_when_a_number_is_not_plain_checks_it(value):
    _, bad = check_equal(json.dumps(PLAIN).replace("1.5", value).encode() + b"\n")
    assert [row.field for row in bad] == ([] if value == '"1.5"' else ["duration"])


@pytest.mark.parametrize(
    "content",
    [
        b"\n\n" + jsonl([PLAIN]),
        b'{"hash_id": "a", "duration": 1,\n"annotator_emo": "sad"}\n',
        jsonl([PLAIN]) + b"\n" + jsonl([PLAIN]),
        jsonl([PLAIN, PLAIN]).replace(b"}\n{", b"}{"),
        jsonl([PLAIN, PLAIN]).replace(b"}\n{", b"},\n{"),
        # As many lines as objects, but not one in each.
        jsonl([PLAIN]).replace(b"}", b', "another":\n{}}').rstrip() + jsonl([PLAIN]),
        jsonl([PLAIN]).replace(b"{", b'{"another": {}\n,').rstrip() + jsonl([PLAIN]),
        b'{"x": [{}\n{}]}\n' + jsonl([PLAIN, PLAIN]).replace(b"}\n{", b"}, {"),
        b'{"x": "{}\n{}"}\n' + jsonl([PLAIN, PLAIN]).replace(b"}\n{", b"},{"),
        b"[" + jsonl([PLAIN]).rstrip() + b"]\n",
        jsonl([PLAIN]).replace(b"a1", b"\xff"),
        jsonl([PLAIN]).replace(b"a1", b"a\x001"),
        jsonl([PLAIN]).replace(b"NaN", b"NaNa"),
        jsonl([PLAIN]).replace(b'"golden_emo"', b"golden_emo"),
    ],
)
def test_parse_objects_when_lines_are_not_objects_refuses(content):
    assert parse_objects(content) is None
    check_equal(content)


def test_parse_objects_when_lines_are_empty_gives_none_of_them():
    assert parse_objects(b"") == parse_objects(b"\n \r\n") == []


@pytest.mark.parametrize("half", [b"\\ud83d", b"\\udc00"])
def test_parse_block_when_half_a_character_is_escaped_names_the_row(half):
    _, bad = check_equal(jsonl([PLAIN]).replace(b"a1", half) + jsonl([PLAIN]))
    assert [(row.line, row.problem) for row in bad] == [(1, "holds half a character")]


def test_parse_block_when_a_field_is_named_twice_takes_the_last():
    table, _ = check_equal(jsonl([PLAIN]).replace(b'"a1"', b'"b", "hash_id": "a1"'))
    assert table["id"].to_pylist() == ["a1"]


def test_parse_block_when_nan_is_in_text_leaves_it_there():
    tricky = ['": NaN, ', 'golden_emo": NaN}', '"golden_emo": NaN', 'x\\": NaN', ": NaN", "NaN NaN"]
    table, _ = check_equal(jsonl([{**PLAIN, "speaker_text": text} for text in tricky]))
    assert table["text"].to_pylist() == tricky
    assert table["golden"].null_count == len(tricky)


def test_parse_block_when_a_field_is_very_long_gives_it():
    for length in (BLOCK_SIZE // 3, 2 * BLOCK_SIZE):
        table, _ = check_equal(jsonl([PLAIN, {**PLAIN, "speaker_text": "я" * length}]))
        assert len(table["text"][1].as_py()) == length


def test_parse_block_when_columns_of_tsv_are_absent_fills_them_with_null():
    table, _ = check_equal(
        b"x\tsad\t1.5\ta1\n", ["another", "annotator_emo", "duration", "hash_id"]
    )
    assert table.to_pylist() == [
        {"id": "a1", "duration": 1.5, "emotion": "sad", "golden": None, "text": None, "score": None}
    ]


@pytest.mark.parametrize("line", ["a1\t1.5", "a1\t1.5\tsad\tx\n\n", "a1\t1.5\tsad\ty\rz", ""])
def test_parse_block_when_lines_of_tsv_do_not_fit_names_them(line):
    content = b"a1\t1.5\tsad\tangry\n" + line.encode() + b"\na1\t1.5\tsad\tangry\n"
    table, bad = check_equal(content, FIELDS[:4])
    assert len(table) == 2 and [row.line for row in bad] == ([2] if line else [])
