"""Tables as other programs save them are read alike, or one line says what is wrong."""

import logging

import pytest

from dusha_ser import tables
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.tables import is_table, parse_number, read_table

ROWS = [
    {"path": "голос/запись 1.wav", "label": "angry", "speaker": "Анна"},
    {"path": "голос/запись 2.wav", "label": "sad", "speaker": "Пётр"},
]


def as_text(separator=",", end="\n"):
    lines = [list(ROWS[0]), *(list(row.values()) for row in ROWS)]
    return "".join(separator.join(line) + end for line in lines)


def read(tmp_path, content, name="a.csv", needed=("path", "label"), **named):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, needed, filled=needed, **named)


@pytest.fixture
def said(caplog):
    tables._warn_of_encoding.cache_clear()
    caplog.set_level(logging.WARNING)
    return caplog


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_read_table_when_the_encoding_is_certain_gives_the_rows(tmp_path, said, encoding):
    assert read(tmp_path, as_text().encode(encoding)) == ROWS
    assert not said.messages


@pytest.mark.parametrize("encoding", ["cp1251", "cp866", "koi8_r"])
def test_read_table_when_the_encoding_is_probable_says_which(tmp_path, said, encoding):
    content = as_text().encode(encoding)
    assert read(tmp_path, content) == read(tmp_path, content) == ROWS
    assert said.messages == [
        f"{tmp_path / 'a.csv'} is not in UTF-8 and is read as {encoding}: голос, запись, Анна; if "
        "that is wrong, save it as CSV UTF-8"
    ]


@pytest.mark.parametrize("word", ["ёлка", "Злость", "ГРУСТЬ", "я", "Пётр Ольга", "нейтрально"])
def test_read_table_when_there_is_one_word_of_cp1251_reads_no_mojibake(tmp_path, word):
    content = f"path,label\nclips/a.wav,angry\nclips/b.wav,{word}\n".encode("cp1251")
    assert read(tmp_path, content)[1]["label"] == word


def test_read_table_when_a_western_spreadsheet_wrote_it(tmp_path):
    content = "path,label\nMüller café.wav,sad\nÜbung größe.wav,sad\n".encode("cp1252")
    assert [row["path"] for row in read(tmp_path, content)] == [
        "Müller café.wav",
        "Übung größe.wav",
    ]


def test_read_table_when_a_name_of_utf_8_is_not_keeps_its_bytes(tmp_path, said):
    (row, _) = read(tmp_path, as_text().encode().replace(b" 1.wav", b" \xff.wav"))
    assert row["path"].encode("utf-8", "surrogateescape") == "голос/запись ".encode() + b"\xff.wav"
    assert not said.messages


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.TSV", "a.txt", "a"])
def test_read_table_when_separators_and_line_ends_are_any(tmp_path, name, separator, end):
    assert read(tmp_path, as_text(separator, end), name) == ROWS


@pytest.mark.parametrize("first", ["sep=;\n", '"sep=;"\r\n', "\ufeffsep=;\n"])
def test_read_table_when_its_first_line_names_the_separator(tmp_path, first):
    rows = read(tmp_path, first + as_text(";").replace("Анна", "Анна, Яна"))
    assert rows == [ROWS[0] | {"speaker": "Анна, Яна"}, ROWS[1]]
    assert rows[0].place == f"{tmp_path / 'a.csv'}, line 3"


def test_read_table_when_cells_are_padded_strips_them_unless_exact(tmp_path):
    text = ' path , label, "text" \n a.wav , sad , "one, ""two"""\n'.replace('" \n', '"\n')
    expected = {"path": "a.wav", "label": "sad", "text": 'one, "two"'}
    assert read(tmp_path, text) == [expected]
    assert read(tmp_path, "path,label\n a ,b\n", exact=True) == [{"path": " a ", "label": "b"}]


