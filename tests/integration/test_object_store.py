"""Shards in S3: the rows of a local run, from and to a server on the loopback address."""

import os
import subprocess
import sys

import fsspec
import numpy as np
import pyarrow
import pyarrow.parquet as pq
import pytest
import soundfile
from small_network import save_small_classifier

from dusha_ser.shards.stores import Store

moto_server = pytest.importorskip("moto.server", reason="the extra integration is not installed")
pytest.importorskip("s3fs", reason="the extra s3 is not installed")
COUNT = 12


@pytest.fixture(scope="module")
def bucket():
    """An empty bucket at the address where AWS's libraries look for theirs."""
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").mkdir("calls")
        yield "s3://calls"
    server.stop()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_small_classifier(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Parquet of clips, two to a row group, one of which cannot be read."""
    path = tmp_path_factory.mktemp("clips") / "clips.parquet"
    generator = np.random.default_rng(0)
    audio = []
    for number in range(COUNT):
        wav = path.with_name(f"{number}.wav")
        soundfile.write(wav, 0.1 * generator.standard_normal(4000 + 500 * number), 16000)
        audio.append({"bytes": wav.read_bytes(), "path": None})
    audio[5]["bytes"] = b"text"
    ids = [f"clip {number:02d}" for number in range(COUNT)]
    pq.write_table(pyarrow.table({"id": ids, "audio": audio}), path, row_group_size=2)
    return path


def start(*words):
    command = [sys.executable, "-m", "dusha_ser", "predict", *map(str, words)]
    settings = ("--device", "cpu", "--batch_size", "1", "--shard_size", "2", "--quiet")
    return subprocess.Popen([*command, *settings], stderr=subprocess.PIPE, text=True)


def rows_of(place):
    store = Store(str(place))
    names = [name for name in store.names() if name.startswith("part-")]
    return [pq.read_table(pyarrow.BufferReader(store.read(name))) for name in names]


def test_two_programs_fill_a_bucket_with_the_rows_of_a_local_run(bucket, model, clips, tmp_path):
    files = fsspec.filesystem("s3")
    files.put_file(str(clips), "calls/in/clips.parquet")
    both = [start(model, f"{bucket}/in", "--output_shards", f"{bucket}/out") for _ in range(2)]
    said = [program.communicate(timeout=250)[1] for program in both]
    # Whoever met the clip that cannot be read ends with 1.
    assert sorted(program.returncode for program in both) == [0, 1], said
    assert "1 x" in "".join(said)
    local = start(model, clips, "--output_shards", tmp_path / "out")
    assert local.wait(timeout=250) == 1
    assert len(rows_of(f"{bucket}/out")) == COUNT / 2
    assert rows_of(f"{bucket}/out") == rows_of(tmp_path / "out")
    assert Store(f"{bucket}/out").names(".claims") == []


def test_parts_that_are_there_stay_and_others_are_made_again(bucket, model, clips):
    place = f"{bucket}/again"
    first = start(model, clips, "--output_shards", place, "--shard", "1/2")
    assert first.wait(timeout=250) == 0, first.stderr.read()
    store = Store(place)
    assert len([name for name in store.names() if name.startswith("part-")]) == COUNT / 4
    # Asked of the object itself: the listing says less of it.
    state = store.files.info(store.path("part-00001.parquet"), refresh=True)
    assert start(model, clips, "--output_shards", place).wait(timeout=250) == 1
    assert store.files.info(store.path("part-00001.parquet"), refresh=True) == state
    assert sum(map(len, rows_of(place))) == COUNT


def test_only_one_creates_an_object(bucket):
    store = Store(f"{bucket}/claims")
    assert store.create("a", b"mine")
    assert not store.create("a", b"yours")
    assert store.read("a") == b"mine"


def test_a_bucket_that_is_not_there_is_one_line(bucket, model, clips):
    program = start(model, "s3://nowhere/in.parquet", "--output_shards", f"{bucket}/other")
    said = program.communicate(timeout=250)[1]
    assert program.returncode in (1, 2)
    assert said.count("\n") == 1, said
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in said
