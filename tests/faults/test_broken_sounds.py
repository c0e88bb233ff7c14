"""Sounds of all kinds and broken ones, given to each program that reads sounds."""

import csv
import json
import re
import struct
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
from small_corpus import make_clips, write_corpus

from dusha_ser.audio.reading import read_blocks
from dusha_ser.cli import corpus as corpus_command
from dusha_ser.cli import predict, train
from dusha_ser.corpus.own_recordings import read_recordings
from dusha_ser.training.features import compute_inputs
from feature_extraction_dusha import DushaFeatureExtractor

RATE = 16000


def tone(rate=RATE, seconds=0.5):
    """Two tones, far below half of the lowest rate."""
    time = np.arange(round(rate * seconds)) / rate
    return 0.3 * np.sin(2 * np.pi * 300 * time) + 0.05 * np.sin(2 * np.pi * 1500 * time)


def write_good(folder):
    """Files of all rates, channels, codings and containers; each holds the same tones."""
    for rate in (8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000):
        soundfile.write(folder / f"{rate}.wav", tone(rate), rate)
    for channels in (2, 6):
        soundfile.write(folder / f"{channels} channels.wav", np.stack([tone()] * channels, 1), RATE)
    for coding in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"):
        soundfile.write(folder / f"{coding}.wav", tone(), RATE, subtype=coding)
    soundfile.write(folder / "signed 8 bits.aiff", tone(), RATE, subtype="PCM_S8")
    for suffix in ("flac", "ogg", "mp3"):
        soundfile.write(folder / f"real.{suffix}", tone(), RATE)
        (folder / f"{suffix} named.wav").write_bytes((folder / f"real.{suffix}").read_bytes())
    # Programs that write into a pipe never learn the size that belongs into the header.
    plain = (folder / "16000.wav").read_bytes()
    place = plain.index(b"data") + 4
    (folder / "endless.wav").write_bytes(plain[:place] + b"\xff" * 4 + plain[place + 4 :])
    return sorted(path.name for path in folder.iterdir())


