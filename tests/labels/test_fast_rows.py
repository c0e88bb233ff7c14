import json

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dusha_ser.labels.exact_rows import Column, json_row, parse_lines, tsv_row
from dusha_ser.labels.fast_rows import BLOCK_SIZE, NotPlainError, check_table, parse_json, parse_tsv

COLUMNS = (
    Column("hash_id", "id", required=True),
    Column("duration", "duration", required=True, number=True),
    Column("annotator_emo", "emotion", required=True, allowed=("angry", "sad", "other one")),
    Column("golden_emo", "golden", allowed=("angry", "sad", "other one")),
    Column("speaker_text", "text"),
    Column("score", "score", number=True),
)
FIELDS = [column.field for column in COLUMNS]
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


def parse_fast(content, parse):
    """The table, or None where the fast way refuses."""
    try:
        return check_table(parse(content, COLUMNS), COLUMNS)
    except (NotPlainError, pa.ArrowInvalid):
        return None


def check_equal(content, fast, slow):
    """Whatever the fast way takes is what the slow way makes of it, with no bad row."""
    table = parse_fast(content, fast)
    if table is not None:
        expected, bad = parse_lines("file", content, 1, COLUMNS, slow)
        assert bad == []
        assert table.schema == expected.schema
        assert table.to_pylist() == expected.to_pylist()
    return table


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
def test_parse_json_when_it_takes_a_block_agrees_with_the_exact_way(
    objects, ascii_only, separators, end, changes
):
    content = jsonl(objects, ensure_ascii=ascii_only, separators=separators).replace(b"\n", end)
    check_equal(damage(content, changes), parse_json, json_row)


def tsv(objects):
    return "".join(
        "\t".join("" if value != value else str(value) for value in row) + "\n" for row in objects
    ).encode("utf-8", "surrogatepass")


@settings(deadline=None, max_examples=400)
@given(clean_rows | clean_rows | rows, st.sampled_from([b"\n", b"\r\n", b"\n\n"]), harm)
@example([{"hash_id": "\ufeffa1", "duration": 0.0, "annotator_emo": "angry"}], b"\n", [])
def test_parse_tsv_when_it_takes_a_block_agrees_with_the_exact_way(objects, end, changes):
    header = [*FIELDS, "another"]
    content = tsv([row.get(field, "") for field in header] for row in objects)
    content = damage(content.replace(b"\n", end), changes)

    def fast(block, columns):
        return parse_tsv(block, columns, header)

    check_equal(content, fast, lambda line: tsv_row(line, header))


@settings(deadline=None, max_examples=150)
@given(clean_rows, st.booleans())
def test_parse_json_when_rows_are_valid_takes_them(objects, ascii_only):
    content = jsonl(objects, ensure_ascii=ascii_only)
    table = check_equal(content, parse_json, json_row)
    assert table is not None
    assert table["id"].to_pylist() == [row["hash_id"] for row in objects]
    assert table["golden"].null_count == sum(
        row["golden_emo"] not in ("angry", "sad") for row in objects
    )


@pytest.mark.parametrize("value", ["Infinity", "-1", "NaN", "null", '"x"', '"1.5"', "[1]"])
def test_parse_json_when_a_number_is_not_plain_refuses(value):
    line = json.dumps(PLAIN).replace("1.5", value).encode() + b"\n"
    assert parse_fast(line, parse_json) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b'{"hash_id": "a", "duration": 1,\n"annotator_emo": "sad"}\n',
        jsonl([PLAIN]) + b"\n" + jsonl([PLAIN]),
        jsonl([PLAIN, PLAIN]).replace(b"}\n{", b"}{"),
        jsonl([PLAIN, PLAIN]).replace(b"}\n{", b"},\n{"),
        # As many lines as objects, but not one in each.
        jsonl([PLAIN]).replace(b"}", b', "another":\n{}}').rstrip() + jsonl([PLAIN]),
        jsonl([PLAIN]).replace(b"{", b'{"another": {}\n,').rstrip() + jsonl([PLAIN]),
        b"[" + jsonl([PLAIN]).rstrip() + b"]\n",
        jsonl([PLAIN]).replace(b"a1", b"\xff"),
        jsonl([PLAIN]).replace(b"a1", b"\\ud83d"),
        jsonl([PLAIN]).replace(b"a1", b"\\udc00"),
        jsonl([PLAIN]).replace(b"a1", b"a\x001"),
        jsonl([PLAIN]).replace(b"NaN", b"NaNa"),
        jsonl([PLAIN]).replace(b'"golden_emo"', b"golden_emo"),
    ],
)
def test_parse_json_when_lines_are_no_objects_refuses(content):
    assert parse_fast(content, parse_json) is None


def test_parse_json_when_a_field_is_named_twice_agrees_with_the_exact_way():
    twice = jsonl([PLAIN]).replace(b'"a1"', b'"b", "hash_id": "a1"')
    check_equal(twice, parse_json, json_row)


def test_parse_json_when_nan_is_in_text_leaves_it_there():
    tricky = ['": NaN, ', 'golden_emo": NaN}', '"golden_emo": NaN', 'x\\": NaN', ": NaN", "NaN NaN"]
    content = jsonl([{**PLAIN, "speaker_text": text} for text in tricky])
    table = check_equal(content, parse_json, json_row)
    assert table["text"].to_pylist() == tricky
    assert table["golden"].null_count == len(tricky)


def test_parse_json_when_a_field_is_very_long_gives_the_same_or_refuses():
    for length in (BLOCK_SIZE // 3, 2 * BLOCK_SIZE):
        check_equal(jsonl([PLAIN, {**PLAIN, "speaker_text": "я" * length}]), parse_json, json_row)


def test_parse_tsv_when_columns_are_absent_fills_them_with_null():
    header = ["another", "annotator_emo", "duration", "hash_id"]
    table = check_table(parse_tsv(b"x\tsad\t1.5\ta1\n", COLUMNS, header), COLUMNS)
    assert table.to_pylist() == [
        {"id": "a1", "duration": 1.5, "emotion": "sad", "golden": None, "text": None, "score": None}
    ]


@pytest.mark.parametrize("line", ["a1\t1.5", "a1\t1.5\tsad\tx\n\n", "a1\t1.5\tsad\ty\rz", ""])
def test_parse_tsv_when_lines_do_not_fit_refuses(line):
    header = FIELDS[:4]
    content = b"a1\t1.5\tsad\tangry\n" + line.encode() + b"\na1\t1.5\tsad\tangry\n"
    assert parse_fast(content, lambda block, columns: parse_tsv(block, columns, header)) is None
