"""Audio files that users name: hidden ones, links, and names of all kinds."""

import csv
import io
import os
import shutil

import numpy as np
import pytest
import soundfile

from dusha_ser.audio.finding import audio_suffixes, files_below, find_audio_files, list_audio_files
from dusha_ser.audio.reading import read_audio, read_info
from dusha_ser.files import printable_name
from dusha_ser.storage import write_csv

NAMES = (
    *(
        "Ёжик.wav",
        "Е\u0308лка.wav",
        " blank .wav",
        "it's.wav",
        'quo"te.wav',
        "50%20.wav",
        "[a].wav",
    ),
    *("a,b;c.wav", "new\nline.wav", "carriage\rreturn.wav", "tab\t.wav", "-dash.wav", "😢.wav"),
    *("#1?.wav", "a*b.wav", "~.wav", "CON.WAV", "two..dots.wav", "x" * 246 + ".wav"),
    *("caf\udce9.wav", r"C\udce9.wav", r"\x20a.wav", "=1+1.wav"),
)


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "plain.wav"
    soundfile.write(path, np.full(800, 0.25), 16000)
    return path


@pytest.fixture
def folder(tmp_path, wav):
    """A folder of files with unusual names."""
    folder = tmp_path / "записи 2024 [test] 100%"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(wav, folder / name)
    return folder


def names(files, folder):
    return [os.path.relpath(one, folder) for one in files]


def test_list_audio_files_when_names_are_unusual_finds_and_reads_all(folder):
    found = list_audio_files([str(folder)])
    assert sorted(names((one.path for one in found), folder)) == sorted(NAMES)
    for one in found:
        assert len(read_audio(one.path, 16000)) == read_info(one.path).frames == 800
        one.name.encode()  # any table holds it


@pytest.mark.parametrize("table", ["written by us", "written by csv", "with other columns"])
def test_list_audio_files_when_a_table_names_unusual_files_finds_all(table, folder):
    found = list_audio_files([str(folder)])
    written = [printable_name(name) for name in names((one.path for one in found), folder)]
    rows = [{"path": name, "label": "sad"} for name in written]
    path = folder / "clips.csv"
    if table == "written by csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["path"], *([row["path"]] for row in rows)])
    else:
        columns = ["label", "path"] if table == "with other columns" else ["path"]
        write_csv(path, columns, ({name: row[name] for name in columns} for row in rows))
    listed = list_audio_files([str(path)])
    assert sorted(names((one.path for one in listed), folder)) == sorted(NAMES)
    assert [one.name for one in listed] == written


def test_list_audio_files_when_standard_input_names_files_that_are_not_utf8(folder, tmp_path):
    paths = [os.fsencode(folder / name) for name in ("caf\udce9.wav", "Ёжик.wav")]
    listed = list_audio_files(["-"], "path", io.BytesIO(b"\0".join(paths)), tmp_path)
    assert [os.fsencode(one.path) for one in listed] == paths
    noise = io.BytesIO(np.random.default_rng(0).bytes(1000))
    (one,) = list_audio_files(["-"], "path", noise, tmp_path)
    assert one.name == "-"


def test_files_below_when_some_are_hidden_leaves_them_out(tmp_path, wav):
    for name in ("a.wav", "._a.wav", ".a.wav", ".git/a.wav", "__MACOSX/b/._a.wav", "b/.c/a.wav"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(wav, tmp_path / "in" / name)
    shutil.copy(wav, tmp_path / "in" / "b" / "B.WAV")
    (tmp_path / "in" / "notes.txt").write_text("a.wav")
    assert names(files_below(tmp_path / "in", [".wav"]), tmp_path / "in") == ["a.wav", "b/B.WAV"]
    # What a user names is never hidden.
    assert len(find_audio_files([tmp_path / "in" / ".git"])) == 1


def test_files_below_follows_links_once_and_counts_the_others(tmp_path, wav, caplog):
    folder, other = tmp_path / "in", tmp_path / "other"
    for place in (folder / "deep", other / "deep"):
        place.mkdir(parents=True)
        shutil.copy(wav, place / "a.wav")
    (folder / "alias.wav").symlink_to(wav)
    (folder / "link").symlink_to(other)
    (folder / "second").symlink_to(other)
    (folder / "loop").symlink_to(folder)
    (folder / "up").symlink_to(tmp_path)
    (folder / "inner").symlink_to(folder / "deep")
    (other / "back").symlink_to(other)
    (folder / "dead.wav").symlink_to("/nowhere.wav")
    (folder / "folder.wav").mkdir()
    found = names(files_below(folder, [".wav"]), folder)
    assert sorted(found) == ["alias.wav", "deep/a.wav", "link/deep/a.wav"]
    (warning,) = caplog.messages
    assert warning.startswith(f"6 links in {folder} are not followed: ")
    caplog.clear()
    assert len(list(files_below(other / "deep", [".wav"]))) == 1
    assert not caplog.messages


def test_audio_suffixes_are_those_of_all_that_is_read():
    assert {".wav", ".flac", ".mp3", ".ogg", ".m4a", ".webm"} <= set(audio_suffixes())
    assert ".raw" not in audio_suffixes()