def write_broken(folder):
    """Files that hold no sound, by name, and words of the reason."""
    soundfile.write(folder / "plain.wav", tone(), RATE)
    plain = (folder / "plain.wav").read_bytes()
    (folder / "plain.wav").unlink()
    reasons = {}

    def broken(name, content, words):
        (folder / name).write_bytes(content)
        reasons[name] = words

    def with_header(name, place, form, value, words="read"):
        content = bytearray(plain)
        struct.pack_into(form, content, place, value)
        broken(name, bytes(content), words)

    def written(name, samples, words, rate=RATE, coding="DOUBLE"):
        soundfile.write(folder / name, samples, rate, subtype=coding)
        reasons[name] = words

    for size in (1, 12, 20, 30, 40):
        broken(f"cut in its header at {size}.wav", plain[:size], "read")
    broken("header alone.wav", plain[:44], "no samples|no sound")
    broken("empty.wav", b"", "empty|read")
    broken("text.wav", b"This is no sound at all.\n" * 20, "read")
    broken("web page.mp3", b"<!DOCTYPE html><html>404</html>" * 20, "is a web page")
    broken("pointer.wav", b"version https://git-lfs.github.com/spec/v1\nsize 9\n", "git lfs pull")
    written("none.wav", tone()[:0], "no samples|no sound")
    written("one at 192 kHz.wav", tone()[:1], "no samples|no sound", 192000)
    for name, value in (("nan", np.nan), ("infinite", np.inf), ("beyond single", 1e300)):
        written(f"{name}.wav", np.append(tone(), value), "NaN or infinite")
    written("loud.wav", tone() * 1e18, "times full scale", coding="FLOAT")
    with_header("no rate.wav", 24, "<I", 0)
    with_header("rate of 1 Hz.wav", 24, "<I", 1, "1 Hz")
    with_header("rate of 2 GHz.wav", 24, "<I", 2**31 - 1, "Hz")
    with_header("rate of 999983 Hz.wav", 24, "<I", 999_983, "Hz")
    with_header("255 channels.wav", 22, "<H", 255, "255 channels")
    with_header("no channel.wav", 22, "<H", 0)
    with_header("65535 channels.wav", 22, "<H", 65535)
    with_header("unknown coding.wav", 20, "<H", 0x9999, "read|coded")
    with_header("no bits.wav", 34, "<H", 0, "read|coded")
    soundfile.write(folder / "cut.flac", np.random.default_rng(0).normal(0, 0.1, RATE), RATE)
    whole = (folder / "cut.flac").read_bytes()
    broken("cut.flac", whole[: len(whole) // 2], "read")
    return reasons


def test_sounds_when_of_any_rate_channels_and_coding_are_the_same(tmp_path):
    for name in write_good(tmp_path):
        samples = np.concatenate(list(read_blocks(tmp_path / name, RATE)))
        assert abs(len(samples) - RATE / 2) <= 1200, name  # mp3 pads its ends
        spectrum = np.abs(np.fft.rfft(samples[1000:7000] * np.hanning(6000)))
        assert spectrum.argmax() == pytest.approx(300 * 6000 / RATE, abs=1), name
        assert np.abs(samples).max() == pytest.approx(0.35, abs=0.05), name


def test_prediction_when_files_are_of_any_kind_answers_or_says_why(program, small_model, tmp_path):
    good = write_good(tmp_path)
    reasons = write_broken(tmp_path)
    soundfile.write(tmp_path / "one sample.wav", tone()[:1], RATE)
    table = tmp_path / "files.csv"
    names = [*good, *reasons, "one sample.wav", "missing.wav"]
    table.write_text("path\n" + "\n".join(names) + "\n")
    output = tmp_path / "answers.jsonl"
    ended = program(predict.main, small_model, table, "--output_file", output, "--quiet")
    assert ended.status == 1
    assert f"{len(reasons) + 1} of {len(names)} files failed" in ended.complaint
    rows = {row["id"]: row for row in map(json.loads, output.read_text().splitlines())}
    assert list(rows) == names
    plain = rows["16000.wav"]["probabilities"]
    for name in good:
        assert rows[name]["error"] is None
        assert rows[name]["probabilities"] == pytest.approx(plain, abs=0.1), name
    for name, words in reasons.items():
        assert rows[name]["prediction"] is None
        assert re.search(words, rows[name]["error"]), name
    assert rows["one sample.wav"]["prediction"]
    assert rows["missing.wav"]["error"] == "there is no such file"


def test_training_when_a_recording_is_broken_names_it(program, small_model, tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    good = write_good(folder)[:4]
    reasons = write_broken(folder)
    table = folder / "clips.csv"
    for number, (name, words) in enumerate(reasons.items()):
        rows = [f"{one},{'sad' if i % 2 else 'angry'}" for i, one in enumerate([*good, name])]
        table.write_text("\n".join(["path,label", *rows]) + "\n")
        ended = program(
            *(train.main, "--train_file", table, "--model_name_or_path", small_model),
            *("--output_dir", tmp_path / str(number), "--cache_dir", tmp_path / "cache"),
            *("--validation", "0", "--max_steps", "1", "--use_cpu", "--quiet"),
        )
        assert ended.status == 2, name
        assert name in ended.complaint and re.search(words, ended.complaint), name
        assert not list((tmp_path / str(number)).glob("*.safetensors"))


def test_training_inputs_when_recordings_are_of_any_kind_are_alike(small_model, tmp_path):
    from transformers import AutoFeatureExtractor

    folder = tmp_path / "sounds"
    folder.mkdir()
    good = write_good(folder)
    (folder / "clips.csv").write_text("path,label\n" + "".join(f"{one},sad\n" for one in good))
    rows = read_recordings(folder / "clips.csv")
    extractor = AutoFeatureExtractor.from_pretrained(small_model)
    inputs, column = compute_inputs(rows, extractor, str(tmp_path / "cache"))
    inputs = inputs.with_format("numpy")
    for name, own in zip(good, inputs, strict=True):
        frames = own[column][10:40]
        # The loudest band of each frame is that of the louder tone, in whatever form it came.
        assert (frames.argmax(axis=1) == 7).all() or len(set(frames.argmax(axis=1))) == 1, name
        assert frames.max() == pytest.approx(0, abs=3), name


@pytest.mark.parametrize("features", [(), ("--input_features",)], ids=["audio", "features"])
def test_corpus_when_recordings_are_broken_lists_them(features, program, tmp_path):
    (tmp_path / "sounds").mkdir()
    reasons = write_broken(tmp_path / "sounds")
    clips = make_clips({"crowd_train": 40, "crowd_test": 4, "podcast_train": 4, "podcast_test": 4})
    for clip, name in zip(clips[4:], reasons, strict=False):
        clip["wav"] = (tmp_path / "sounds" / name).read_bytes()
        clip["broken"] = name
    data = write_corpus(tmp_path / "archives", clips)
    output = tmp_path / "output"
    common = ("--output_dir", output, "--cache_dir", tmp_path / "cache", "--quiet")
    assert program(corpus_command.main, "crowd", "--data_dir", data, *common, *features).status == 0
    with next(output.rglob("missing_audio.csv")).open(newline="") as file:
        listed = {row["id"] for row in csv.DictReader(file)}
    rows = [
        row
        for path in output.glob("crowd/*.parquet")
        for row in pyarrow.parquet.read_table(path).to_pylist()
    ]
    crowd = {clip["id"] for clip in clips if clip["part"].startswith("crowd")}
    assert {row["id"] for row in rows} == crowd - listed
    assert listed <= {clip["id"] for clip in clips if "broken" in clip}
    if features:
        # The one sample at 192 kHz, too, which is none at 16 kHz: the reader is that of training.
        assert len(listed) == len(reasons)
        assert all(np.isfinite(row["input_features"]).all() for row in rows)


def peak_memory(forget=False):
    """The most memory that this process had, in bytes; with forget, only from now on."""
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are Linux' to tell")
def test_prediction_of_an_hour_takes_little_memory(program, small_model, tmp_path):
    short, long = tmp_path / "short.flac", tmp_path / "long.flac"
    minute = np.tile(tone(8000, 0.5), 120)
    for path, minutes in ((short, 1), (long, 60)):
        with soundfile.SoundFile(path, "w", 8000, 1) as file:
            for _ in range(minutes):
                file.write(minute)
    peaks = {}
    for path in (short, long):
        peak_memory(forget=True)
        options = ("--timeline", "--window", "10", "--hop", "10", "--quiet")
        ended = program(
            predict.main,
            small_model,
            path,
            *options,
            "--output_file",
            tmp_path / f"{path.stem}.csv",
        )
        assert ended.status == 0
        peaks[path] = peak_memory()
    with (tmp_path / "long.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 360 and rows[-1]["end"] == "3600.0"
    # The samples of an hour alone would take 230 MB.
    assert peaks[long] - peaks[short] < 60e6


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are Linux' to tell")
@pytest.mark.parametrize(("rate", "channels"), [(768_000, 64), (767_999, 1), (1_000, 64)])
def test_reading_at_the_limits_takes_little_memory(rate, channels, tmp_path):
    # A header may state any rate and number of channels of the 30 MB behind it.
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((15 * 10**6 // channels, channels), np.int16), rate)
    before = peak_memory(forget=True)
    count = sum(map(len, read_blocks(path, RATE)))
    assert count == pytest.approx(15e6 / channels * RATE / rate, abs=2)
    # 20 s of 64 channels at 768 kHz would take 4 GB.
    assert peak_memory() - before < 150e6


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are Linux' to tell")
def test_features_of_an_odd_rate_take_little_memory():
    extractor = DushaFeatureExtractor()
    extractor(np.ones(9600), 48000, resample=True)
    before = peak_memory(forget=True)
    samples = np.random.default_rng(0).normal(0, 0.1, 767_999 // 8)
    assert extractor(samples, 767_999, resample=True)["input_features"][0].shape == (13, 64)
    # All weights of this rate would take 830 MB, and several times that in between.
    assert peak_memory() - before < 150e6
    with pytest.raises(ValueError, match="999983 Hz; audio of 1000 to 768000 Hz is converted"):
        extractor(samples, 999_983, resample=True)
