"""Files and folders that are written whole or not at all, names and keys."""

import contextlib
import csv
import os
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

from dusha_ser import storage
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.storage import (
    check_file,
    check_folder,
    check_settings,
    free_name,
    read_json,
    replace_folder,
    replacing,
    replacing_folder,
    write_csv,
    write_json,
    write_text,
)

OWN = ("key.csv", "upload")
# Ends in the middle of its work, as a killed program does.
KILLED = """
import os, signal, sys
from pathlib import Path
from dusha_ser.storage import replacing, replacing_folder

kind, place = sys.argv[1:]
if kind == "between":
    real = Path.rename
    def kill_after(path, target):
        real(path, target)
        os.kill(os.getpid(), signal.SIGKILL)
    Path.rename = kill_after
write = replacing if kind == "file" else lambda place: replacing_folder(place, overwrite=True)
with write(place) as unfinished:
    (unfinished if kind == "file" else unfinished / "file").write_text("half of")
    if kind != "between":
        os.kill(os.getpid(), signal.SIGKILL)
"""
# Writes until it is told to end.
WRITING = """
import sys
from dusha_ser.storage import replacing
with replacing(sys.argv[1]) as unfinished:
    unfinished.write_text("by another program")
    print(flush=True)
    sys.stdin.readline()
"""


