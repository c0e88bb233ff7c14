"""Archives and folders in every mix, their members read in place."""

import hashlib
import io
import os
import pickle
import random
import shutil

import pytest
from archive_files import RAW, write_files, write_tar
from archive_server import ArchiveServer

from dusha_ser.archives import find
from dusha_ser.archives.find import ARCHIVES, CONTENTS, find_archives, open_members
from dusha_ser.archives.members import Member, Members
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError

CORPUS = {
    "crowd.tar": {RAW: b"crowd", "crowd_train/wavs/c1.wav": b"RIFF 1"},
    "podcast.tar": {"podcast_test/raw_podcast_test.tsv": b"podcast"},
    "features.tar": {"features/c1.npy": b"\x93NUMPY"},
    "paper_setups.tgz": {"paper_setups/crowd_large.jsonl": b"setup"},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setattr(find, "HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "dusha"


def write_corpus(folder, names=ARCHIVES):
    """The four archives."""
    for name in names:
        write_tar(folder / name, CORPUS[name], "w:gz" if name.endswith("tgz") else "w")
    return folder


def test_member_reads_and_seeks_inside_its_archive_only(tmp_path):
    content = bytes(range(256)) * 300
    archive = write_tar(tmp_path / "a.tar", {"x": b"before", "y": content, "z": b"behind"})
    member = pickle.loads(pickle.dumps(open_members([archive])["y"]))
    assert member.size == len(content) and member.read() == content
    with member.open() as file:
        assert file.read() == content and file.read() == b""
        assert file.seek(-3, io.SEEK_END) == len(content) - 3 and file.read(100) == content[-3:]
        assert file.seek(1000) == 1000 and file.read(5) == content[1000:1005]
        assert file.seek(2, io.SEEK_CUR) == 1007 and file.read(1) == content[1007:1008]
        file.seek(0)
        assert file.readline() == content[:11]
        assert file.seek(10**6) == 10**6 and file.read() == b""
        with pytest.raises(ValueError, match="before|negative|starts at 0"):
            file.seek(-1)
    with io.TextIOWrapper(open_members([archive])["x"].open(), "utf-8") as text:
        assert list(text) == ["before"]


def test_member_when_the_archive_changes_under_it(tmp_path):
    archive = write_tar(tmp_path / "a.tar", {"x": b"1" * 5000})
    member = open_members([archive])["x"]
    os.truncate(archive, 1000)
    with pytest.raises(WorkFailedError, match="x had 5000 bytes when it was indexed, 488 are"):
        member.read()
    archive.unlink()
    for use in (member.read, member.open):
        with pytest.raises(WorkFailedError, match="cannot (read|open) x: .*No such file"):
            use()


@pytest.mark.parametrize("outer", ["", "./", "crowd/", "./dusha/crowd/"])
def test_open_members_when_an_outer_folder_stands_before_the_names(tmp_path, outer):
    files = {f"{outer}{RAW}": b"1", f"{outer}crowd_train/wavs/0f.wav": b"2"}
    packed = open_members([write_tar(tmp_path / "crowd.tar", files)])
    loose = open_members([write_files(tmp_path / "data", files)])
    for members in (packed, loose):
        assert list(members) == [RAW, "crowd_train/wavs/0f.wav"]
        assert [member.read() for member in members.values()] == [b"1", b"2"]


def test_open_members_is_a_picklable_mapping(tmp_path):
    members = open_members([write_corpus(tmp_path / "data")])
    again = pickle.loads(pickle.dumps(members))
    assert isinstance(members, Members) and dict(again) == dict(members)
    assert len(members) == 5 and RAW in members and "nothing" not in members
    assert repr(members) == "Members(5 files)"
    with pytest.raises(KeyError):
        members["nothing"]
    assert all(isinstance(member, Member) for member in members.values())
    assert [path.name for path in members.archives] == sorted(ARCHIVES)


def test_open_members_when_names_come_twice(tmp_path):
    twice = write_tar(tmp_path / "a.tar", [("x", b"first"), ("y", b"y"), ("x", b"last")])
    other = write_tar(tmp_path / "b.tar", {"x": b"other", "z": b"z"})
    assert {name: member.read() for name, member in open_members([twice, other]).items()} == {
        "x": b"last",  # as tar itself decides
        "y": b"y",
        "z": b"z",
    }
    loose = write_files(tmp_path / "data", {"x": b"loose"})
    write_tar(loose / "a.tar", {"x": b"packed"})
    assert open_members([loose])["x"].read() == b"loose"


def test_open_members_does_not_depend_on_the_order_in_the_archive(tmp_path):
    files = [(f"crowd_train/wavs/{i}.wav", bytes([i]) * i) for i in range(50)]
    shuffled = random.Random(0).sample(files, len(files))
    first = open_members([write_tar(tmp_path / "a.tar", files)])
    second = open_members([write_tar(tmp_path / "b.tar", shuffled)])
    assert list(second) == [name for name, _ in shuffled]
    assert {name: second[name].read() for name in first} == dict(files)


def test_open_members_searches_folders(tmp_path):
    data = tmp_path / "data"
    write_files(data, {".hidden": b"", ".git/x": b"", "deep/down/notes.txt": b"n"})
    write_files(tmp_path / "elsewhere", {RAW: b"linked"})
    (data / "link").symlink_to(tmp_path / "elsewhere")
    (data / "loop").symlink_to(data)
    (data / "broken").symlink_to(tmp_path / "nowhere")
    os.mkfifo(data / "fifo")
    write_tar(data / "archives" / "crowd_test.tar", {"wavs/1.wav": b"w"})
    members = open_members([data])
    assert set(members) == {"deep/down/notes.txt", RAW, "crowd_test/wavs/1.wav"}
    assert members[RAW].read() == b"linked"


@pytest.mark.parametrize("named", ["crowd", "crowd/crowd_train", "."])
def test_open_members_when_the_folder_is_part_of_the_corpus(named, tmp_path):
    write_files(tmp_path / "crowd", {RAW: b"1"})
    assert list(open_members([tmp_path / named])) == [RAW]


def test_open_members_when_a_path_is_not_there(tmp_path):
    with pytest.raises(MissingInputError, match="no file or folder .*nowhere; name an archive"):
        open_members([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    "files",
    [
        {"podcast_train/wavs/p1.wav": b"voice"},
        {"wavs/p1.wav": b"voice"},
        {"my podcasts/2020/p1.wav": b"voice"},
        {"p1.WAV": b"voice"},
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_wav_finds_recordings_that_users_collected(files, packed, tmp_path):
    data = write_corpus(tmp_path / "data", ["podcast.tar"])
    if packed:
        write_tar(data / "own" / "collected.tar", files)
    else:
        write_files(data / "own", files)
    members = find_archives(["podcast.tar"], data)
    assert members.wav("p1").read() == b"voice"
    assert members.wav("p2") is None and members.wav("../p1") is None


def test_wav_prefers_the_published_recording(tmp_path):
    data = write_files(tmp_path / "data", {"a/wavs/c1.wav": b"copy", "z/wavs/c1.wav": b"copy"})
    write_corpus(data, ["crowd.tar"])
    assert open_members([data]).wav("c1").read() == b"RIFF 1"


@pytest.mark.parametrize("seed", range(8))
def test_find_archives_in_any_mix_of_packed_and_unpacked(seed, tmp_path):
    data = write_corpus(tmp_path / "data")
    rng = random.Random(seed)
    for name in rng.sample(ARCHIVES, rng.randrange(5)):
        shutil.unpack_archive(data / name, data / rng.choice(["", "sub", name.split(".")[0]]))
        (data / name).unlink()
    members = find_archives(data_dir=data)
    expected = {name: content for files in CORPUS.values() for name, content in files.items()}
    assert {name: member.read() for name, member in members.items()} == expected


@pytest.mark.parametrize("name", ARCHIVES)
def test_find_archives_when_an_archive_is_missing(name, tmp_path):
    data = write_corpus(tmp_path / "data", [other for other in ARCHIVES if other != name])
    with pytest.raises(MissingInputError) as caught:
        find_archives(data_dir=data)
    message = str(caught.value)
    assert message.startswith(f"nothing of {name} in {data} (it has {data}/")
    assert f"{name} has files such as {CONTENTS[name][0]}..." in message
    assert "give it as `data_dir`" in message and "has them as `base_url`" in message
    required = [other for other in ARCHIVES if other != name]
    assert len(find_archives(data_dir=data, required=required)) == 5 - len(CORPUS[name])
    assert set(CONTENTS) == set(ARCHIVES)


def test_find_archives_when_the_folder_is_empty_or_not_there(tmp_path):
    with pytest.raises(MissingInputError, match=r"\(it has no archive, and 0 loose files\)"):
        find_archives(data_dir=write_files(tmp_path, {".x": b""}))
    with pytest.raises(MissingInputError, match="no file or folder .*nowhere"):
        find_archives(data_dir=tmp_path / "nowhere")


def test_find_archives_when_an_archive_is_bad(tmp_path):
    data = write_corpus(tmp_path / "data")
    (data / "podcast.tar").write_bytes(b"<html>sign in</html>")
    with pytest.raises(WorkFailedError, match="podcast.tar: is a web page"):
        find_archives(data_dir=data)
    content = (data / "crowd.tar").read_bytes()
    (data / "podcast.tar").write_bytes(content[:1700])
    with pytest.raises(WorkFailedError, match="podcast.tar: is cut short"):
        find_archives(data_dir=data)


def test_find_archives_compares_checksums_of_local_archives(tmp_path):
    data = write_corpus(tmp_path / "data")
    with pytest.raises(WorkFailedError, match=f"crowd.tar: its md5 is .*, not {'0' * 32}"):
        find_archives(data_dir=data, checksums={"crowd.tar": "md5:" + "0" * 32})


def test_find_archives_when_a_checksum_is_of_no_archive(tmp_path, caplog):
    data = write_corpus(tmp_path / "data", ["crowd.tar"])
    (data / "crowd.tar").rename(data / "own.tar")
    right = hashlib.md5((data / "own.tar").read_bytes()).hexdigest()
    find_archives(["crowd.tar"], data, checksums={"own.tar": right})
    with pytest.raises(WrongUseError, match="crowd.tra, .* take one of crowd.tar, .*own.tar"):
        find_archives(["crowd.tar"], data, checksums={"crowd.tra": right})
    shutil.unpack_archive(data / "own.tar", tmp_path / "unpacked")
    find_archives(["crowd.tar"], tmp_path / "unpacked", checksums={"crowd.tar": right})
    assert "crowd.tar is unpacked here" in caplog.text


def serve(folder, **options):
    """A server of a folder's files."""
    return ArchiveServer({path.name: path.read_bytes() for path in folder.iterdir()}, **options)


def test_find_archives_fetches_only_what_is_needed_and_missing(tmp_path, cache):
    with serve(write_corpus(tmp_path / "remote")) as server:
        data = write_corpus(tmp_path / "data", ["crowd.tar"])
        shutil.unpack_archive(write_corpus(tmp_path / "x") / "podcast.tar", data)
        members = find_archives(
            ["crowd.tar", "podcast.tar", "paper_setups.tgz"], data, server.url, quiet=True
        )
        fetched = [path for method, path, *_ in server.requests if method == "GET"]
        assert fetched == ["/paper_setups.tgz"]
        assert members["paper_setups/crowd_large.jsonl"].read() == b"setup"
        assert members[RAW].path == str(data / "crowd.tar")
    assert any(path.name == "paper_setups.tgz" for path in cache.rglob("*"))


def test_find_archives_needs_no_server_once_all_is_fetched(tmp_path):
    with serve(write_corpus(tmp_path / "remote")) as server:
        first = find_archives(base_url=[server.url], cache_dir=tmp_path / "c", quiet=True)
    again = find_archives(base_url=[server.url], cache_dir=tmp_path / "c", quiet=True)
    assert dict(again) == dict(first) and len(first) == 5


def test_find_archives_uses_file_addresses_in_place(tmp_path, cache):
    remote = write_corpus(tmp_path / "remote")
    members = find_archives(base_url=remote.as_uri())
    assert members[RAW].path == str(remote / "crowd.tar")
    assert not (cache / "archives").exists()


def test_find_archives_when_an_optional_archive_is_on_no_server(tmp_path):
    required = ["crowd.tar", "podcast.tar"]
    with serve(write_corpus(tmp_path / "remote", required)) as server:
        members = find_archives(base_url=server.url, required=required, quiet=True)
        assert len(members) == 3
        with pytest.raises(MissingInputError, match="features.tar could not be fetched"):
            find_archives(base_url=server.url, quiet=True)


def test_find_archives_when_the_server_s_archive_has_other_content(tmp_path):
    remote = tmp_path / "remote"
    write_tar(remote / "crowd.tar", {"holiday/photo.jpg": b"1"})
    with serve(remote) as server, pytest.raises(MissingInputError, match="nothing of crowd.tar"):
        url = server.url.replace("//", "//user:secret@")
        find_archives(["crowd.tar"], base_url=url, quiet=True)


def test_find_archives_when_the_server_announced_too_little(tmp_path):
    faults = [("plain", None, True, True, {"Content-Length": "2000"})]
    remote = write_corpus(tmp_path / "remote", ["crowd.tar"])
    with (
        serve(remote, faults=faults) as server,
        pytest.raises(WorkFailedError, match="crowd.tar: is cut short.*fetch it again"),
    ):
        find_archives(["crowd.tar"], base_url=server.url, quiet=True)


def test_find_archives_without_any_place_goes_to_the_published_address(monkeypatch):
    # The address is not asked: the proxy that the environment names answers in its place.
    with ArchiveServer({}, [lambda handler: handler.status(403)]) as proxy:
        monkeypatch.setattr(find, "BASE_URL", "http://published.invalid/dusha/")
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(WorkFailedError, match=r"403 \(Forbidden\).*By hand: fetch crowd.tar"):
            find_archives(["crowd.tar"], quiet=True)
    assert proxy.requests[0][1] == "http://published.invalid/dusha/crowd.tar"
