"""Archives, indexes and files of rows, damaged at random: refused, or read as what they are.

Each run tries the same cases but for how far it gets. A failure names its case, which comes back
with

    DUSHA_FUZZ_SEED=SEED DUSHA_FUZZ_CASE=NUMBER python -m pytest -n 0 tests/faults/test_fuzzing.py

Another DUSHA_FUZZ_SEED tries other cases, and DUSHA_FUZZ_SECONDS=3600 tries for an hour.
"""

import gzip
import io
import json
import os
import random
import tarfile
import time

import pytest

from dusha_ser.archives.members import Member
from dusha_ser.archives.tar_index import BLOCK, gunzip, index_archive, scan_tar
from dusha_ser.errors import WorkFailedError
from dusha_ser.labels import rows as rows_module
from dusha_ser.labels.answers import answer_columns
from dusha_ser.vocabulary import ANSWERS

SECONDS = float(os.environ.get("DUSHA_FUZZ_SECONDS", "60"))
SEED = os.environ.get("DUSHA_FUZZ_SEED", "1")
CASE = os.environ.get("DUSHA_FUZZ_CASE")
COLUMNS = answer_columns(ANSWERS)
LARGEST = 2**22  # bytes that an uncompressed file may have

pytestmark = pytest.mark.timeout(SECONDS + 240)
# What harm may be done to any bytes.

NUMBERS = (0, 1, 7, 8, 0x20, 0x7F, 0x80, 0xFF)


def cut(rng, content):
    return content[: rng.randrange(len(content) + 1)]


def flip(rng, content):
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def put(rng, content):
    place, piece = rng.randrange(len(content)), rng.choice(PIECES)
    return content[:place] + piece + content[place + rng.choice((0, 0, len(piece))) :]


def number(rng, content):
    place = rng.randrange(len(content))
    return content[:place] + bytes([rng.choice(NUMBERS)]) + content[place + 1 :]


def leave_out(rng, content):
    place = rng.randrange(len(content))
    return content[:place] + content[place + rng.choice((1, 2, 9, 100, BLOCK)) :]


def repeat(rng, content):
    start, place = rng.randrange(len(content)), rng.randrange(len(content))
    length = rng.choice((1, 2, 9, 100, BLOCK))
    return content[:place] + content[start : start + length] + content[place:]


HARM = (cut, flip, flip, put, put, put, number, leave_out, repeat)


def harm(rng, content, most=4):
    for _ in range(rng.randrange(most + 1)):
        if content:
            content = rng.choice(HARM)(rng, content)
    return content


# Archives.


def some_name(rng):
    parts = [
        "wavs",
        "a",
        "ж" * 7,
        "deep" * 30,
        "x.wav",
        "features",
        "with space",
        "tab\t",
        "n" * 99,
    ]
    return "/".join(rng.choices(parts, k=rng.randrange(1, 5))) + rng.choice(("", "1", ".npy"))


def some_archive(rng):
    """An archive that is sound."""
    content = io.BytesIO()
    form = rng.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    with tarfile.open(fileobj=content, mode="w", format=form) as archive:
        for _ in range(rng.randrange(6)):
            info = tarfile.TarInfo(some_name(rng))
            info.size = rng.choice((0, 1, 511, 512, 513, 1500))
            if rng.random() < 0.2:
                info.type, info.size = rng.choice((tarfile.DIRTYPE, tarfile.CONTTYPE)), 0
            try:
                archive.addfile(info, io.BytesIO(rng.randbytes(info.size)))
            except ValueError:  # the oldest form holds no long names
                continue
    return content.getvalue()


FIELDS = ((0, 100), (100, 8), (124, 12), (136, 12), (148, 8), (156, 1), (157, 100), (257, 8),
          (345, 155))  # fmt: skip
VALUES = (b"\x80" + bytes(7), b"\x80" + b"\xff" * 11, b"\xff" * 12, b"77777777777\0", b"-1\0", b"",
          b" 17 \0", b"0o7", b"1_0", b"../x\0", b"/x\0", b"C:\\x\0", b"x", b"g", b"L", b"K", b"S",
          b"1", b"2", b"5", b"7", b"V", b"\0", b"ustar\0" + b"00", b"ustar  \0")  # fmt: skip


