"""Indexes of archives: made once, made again when the archive changes, never trusted blindly."""

import gzip
import hashlib
import io
import os
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from archive_files import RAW, write_tar

from dusha_ser.archives import tar_index
from dusha_ser.archives.members import corpus_name
from dusha_ser.archives.tar_index import index_archive
from dusha_ser.errors import WorkFailedError, WrongUseError

FILES = {RAW: b"{}\n", "crowd_train/wavs/0f.wav": b"RIFF" * 100}


def kept_indexes(cache):
    """The stored indexes of a cache."""
    return sorted((cache / "index").glob("*.npz"))


@pytest.mark.parametrize(
    ("name", "outside", "expected"),
    [
        ("crowd_train/wavs/1.wav", "", "crowd_train/wavs/1.wav"),
        ("./crowd_train//wavs/./1.wav", "", "crowd_train/wavs/1.wav"),
        ("dusha/crowd/crowd_test/raw_crowd_test.tsv", "x", "crowd_test/raw_crowd_test.tsv"),
        ("paper_setups/test/crowd_test.jsonl", "", "paper_setups/test/crowd_test.jsonl"),
        ("podcast_test/features/1.npy", "", "features/1.npy"),
        ("features/features/1.npy", "features", "features/1.npy"),
        ("1.npy", "features", "features/1.npy"),
        ("wavs/1.wav", "podcast_train", "podcast_train/wavs/1.wav"),
        ("wavs/1.wav", "podcast_wavs", "wavs/1.wav"),
        ("features", "", "features"),
    ],
)
def test_corpus_name_drops_outer_folders_and_adds_missing_ones(name, outside, expected):
    assert corpus_name(name, outside) == expected


def test_index_archive_when_the_archive_lacks_its_own_folder(tmp_path):
    path = write_tar(tmp_path / "paper_setups.tgz", {"./test/crowd_test.jsonl": b""}, "w:gz")
    assert index_archive(path, tmp_path).names == ["paper_setups/test/crowd_test.jsonl"]


def test_index_archive_when_members_are_hidden_leaves_them_out(tmp_path):
    hidden = (
        "__MACOSX/crowd_train/wavs/._0f.wav",
        "./crowd_train/._wavs/a",
        "crowd_train/.DS_Store",
    )
    path = write_tar(tmp_path / "crowd.tar", dict.fromkeys(hidden, b"Mac") | FILES)
    assert index_archive(path, tmp_path).names == list(FILES)
    dotted = write_tar(tmp_path / "dotted.tar", {f"./{name}": FILES[name] for name in FILES})
    assert index_archive(dotted, tmp_path).names == list(FILES)


@pytest.mark.parametrize(("name", "mode"), [("crowd.tar", "w"), ("crowd.tar.gz", "w:gz")])
def test_index_archive_scans_once(name, mode, tmp_path, monkeypatch):
    path = write_tar(tmp_path / name, FILES, mode)
    first = index_archive(path, tmp_path / "cache")
    assert first.names == list(FILES) and first.archive == path
    # A second scan would fail.
    monkeypatch.delattr(tar_index, "gunzip")
    monkeypatch.delattr(tar_index, "scan_tar")
    second = index_archive(path, tmp_path / "cache")
    assert second.names == first.names and second.paths == first.paths
    assert second.archive == path
    assert np.array_equal(second.offsets, first.offsets)
    assert np.array_equal(second.sizes, first.sizes)


@pytest.mark.parametrize("later", [0, 1])
@pytest.mark.parametrize(("name", "mode"), [("crowd.tar", "w"), ("crowd.tgz", "w:gz")])
def test_index_archive_when_the_archive_changes(name, mode, later, tmp_path):
    cache = tmp_path / "cache"
    path = write_tar(tmp_path / name, FILES, mode)
    index_archive(path, cache)
    old = kept_indexes(cache)
    state = path.stat()
    write_tar(path, {"other": b"1"}, mode)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + later))
    index = index_archive(path, cache)
    assert index.names == ["other"]
    content = Path(index.paths[0]).read_bytes()
    assert content[index.offsets[0] : index.offsets[0] + index.sizes[0]] == b"1"
    assert len(kept_indexes(cache)) == 1 and kept_indexes(cache) != old


