import math

import pyarrow as pa
import pytest

from dusha_ser.labels.exact_rows import (
    BadRow,
    BadValueError,
    Column,
    check_value,
    json_row,
    parse_lines,
    schema_of,
    tsv_row,
)

TEXT = Column("speaker_text", "text")
ID = Column("hash_id", "id", required=True)
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
        (EMOTION, "sad", "sad"),
        (EMOTION, 2, "2"),
        (DURATION, 0, 0.0),
        (DURATION, 2.5, 2.5),
        (DURATION, "2.5", 2.5),
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
        (TEXT, ["a"], "must be text"),
        (TEXT, "a\ud83d", "half a character"),
        (EMOTION, "Sad", "must be one of sad, 2"),
        (EMOTION, 3, "must be one of sad, 2"),
        (DURATION, -0.1, "at least 0"),
        (DURATION, math.inf, "finite"),
        (DURATION, "-inf", "finite"),
        (DURATION, 10**400, "finite"),
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


def test_json_row_when_empty_or_an_object_gives_it():
    assert json_row(b" \t\r") is None
    assert json_row('{"a": "я", "b": NaN}'.encode())["a"] == "я"


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
def test_json_row_when_bad_says_why(line, problem):
    with pytest.raises(BadValueError, match=problem):
        json_row(line)


def test_tsv_row_when_columns_differ_says_how_many():
    assert tsv_row(b"", ["a"]) is None
    assert tsv_row(b'1\t"', ["a", "b"]) == {"a": "1", "b": '"'}
    with pytest.raises(BadValueError, match="3 columns, the header has 2"):
        tsv_row(b"1\t2\t3", ["a", "b"])


def test_parse_lines_when_some_are_bad_gives_the_others():
    content = (
        b'{"hash_id": "a"}\r\n\n{"hash_id": ""}\n{"hash_id": "' + b"x" * 100 + b'"\n{"hash_id": 7}'
    )
    table, bad = parse_lines("part/raw.jsonl", content, 10, (ID,), json_row)
    assert table.equals(pa.table([pa.array(["a", "7"]).dictionary_encode()], schema_of([ID])))
    assert bad[0] == BadRow("part/raw.jsonl", 12, "hash_id", "", "each row needs it")
    assert str(bad[0]) == "part/raw.jsonl, line 12: hash_id is '': each row needs it"
    assert (bad[1].line, bad[1].field, len(bad[1].value)) == (13, "", 80)
    assert str(bad[1]).startswith('part/raw.jsonl, line 13: \'{"hash_id": "xxx')


def test_parse_lines_when_nothing_is_there_gives_an_empty_table():
    table, bad = parse_lines("file", b"\n", 1, (ID, DURATION), json_row)
    assert table.equals(schema_of((ID, DURATION)).empty_table()) and bad == []