def harm_header(rng, content):
    """Change a field of a header, most often so that the checksum fits."""
    place = rng.randrange(max(1, len(content) // BLOCK)) * BLOCK
    block = bytearray(content[place : place + BLOCK])
    if len(block) < BLOCK:
        return content
    start, length = rng.choice(FIELDS)
    value = rng.choice(VALUES)[:length]
    block[start : start + length] = value.ljust(length, rng.choice((b"\0", b" ", b"0", b"\xff")))
    if rng.random() < 0.8:
        total = sum(block) - sum(block[148:156]) + 8 * 32
        block[148:156] = b"%06o\0 " % total
    return content[:place] + bytes(block) + content[place + BLOCK :]


def try_archive(rng, folder):
    content = some_archive(rng)
    for _ in range(rng.randrange(4)):
        content = harm_header(rng, content)
    content = harm(rng, content, 3)
    path = folder / "a.tar"
    path.write_bytes(content)
    try:
        names, offsets, sizes = scan_tar(path, quiet=True)
    except WorkFailedError as error:
        assert str(error).startswith(f"{path}: ")
        return
    assert len(names) == len(offsets) == len(sizes)
    end = 0
    for name, offset, size in zip(names, offsets, sizes, strict=True):
        assert offset >= end + BLOCK and size >= 0
        end = offset + size
        assert name and not name.startswith(("/", "\\")) and "\0" not in name
        assert ".." not in name.replace("\\", "/").split("/")
    assert end <= len(content)


def try_gzip(rng, folder):
    plain = rng.randbytes(rng.randrange(2000)) * rng.choice((1, 1, 50))
    content = gzip.compress(plain, rng.randrange(10), mtime=0)
    if rng.random() < 0.1:
        content += gzip.compress(plain, mtime=0)
    path, target = folder / "a.tgz", folder / "plain.tar"
    path.write_bytes(harmed := harm(rng, content))
    try:
        gunzip(path, target, LARGEST, quiet=True)
    except WorkFailedError as error:
        assert str(error).startswith(f"{path}: ")
        assert harmed != content
        return
    if harmed == content:
        assert target.read_bytes().startswith(plain)


def try_index(rng, folder):
    """An index in the cache that is damaged is not believed."""
    path = folder / "b.tar"
    path.write_bytes(some_archive(rng))
    cache = folder / "cache"
    made = index_archive(path, cache, quiet=True)
    (kept,) = (cache / "index").glob("*.npz")
    for _ in range(10):
        sound = kept.read_bytes()
        kept.write_bytes(harm(rng, sound, 6))
        found = index_archive(path, cache, quiet=True)
        assert found.names == made.names and found.paths == made.paths
        assert list(found.offsets) == list(made.offsets)
        assert list(found.sizes) == list(made.sizes)
        kept.write_bytes(sound)
    kept.unlink()


# Rows.

PIECES = tuple(
    piece.encode("utf-8", "surrogatepass")
    for piece in (
        *('"golden_emo": NaN', '": NaN', "NaN", "nan", "null", "Infinity", "-Infinity", "1e999"),
        *("\\", '"', "'", "\\n", "\\u0000", "\\ud83d", "\\udc00", "}\n{", "\n", "\r", "\r\n"),
        *("}{", "{", "}", "[", "]", ",", ":", "\t", "\u2028", "\x85", "\ud800", "-", "1_0", " "),
        *("0", "word", "слово", "\U0001f600", "\x00", "\x1c", "\ufeff", "N", "true", "\\/", "\x0b"),
        *("sad", "other", '"hash_id": ', "١", "0x1p3", "1.", ".5", "+1", "1" * 30, "я" * 300),
    )
) + (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc0\x80")


def some_text(rng):
    pieces = [piece.decode("utf-8", "ignore") for piece in rng.choices(PIECES, k=rng.randrange(4))]
    return "".join(pieces) or rng.choice(("a1", "да", "", "nan", "x" * 90))


def some_row(rng):
    """An answer, most often a valid one."""
    row = {
        "hash_id": rng.choice(("a1", "b2", "c3", some_text(rng))),
        "audio_path": f"wavs/{rng.randrange(9)}.wav",
        "duration": rng.choice((1.5, 2, round(rng.random() * 20, rng.randrange(17)))),
        "annotator_emo": rng.choice(ANSWERS),
        "golden_emo": rng.choice((float("nan"), float("nan"), rng.choice(ANSWERS))),
        "speaker_text": some_text(rng),
        "speaker_emo": rng.choice(ANSWERS),
        "source_id": rng.choice((float("nan"), "17", 17, None)),
        "annotator_id": f"w{rng.randrange(5)}",
        "another": rng.choice((1, [1, {"a": None}], True, "x")),
    }
    for field in rng.sample(sorted(row), rng.choice((0, 0, 0, 1, 2))):
        row[field] = rng.choice(
            (None, float("nan"), float("inf"), -1, -0.0, True, 10**25, 1e-320, [], {}, "", "1.5",
             some_text(rng))
        )  # fmt: skip
    if rng.random() < 0.3:
        del row[rng.choice(sorted(row))]
    return row


def some_jsonl(rng):
    separators = rng.choice(((", ", ": "), (",", ":"), (" , ", " : ")))
    return b"".join(
        json.dumps(some_row(rng), ensure_ascii=rng.random() < 0.5, separators=separators)
        .encode("utf-8", "surrogatepass")
        .replace(b"\n", b" ")
        + rng.choice((b"\n", b"\n", b"\n", b"\r\n", b"\n\n"))
        for _ in range(rng.randrange(12))
    )


def some_tsv(rng):
    header = list(some_row(random.Random(0)))
    if rng.random() < 0.2:
        header = rng.sample(header, rng.randrange(1, len(header) + 1))
    end = rng.choice(("\n", "\n", "\r\n"))
    lines = ["\t".join(header)]
    for _ in range(rng.randrange(12)):
        row = some_row(rng)
        cells = [str(row.get(field, "")) for field in header]
        lines.append("\t".join("" if cell == "nan" else cell for cell in cells))
    return (end.join(lines) + rng.choice((end, ""))).encode("utf-8", "surrogatepass")


def read(member):
    """What a file of rows gives: its table and its bad rows; None where it is refused."""
    try:
        table, bad = rows_module.read_rows(member, COLUMNS, "skip")
    except WorkFailedError as error:
        # Which of several faults is met first is for the size of the blocks to decide.
        assert str(error).startswith(member.name)
        return None
    return table.schema, table.to_pylist(), bad


def try_rows(rng, folder, content, suffix):
    content = rng.choice((b"", b"", b"", b"\xef\xbb\xbf")) + harm(rng, content)
    name = f"crowd_train/raw_crowd_train{suffix}"
    if rng.random() < 0.1:
        content, name = gzip.compress(content, 1, mtime=0), f"{name}.gz"
        if rng.random() < 0.3:
            content = harm(rng, content)
    path = folder / "rows"
    path.write_bytes(b"before" + content + b"after")
    member = Member(name, str(path), 6, len(content))
    with pytest.MonkeyPatch.context() as changed:
        whole = read(member)
        changed.setattr(rows_module, "BLOCK_SIZE", rng.choice((1, 50, 300, 2000)))
        assert read(member) == whole, "in smaller blocks"
        changed.setattr(rows_module, "parse_objects", lambda block: None)
        assert read(member) == whole, "line by line"
    if whole is None:
        return
    _, rows, bad = whole
    assert all(row["id"] and row["duration"] >= 0 for row in rows)
    for row in bad:
        str(row).encode()  # whatever came, the list of bad rows can be written


def try_jsonl(rng, folder):
    try_rows(rng, folder, some_jsonl(rng), ".jsonl")


def try_tsv(rng, folder):
    try_rows(rng, folder, some_tsv(rng), ".tsv")


# The share of the time that each gets.
TARGETS = {try_archive: 0.25, try_gzip: 0.05, try_index: 0.1, try_jsonl: 0.3, try_tsv: 0.3}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_damage_at_random_is_refused_or_read_as_what_it_is(target, tmp_path):
    numbers = [int(CASE)] if CASE else iter(range(10**12))
    end, tried = time.monotonic() + SECONDS * TARGETS[target], 0
    for number in numbers:
        try:
            target(random.Random(f"{SEED} {target.__name__} {number}"), tmp_path)
        except Exception as error:
            raise AssertionError(
                f"DUSHA_FUZZ_SEED={SEED} DUSHA_FUZZ_CASE={number} -k {target.__name__}: {error!r}"
            ) from error
        tried += 1
        if time.monotonic() > end:
            break
    print(f"{target.__name__}: {tried} cases of the seed {SEED}")
