"""Headers of tar archives: every sound form is read, every damage is told."""

import contextlib
import gzip
import os
import random
import tarfile

import pytest
from archive_files import write_tar
from hypothesis import given, settings
from hypothesis import strategies as st

from dusha_ser.archives.tar_index import BLOCK, gunzip, scan_tar
from dusha_ser.errors import WorkFailedError

FILES = {"crowd_train/a.wav": b"a" * 600, "b": b"", "c/d/e.npy": b"e" * 512}
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def read_all(path):
    """Names and contents by the places that the scan gives."""
    names, offsets, sizes = scan_tar(path, quiet=True)
    content = path.read_bytes()
    return [
        (name, content[offset : offset + size])
        for name, offset, size in zip(names, offsets, sizes, strict=True)
    ]


def header(name="x", size=0, kind=tarfile.REGTYPE, **fields):
    """One header block."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def with_checksum(block):
    """A header block with the checksum that its other bytes ask for."""
    total = sum(block) - sum(block[148:156]) + 8 * 32
    return block[:148] + b"%06o\0 " % total + block[156:]


def write(path, *blocks, mark=True):
    """An archive of ready blocks."""
    path.write_bytes(b"".join(blocks) + bytes(2 * BLOCK if mark else 0))
    return path


@pytest.mark.parametrize("form", FORMATS)
def test_scan_tar_reads_what_tarfile_writes(form, tmp_path):
    path = write_tar(tmp_path / "a.tar", FILES, format=form)
    assert read_all(path) == list(FILES.items())


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "name",
    [
        "f/" * 60 + "name split in two",
        "n" * 100,
        "звук/радость-😀.wav",
        "tab\tand\nline",
    ],
)
def test_scan_tar_when_names_are_long_or_strange(form, name, tmp_path):
    path = write_tar(tmp_path / "a.tar", [(name, b"1"), ("next", b"2")], format=form)
    assert read_all(path) == [(name, b"1"), ("next", b"2")]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_scan_tar_when_a_name_is_very_long(form, tmp_path):
    name = "/".join(["folder" * 30] * 40)
    path = write_tar(tmp_path / "a.tar", [(name, b"1"), ("next", b"2")], format=form)
    assert read_all(path) == [(name, b"1"), ("next", b"2")]


def test_scan_tar_when_a_name_is_no_utf_8(tmp_path):
    name = os.fsdecode(b"\xe7\xe2\xf3\xea.wav")
    path = write_tar(tmp_path / "a.tar", {name: b"1"}, format=tarfile.GNU_FORMAT)
    assert read_all(path) == [(name, b"1")]


def test_scan_tar_leaves_folders_and_labels_out_and_keeps_duplicates(tmp_path):
    path = write(
        tmp_path / "a.tar",
        header("label", kind=b"V"),
        header("crowd/", kind=tarfile.DIRTYPE, size=0),
        header("old/", kind=tarfile.AREGTYPE),
        header("x", 1),
        b"1".ljust(BLOCK, b"\0"),
        header("x", 1, kind=tarfile.CONTTYPE),
        b"2".ljust(BLOCK, b"\0"),
    )
    assert read_all(path) == [("x", b"1"), ("x", b"2")]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_scan_tar_when_members_are_greater_than_8_gib(form, tmp_path):
    # The file is sparse: it takes next to nothing of the disk.
    size = 9 * 2**30 + 1
    first, second = tarfile.TarInfo("large"), tarfile.TarInfo("next")
    first.size, second.size = size, 3
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        start = file.write(first.tobuf(form))
        after = file.seek(start + size + -size % BLOCK)
        file.write(second.tobuf(form) + b"end".ljust(BLOCK, b"\0") + bytes(2 * BLOCK))
    names, offsets, sizes = scan_tar(path, quiet=True)
    assert names == ["large", "next"] and sizes == [size, 3]
    assert offsets == [start, after + len(second.tobuf(form))]


def test_scan_tar_when_the_checksum_adds_signed_bytes(tmp_path):
    block = bytearray(header("\xe9" * 3))
    signed = sum(byte - 256 * (byte > 127) for byte in block[:148] + block[156:]) + 8 * 32
    block[148:156] = b"%06o\0 " % signed
    assert [name for name, _ in read_all(write(tmp_path / "a.tar", block))] == ["é" * 3]


def test_scan_tar_when_the_archive_is_empty(tmp_path):
    assert read_all(write_tar(tmp_path / "a.tar", {})) == []
    assert read_all(write(tmp_path / "b.tar", mark=True)) == []


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("../evil", tarfile.REGTYPE, "leads outside the archive"),
        ("wavs/../../evil", tarfile.REGTYPE, "leads outside the archive"),
        ("..\\evil", tarfile.REGTYPE, "leads outside the archive"),
        ("/etc/passwd", tarfile.REGTYPE, "has an absolute or unusable name"),
        ("\\\\host\\share", tarfile.REGTYPE, "has an absolute or unusable name"),
        ("C:\\evil", tarfile.REGTYPE, "has an absolute or unusable name"),
        ("../folder/", tarfile.DIRTYPE, "leads outside the archive"),
        ("", tarfile.REGTYPE, "has an absolute or unusable name"),
        ("x", tarfile.SYMTYPE, "is a symbolic link"),
        ("x", tarfile.LNKTYPE, "is a hard link"),
        ("x", tarfile.CHRTYPE, "is a character device"),
        ("x", tarfile.BLKTYPE, "is a block device"),
        ("x", tarfile.FIFOTYPE, "is a FIFO"),
        ("x", tarfile.GNUTYPE_SPARSE, "is a sparse file"),
        ("x", b"M", "is the rest of a file of another volume"),
        ("x", b"Z", "is of the unknown kind b'Z'"),
    ],
)
def test_scan_tar_refuses_members_that_no_honest_archive_has(name, kind, message, tmp_path):
    path = write(tmp_path / "a.tar", header("fine"), header(name, kind=kind), header("fine"))
    with pytest.raises(WorkFailedError) as caught:
        scan_tar(path, quiet=True)
    name = name.rstrip("/")  # as tarfile names folders
    assert str(caught.value).startswith(f"{path}: member {name!r} {message}")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"16 path=../evil\n", "leads outside"),
        (b"12 path=a\0b\n", "unusable name"),
        (b"22 GNU.sparse.major=1\n", "is a sparse file"),
        (b"13 size=9999\n", "a stated size of 9999 bytes"),
        (b"12 size=-10\n", "a stated size of -1 bytes"),
        (b"5012 size=" + b"9" * 5001 + b"\n", "a stated size of -1 bytes"),
        (b"99 path=x\n", "a damaged extended header"),
        (b"path=x\n", "a damaged extended header"),
        (b"0 path=x\n", "a damaged extended header"),
        (b"9 path=x!", "a damaged extended header"),
    ],
)
def test_scan_tar_when_an_extended_header_is_bad(record, message, tmp_path):
    block = record + bytes(-len(record) % BLOCK)
    path = write(tmp_path / "a.tar", header("p", len(record), b"x"), block, header("x"))
    with pytest.raises(WorkFailedError, match=message):
        scan_tar(path, quiet=True)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (b"77777777777\0", f"a stated size of {8**11 - 1} bytes"),
        (b"\x80" + b"\xff" * 11, f"a stated size of {256**11 - 1} bytes"),
        (b"\xff" * 12, "a stated size of -1 bytes"),
        (b"-0000000001\0", "a stated size of -1 bytes"),
        (b"0_0_0_0_001\0", "a stated size of -1 bytes"),
        (b"99999999999\0", "has a damaged header at byte 512"),
    ],
)
def test_scan_tar_when_a_size_is_huge_or_none(field, message, tmp_path):
    block = header("x", 1)
    block = with_checksum(block[:124] + field + block[136:])
    for kind in (block, with_checksum(block[:156] + b"L" + block[157:])):
        path = write(tmp_path / "a.tar", header("fine"), kind, bytes(BLOCK))
        with pytest.raises(WorkFailedError, match=message):
            scan_tar(path, quiet=True)


def test_scan_tar_when_a_name_would_take_all_memory(tmp_path):
    size = 2**20 + 1
    path = write(tmp_path / "a.tar", header("x", size, b"L"), bytes(size + -size % BLOCK))
    with pytest.raises(WorkFailedError, match="is damaged: a name of 1048577 bytes"):
        scan_tar(path, quiet=True)


def test_scan_tar_when_cut_anywhere(tmp_path):
    path = write_tar(tmp_path / "a.tar", FILES, format=tarfile.GNU_FORMAT)
    content = path.read_bytes()
    end = content.rindex(b"e" * 512) + 512
    for size in [*range(0, end + BLOCK, 64), *range(end - 3, end + 3)]:
        path.write_bytes(content[:size])
        with pytest.raises(WorkFailedError, match="is cut short|is empty|is not a tar archive"):
            scan_tar(path, quiet=True)
    path.write_bytes(content[: end + BLOCK])  # the second block of the end mark tells nothing new
    assert read_all(path) == list(FILES.items())


def test_scan_tar_when_any_bit_of_a_header_is_flipped(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"x": b"1", "y": b"2"}, format=tarfile.GNU_FORMAT)
    content = path.read_bytes()
    rng = random.Random(0)
    for start in (0, 2 * BLOCK):
        for place in range(start, start + BLOCK):
            broken = bytearray(content)
            broken[place] ^= 1 << rng.randrange(8)
            path.write_bytes(broken)
            if 148 <= place - start < 156:  # padding in this field may change and mean nothing
                with contextlib.suppress(WorkFailedError):
                    assert read_all(path) == [("x", b"1"), ("y", b"2")]
                continue
            with pytest.raises(WorkFailedError, match="damaged header|is not a tar archive"):
                scan_tar(path, quiet=True)


def test_scan_tar_when_a_hole_looks_like_the_end(tmp_path):
    path = write_tar(tmp_path / "a.tar", FILES, format=tarfile.GNU_FORMAT)
    content = bytearray(path.read_bytes())
    content[3 * BLOCK : 4 * BLOCK] = bytes(BLOCK)
    path.write_bytes(content)
    with pytest.raises(WorkFailedError, match="continues behind an end mark"):
        scan_tar(path, quiet=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"tiny", "is not a tar archive"),
        (b"speech" * 1000, "is not a tar archive"),
        (b"<html>404</html>", "is a web page"),
        (b"\xef\xbb\xbf\n <!DOCTYPE html>" + b" " * 9999, "is a web page"),
        (gzip.compress(b"1" * 999, mtime=0), "is compressed with gzip: uncompress it with gunzip"),
        (b"PK\x03\x04" + b"1" * 999, "is a zip archive"),
        (b"BZh9" + b"1" * 999, "is compressed with bzip2"),
        (b"\xfd7zXZ\0" + b"1" * 999, "is compressed with xz"),
        (b"\x28\xb5\x2f\xfd" + b"1" * 999, "is compressed with zstd"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    ],
)
def test_scan_tar_when_it_is_no_tar(content, message, tmp_path):
    path = tmp_path / "crowd.tar"
    path.write_bytes(content)
    with pytest.raises(WorkFailedError, match=f"crowd.tar: {message}"):
        scan_tar(path, quiet=True)


NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0/\\:"), min_size=1, max_size=150
).filter(lambda name: name not in (".", ".."))


@settings(max_examples=60, deadline=None)
@given(
    files=st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=6),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_scan_tar_agrees_with_tarfile(files, form, tmp_path_factory):
    path = write_tar(tmp_path_factory.mktemp("tar") / "a.tar", files, format=form)
    with tarfile.open(path) as archive:
        expected = [(info.name, archive.extractfile(info).read()) for info in archive]
    assert read_all(path) == expected


@settings(max_examples=300, deadline=None)
@given(data=st.data(), form=st.sampled_from(FORMATS))
def test_scan_tar_when_bytes_are_changed_at_random(data, form, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "random.tar"
    files = {"crowd/" + "long/" * 40 + "name": b"1" * 700, "ä": b"2"}
    content = bytearray(write_tar(path, files, format=form).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + 1] = data.draw(st.binary(max_size=3))
    if data.draw(st.booleans()):  # so that damaged fields are looked at, too
        content[:BLOCK] = with_checksum(bytes(content[:BLOCK]))
    path.write_bytes(content)
    try:
        names, offsets, sizes = scan_tar(path, quiet=True)
    except WorkFailedError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        places = zip(offsets, sizes, strict=True)
        assert all(offset > 0 and offset + size <= len(content) for offset, size in places)
        assert not any(".." in name.split("/") or name.startswith("/") for name in names)


def test_gunzip_when_the_content_is_too_large(tmp_path):
    path, target = tmp_path / "a.tgz", tmp_path / "a.tar"
    path.write_bytes(gzip.compress(bytes(3_000_000), mtime=0))
    gunzip(path, target, 3_000_000, quiet=True)
    assert target.read_bytes() == bytes(3_000_000)
    with pytest.raises(WorkFailedError, match="a.tgz: holds more than 0 GiB uncompressed"):
        gunzip(path, target, 2_999_999, quiet=True)


@pytest.mark.parametrize("where", ["cut", "flipped", "wrong sum"])
def test_gunzip_when_the_file_is_damaged(where, tmp_path):
    content = bytearray(gzip.compress(random.Random(0).randbytes(5000), mtime=0))
    if where == "cut":
        del content[2000:]
    else:
        content[2000 if where == "flipped" else -6] ^= 255
    path = tmp_path / "a.tgz"
    path.write_bytes(content)
    with pytest.raises(WorkFailedError, match="a.tgz: is damaged or cut short.*fetch it again"):
        gunzip(path, tmp_path / "a.tar", 10**6, quiet=True)
