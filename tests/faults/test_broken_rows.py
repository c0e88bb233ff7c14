"""Broken files of answers, given to the program that prepares the corpus."""

import csv

import pyarrow.parquet
import pytest
from archive_files import write_files
from small_corpus import COUNTS, jsonl, make_clips, raw_rows

from dusha_ser.cli import corpus as corpus_command

CLIPS = make_clips(dict.fromkeys(COUNTS, 4))
ROWS = {
    part: [row for clip in CLIPS if clip["part"] == part for row in raw_rows(clip)]
    for part in COUNTS
}
PART = "crowd_train"
FILE, TSV = f"{PART}/raw_{PART}.jsonl", f"{PART}/raw_{PART}.tsv"
MISSING = float("nan")
OPTIONAL = ("audio_path", "golden_emo", "speaker_text", "speaker_emo", "source_id")
TEXT = "да".encode()


def tsv(rows):
    lines = [list(rows[0]), *([("" if v != v else v) for v in row.values()] for row in rows)]
    return "".join("\t".join(map(str, line)) + "\n" for line in lines).encode()


RAW = jsonl(ROWS[PART])


def with_row(number, **changes):
    """The file of answers with other values in one row."""
    rows = [dict(row) for row in ROWS[PART]]
    rows[number].update(changes)
    return jsonl(rows)


def with_line(number, change):
    """The file of answers with one line changed by a function of bytes."""
    lines = RAW.split(b"\n")
    lines[number] = change(lines[number])
    return b"\n".join(lines)


@pytest.fixture
def prepare(program, tmp_path):
    """Prepare the raw configuration; return how that ended and the rows by split."""

    def prepare(files, *options):
        loose = {f"{part}/raw_{part}.jsonl": jsonl(rows) for part, rows in ROWS.items()}
        changed = files.keys() & {FILE, TSV}
        loose = {name: own for name, own in loose.items() if name != FILE or not changed}
        number = len(list(tmp_path.iterdir()))
        data = write_files(tmp_path / f"{number} data", loose | files)
        output = tmp_path / f"{number} output"
        common = ("--output_dir", output, "--cache_dir", tmp_path / "cache", "--quiet")
        ended = program(corpus_command.main, "raw", "--data_dir", data, *common, *options)
        splits = {
            path.name.split("-")[0]: pyarrow.parquet.read_table(path).to_pylist()
            for path in sorted(output.glob("raw/*.parquet"))
        }
        bad = list(output.rglob("bad_rows.csv"))
        listed = list(csv.DictReader(bad[0].open(newline=""))) if bad else []
        return ended, splits, listed

    return prepare


@pytest.fixture
def plain(prepare):
    """The rows of the undisturbed files."""
    return prepare({})[1]


def test_rows_when_marked_ended_or_written_in_another_way_are_the_same(prepare, plain):
    mark = b"\xef\xbb\xbf"
    for files in (
        {FILE: mark + RAW},
        {FILE: RAW.replace(b"\n", b"\r\n")},
        {FILE: RAW.rstrip(b"\n")},
        {TSV: tsv(ROWS[PART])},
        {TSV: mark + tsv(ROWS[PART]).replace(b"\n", b"\r\n").rstrip()},
        {FILE: RAW, TSV: b"not read: the other form is there"},
        {FILE: RAW + b"\n\r\n \n"},
    ):
        ended, splits, listed = prepare(files)
        assert (ended.status, splits, listed) == (0, plain, [])


def test_rows_when_a_field_has_a_million_characters_keep_it(prepare, plain):
    long = "ж" * 1_000_000
    ended, splits, _ = prepare({FILE: with_row(3, speaker_text=long, hash_id=long)})
    assert ended.status == 0
    assert {row["text"] for row in splits["train"]} >= {long}
    changed = [row for row, old in zip(splits["train"], plain["train"], strict=True) if row != old]
    assert len(changed) == 1 and changed[0]["id"] == long