def test_read_table_when_rows_and_columns_are_empty_leaves_them_out(tmp_path):
    rows = read(tmp_path, ",path,label,,\n\n0,a.wav,sad,,\n,,,,\n1,b.wav,angry,,,,,\n,,,,\n\n")
    assert rows == [{"path": "a.wav", "label": "sad"}, {"path": "b.wav", "label": "angry"}]
    assert [row.place.rpartition(" ")[2] for row in rows] == ["3", "5"]


def test_read_table_when_a_line_is_short_fills_it(tmp_path):
    rows = read(tmp_path, "path,label,text\na.wav,sad\n")
    assert rows == [{"path": "a.wav", "label": "sad", "text": ""}]


def test_read_table_when_cells_of_several_lines_count_as_one_row(tmp_path):
    rows = read(tmp_path, 'path,label\n"a\nb.wav",sad\nc.wav,\n', needed=("path",))
    assert [row["path"] for row in rows] == ["a\nb.wav", "c.wav"]
    assert [row.place.rpartition(" ")[2] for row in rows] == ["2", "4"]


def test_read_table_when_tabs_and_quotes_meet_joins_no_lines(tmp_path):
    text = 'path\tlabel\n"a" b\tsad\n"c\tsad\nd"\tsad\n"e ""f"""\tsad\n'
    paths = [row["path"] for row in read(tmp_path, text, "a.tsv")]
    assert paths == ['"a" b', '"c', 'd"', 'e "f"']
    quoted = 'path\tlabel\n"a\nb"\tsad\n'
    assert read(tmp_path, quoted, "a.tsv")[0]["path"] == "a\nb"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"has the columns \(none\) and not 'path'; add it"),
        (b"a,b\n1,2\n", "has the columns a, b and not 'path'; add it"),
        (b"path,label\n", "no rows below its header"),
        (b"path,label\n,,\n", "no rows below its header"),
        (b"path,label,label\na,b,c\n", "names the column 'label' twice; rename"),
        (b"path,label\n\na.wav,\n", "line 3 has no label; fill it in"),
        (b"path,label\na, b.wav,sad\n", "line 2 has 3 cells, and the header names 2 .* a comma"),
        (b"path,label\na\0.wav,sad\n", r"line 2: path is 'a\\x00.wav', with a zero byte"),
        (b'path,label\na.wav,sad\n"b.wav,sad\nc.wav,sad\n', "after line 2: unexpected end of data"),
        (b"PK\x03\x04 and so on", "is a workbook, .*save it as CSV UTF-8"),
        (bytes.fromhex("d0cf11e0a1b11ae1"), "is a workbook"),
        (b"RIFF\x24\x08\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0", "is not a table of text"),
        (b"\xff\xfe\x00", "is not a table of text"),
        (bytes(range(256)), "is not a table of text"),
    ],
)
def test_read_table_when_it_cannot_be_read_says_what_is_wrong(tmp_path, content, words):
    with pytest.raises(WrongUseError, match=words):
        read(tmp_path, content)


def test_read_table_when_there_is_none(tmp_path):
    with pytest.raises(MissingInputError, match="no file"):
        read_table(tmp_path / "b.csv", ["path"])


def test_is_table_when_suffixes_are_those_of_tables_and_workbooks(tmp_path):
    names = ("a.csv", "a.TSV", "a.txt", "a.xlsx", "a.wav", "a")
    assert [is_table(tmp_path / name) for name in names] == [True] * 4 + [False] * 2


@pytest.mark.parametrize(
    ("text", "number"), [("0.5", 0.5), ("0,5", 0.5), ("1e-3", 1e-3), ("0,125", 0.125), ("7", 7.0)]
)
def test_parse_number_when_decimals_follow_a_point_or_a_comma(text, number):
    assert parse_number(text) == number


@pytest.mark.parametrize("text", ["1,234", "12,345,678", "1,2,3", "1.5,2", "much", ""])
def test_parse_number_when_it_may_mean_another_refuses(text):
    with pytest.raises(ValueError, match="could not convert|may be a decimal"):
        parse_number(text)
