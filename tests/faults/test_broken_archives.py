"""Broken, hostile and merely unusual archives, given to the program that prepares the corpus."""

import csv
import gzip
import hashlib
import io
import random
import shutil
import tarfile
import tempfile
from pathlib import Path

import pyarrow.parquet
import pytest
from archive_files import write_tar
from small_corpus import make_clips, write_corpus

from dusha_ser.cli import corpus as corpus_command

CLIPS = make_clips({"crowd_train": 12, "crowd_test": 4, "podcast_train": 4, "podcast_test": 4})
IDS = {clip["id"] for clip in CLIPS if clip["part"].startswith("crowd")}


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The sound archives."""
    return write_corpus(tmp_path_factory.mktemp("archives"), CLIPS)


@pytest.fixture(scope="module")
def sound(archives):
    """The bytes of crowd.tar."""
    return (archives / "crowd.tar").read_bytes()


@pytest.fixture(scope="module")
def members(archives):
    """Contents of crowd.tar by name."""
    with tarfile.open(archives / "crowd.tar") as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}


@pytest.fixture
def prepare(program, archives, tmp_path):
    """Prepare the crowd from crowd.tar of other bytes; how it ended, the rows, what is listed."""

    def prepare(content, *options, name="crowd.tar"):
        data, output = tmp_path / "data", tmp_path / "output"
        shutil.rmtree(output, ignore_errors=True)
        data.mkdir(exist_ok=True)
        shutil.copy(archives / "podcast.tar", data)
        (data / name).write_bytes(content)
        ended = program(
            *(corpus_command.main, "crowd", "--data_dir", data, "--output_dir", output),
            *("--cache_dir", tmp_path / "cache", "--quiet", *options),
        )
        (data / name).unlink()
        assert {path.name for path in tmp_path.iterdir()} <= {"data", "output", "cache"}
        rows = [
            row
            for path in sorted(output.glob("crowd/*.parquet"))
            for row in pyarrow.parquet.read_table(path).to_pylist()
        ]
        listed = {}
        for path in output.rglob("missing_audio.csv"):
            with path.open(newline="") as file:
                listed |= {row["id"]: row["reason"] for row in csv.DictReader(file)}
        assert ended.status == 0 or not rows
        return ended, rows, listed

    return prepare


def tar_bytes(files, mode="w", **options):
    """A tar archive of contents by name, or of pairs."""
    with tempfile.TemporaryDirectory() as folder:
        return write_tar(Path(folder, "archive"), files, mode, **options).read_bytes()


def test_archive_when_packed_in_another_way_gives_the_same(prepare, sound, members):
    _, expected, _ = prepare(sound)
    assert {row["id"] for row in expected} == IDS
    shuffled = random.Random(0).sample(list(members.items()), len(members))
    stale = [(name, content[: len(content) // 2]) for name, content in members.items()]
    outer = {f"./downloads/dusha/{name}": content for name, content in members.items()}
    for content, name in (
        (tar_bytes(shuffled), "crowd.tar"),
        (tar_bytes(stale + shuffled), "crowd.tar"),  # as tar --append does: the last one counts
        (tar_bytes(outer, format=tarfile.PAX_FORMAT), "crowd.tar"),
        (tar_bytes(outer, format=tarfile.USTAR_FORMAT), "crowd.tar"),
        (tar_bytes(members, "w:gz"), "crowd.tar.gz"),
        (sound.rstrip(b"\0") + bytes(1024 + -len(sound.rstrip(b"\0")) % 512), "crowd.tar"),
    ):
        ended, rows, listed = prepare(content, name=name)
        assert ended.status == 0 and listed == {}
        assert rows == expected


def hostile(members, name, kind=tarfile.REGTYPE, link=""):
    """The archive with a member that no honest one has."""
    file = io.BytesIO(tar_bytes(members))
    with tarfile.open(fileobj=file, mode="a") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        archive.addfile(info, io.BytesIO())
    return file.getvalue()


def with_size(sound, stated):
    """The archive whose second member states another size, under a right checksum."""
    second = 512 + (int(sound[124:135], 8) + 511) // 512 * 512
    header = bytearray(sound[second : second + 512])
    header[124:136] = stated
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return sound[:second] + bytes(header) + sound[second + 512 :]


BROKEN = {
    "cut in a body": (lambda sound, members: sound[: len(sound) // 2], "cut short"),
    "cut in a header": (lambda sound, members: sound[:200], "not a tar archive"),
    "empty": (lambda sound, members: b"", "is empty"),
    "a web page": (lambda sound, members: b"<!DOCTYPE html><html>404</html>", "a web page"),
    "gzip named tar": (lambda sound, members: gzip.compress(sound, mtime=0), "gunzip"),
    "a text": (lambda sound, members: b"403 Forbidden\n" * 99, "not a tar archive"),
    "goes up": (lambda sound, members: hostile(members, "../../escaped.wav"), "leads outside"),
    "absolute": (lambda sound, members: hostile(members, "/tmp/escaped.wav"), "unusable name"),
    "a symbolic link": (
        lambda sound, members: hostile(members, "crowd_train/wavs/l.wav", tarfile.SYMTYPE, "/etc"),
        "a symbolic link",
    ),
    "a hard link": (
        lambda sound, members: hostile(members, "crowd_train/wavs/l.wav", tarfile.LNKTYPE, "x"),
        "a hard link",
    ),
    "a device": (
        lambda sound, members: hostile(members, "crowd_train/wavs/l.wav", tarfile.CHRTYPE),
        "a character device",
    ),
    "a size of 8 GiB": (lambda sound, members: with_size(sound, b"77777777777\0"), "cut short"),
    "a size of 2**95": (lambda sound, members: with_size(sound, b"\x80" + b"\xff" * 11), "cut"),
    "a negative size": (lambda sound, members: with_size(sound, b"\xff" * 12), "cut short"),
    "a hole": (
        lambda sound, members: sound[:-10240] + bytes(10240) + sound,
        "continues behind an end mark",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_archive_when_broken_or_hostile_is_not_used(kind, prepare, sound, members):
    change, words = BROKEN[kind]
    ended, rows, _ = prepare(change(sound, members))
    assert ended.status == 1 and rows == []
    assert "crowd.tar: " in ended.complaint and words in ended.complaint


def test_archive_when_bits_are_flipped_is_refused_or_loses_no_clip_silently(prepare, sound):
    with tarfile.open(fileobj=io.BytesIO(sound)) as archive:
        bodies = {info.name: (info.offset_data, info.size) for info in archive}
    answers = [
        range(start, start + size) for name, (start, size) in bodies.items() if "raw_" in name
    ]
    # A letter of an answer that changes into another one is for a checksum to find.
    places = [place for place in range(len(sound)) if not any(place in own for own in answers)]
    _, expected, _ = prepare(sound)
    generator, refused = random.Random(0), 0
    for place in generator.sample(places, 30):
        flipped = bytearray(sound)
        flipped[place] ^= 1 << generator.randrange(8)
        ended, rows, listed = prepare(bytes(flipped))
        refused += ended.status
        if not ended.status:
            assert {row["id"] for row in rows} | listed.keys() == IDS
            assert sum(row not in expected for row in rows) + len(listed) <= 1
    assert 0 < refused < 30


def test_archive_when_any_bit_is_flipped_differs_from_its_checksum(prepare, sound):
    generator = random.Random(1)
    checksum = f"crowd.tar=sha256:{hashlib.sha256(sound).hexdigest()}"
    assert prepare(sound, "--checksum", checksum)[0].status == 0
    for _ in range(20):
        flipped = bytearray(sound)
        flipped[generator.randrange(len(sound))] ^= 1 << generator.randrange(8)
        ended, rows, _ = prepare(bytes(flipped), "--checksum", checksum)
        assert ended.status == 1 and rows == []


def test_archive_when_recordings_are_broken_lists_them(prepare, members):
    wavs = sorted(name for name in members if name.endswith(".wav"))
    broken = dict(members)
    broken[wavs[0]] = b""
    broken[wavs[1]] = b"this is a text\n" * 99
    broken[wavs[2]] = members[wavs[2]][:30]
    broken[wavs[3]] = members[wavs[3]][:44]
    broken[wavs[4]] = bytes(5000)
    del broken[wavs[5]]
    ended, rows, listed = prepare(tar_bytes(broken))
    gone = {name.split("/")[-1].removesuffix(".wav") for name in wavs[:6]}
    assert ended.status == 0 and set(listed) == gone
    assert {row["id"] for row in rows} == IDS - gone
