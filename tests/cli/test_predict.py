"""dusha predict: what may be given, what comes out, and what happens when things go wrong."""

import csv
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from small_models import save_model
from small_network import small_classifier
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

from configuration_dusha import DushaConfig
from dusha_ser.audio import finding
from dusha_ser.audio.finding import AudioFile, list_audio_files
from dusha_ser.audio.reading import UnreadableAudioError, read_blocks
from dusha_ser.cli.main import main as dusha
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError
from dusha_ser.evaluation.ser.ser import LABELS
from dusha_ser.inference import audio_files, batching, settings
from dusha_ser.inference.audio_files import load_classifier
from dusha_ser.inference.batching import make_groups
from dusha_ser.inference.onnx_export import export
from dusha_ser.inference.prediction_files import (
    PredictionFile,
)
from dusha_ser.inference.prediction_rows import make_form
from dusha_ser.inference.settings import Settings
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-m", "dusha_ser", "predict"]


def main(arguments):
    return dusha(["predict", *arguments])


def sound(seconds, rate=16000, channels=1, seed=0):
    generator = np.random.default_rng(seed)
    time_ = np.arange(round(seconds * rate)) / rate
    pitch = generator.uniform(120, 900)
    wave = 0.3 * np.sin(2 * np.pi * pitch * time_) * (1 + np.sin(2 * np.pi * 3 * time_)) / 2
    wave = wave + 0.01 * generator.standard_normal(len(time_))
    return np.repeat(wave[:, None], channels, axis=1) if channels > 1 else wave


