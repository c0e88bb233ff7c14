"""Disks that are full, cannot be written, or belong to somebody else: real ones, in memory."""

import hashlib
import os
import re
import subprocess

import numpy as np
import pytest
import soundfile
from own_recordings import write_recordings
from small_corpus import make_clips, write_corpus
from small_network import small_classifier

from feature_extraction_dusha import DushaFeatureExtractor

pytestmark = pytest.mark.timeout(900)
SHARES = (0.02, 0.2, 0.5, 0.8, 0.95)
ROOM = "64m"
NOBODY = 65534


def mount(*arguments):
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path):
    """An empty disk of 64 MB; its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def resize(disk, size):
    """Change the size of a disk, in bytes or as mount takes it; what is on it stays."""
    mount("-o", f"remount,rw,size={size}", disk)


def used(disk):
    state = os.statvfs(disk)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def empty(disk):
    subprocess.run(["find", disk, "-mindepth", "1", "-delete"], check=True)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and not path.name.endswith(".arrow")
    }


@pytest.fixture(autouse=True)
def root():
    """Only root can mount disks and give files to others."""
    if os.geteuid():
        pytest.skip("only root can mount disks and give files away")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    counts = {"crowd_train": 60, "crowd_test": 20, "podcast_train": 8, "podcast_test": 8}
    folder = tmp_path_factory.mktemp("archives")
    folder.chmod(0o755)
    return write_corpus(folder, make_clips(counts))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    small_classifier(num_mel_bins=64).save_pretrained(folder)
    DushaFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A thousand names for one clip."""
    folder = tmp_path_factory.mktemp("clips")
    soundfile.write(folder / "0.wav", 0.1 * np.sin(np.arange(800)), 16000)
    for number in range(1, 400):
        (folder / f"{number}{'long ' * 30}.wav").hardlink_to(folder / "0.wav")
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    return write_recordings(folder, ["angry", "sad", "neutral", "positive"], 24, "abc")


@pytest.fixture
def work(request, archives, model, clips, table):
    """What programs do on a disk, by name: arguments and options of WarmPrograms.start."""
    return {
        "folder": (
            ("dusha_ser.cli.corpus.main", "crowd", "--data_dir", archives, "--output_dir", "dusha",
             "--export", "csv", "--export_audio", "--cache_dir", "cache", "--quiet"),
            {"constants": {"dusha_ser.corpus.parquet_folder.SHARD_BYTES": 2e5}},
        ),
        "cache": (("warm_programs.load", archives, "cache"), {}),
        "prediction": (
            ("dusha_ser.cli.predict.main", model, clips, "--output_file", "answers.csv", "--quiet"),
            {"constants": {"dusha_ser.inference.batching.GROUP_FILES": 20}},
        ),
        "training": (
            ("dusha_ser.cli.train.main", "--train_file", table, "--quiet", "--validation", "0",
             "--output_dir", "model", "--model_name_or_path", model, "--cache_dir", "cache",
             "--per_device_train_batch_size", "8", "--num_train_epochs", "2",
             "--resume_from_checkpoint", "auto"),
            {},
        ),
    }  # fmt: skip


def outcome(name, disk):
    """What is compared of a result."""
    found = contents(disk)
    if name == "training":
        return {path: digest for path, digest in found.items() if path.endswith(".safetensors")}
    return found


WORKS = ("folder", "cache", "prediction", "training")


def refused(program, status, statuses=(1,)):
    """Check that a program ended in one line, and return it."""
    assert status in statuses, program.errors
    assert "Traceback" not in program.errors
    said = program.errors.splitlines()[-1]
    assert re.match(r"(dusha( [a-z-]+)?|\S+\.py): ", said), said
    return said


@pytest.mark.parametrize("name", WORKS)
def test_disk_when_full_ends_in_one_line_and_goes_on_with_room(name, work, disk, warm):
    arguments, options = work[name]
    program, status = warm.run(*arguments, cwd=disk, **options)
    assert status == 0, program.errors
    expected, needed = outcome(name, disk), used(disk)
    failures = 0
    for share in SHARES:
        empty(disk)
        resize(disk, max(2**12, int(share * needed)))
        program, status = warm.run(*arguments, cwd=disk, **options)
        if status:
            failures += 1
            # PyTorch's writer knows no reason.
            assert re.search("No space left|could not be saved", refused(program, status))
        resize(disk, ROOM)
        program, status = warm.run(*arguments, cwd=disk, **options)
        assert status == 0, program.errors
        assert outcome(name, disk) == expected
    assert failures >= 3


@pytest.mark.parametrize("name", WORKS)
def test_disk_when_read_only_ends_in_one_line(name, work, disk, warm):
    arguments, options = work[name]
    resize(disk, ROOM + ",ro")
    program, status = warm.run(*arguments, cwd=disk, **options)
    said = refused(program, status, (1, 2))
    assert re.search("Read-only file system|cannot be written", said)
    assert not list(disk.iterdir())


@pytest.mark.parametrize("name", WORKS)
def test_folder_when_somebody_else_s_ends_in_one_line(name, work, tmp_path, warm):
    arguments, options = work[name]
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    os.chown(theirs, NOBODY, NOBODY)
    program, status = warm.run(*arguments, cwd=theirs, powerless=True, **options)
    assert re.search("Permission denied|cannot be written", refused(program, status, (1, 2)))
    assert not list(theirs.iterdir())


def test_archive_when_it_may_not_be_read_ends_in_one_line(archives, tmp_path, warm):
    for path in archives.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    locked = tmp_path / "crowd.tar"
    locked.chmod(0o600)
    os.chown(locked, NOBODY, NOBODY)
    arguments = ("dusha_ser.cli.corpus.main", "--data_dir", ".", "--cache_dir", "cache", "--quiet")
    program, status = warm.run(*arguments, cwd=tmp_path, powerless=True)
    said = refused(program, status)
    assert "crowd.tar" in said and "Permission denied" in said
    assert not (tmp_path / "dusha").exists()


def test_sound_when_it_may_not_be_read_is_a_row_with_the_error(model, tmp_path, warm):
    for name in ("0.wav", "1.wav"):
        soundfile.write(tmp_path / name, 0.1 * np.sin(np.arange(800)), 16000)
    (tmp_path / "0.wav").chmod(0o600)
    os.chown(tmp_path / "0.wav", NOBODY, NOBODY)
    arguments = ("dusha_ser.cli.predict.main", model, "0.wav", "1.wav", "--output_file", "a.csv")
    program, status = warm.run(*arguments, "--quiet", cwd=tmp_path, powerless=True)
    assert "1 of 2 files failed" in refused(program, status)
    rows = (tmp_path / "a.csv").read_text().splitlines()
    assert "Permission denied" in rows[1] and rows[2].endswith(",")