def test_index_archive_when_the_stored_index_is_damaged_anywhere(tmp_path):
    cache = tmp_path / "cache"
    path = write_tar(tmp_path / "crowd.tar", FILES)
    good = index_archive(path, cache)
    kept = kept_indexes(cache)[0]
    content = kept.read_bytes()
    rng = random.Random(0)
    for place in range(0, len(content), 7):
        broken = bytearray(content)
        broken[place] ^= 1 << rng.randrange(8)
        for damage in (broken, content[:place]):
            kept.write_bytes(damage)
            index = index_archive(path, cache)
            assert index.names == good.names
            assert index.offsets.tolist() == good.offsets.tolist()
            assert index.sizes.tolist() == good.sizes.tolist()
    # What the checksums of the zip format leave out: how an array is compressed.
    place = content.rindex(b"PK\1\2") + 10
    kept.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
    assert index_archive(path, cache).names == good.names
    kept.write_bytes(b"")
    index_archive(path, cache)
    assert kept.read_bytes() == content  # made again


def test_index_archive_never_unpickles(tmp_path):
    path = write_tar(tmp_path / "crowd.tar", FILES)
    index_archive(path, tmp_path)
    kept = kept_indexes(tmp_path)[0]

    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    evil = np.array([Evil()], object)
    np.savez(kept, names=evil, offsets=evil, sizes=evil, end=evil)
    # Whoever can write the cache can write the digest, too.
    kept.write_bytes(kept.read_bytes() + hashlib.sha256(kept.read_bytes()).digest())
    assert index_archive(path, tmp_path).names == list(FILES)
    assert not (tmp_path / "touched").exists()


def test_index_archive_when_the_uncompressed_copy_is_gone(tmp_path):
    path = write_tar(tmp_path / "paper_setups.tgz", FILES, "w:gz")
    copy = Path(index_archive(path, tmp_path / "cache").paths[0])
    content = copy.read_bytes()
    for damage in (copy.unlink, lambda: copy.write_bytes(content[:-1])):
        damage()
        assert index_archive(path, tmp_path / "cache").paths == [str(copy)]
        assert copy.read_bytes() == content


def test_index_archive_when_a_plain_tar_is_named_tgz(tmp_path):
    path = write_tar(tmp_path / "paper_setups.tgz", FILES)
    assert index_archive(path, tmp_path / "cache").paths == [str(path)]


def test_index_archive_when_a_compressed_archive_is_bad(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    path = write_tar(tmp_path / "paper_setups.tgz", FILES, "w:gz")
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(WorkFailedError, match="paper_setups.tgz: is damaged or cut short"):
        index_archive(path, cache)
    path.write_bytes(gzip.compress(b"<html>", mtime=0))
    with pytest.raises(WorkFailedError, match="paper_setups.tgz: is a web page"):
        index_archive(path, cache)
    bomb = io.BytesIO()
    with tarfile.open(fileobj=bomb, mode="w:gz") as archive:
        info = tarfile.TarInfo("zeros")
        info.size = 5_000_000
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    path.write_bytes(bomb.getvalue())
    monkeypatch.setattr(tar_index, "LARGEST_UNCOMPRESSED", 1_000_000)
    with pytest.raises(WorkFailedError, match="paper_setups.tgz: holds more than"):
        index_archive(path, cache)
    left = [file.suffix for file in (cache / "index").iterdir()]
    assert set(left) <= {".lock", ".tar"} and kept_indexes(cache) == []


def test_index_archive_when_the_cache_cannot_be_written(tmp_path):
    cache = tmp_path / "cache"
    cache.write_bytes(b"a file in the folder's place")
    path = write_tar(tmp_path / "crowd.tar", FILES)
    assert index_archive(path, cache).names == list(FILES)
    compressed = write_tar(tmp_path / "paper_setups.tgz", FILES, "w:gz")
    with pytest.raises(WrongUseError, match="cannot be written.*name another `cache_dir`"):
        index_archive(compressed, cache)


INDEX = """
import sys
from pathlib import Path
from dusha_ser.archives.tar_index import index_archive
for _ in range(20):
    index = index_archive(Path(sys.argv[1]), Path(sys.argv[2]))
    print(len(index.names), Path(index.paths[0]).stat().st_size)
    for path in (Path(sys.argv[2]) / "index").glob("*.npz"):
        path.unlink(missing_ok=True)
"""


def test_index_archive_when_two_programs_index_and_delete(tmp_path):
    path = write_tar(tmp_path / "a.tgz", {f"wavs/{i}.wav": b"1" * i for i in range(300)}, "w:gz")
    plain = len(gzip.decompress(path.read_bytes()))
    command = [sys.executable, "-c", INDEX, path, tmp_path / "cache"]
    folder = Path(tar_index.__file__).parents[2]
    processes = [
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in processes:
        lines = process.communicate()[0].splitlines()
        assert process.returncode == 0 and set(lines) == {f"300 {plain}"} and len(lines) == 20
