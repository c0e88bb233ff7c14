"""Archives and folders in every mix, their members read in place."""

import io
import pickle
import tarfile

import pytest

import archives_dusha
from archives_dusha import Member, find_archives, open_members
from command_line_dusha import MissingInputError

RAW = "crowd_train/raw_crowd_train.jsonl"


def write_tar(path, files, mode="w"):
    """A tar archive of a dict, or of a list of pairs, of names and contents."""
    with tarfile.open(path, mode) as archive:
        for name, content in dict(files).items() if isinstance(files, dict) else files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_files(folder, files):
    """Loose files of a dict of names and contents."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_member_reads_and_seeks_inside_its_archive_only(tmp_path):
    content = bytes(range(256)) * 300
    archive = write_tar(tmp_path / "a.tar", {"x": b"before", "y": content, "z": b"behind"})
    member = pickle.loads(pickle.dumps(open_members([archive], tmp_path)["y"]))
    assert member.size == len(content) and member.read() == content
    with member.open() as file:
        assert file.read() == content and file.read() == b""
        assert file.seek(-3, io.SEEK_END) == len(content) - 3 and file.read(100) == content[-3:]
        assert file.seek(1000) == 1000 and file.read(5) == content[1000:1005]
        file.seek(0)
        assert file.readline() == content[:11]
        assert file.seek(10**6) == 10**6 and file.read() == b""


@pytest.mark.parametrize("outer", ["", "./", "crowd/", "./dusha/crowd/"])
def test_open_members_when_an_outer_folder_stands_before_the_names(tmp_path, outer):
    files = {f"{outer}{RAW}": b"1", f"{outer}crowd_train/wavs/0f.wav": b"2"}
    packed = open_members([write_tar(tmp_path / "crowd.tar", files)], tmp_path / "cache")
    loose = open_members([write_files(tmp_path / "data", files)], tmp_path / "cache")
    for members in (packed, loose):
        assert list(members) == [RAW, "crowd_train/wavs/0f.wav"]
        assert [member.read() for member in members.values()] == [b"1", b"2"]


def test_find_archives_when_an_archive_is_missing(tmp_path):
    write_tar(tmp_path / "crowd.tar", {RAW: b"{}"})
    assert isinstance(
        find_archives(["crowd.tar"], tmp_path, cache_dir=tmp_path / "cache")[RAW], Member
    )
    with pytest.raises(MissingInputError, match="nothing of podcast.tar.*--data_dir"):
        find_archives(["crowd.tar", "podcast.tar"], tmp_path, cache_dir=tmp_path / "cache")
    assert set(archives_dusha.CONTENTS) == set(archives_dusha.ARCHIVES)