def test_rows_when_every_optional_column_is_nan_are_kept(prepare, plain):
    rows = [row | dict.fromkeys(OPTIONAL, MISSING) for row in ROWS[PART]]
    ended, splits, listed = prepare({FILE: jsonl(rows)})
    assert ended.status == 0 and listed == []
    ours = [row for row in splits["train"] if row["domain"] == "crowd"]
    assert len(ours) == len(rows)
    for column in ("golden_emotion", "text", "speaker_emotion", "source_id"):
        assert {row[column] for row in ours} == {None}


BAD = {
    "NaN in every column": with_row(3, **dict.fromkeys(ROWS[PART][0], MISSING)),
    "no UTF-8": with_line(3, lambda line: line.replace(TEXT, b"\xff\xfe")),
    "half a character": with_line(3, lambda line: line.replace(TEXT, rb"\ud800")),
    "a zero byte": with_line(3, lambda line: line.replace(TEXT, b"\0")),
    "a line of tsv": with_line(3, lambda line: tsv(ROWS[PART]).split(b"\n")[4]),
    "two objects": with_line(3, lambda line: line + line),
    "an array": with_line(3, lambda line: b"[" + line + b"]"),
    "cut short": with_line(3, lambda line: line[:40]),
    "nested too deeply": with_line(3, lambda line: b'{"hash_id": ' + b"[" * 100_000),
    "an infinite length": with_line(
        3, lambda line: line.replace(b'"duration": 0', b'"duration": 1e400')
    ),  # fmt: skip
    "a number of 400 digits": with_line(
        3, lambda line: line.replace(b'"duration": ', b'"duration": ' + b"9" * 400)
    ),  # fmt: skip
    "an unknown answer": with_row(3, annotator_emo="bored"),
    "zeros of a hole": with_line(3, lambda line: bytes(200)),
}


@pytest.mark.parametrize("kind", BAD)
def test_rows_when_one_is_bad_name_it_or_leave_it_out(kind, prepare, plain):
    ended, splits, _ = prepare({FILE: BAD[kind]})
    assert ended.status == 1 and splits == {}
    assert f"{FILE}, line 4: " in ended.complaint and len(ended.complaint) < 1000
    ended, splits, listed = prepare({FILE: BAD[kind]}, "--bad_rows", "skip")
    assert ended.status == 0 and [row["line"] for row in listed] == ["4"]
    assert splits == {"train": plain["train"][:3] + plain["train"][4:], "test": plain["test"]}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({FILE: b""}, "is empty"),
        ({FILE: b"\xef\xbb\xbf\n\n"}, "is empty"),
        ({FILE: RAW.decode().encode("utf-16")}, "no row that can be used"),
        ({FILE: RAW.replace(b"\n", b"\r")}, "no row that can be used"),
        ({FILE: tsv(ROWS[PART])}, "no row that can be used"),
        ({TSV: RAW}, "the header"),
        ({TSV: b""}, "is empty"),
    ],
    ids=["empty", "a mark alone", "UTF-16", "old Mac", "a tsv", "a jsonl", "an empty tsv"],
)
def test_rows_when_the_whole_file_is_no_good_leave_nothing_behind(files, words, prepare):
    for options in ((), ("--bad_rows", "skip")):
        ended, splits, _ = prepare(files, *options)
        assert ended.status == 1 and splits == {} and PART in ended.complaint
    assert words in ended.complaint


def test_rows_when_a_line_of_jsonl_ends_a_tsv_name_it(prepare, plain):
    mixed = {TSV: tsv(ROWS[PART]) + RAW.split(b"\n")[0] + b"\n"}
    ended, splits, _ = prepare(mixed)
    assert ended.status == 1 and splits == {}
    assert f"{TSV}, line {len(ROWS[PART]) + 2}: " in ended.complaint
    ended, splits, listed = prepare(mixed, "--bad_rows", "skip")
    assert ended.status == 0 and splits == plain and len(listed) == 1