def write_sound(path, seconds=0.3, rate=16000, channels=1, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound(seconds, rate, channels, seed), rate)
    return path


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random network, its head balanced so that clips get differing labels."""
    folder = str(tmp_path_factory.mktemp("model"))
    torch.manual_seed(0)
    config = DushaConfig(
        stage_channels=(8, 16, 16), stage_depths=(1, 2, 2), stage_strides=(1, 2, 2),
        expansion_ratios=(1, 2, 2), hidden_size=16, attention_size=4,
        id2label=dict(enumerate(LABELS)), label2id={name: i for i, name in enumerate(LABELS)},
    )  # fmt: skip
    network = DushaForAudioClassification(config).eval()
    extractor = DushaFeatureExtractor()
    extractor.save_pretrained(folder)
    inputs = extractor([sound(0.5, seed=i) for i in range(10)], 16000, return_tensors="pt")
    with torch.no_grad():
        logits = network(**inputs).logits
        network.classifier.weight.div_(logits.std(0)[:, None])
        network.classifier.bias.sub_(logits.mean(0)).div_(logits.std(0))
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Ten clips of differing lengths, in folders."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(10):
        name = f"{'deep/' if number % 3 == 0 else ''}{number}.{'flac' if number % 2 else 'wav'}"
        write_sound(folder / name, 0.2 + 0.07 * (number * 7 % 10), seed=number)
    return folder


@pytest.fixture(scope="module")
def answered(model, clips, tmp_path_factory):
    """The undisturbed run over the clips, only read."""
    output = tmp_path_factory.mktemp("answered") / "answers.csv"
    main([model, str(clips), "--output_file", str(output), "--quiet"])
    return output


def give_standard_input(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


# What may be given.


def test_list_audio_files_when_all_kinds_of_input_come_together(clips, tmp_path, monkeypatch):
    table = tmp_path / "table.csv"
    write_sound(tmp_path / "sub" / "own.wav")
    table.write_text("number,file\n1,sub/own.wav\n2,sub/missing.wav\n")
    (clips / "._1.flac").write_bytes(b"left by another system")
    (clips / "notes.txt").write_text("no sound")
    listed = list_audio_files(
        [str(table), str(clips / "1.flac"), str(clips / "**" / "*.wav"), str(clips), "-"],
        "file",
        io.BytesIO(f"one.wav\n{clips / '1.flac'}\n".encode()),
        tmp_path,
    )
    names = [one.name for one in listed]
    assert names[:3] == ["sub/own.wav", "sub/missing.wav", str(clips / "1.flac")]
    assert listed[0].path == str(tmp_path / "sub" / "own.wav")
    assert names[3:8] == sorted(str(path) for path in clips.rglob("*.wav"))
    assert {Path(name).name for name in names[8:-1]} == {"3.flac", "5.flac", "7.flac", "9.flac"}
    assert names[-1] == "one.wav"
    assert len(set(names)) == len(names) == 13


def test_list_audio_files_when_phones_recorded_them(tmp_path):
    (tmp_path / "memo.m4a").touch()
    assert [Path(one.name).name for one in list_audio_files([str(tmp_path)])] == ["memo.m4a"]


@pytest.mark.parametrize("end", [b"\n", b"\0", b"\r\n"])
def test_list_audio_files_of_a_list_on_standard_input(end, tmp_path):
    stream = io.BytesIO(b"a b.wav" + end + "голос.wav".encode() + end)
    assert [one.name for one in list_audio_files(["-"], "path", stream, tmp_path)] == [
        "a b.wav",
        "голос.wav",
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("missing.wav", "no such file or folder: missing.wav"),
        ("*.nothing", "nothing matches"),
        ("empty", "no audio files in empty"),
        ("other.csv", "has the columns a, b and not 'path'.*`path_column`"),
        ("hole.csv", "line 3 has no path"),
        ("header.csv", "no rows below its header"),
        ("binary.csv", "not a table of text in UTF-8"),
        ("-", "standard input is empty"),
    ],
)
def test_list_audio_files_when_there_is_nothing_to_list(given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("other.csv").write_text("a,b\n1,2\n")
    Path("hole.csv").write_text("path,b\nx.wav,2\n,3\n")
    Path("header.csv").write_text("path\n")
    Path("binary.csv").write_bytes(bytes(range(256)))
    with pytest.raises(WrongUseError, match=said):
        list_audio_files([given], "path", io.BytesIO(b""), tmp_path)


def test_read_blocks_of_48_khz_stereo_is_the_mean_of_its_channels_at_16_khz(tmp_path):
    samples = sound(1.0, 48000, 2)
    samples[:, 1] *= 0.5
    soundfile.write(tmp_path / "a.wav", samples, 48000, subtype="FLOAT")
    got = np.concatenate(list(read_blocks(tmp_path / "a.wav", 16000)))
    assert abs(len(got) - 16000) <= 1
    # The tones lie far below the new Nyquist frequency, so taking every third sample is the truth.
    error = got[500:15500] - samples.mean(axis=1)[::3][500:15500]
    assert np.abs(error).mean() < 0.02


def test_read_blocks_of_what_only_ffmpeg_reads(tmp_path):
    samples = sound(1.0, 48000, 2).astype(np.float32)
    with av.open(str(tmp_path / "memo.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(samples.T.copy(), format="fltp", layout="stereo")
        frame.sample_rate = 48000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    got = np.concatenate(list(read_blocks(tmp_path / "memo.m4a", 16000)))
    assert abs(len(got) / 16000 - 1) < 0.1
    spectra = [
        np.abs(np.fft.rfft(one[2000:14000])) for one in (got, samples.mean(axis=1)[::3].copy())
    ]
    assert spectra[0].argmax() == spectra[1].argmax()


def test_read_blocks_of_a_playlist_opens_no_other_file(tmp_path):
    write_sound(tmp_path / "secret.wav")
    playlist = tmp_path / "list.m4a"
    playlist.write_text(f"#EXTM3U\n#EXTINF:1,\n{tmp_path / 'secret.wav'}\n#EXT-X-ENDLIST\n")
    with pytest.raises(UnreadableAudioError):
        list(read_blocks(playlist, 16000))


def broken_files(folder):
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("This is no sound at all.\n" * 20)
    soundfile.write(folder / "silent.wav", np.zeros(0), 16000)
    soundfile.write(folder / "nan.wav", np.full(3000, np.nan), 16000, subtype="FLOAT")
    (folder / "bytes.flac").write_bytes(b"fLaC" + bytes(range(256)))
    return {
        "empty.wav": "is empty",
        "text.wav": "libsndfile",
        "silent.wav": "holds no samples",
        "nan.wav": "NaN or infinite",
        "bytes.flac": "read",
        "missing.wav": "there is no such file",
    }


# What comes out.


def test_main_when_files_are_broken_gives_rows_with_errors_and_goes_on(model, clips, tmp_path):
    reasons = broken_files(tmp_path)
    good = write_sound(tmp_path / "a good one.wav")
    table = tmp_path / "table.tsv"
    table.write_text("path\n" + "\n".join([*reasons, good.name]) + "\n")
    output = tmp_path / "answers.jsonl"
    with pytest.raises(WorkFailedError, match="6 of 7 files failed: .*; see the error column of"):
        main([model, str(table), "--output_file", str(output), "--quiet"])
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["id"] for row in rows] == [*reasons, good.name]
    for row, reason in zip(rows[:-1], reasons.values(), strict=True):
        assert reason in row["error"]
        assert row["prediction"] is None
        assert row["probabilities"] is None
    assert rows[-1]["error"] is None
    assert rows[-1]["duration"] == 0.3
    # What failed is still a failure when nothing is left to do.
    with pytest.raises(WorkFailedError, match="6 of 7"):
        main([model, str(table), "--output_file", str(output), "--quiet"])


def test_main_gives_what_the_pipeline_gives_each_clip(model, clips, answered):
    classify = pipeline(
        "audio-classification",
        AutoModelForAudioClassification.from_pretrained(model),
        feature_extractor=AutoFeatureExtractor.from_pretrained(model),
    )
    rows = read_rows(answered)
    assert len(rows) == 10
    assert len({row["prediction"] for row in rows}) > 1
    for row in rows:
        samples, rate = soundfile.read(row["id"], dtype="float32")
        expected = {
            one["label"]: one["score"] for one in classify({"raw": samples, "sampling_rate": rate})
        }
        assert row["prediction"] == max(expected, key=expected.get)
        for label in LABELS:
            # The model's head was scaled up until its answers differ, and what rounding does to
            # features in batches of another size with it.
            assert float(row[f"probability_{label}"]) == pytest.approx(expected[label], abs=1e-4)


def test_main_when_the_format_is_json_lines_or_a_table(model, clips, answered, tmp_path, capsys):
    arguments = [model, str(clips), "--quiet", "--format"]
    main([*arguments, "jsonl"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = read_rows(answered)
    for row, other in zip(rows, expected, strict=True):
        assert row["id"] == other["id"]
        assert row["prediction"] == other["prediction"]
        assert list(row["probabilities"]) == list(LABELS)
        assert [float(other[f"probability_{label}"]) for label in LABELS] == list(
            row["probabilities"].values()
        )
    main([*arguments, "table"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["id", "duration", "prediction", *LABELS]
    assert len(lines) == 11
    for line, row in zip(lines[1:], rows, strict=True):
        cells = line.split()
        assert row["id"].endswith(cells[0].lstrip("…"))
        assert cells[2] == row["prediction"]
        assert [float(cell) for cell in cells[3:]] == pytest.approx(
            list(row["probabilities"].values()), abs=6e-4
        )


def test_table_shows_no_control_characters_and_the_error():
    form = make_form("table", Settings("model"), LABELS, ["a\x1b[2Jb.wav"])
    row = {"id": "a\x1b[2Jb.wav", "duration": None, "prediction": None, "probabilities": None}
    line = form.line(row | {"error": "is empty"})
    assert "\x1b" not in line
    assert line.startswith("a?[2Jb.wav")
    assert line.endswith("is empty\n")


def test_main_on_a_timeline_covers_the_recording_by_windows(model, tmp_path):
    path = write_sound(tmp_path / "long.wav", 2.3, 48000, 2)
    short = write_sound(tmp_path / "short.wav", 0.4)
    output = tmp_path / "timeline.csv"
    arguments = [model, str(path), str(short), "--timeline", "--window", "1", "--hop", "0.5"]
    main([*arguments, "--output_file", str(output), "--quiet"])
    rows = read_rows(output)
    times = [(Path(row["id"]).name, float(row["start"]), float(row["end"])) for row in rows]
    assert times == [
        ("long.wav", 0.0, 1.0),
        ("long.wav", 0.5, 1.5),
        ("long.wav", 1.0, 2.0),
        ("long.wav", 1.5, 2.3),
        ("short.wav", 0.0, 0.4),
    ]
    torch_model = AutoModelForAudioClassification.from_pretrained(model).eval()
    extractor = AutoFeatureExtractor.from_pretrained(model)
    samples = np.concatenate(list(read_blocks(path, 16000)))
    with torch.no_grad():
        inputs = extractor(samples[8000:24000], 16000, return_tensors="pt")
        expected = torch_model(**inputs).logits.softmax(-1)[0]
    got = [float(rows[1][f"probability_{label}"]) for label in LABELS]
    assert got == pytest.approx(expected.tolist(), abs=2e-5)


def test_main_when_windows_are_merged_covers_the_recording_once(model, tmp_path):
    path = write_sound(tmp_path / "long.wav", 6.2)
    windows = ["--timeline", "--window", "0.5", "--hop", "0.1", "--quiet", "--output_file"]
    main([model, str(path), *windows, str(tmp_path / "windows.csv")])
    main([model, str(path), "--merge", *windows, str(tmp_path / "merged.csv")])
    merged = read_rows(tmp_path / "merged.csv")
    assert 1 < len(merged) < len(read_rows(tmp_path / "windows.csv"))
    times = [(float(row["start"]), float(row["end"])) for row in merged]
    assert times[0][0] == 0
    assert times[-1][1] == 6.2
    assert all(one[1] == other[0] for one, other in itertools.pairwise(times))
    labels = [row["prediction"] for row in merged]
    assert all(one != other for one, other in itertools.pairwise(labels))
    main([model, str(path), "--merge", "--shortest", "9", *windows, str(tmp_path / "one.csv")])
    assert [(row["start"], row["end"]) for row in read_rows(tmp_path / "one.csv")] == [
        ("0.0", "6.2")
    ]


def test_main_exports_timelines_from_the_screen_and_from_a_resumed_file(model, tmp_path, capsys):
    path = write_sound(tmp_path / "long.wav", 3)
    write_sound(tmp_path / "short.wav", 0.4)
    (tmp_path / "broken.wav").write_bytes(b"nothing")
    words = ["--timeline", "--window", "1", "--hop", "0.5"]
    main([model, str(path), *words, "--export", "csv,rttm", "--output_dir", str(tmp_path / "one")])
    said = capsys.readouterr().out
    assert "0:00:00.5  0:00:01.5" in said
    assert re.search(r"emotion +time +share\n", said)
    assert sum(map(int, re.findall(r" (\d+)%", said))) == pytest.approx(100, abs=2)
    assert said.endswith(f"wrote {tmp_path / 'one'}: 2 files\n")
    rows = read_rows(tmp_path / "one" / "long.csv")
    assert [float(rows[0]["start"]), float(rows[-1]["end"])] == [0, 3]
    lines = (tmp_path / "one" / "long.rttm").read_text().splitlines()
    assert [line.split()[7] for line in lines] == [row["prediction"] for row in rows]

    output = ["--output_file", str(tmp_path / "rows.csv")]
    main([model, str(path), *words, *output])
    capsys.readouterr()
    folder = ["--export", "csv", "--output_dir", str(tmp_path / "all")]
    with pytest.raises(WorkFailedError, match="1 of 3 files failed"):
        main([model, str(tmp_path), *words, *output, *folder])
    assert f"wrote {tmp_path / 'all'}: 2 files\n" in capsys.readouterr().out
    assert sorted(one.name for one in (tmp_path / "all").iterdir()) == ["long.csv", "short.csv"]
    assert (tmp_path / "all" / "long.csv").read_text() == (
        (tmp_path / "one" / "long.csv").read_text()
    )
    with pytest.raises(WrongUseError, match="long.csv is there already; name another --output_dir"):
        main([model, str(tmp_path), *words, *output, *folder])


def test_main_when_rows_go_to_another_program_prints_them_alone(model, tmp_path, capsys):
    path = write_sound(tmp_path / "long.wav", 3)
    words = ["--timeline", "--window", "1", "--format", "jsonl", "--hop", "1", "--export", "srt"]
    main([model, str(path), *words, "--output_dir", str(tmp_path / "out")])
    assert len([json.loads(line) for line in capsys.readouterr().out.splitlines()]) == 3
    assert (tmp_path / "out" / "long.srt").exists()


def test_main_of_a_file_longer_than_one_piece_is_the_mean_of_its_windows(model, tmp_path):
    path = write_sound(tmp_path / "long.wav", 2.5)
    rows = {}
    for name, options in {"whole": ["--whole", "2"], "line": ["--timeline"]}.items():
        output = tmp_path / f"{name}.csv"
        main([model, str(path), "--window", "1", "--hop", "1", *options,
              "--output_file", str(output), "--quiet"])  # fmt: skip
        rows[name] = read_rows(output)
    (whole,) = rows["whole"]
    assert whole["duration"] == "2.5"
    for label in LABELS:
        windows = [float(row[f"probability_{label}"]) for row in rows["line"]]
        mean = np.average(windows, weights=[1, 1, 0.5])
        assert float(whole[f"probability_{label}"]) == pytest.approx(mean, abs=2e-5)


def test_main_with_onnx_gives_what_pytorch_gives(model, clips, answered, tmp_path):
    exported = tmp_path / "model.onnx"
    export(
        AutoModelForAudioClassification.from_pretrained(model).eval(),
        AutoFeatureExtractor.from_pretrained(model),
        exported,
    )
    output = tmp_path / "answers.csv"
    main([str(exported), str(clips), "--output_file", str(output), "--quiet"])
    for row, other in zip(read_rows(output), read_rows(answered), strict=True):
        assert row["id"] == other["id"]
        for label in LABELS:
            name = f"probability_{label}"
            assert float(row[name]) == pytest.approx(float(other[name]), abs=1e-4)


def test_main_when_a_sound_comes_by_standard_input(model, clips, answered, monkeypatch, capsys):
    path = read_rows(answered)[0]
    give_standard_input(monkeypatch, Path(path["id"]).read_bytes())
    main([model, "-", "--format", "csv", "--quiet"])
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["id"] == "-"
    assert row["prediction"] == path["prediction"]
    assert float(row["probability_sad"]) == pytest.approx(float(path["probability_sad"]), abs=2e-5)


def test_groups_do_not_grow_with_the_files(tmp_path, monkeypatch):
    for number in range(5):
        (tmp_path / str(number)).write_bytes(b"x" * (10 if number == 2 else 1))
    sounds = [AudioFile(str(i), str(tmp_path / str(i))) for i in range(6)]
    monkeypatch.setattr(batching, "GROUP_BYTES", 5)
    assert [[one.name for one in group] for group in make_groups(sounds)] == [
        ["0", "1"],
        ["2"],
        ["3", "4", "5"],
    ]
    monkeypatch.setattr(batching, "GROUP_FILES", 2)
    assert [len(group) for group in make_groups(sounds)] == [2, 1, 2, 1]


def test_clip_that_the_model_fails_on_spoils_no_other(model, tmp_path):
    classifier = load_classifier(Settings(model), "cpu")
    inner = classifier.classify

    def picky(windows):
        if any(len(window) < 1000 for window in windows):
            raise RuntimeError("kernel size is greater than the input")
        return inner(windows)

    classifier.classify = picky
    files = [write_sound(tmp_path / f"{i}.wav", s, seed=i) for i, s in enumerate((0.3, 0.05, 0.2))]
    rows = classifier([AudioFile(path.name, str(path)) for path in files])
    assert [row["error"] for (row,) in rows] == [
        None,
        "the model failed: kernel size is greater than the input",
        None,
    ]


# The right to abstain.


@pytest.mark.parametrize("timeline", [[], ["--timeline", "--window", "1", "--hop", "1"]])
def test_least_confidence_makes_what_is_below_it_uncertain(timeline, model, clips, tmp_path):
    arguments = [model, str(clips), *timeline, "--quiet", "--output_file"]
    main([*arguments, str(tmp_path / "all.csv")])
    expected = [row for row in read_rows(tmp_path / "all.csv") if row["prediction"]]
    tops = [max(float(row[f"probability_{label}"]) for label in LABELS) for row in expected]
    # One clip's own probability: it is not below itself.
    least = sorted(tops)[len(tops) // 2]
    sure = [*arguments, str(tmp_path / "sure.csv"), "--least_confidence", str(least)]
    main(sure)
    rows = [row for row in read_rows(tmp_path / "sure.csv") if row["prediction"]]
    assert len(rows) == len(expected)
    doubtful = 0
    for row, before, top in zip(rows, expected, tops, strict=True):
        doubtful += top < least
        assert row["prediction"] == ("uncertain" if top < least else before["prediction"])
        assert row | {"prediction": None} == before | {"prediction": None}
    assert 0 < doubtful < len(rows)
    # What a run with another confidence left is not resumed.
    main(sure)
    with pytest.raises(WrongUseError, match="least_confidence"):
        main([*arguments, str(tmp_path / "sure.csv")])


def test_least_confidence_with_a_label_of_that_name_is_refused(clips, tmp_path):
    folder = tmp_path / "model"
    model = small_classifier(num_mel_bins=64, id2label={0: "sure", 1: "uncertain"})
    model.save_pretrained(folder)
    DushaFeatureExtractor().save_pretrained(folder)
    output = tmp_path / "rows.csv"
    with pytest.raises(WrongUseError, match="label 'uncertain' of its own.*--least_confidence"):
        main([str(folder), str(clips), "--least_confidence", "0.5", "--output_file", str(output)])
    assert not output.exists()
    # Without it, the label is one as any other.
    main([str(folder), str(clips), "--output_file", str(output), "--quiet"])
    assert {row["prediction"] for row in read_rows(output)} <= {"sure", "uncertain", ""}


# Files of rows that are resumed.


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_prediction_file_when_it_was_cut_anywhere(kind, tmp_path):
    form = make_form(kind, Settings("model", timeline=True), ["a", "b"])
    files = [
        [
            {"id": name, "start": float(i), "end": i + 1.0, "prediction": "a",
             "probabilities": {"a": 0.75, "b": 0.25}, "error": None}
            for i in range(2)
        ]
        for name in ("x.wav", 'with "quotes",\nand lines.wav', "голос.wav")
    ]  # fmt: skip
    whole = PredictionFile(tmp_path / f"whole.{kind}", form, True)
    whole.write(files)
    content = whole.path.read_bytes()
    for cut in range(0, len(content), 3):
        path = tmp_path / f"cut.{kind}"
        path.write_bytes(content[:cut])
        file = PredictionFile(path, form, True)
        file.write(files)
        assert path.read_bytes() == content, f"cut after {cut} bytes"


def test_prediction_file_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "notes.csv"
    path.write_text("my,own,table\n1,2,3\n")
    with pytest.raises(WrongUseError, match="`overwrite=True`"):
        PredictionFile(path, make_form("csv", Settings("model"), LABELS))
    assert path.read_text() == "my,own,table\n1,2,3\n"


def test_main_when_other_settings_began_the_file(model, clips, answered):
    content = answered.read_bytes()
    with pytest.raises(WrongUseError, match="begun with another window.*--overwrite"):
        main([model, str(clips), "--output_file", str(answered), "--quiet", "--window", "4"])
    assert answered.read_bytes() == content


def test_main_when_audio_the_model_or_the_code_is_another_than_in_the_file(tmp_path, monkeypatch):
    model, output = save_model(tmp_path / "model"), tmp_path / "answers.csv"
    for number in range(3):
        write_sound(tmp_path / "clips" / f"{number}.wav", 0.5, seed=number)
    command = [model, str(tmp_path / "clips"), "--output_file", str(output), "--quiet"]
    main(command)
    content = output.read_bytes()
    # A recording without a row may change, and others may come.
    output.write_bytes(content[: content.rindex(b"\n", 0, -1) + 1])
    for number in (2, 3):
        write_sound(tmp_path / "clips" / f"{number}.wav", 0.5, seed=7)
    main(command)
    rows = read_rows(output)
    assert [Path(row["id"]).stem for row in rows] == ["0", "1", "2", "3"]
    assert rows[2]["probability_sad"] == rows[3]["probability_sad"]
    write_sound(tmp_path / "clips" / "1.wav", 0.7)
    with pytest.raises(WrongUseError, match=r"1 audio files, such as .*1\.wav, have changed"):
        main(command)
    write_sound(tmp_path / "clips" / "1.wav", 0.5, seed=1)
    main([*command, "--overwrite"])
    assert read_rows(output)[1] == rows[1]
    save_model(tmp_path / "model", seed=1)
    with pytest.raises(WrongUseError, match="begun with another content of the model;"):
        main(command)
    save_model(tmp_path / "model")
    monkeypatch.setattr(audio_files, "CODE", ("dusha_ser.errors",))
    with pytest.raises(WrongUseError, match="begun with another version of the software;"):
        main(command)


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_main_when_it_was_killed_gives_what_an_undisturbed_run_gives(model, tmp_path):
    """The real program, killed; then its continuation."""
    names = [tmp_path / "clips" / f"{i:03d}.wav" for i in range(200)]
    for number, name in enumerate(names):
        write_sound(name, 0.4 + 0.01 * (number % 13), seed=number)
    killed, undisturbed = tmp_path / "killed.csv", tmp_path / "undisturbed.csv"
    command = [model, str(tmp_path / "clips"), "--quiet", "--output_file"]
    program = subprocess.Popen([*PROGRAM, *command, str(killed)])
    deadline = time.monotonic() + 120
    while (not killed.exists() or killed.stat().st_size < 500) and program.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    program.send_signal(signal.SIGKILL)
    program.wait()
    there = killed.read_bytes()
    assert 0 < there.count(b"\n") < 201, "it was killed too late to tell anything"
    killed.write_bytes(there[:-11])
    main([*command, str(killed)])
    main([*command, str(undisturbed)])
    assert killed.read_bytes().startswith(there[:-11])
    assert killed.read_bytes() == undisturbed.read_bytes()


def test_main_when_several_processes_work(model, clips, answered, tmp_path):
    output = tmp_path / "answers.csv"
    main([model, str(clips), "--output_file", str(output), "--quiet", "--num_proc", "2"])
    for row, other in zip(read_rows(output), read_rows(answered), strict=True):
        assert row["id"] == other["id"]
        assert float(row["probability_sad"]) == pytest.approx(
            float(other["probability_sad"]), abs=2e-5
        )


def test_program_when_used_wrongly_says_one_line_and_ends_with_2(model, tmp_path):
    done = subprocess.run(
        [*PROGRAM, model, str(tmp_path / "missing.wav")], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no such file or folder" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hop", "9"], "the hop must be above 0 and at most the window"),
        (["--window", "nan"], "the hop must be"),
        (["--whole", "-1"], "--whole is -1.0 s"),
        (["--batch_size", "0"], "--batch_size is 0"),
        (["--least_confidence", "1.2"], "--least_confidence is 1.2; it must be from 0 to 1"),
        (["--least_confidence", "nan"], "--least_confidence is nan"),
        (["--num_proc", "0"], "--num_proc is 0"),
        (["--export", "srt"], "--export writes timelines; add --timeline, or --turns"),
        (["--timeline", "--export", "srt,mp3"], "--export has 'mp3'; take csv, json, rttm"),
        (["--merge"], "--merge joins the windows of a timeline; add --timeline"),
        (["--timeline", "--shortest", "2"], "--shortest is that of merged segments; add --merge"),
        (["--timeline", "--merge", "--shortest", "-1"], "--shortest is -1.0 s"),
        (["--output_file", "a.txt"], "neither in .csv nor in .jsonl"),
        (["--output_file", "a.csv", "--format", "table"], "a table is for the screen"),
    ],
)
def test_main_when_options_do_not_fit(arguments, said, clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WrongUseError, match=said):
        main(["model", str(clips), *arguments])
    assert not list(tmp_path.iterdir())


def test_main_when_there_is_no_such_model(clips, tmp_path):
    with pytest.raises(MissingInputError, match="no model"):
        main([str(tmp_path / "none"), str(clips)])
    with pytest.raises(MissingInputError, match="no such file"):
        main([str(tmp_path / "none.onnx"), str(clips)])


def test_main_when_a_model_brings_code_of_its_own(clips, model, tmp_path):
    folder = tmp_path / "foreign"
    folder.mkdir()
    config = json.loads((Path(model) / "config.json").read_text()) | {
        "model_type": "foreign",
        "auto_map": {
            "AutoConfig": "foreign.Config",
            "AutoModelForAudioClassification": "foreign.M",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "foreign.py").write_text("raise SystemExit('it ran')\n")
    with pytest.raises(WrongUseError, match="pass --trust_remote_code"):
        main([str(folder), str(clips)])


def test_modules_name_what_the_program_needs():
    assert settings.FORMATS == ("csv", "jsonl", "table")
    assert set(finding.OTHER_SUFFIXES) <= set(finding.audio_suffixes())