def start(script, *arguments, **options):
    """Run a script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=Path(storage.__file__).parents[1],
        **options,
    )


def names(folder):
    """What is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_replacing_when_the_block_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with replacing(path) as unfinished:
        assert unfinished.parent == path.parent and unfinished.suffix == ".csv"
        unfinished.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as unfinished:
        unfinished.write_text("new")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    with replacing(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and names(path.parent) == ["table.csv"]


@pytest.mark.parametrize("kind", ["file", "folder", "between"])
def test_writing_when_killed_leaves_the_old_one_and_nothing_once_another_writes(kind, tmp_path):
    place = tmp_path / "place"
    write = replacing if kind == "file" else partial(replacing_folder, overwrite=True)
    file = place if kind == "file" else place / "file"
    with write(place) as unfinished:
        (unfinished if kind == "file" else unfinished / "file").write_text("old")
    assert start(KILLED, kind, place).wait() == -signal.SIGKILL
    assert len(names(tmp_path)) == 2
    storage._remove_leftovers.cache_clear()  # each program looks for leftovers once
    if kind != "between":
        assert file.read_text() == "old"
        write_text(tmp_path / "other", "")
        assert names(tmp_path) == ["other", "place"]
    with pytest.raises(KeyboardInterrupt), write(place):
        raise KeyboardInterrupt
    assert file.read_text() == "old"
    with write(place) as unfinished:
        (unfinished if kind == "file" else unfinished / "file").write_text("new")
    assert file.read_text() == "new"
    assert names(tmp_path) in (["place"], ["other", "place"])


def test_replacing_when_another_program_writes_beside_leaves_its_file(tmp_path):
    process = start(
        WRITING, tmp_path / "theirs", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    write_text(tmp_path / "ours", "by this one")
    assert len(names(tmp_path)) == 2
    process.communicate("\n")
    assert process.returncode == 0
    assert (tmp_path / "theirs").read_text() == "by another program"
    assert names(tmp_path) == ["ours", "theirs"]


def test_replacing_when_hidden_files_are_the_user_s_leaves_them(tmp_path):
    mine = [".a.unfinished.csv", ".a.1.csv", ".unfinished", "a.1.unfinished.csv", ".a.old"]
    for name in mine:
        (tmp_path / name).touch()
    write_text(tmp_path / "a", "")
    assert names(tmp_path) == sorted([*mine, "a"])


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_writing_gives_the_permissions_that_the_umask_allows(umask, tmp_path):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "file", "")
        with replacing_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~umask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~umask


def test_writing_when_the_place_is_a_link_replaces_what_it_points_to(tmp_path):
    real = tmp_path / "real"
    with replacing_folder(real / "folder") as unfinished:
        (unfinished / "a").write_text("old")
    write_text(real / "file", "old")
    for name in ("file", "folder"):
        (tmp_path / name).symlink_to(real / name)
    write_text(tmp_path / "file", "new")
    with replacing_folder(tmp_path / "folder", overwrite=True) as unfinished:
        (unfinished / "b").write_text("new")
    assert (tmp_path / "file").is_symlink() and (tmp_path / "folder").is_symlink()
    assert (real / "file").read_text() == "new"
    assert names(real) == ["file", "folder"] and names(real / "folder") == ["b"]


def test_replacing_folder_when_the_block_fails_leaves_what_was_there(tmp_path):
    place = tmp_path / "out"
    with replacing_folder(place, OWN) as folder:
        (folder / "key.csv").write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing_folder(place, OWN, True) as folder:
        (folder / "key.csv").write_text("new")
        raise KeyboardInterrupt
    assert (place / "key.csv").read_text() == "old"
    with replacing_folder(place, OWN, overwrite=True) as folder:
        (folder / "key.csv").write_text("new")
    assert (place / "key.csv").read_text() == "new"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_replacing_folder_when_it_holds_anything_else_stays_as_it_is(overwrite, tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("key.csv", "podcast.tar"):
        (tmp_path / "out" / name).write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name, message in {
        "out": "podcast.tar, which this program did not write",
        "file": "a file; name a folder",
    }.items():
        with (
            pytest.raises(WrongUseError, match=message),
            replacing_folder(tmp_path / name, OWN, overwrite),
        ):
            pass
    assert names(tmp_path / "out") == ["key.csv", "podcast.tar"]


def test_replacing_folder_when_it_must_not_be_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    with replacing_folder(tmp_path / "out", OWN, False) as folder:
        (folder / "key.csv").write_text("of tasks that a crowd is answering")
    with (
        pytest.raises(WrongUseError, match=r"already holds key\.csv; name another.*overwrite=True"),
        replacing_folder(tmp_path / "out", OWN, False),
    ):
        pass
    assert (tmp_path / "out" / "key.csv").read_text() == "of tasks that a crowd is answering"


def test_replacing_folder_when_merged_replaces_files_of_its_names_only(tmp_path):
    place = tmp_path / "out"
    for number in range(2):
        with replacing_folder(place, overwrite=bool(number), merge=True) as folder:
            (folder / "figures").mkdir()
            for name in ("own", "figures/1"):
                (folder / name).write_text("new")
        for name in ("own", "figures/1"):
            assert (place / name).read_text() == "new"
            (place / name).write_text("old")
        for name in ("notes", "figures/notes"):
            (place / name).write_text("mine")
    refused = pytest.raises(WrongUseError, match=r"already holds figures/1; name.*overwrite=True")
    with refused, replacing_folder(place, merge=True) as folder:
        (folder / "figures").mkdir()
        for name in ("another", "figures/1"):
            (folder / name).write_text("new")
    assert (place / "figures" / "1").read_text() == "old"
    assert names(place) == ["figures", "notes", "own"] and names(tmp_path) == ["out"]
    assert names(place / "figures") == ["1", "notes"]


def test_replace_folder_when_stopped_in_between(tmp_path):
    for name in ("new", ".place.replaced"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text(name)
    replace_folder(tmp_path / "new", tmp_path / "place")
    assert (tmp_path / "place" / "content").read_text() == "new"
    assert names(tmp_path) == ["place"]
    for there, expected in ((["place"], "place"), (["place", ".place.replaced"], "place")):
        for name in there:
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "content").write_text(name)
        with pytest.raises(KeyError), replacing_folder(tmp_path / "place", overwrite=True):
            raise KeyError
        assert (tmp_path / "place" / "content").read_text() == expected
        assert names(tmp_path) == ["place"]
    (tmp_path / "place").rename(tmp_path / ".place.replaced")
    with pytest.raises(KeyError), replacing_folder(tmp_path / "place", overwrite=True):
        raise KeyError
    assert (tmp_path / "place" / "content").read_text() == "place"


def test_check_file_when_it_cannot_be_written_or_would_replace_something(tmp_path):
    (tmp_path / "there.csv").touch()
    (tmp_path / "folder").mkdir()
    for name, message in {
        "there.csv": r"there\.csv is there already; name another `table`, or replace it with `over",
        "folder": "folder is a folder; name a file as `table`",
        "there.csv/a.csv": r"there\.csv is a file, so .*a\.csv cannot be made; name another",
        "there.csv/b/a.csv": r"there\.csv is a file, so ",
    }.items():
        with pytest.raises(WrongUseError, match=message):
            check_file(tmp_path / name, name="table")
    check_file(tmp_path / "there.csv", overwrite=True, inputs=["-", tmp_path / "other.csv"])
    with pytest.raises(WrongUseError, match="is read here and would be replaced; name another"):
        check_file(tmp_path / "there.csv", True, inputs=[tmp_path / "folder" / ".." / "there.csv"])
    check_file(tmp_path / "new" / "a.csv")
    assert names(tmp_path) == ["folder", "there.csv"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process of another user")
def test_checks_when_a_folder_may_not_be_written_in():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        child = os.fork()
        if not child:
            status = 1
            with contextlib.suppress(BaseException):
                if not os.getuid():
                    os.setuid(65534)  # root may write anywhere
                for check in (check_file, check_folder):
                    with pytest.raises(
                        WrongUseError, match=f"be written: {folder} may not be changed;"
                    ):
                        check(Path(folder, "new", "place"))
                status = 0
            os._exit(status)
        assert os.waitpid(child, 0)[1] == 0


def test_check_folder_when_it_is_of_others_or_finished(tmp_path):
    marks, finished = ["*.safetensors"], ["model.*"]
    check_folder(tmp_path / "new", marks=marks, finished=finished)
    check_folder(tmp_path, marks=marks, finished=finished)
    for name in (".hidden", "slurm-1.out", "train.log", "runs"):
        (tmp_path / name).touch()
    check_folder(tmp_path, marks=marks, neutral=["runs"])
    with pytest.raises(WrongUseError, match="holds runs, which this program did not write; name"):
        check_folder(tmp_path, True, marks=marks)
    (tmp_path / "model.safetensors").touch()
    check_folder(tmp_path, marks=marks)
    check_folder(tmp_path, True, marks=marks, finished=finished)
    with pytest.raises(WrongUseError, match=r"already holds model\.safetensors; name another"):
        check_folder(tmp_path, marks=marks, finished=finished)
    for name, message in {"runs": "is a file; name a folder", "runs/a": "is a file, so "}.items():
        with pytest.raises(WrongUseError, match=message):
            check_folder(tmp_path / name)


def test_check_settings_when_others_began_it(tmp_path):
    note, shown = tmp_path / ".settings.json", tmp_path / "clips"
    check_settings(note, {"cut": 5.0, "source": "file"}, shown, "output_dir")
    check_settings(note, {"cut": 5.0, "source": "file"}, shown, "output_dir")
    before = note.read_bytes()
    with pytest.raises(WrongUseError, match=r"clips was begun with another cut; name another"):
        check_settings(note, {"cut": 4.0, "source": "file"}, shown, "output_dir")
    assert note.read_bytes() == before
    note.write_text("{torn")
    with pytest.raises(WrongUseError, match="another cut, source;"):
        check_settings(note, {"cut": 4.0, "source": "file"}, shown, "output_dir")


def test_free_name_when_names_are_taken(tmp_path, monkeypatch):
    assert free_name(Path("runs/model"), "tuned") == Path("runs/model_tuned")
    for number in ("", "_2"):
        (tmp_path / f"model_tuned{number}").mkdir()
    assert free_name(tmp_path / "model", "tuned") == tmp_path / "model_tuned_3"
    monkeypatch.chdir(tmp_path)
    assert free_name(Path(), "tuned") == tmp_path.with_name(f"{tmp_path.name}_tuned")


def test_write_csv_when_values_hold_anything(tmp_path):
    values = {"a": 'quoted "да", with\na line end', "b": ""}
    write_csv(tmp_path / "list.csv", ("a", "b"), [values, {"a": "1", "b": None}])
    with (tmp_path / "list.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [values, {"a": "1", "b": ""}]
    assert names(tmp_path) == ["list.csv"]


def test_write_json_is_read_back_and_refuses_what_is_not_a_number(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"да": [1, None]})
    assert read_json(path) == {"да": [1, None]} and path.read_text().endswith("}\n")
    with pytest.raises(ValueError):
        write_json(path, float("nan"))
    assert read_json(path) == {"да": [1, None]} and names(tmp_path) == ["a.json"]


def test_read_json_when_it_is_missing_or_torn(tmp_path):
    with pytest.raises(MissingInputError, match="no file"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(WrongUseError, match="is not JSON.*make it again"):
        read_json(tmp_path / "a.json")
