"""A cluster of three Ray nodes on the loopback address, whose nodes and job are killed."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from long_recordings import write_podcast
from small_corpus import make_clips, write_corpus
from small_models import save_model

from benchmarks.ray_cluster import read_rows
from dusha_ser.cli.main import main as dusha

pytest.importorskip("ray", reason="the extra ray is not installed")


REPOSITORY = Path(__file__).resolve().parents[2]
OUTPUTS = ("slices", "scores", "picked", "corpus")
# Answers in 80 blocks, five tasks, of which one line is bad.
READ_ANSWERS = """
import functools, sys
from dusha_ser.archives.members import Member
from dusha_ser.engines import tasks
from dusha_ser.labels import answers, rows

path, size = sys.argv[1], int(sys.argv[2])
rows.BLOCK_SIZE = size // 80
member = {"crowd_train/raw_crowd_train.jsonl": Member("raw.jsonl", path, 0, size)}
on_ray = functools.partial(tasks.map_on_ray, None, True, few=2)
there, here = (
    answers.read_answers(member, ["crowd_train"], bad_rows="skip", quiet=True, mapper=mapper)
    for mapper in (on_ray, map)
)
assert there[0].equals(here[0]) and len(here[0]) == 3999, here[0]
assert there[1] == here[1] and [one.line for one in here[1]] == [3001], here[1]
"""


def run_program(words, seconds, folder):
    """Run a program of Python to its end in a folder; whatever happens, no node of Ray is left."""
    program = subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])},
    )
    try:
        assert program.wait(timeout=seconds) == 0
    finally:
        if program.poll() is None:
            for process in [*psutil.Process(program.pid).children(recursive=True), program]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            program.wait()


@pytest.mark.timeout(300)
def test_without_an_address_ray_is_started_here_and_stopped_again(tmp_path, monkeypatch):
    save_model(tmp_path / "model")
    rng = np.random.default_rng(0)
    (tmp_path / "clips").mkdir()
    for number in range(6):
        samples = 0.1 * rng.standard_normal(4000 + 500 * number)
        soundfile.write(tmp_path / "clips" / f"{number}.wav", samples, 16000)
    words = ["predict", "model", "clips", "--shard_size", "3", "--quiet", "--output_shards"]
    # What the program starts inherits this, whoever its parent is in the end.
    monkeypatch.setenv("DUSHA_TEST", str(tmp_path))
    run_program(["-m", "dusha_ser", *words, "ray", "--engine", "ray"], 200, tmp_path)
    started = [one for one in psutil.process_iter() if inherited(one, "DUSHA_TEST", str(tmp_path))]
    _, left = psutil.wait_procs(started, timeout=60)
    assert left == []
    monkeypatch.chdir(tmp_path)
    dusha([*words, "here"])
    rows = [read_rows(tmp_path / name) for name in ("ray", "here")]
    assert rows[0].num_rows == 6
    assert rows[0]["error"].null_count == 6
    assert rows[0].equals(rows[1])


def inherited(process, name, value):
    """Whether a process has a value in its environment."""
    with contextlib.suppress(psutil.Error):
        return process.environ().get(name) == value
    return False


@pytest.mark.timeout(300)
def test_answers_parsed_on_ray_are_those_of_this_program(tmp_path):
    row = {"hash_id": "", "audio_path": "wavs/0.wav", "duration": 2.5, "speaker_text": "да"}
    row |= {"annotator_emo": "sad", "golden_emo": "", "speaker_emo": "sad", "source_id": "s"}
    lines = [
        row | {"hash_id": f"{number}", "annotator_id": f"{number % 9}"} for number in range(4000)
    ]
    lines[3000]["duration"] = -1
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    (tmp_path / "raw.jsonl").write_bytes(content)
    run_program(["-c", READ_ANSWERS, "raw.jsonl", len(content)], 200, tmp_path)


@pytest.mark.timeout(600)
def test_killed_nodes_and_a_killed_job_lose_nothing_and_write_nothing_twice(tmp_path):
    words = ["--count", "240", "--shard_size", "5", "--rounds", "0"]
    program = ["-m", "benchmarks.ray_cluster", *words, "--output_file", "found.json"]
    run_program(program, 550, tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    # One shard of five clips is damaged: a row of its error in place of five rows. Of the two clips
    # that come again one is another: a row of its error in place of its prediction.
    assert found["rows"] == 236
    killed = found["killed"]
    assert killed["same_rows"]
    assert killed["ids_twice"] == 0
    assert killed["rows_of_errors"] == 2
    first, second, job = killed["parts_at_kills"]
    assert 1 <= first <= second <= job < killed["parts"] == 48


@pytest.mark.timeout(600)
def test_slices_pseudo_labels_and_a_corpus_when_nodes_are_killed_are_those_of_this_program(
    tmp_path, monkeypatch
):
    pytest.importorskip("silero_vad", reason="the extra vad is not installed")
    save_model(tmp_path / "model")
    for number in range(12):
        write_podcast(tmp_path / "recordings" / f"{number:02d}.wav", number, phrases=3)
    counts = {"crowd_train": 12, "crowd_test": 6, "podcast_train": 2, "podcast_test": 2}
    write_corpus(tmp_path / "archives", make_clips(counts))
    program = Path(__file__).with_name("ray_parts.py")
    run_program([program], 280, tmp_path)
    there = {name: (tmp_path / name).rename(tmp_path / f"ray {name}") for name in OUTPUTS}
    monkeypatch.chdir(tmp_path)
    common = ["--shard_size", "1", "--quiet"]
    dusha(["collect", "slice", "recordings", "--output_shards", "slices", *common])
    words = ["pseudo-label", "slices", "--model", "model", "--number", "4", "--device", "cpu"]
    words += ["--output_shards", "scores", "--output_file", "picked/picked.csv"]
    dusha(["collect", *words, *common])
    words = ["corpus", "crowd", "--data_dir", "archives", "--cache_dir", "cache", "--quiet"]
    dusha([*words, "--input_features", "--output_dir", "corpus"])
    for name, ray in there.items():
        own = sorted(path for path in Path(name).rglob("*") if path.is_file())
        names = [path.relative_to(name) for path in own]
        assert len(names) >= 3
        shown = [path for path in names if path.parts[0] != "_job.json"]
        assert [(ray / path).read_bytes() for path in shown] == [
            (Path(name) / path).read_bytes() for path in shown
        ]
        assert sorted(path.relative_to(ray) for path in ray.rglob("*") if path.is_file()) == names
