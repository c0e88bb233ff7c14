"""Files that worker processes read, and one process classifies: what a GPU is fed with."""

import csv
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from small_models import save_model

from dusha_ser.audio.finding import AudioFile
from dusha_ser.errors import WorkFailedError
from dusha_ser.inference import batching, decoding
from dusha_ser.inference import predict_files as predicting
from dusha_ser.inference.audio_files import ACCELERATOR_BATCH_SIZE, load_classifier
from dusha_ser.inference.batching import make_groups
from dusha_ser.inference.decoding import classify_decoded
from dusha_ser.inference.predict_files import predict_files
from dusha_ser.inference.settings import PredictOptions, Settings

RATES = (8000, 16000, 22050, 44100, 48000)


def write_noise(path, seconds, rate, seed):
    rng = np.random.default_rng(seed)
    pitch = np.sin(2 * np.pi * rng.uniform(100, 900) * np.arange(round(seconds * rate)) / rate)
    soundfile.write(path, 0.3 * pitch + 0.03 * rng.standard_normal(len(pitch)), rate)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Short files of several rates, two long ones, and two that cannot be read."""
    folder = tmp_path_factory.mktemp("recordings")
    for number in range(10):
        path = folder / f"{number:02d}.wav"
        write_noise(path, 0.3 + 0.11 * (number * 5 % 10), RATES[number % len(RATES)], number)
    write_noise(folder / "05 long.flac", 3.1, 22050, 50)
    write_noise(folder / "10 longer.wav", 5, 16000, 51)
    (folder / "03 broken.wav").write_bytes(b"RIFF" + bytes(100))
    soundfile.write(folder / "12 nan.wav", np.full(3000, np.nan), 16000, subtype="FLOAT")
    return folder


@pytest.fixture(autouse=True)
def _little_at_once(monkeypatch):
    monkeypatch.setattr(batching, "GROUP_FILES", 4)
    monkeypatch.setattr(decoding, "SLOT_SAMPLES", 24000)


def predict(model, recordings, output, decode_in_workers, **options):
    asked = PredictOptions(
        model=model, inputs=[str(recordings)], output_file=output, device="cpu", quiet=True
    )
    asked = replace(asked, **options)
    asked.check()
    files = [AudioFile(path.name, str(path)) for path in sorted(recordings.iterdir())]
    return predict_files(asked, files, decode_in_workers)


@pytest.mark.parametrize(
    "settings",
    [
        {"whole": 2.0, "window": 1.0, "hop": 0.5},
        {"timeline": True, "window": 1.0, "hop": 0.25},
        {"batch_size": 3},
        {"vad": True, "timeline": True, "window": 0.5, "hop": 0.5},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_rows_are_those_of_one_process_byte_for_byte(settings, model, recordings, tmp_path):
    if "vad" in settings:
        pytest.importorskip("silero_vad")
    failed = predict(model, recordings, tmp_path / "alone.csv", None, **settings)
    again = predict(model, recordings, tmp_path / "fed.csv", True, num_proc=2, **settings)
    assert again == failed and set(failed) == {"03 broken.wav", "12 nan.wav"}
    assert (tmp_path / "fed.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()
    with (tmp_path / "fed.csv").open() as file:
        names = [row["id"] for row in csv.DictReader(file)]
    assert list(dict.fromkeys(names)) == sorted(path.name for path in recordings.iterdir())
    if settings.get("timeline") and "vad" not in settings:
        assert names.count("10 longer.wav") == 17


def test_a_model_on_a_gpu_is_in_one_process(model, recordings, tmp_path, monkeypatch):
    def load(*arguments, **options):
        return replace(load_classifier(*arguments, **options), on_accelerator=True)

    def refuse(*arguments):
        raise AssertionError("several processes have a model")

    monkeypatch.setattr(predicting, "load_classifier", load)
    monkeypatch.setattr(predicting, "_classify_in_processes", refuse)
    predict(model, recordings, tmp_path / "alone.csv", None)
    predict(model, recordings, tmp_path / "fed.csv", None, num_proc=2)
    assert (tmp_path / "fed.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()


def test_clips_that_fit_into_no_slot_are_sent_as_they_are():
    slots = decoding.Slots(2, 5)
    sender = decoding.Sender(slots, 7)
    sent = [np.arange(size, dtype=np.float32) for size in (2, 3, 1, 6)]
    for clip in sent:
        sender.add(clip)
    (first, second) = (slots.sent.get(timeout=60) for _ in range(2))
    assert first[0] == second[0] == 7
    assert first[2] == [2, 3]
    assert slots[first[1]].tolist() == [0, 1, 0, 1, 2]
    assert second[2][0] == 1 and second[2][1].tolist() == sent[3].tolist()


def test_groups_ahead_are_few(model, recordings):
    """Reading does not run away from classifying."""
    paths = sorted(recordings.glob("??.wav"))
    taken = []

    def groups():
        for number in range(12):
            taken.append(number)
            path = paths[number % len(paths)]
            yield [AudioFile(path.name, str(path))]

    classifier = load_classifier(Settings(model), "cpu")
    for number, rows in enumerate(classify_decoded(classifier, groups(), 2)):
        assert rows[0][0]["id"] == paths[number % len(paths)].name
        assert len(taken) <= number + 5
    assert number == 11


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_killed_worker_ends_the_work(model, recordings):
    paths = sorted(recordings.glob("*.flac"))
    groups = ([AudioFile(path.name, str(path))] for path in paths * 100)
    classifier = load_classifier(Settings(model, timeline=True, window=1.0, hop=1.0), "cpu")
    pools = []

    class Pool(decoding.WorkerPool):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            pools.append(self)

    done = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "WorkerPool", Pool)
        with pytest.raises(WorkFailedError, match="a worker process was ended from outside"):
            for rows in classify_decoded(classifier, groups, 2):
                assert rows[0][0]["error"] is None
                done += 1
                if done == 1:
                    os.kill(next(iter(pools[0]._processes)), signal.SIGKILL)
    assert 0 < done < 100


def test_workers_are_spared_pytorch(model, recordings):
    """It would take each of them seconds to start, and hundreds of MB."""
    program = (
        "import sys\n"
        "import dusha_ser.inference.decoding as decoding\n"
        "from dusha_ser.inference.clips import Recording\n"
        "from dusha_ser.inference.settings import Settings\n"
        f"decoding._prepare(Settings({model!r}), 16000, None)\n"
        f"path = {str(recordings / '00.wav')!r}\n"
        "print(sum(map(len, decoding._reader.read(Recording('x'), path))))\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["4800", "False"], done.stderr


def test_batches_and_groups_of_an_accelerator_are_larger(model):
    classifier = load_classifier(Settings(model), "cpu")
    assert classifier.batch_size == 16
    on_accelerator = replace(classifier, on_accelerator=True)
    assert on_accelerator.batch_size == ACCELERATOR_BATCH_SIZE == 64
    assert replace(on_accelerator, settings=Settings(model, batch_size=5)).batch_size == 5
    files = [AudioFile(str(number), "") for number in range(40)]
    assert [len(group) for group in make_groups(files)] == [4] * 10
    assert [len(group) for group in make_groups(files, 64)] == [16, 16, 8]
