"""EmotionClassifier: every form of a recording, lists, timelines, streams, and what is refused."""

import csv
import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pandas
import pytest
import soundfile
import torch
from long_recordings import write_podcast
from small_models import save_model, write_corpus

from configuration_dusha import DushaConfig
from dusha_ser import Emotion, EmotionClassifier
from dusha_ser.audio.reading import read_audio
from dusha_ser.cli.main import main as dusha
from dusha_ser.corpus.sample_voice import draw_voice, speak
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

REPOSITORY = Path(__file__).resolve().parents[2]
LABELS = ["angry", "sad", "neutral", "positive"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def emotions(model):
    return EmotionClassifier(model, "cpu")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A stereo file of 44.1 kHz whose samples float32 holds exactly."""
    path = tmp_path_factory.mktemp("audio") / "clip.wav"
    rng = np.random.default_rng(0)
    samples = speak(rng, draw_voice(rng), "positive")[0]
    stereo = np.stack([samples, 0.5 * samples], axis=1)
    soundfile.write(path, stereo, 44100, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def podcast(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "podcast.wav"
    write_podcast(path, phrases=6)
    return path


def command(*words, folder):
    """The rows that `dusha predict` writes."""
    file = folder / "rows.csv"
    dusha(["predict", *map(str, words), "--output_file", str(file), "--overwrite", "--quiet"])
    with file.open(newline="") as rows:
        return list(csv.DictReader(rows))


def shares(row):
    return [float(row[f"probability_{label}"]) for label in LABELS]


def values(emotion):
    return list(emotion.probabilities.values())


class Decoder:
    """An AudioDecoder, as torchcodec has them: (channels, samples) and their rate."""

    def __init__(self, samples, sample_rate):
        self.samples = SimpleNamespace(data=torch.from_numpy(samples.T), sample_rate=sample_rate)

    def get_all_samples(self):
        return self.samples


class Pipe(io.RawIOBase):
    """A file object without a way back."""

    def __init__(self, content):
        self.content = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.content.readinto(buffer)


def forms(path):
    """A recording in every form that people have one in."""
    samples, rate = soundfile.read(path, dtype="float32")
    content = path.read_bytes()
    audio = {"bytes": content, "path": None}
    return {
        "str": str(path),
        "path": path,
        "array": (samples, rate),
        "list": [samples, rate],
        "double": (samples.astype(np.float64), float(rate)),
        "int16": (soundfile.read(path, dtype="int16")[0], rate),
        "channels first": (np.ascontiguousarray(samples.T), rate),
        "mono": (samples.mean(axis=1), np.int64(rate)),
        "tensor": (torch.from_numpy(samples), rate),
        "bytes": content,
        "bytearray": bytearray(content),
        "file": io.BytesIO(content),
        "pipe": Pipe(content),
        "row": {"id": "1", "audio": audio, "label": 2},
        "row of paths": {"path": str(path), "label": "sad"},
        "audio column": audio,
        "path column": {"bytes": None, "path": str(path)},
        "decoded": {"path": "a.wav", "array": samples, "sampling_rate": rate},
        "pipeline": {"raw": samples.mean(axis=1), "sampling_rate": rate},
        "decoder": Decoder(samples, rate),
        "row of a decoder": {"audio": Decoder(samples, rate)},
    }


def test_predict_gives_what_the_command_does_in_whatever_form_a_recording_is(
    emotions, model, recording, tmp_path
):
    (row,) = command(model, recording, "--device", "cpu", folder=tmp_path)
    for form, one in forms(recording).items():
        emotion = emotions.predict(one)
        assert isinstance(emotion, Emotion), form
        assert emotion.label == row["prediction"], form
        assert list(emotion.probabilities) == emotions.labels == LABELS, form
        np.testing.assert_allclose(values(emotion), shares(row), atol=1e-6, err_msg=form)
        assert emotion.start == 0, form
        assert emotion.duration == pytest.approx(float(row["duration"]), abs=1e-3), form


def test_predict_when_a_recording_is_long_or_silence_is_cut_gives_what_the_command_does(
    emotions, model, tmp_path
):
    path = tmp_path / "long.wav"
    write_podcast(path, phrases=16)
    for options in ({}, {"vad": True}):
        flags = ["--vad"] if options else []
        (row,) = command(model, path, "--device", "cpu", *flags, folder=tmp_path)
        emotion = emotions.predict(path, **options)
        assert float(row["duration"]) > 30
        assert emotion.label == row["prediction"]
        np.testing.assert_allclose(values(emotion), shares(row), atol=1e-6)
        assert emotion.end == pytest.approx(float(row["duration"]), abs=1e-3)


def test_predict_when_nobody_speaks_has_no_label(emotions):
    emotion = emotions.predict((np.zeros(32000), 16000), vad=True)
    assert emotion == Emotion(None, {}, 0.0, 2.0)
    table = emotions.timeline((np.zeros(32000), 16000), vad=True)
    assert list(table.columns) == [
        "start",
        "end",
        "prediction",
        *(f"probability_{x}" for x in LABELS),
    ]
    assert len(table) == 0


def test_predict_of_a_list_gives_what_one_by_one_does(emotions, recording, podcast):
    generator = np.random.default_rng(0)
    noises = [(generator.uniform(-0.1, 0.1, 3000 * size), 24000) for size in range(1, 22)]
    several = [*forms(recording).values(), podcast, *noises]
    together = emotions.predict(several)
    assert len(together) == len(several)
    alone = [emotions.predict(one) for one in (*forms(recording).values(), podcast, *noises)]
    for first, second in zip(together, alone, strict=True):
        np.testing.assert_allclose(values(first), values(second), atol=1e-5)
        assert (first.start, first.end) == (second.start, second.end)
    assert emotions.predict(iter([podcast])) == [emotions.predict(podcast)]
    assert emotions.predict([]) == []


def test_predict_of_paths_in_an_array_and_of_a_data_set(emotions, recording, tmp_path):
    expected = emotions.predict(str(recording))
    for paths in (pandas.Series([str(recording)]), np.array([str(recording)])):
        assert emotions.predict(paths) == [expected]
    folder = write_corpus(tmp_path / "corpus", clips=3)
    rows = datasets.load_dataset(
        str(folder), "crowd", split="test", cache_dir=str(tmp_path / "cache")
    ).cast_column("audio", datasets.Audio(decode=False))
    found = emotions.predict(rows)
    assert [values(one) for one in emotions.predict(rows["audio"])] == [values(x) for x in found]
    for emotion, row in zip(found, rows, strict=True):
        alone = emotions.predict((read_audio(row["audio"], 16000), 16000))
        np.testing.assert_allclose(values(emotion), values(alone), atol=1e-5)
        assert emotions.predict(row).label == alone.label


def test_probabilities_when_a_clip_may_have_several_labels(recording, tmp_path):
    torch.manual_seed(0)
    config = DushaConfig(problem_type="multi_label_classification", id2label={0: "loud", 1: "fast"})
    DushaForAudioClassification(config).save_pretrained(tmp_path)
    DushaFeatureExtractor().save_pretrained(tmp_path)
    emotions = EmotionClassifier(tmp_path, "cpu", batch_size=2)
    emotion = emotions.predict(recording)
    assert list(emotion.probabilities) == emotions.labels == ["loud", "fast"]
    assert abs(sum(values(emotion)) - 1) > 1e-3
    assert repr(emotions) == f"EmotionClassifier({str(tmp_path)!r})"


@pytest.mark.parametrize("options", [{}, {"window": 2, "hop": 0.7}, {"vad": True, "merge": True}])
def test_timeline_gives_what_the_command_does(emotions, model, podcast, tmp_path, options):
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    rows = command(model, podcast, "--device", "cpu", "--timeline", *flags, folder=tmp_path)
    table = emotions.timeline(podcast, **options)
    assert list(table.columns) == [name for name in rows[0] if name not in ("id", "error")]
    assert table["prediction"].tolist() == [row["prediction"] for row in rows]
    found = table[[f"probability_{label}" for label in LABELS]].to_numpy()
    np.testing.assert_allclose(found, [shares(row) for row in rows], atol=1e-6)
    times = [[float(row["start"]), float(row["end"])] for row in rows]
    np.testing.assert_allclose(table[["start", "end"]], times, atol=1e-3)


def test_timeline_of_a_list_is_one_table_per_recording(emotions, recording, podcast):
    first, second = emotions.timeline([recording, podcast])
    assert len(first) == 1
    assert len(second) > 2


@pytest.mark.parametrize(
    ("rate", "seconds", "size", "options"),
    [
        (16000, 7, 1600, {}),
        (48000, 7, 1024, {"window": 2, "hop": 1}),
        (44100, 6.3, 441, {"window": 2, "hop": 1.5}),
        (8000, 0.4, 100, {}),
        (22050, 11, 10**6, {}),
    ],
)
def test_stream_gives_the_timeline_of_the_whole(emotions, rate, seconds, size, options):
    generator = np.random.default_rng(0)
    samples = 0.2 * generator.standard_normal((round(rate * seconds), 2))
    samples[: rate // 2] *= 0.1
    expected = emotions.timeline((samples, rate), **options)
    given = []
    with emotions.stream(rate, **options) as stream:
        for first in range(0, len(samples), size):
            given += stream.push(samples[first : first + size])
        live = len(given)
        given += stream.close()
    assert given == stream.emotions
    assert len(given) == len(expected)
    assert len(given) == 1 or live > 0
    np.testing.assert_allclose(expected[["start", "end"]], [(x.start, x.end) for x in given])
    assert expected["prediction"].tolist() == [emotion.label for emotion in given]
    columns = [f"probability_{label}" for label in LABELS]
    np.testing.assert_allclose(expected[columns], [values(x) for x in given], atol=1e-6)
    overall = stream.overall
    weights = [emotion.duration for emotion in given]
    mean = np.average([values(emotion) for emotion in given], axis=0, weights=weights)
    np.testing.assert_allclose(values(overall), mean, atol=1e-6)
    assert (overall.start, overall.end) == (0, given[-1].end)


def test_least_confidence_makes_predictions_timelines_and_streams_uncertain(model, podcast):
    plain = EmotionClassifier(model, "cpu")
    samples = read_audio(podcast, 16000)
    windows = plain.timeline((samples, 16000), window=1, hop=1)
    tops = windows[[f"probability_{label}" for label in LABELS]].max(axis=1)
    least = round(float(tops.median()), 3)
    doubtful = (tops.round(6) < least).tolist()
    careful = EmotionClassifier(model, "cpu", least_confidence=least)
    table = careful.timeline((samples, 16000), window=1, hop=1)
    expected = windows["prediction"].where(~np.array(doubtful), "uncertain").tolist()
    assert table["prediction"].tolist() == expected
    assert 0 < sum(doubtful) < len(doubtful)
    with careful.stream(16000, window=1, hop=1) as stream:
        stream.push(samples)
    assert [emotion.label for emotion in stream.emotions] == expected
    whole = plain.predict(podcast)
    for least in (0, max(values(whole)) + 0.01):
        emotion = EmotionClassifier(model, "cpu", least_confidence=least).predict(podcast)
        assert emotion.label == ("uncertain" if least else whole.label)
        assert values(emotion) == values(whole)
    with EmotionClassifier(model, "cpu", least_confidence=1.0).stream(16000) as stream:
        stream.push(samples)
    assert stream.overall.label == "uncertain"
    with pytest.raises(WrongUseError, match="`least_confidence` is -0.1"):
        EmotionClassifier(model, "cpu", least_confidence=-0.1)


def test_stream_as_a_context_closes_itself(emotions):
    with emotions.stream(16000) as stream:
        assert stream.push(np.zeros(100, np.int16)) == []
        with pytest.raises(WrongUseError, match="no window is complete yet"):
            stream.overall  # noqa: B018
    assert [(one.start, one.end) for one in stream.emotions] == [(0, 100 / 16000)]
    assert stream.close() == []
    with pytest.raises(WrongUseError, match="the stream is closed"):
        stream.push(np.zeros(100))
    with emotions.stream(48000) as silent:
        silent.push(np.zeros(0))
    assert silent.emotions == []
    with pytest.raises(KeyError), emotions.stream(16000) as broken:
        broken.push(np.zeros(100))
        raise KeyError
    assert broken.emotions == broken.close() == []


WRONG = {
    "no rate": (np.zeros(9), "array without its sampling rate; give .samples, sampling_rate."),
    "no rate of a tensor": (torch.zeros(9), "array without its sampling rate"),
    "no rate in a list": (["a.wav", np.zeros(9)], "item 1 is an array without its sampling rate"),
    "a number": (3, "the recording is of type int; give a path"),
    "numbers": ([0.1, 0.2, 0.3], "item 0 is of type float; give a path"),
    "nothing": (None, "of type NoneType"),
    "text": (io.StringIO("a"), 'opened as text; open it with mode "rb"'),
    "no audio": ({"id": "1", "audio": None}, "has id, audio and no audio in them"),
    "empty": ((np.zeros(0), 16000), "cannot classify the recording: holds no samples"),
    "NaN": ((np.array([np.nan, 0]), 16000), "NaN or infinite"),
    "rate": ((np.zeros(9), 7), "its sampling rate is 7 Hz"),
    "integers": ((np.zeros(9, int), 16000), "its samples are int64; give floating-point"),
    "shape": ((np.zeros((2, 3, 4)), 16000), r"its samples have shape \(2, 3, 4\)"),
    "not audio": (b"no audio at all", "cannot classify the recording: neither libsndfile"),
}


@pytest.mark.parametrize(("audio", "reason"), WRONG.values(), ids=WRONG)
def test_predict_when_it_is_not_a_recording_says_what_to_give(emotions, audio, reason):
    with pytest.raises(WrongUseError, match=reason) as error:
        emotions.predict(audio)
    assert "\n" not in str(error.value)


def test_predict_when_files_are_missing_or_broken_names_them(emotions, recording, tmp_path):
    (tmp_path / "empty.wav").touch()
    with pytest.raises(MissingInputError, match="cannot classify nowhere.wav: there is no such"):
        emotions.predict("nowhere.wav")
    with pytest.raises(MissingInputError, match=r'2 of 3 .* 2 x "there is no such file" \(a, b\)'):
        emotions.predict(["a", recording, "b"])
    with pytest.raises(WrongUseError, match='1 x "there is no such file" .*"is empty') as error:
        emotions.predict(["a", recording, tmp_path / "empty.wav"])
    assert not isinstance(error.value, FileNotFoundError)


def test_model_that_fails_is_work_that_failed(recording, tmp_path):
    save_model(tmp_path)
    model = DushaForAudioClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        model.classifier.bias.fill_(torch.nan)
    model.save_pretrained(tmp_path)
    emotions = EmotionClassifier(tmp_path, "cpu")
    with pytest.raises(WorkFailedError, match="cannot classify .*clip.wav: the model's prob"):
        emotions.predict(recording)
    stream = emotions.stream(16000, window=1, hop=1)
    with pytest.raises(WorkFailedError, match="NaN or infinite"):
        stream.push(np.ones(16000))


def test_chunk_that_is_not_samples_is_refused_and_the_stream_continues(emotions):
    stream = emotions.stream(48000)
    for chunk in (np.array([np.inf]), np.zeros((2, 3, 4)), np.array(["a"])):
        with pytest.raises(WrongUseError, match="samples"):
            stream.push(chunk)
    stream.push(np.ones(480))
    (emotion,) = stream.close()
    assert np.isfinite(values(emotion)).all()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"window": 1, "hop": 2}, "the hop must be above 0 and at most the window"),
        ({"hop": 0}, "the hop must be above 0"),
    ],
)
def test_timeline_and_stream_when_the_window_is_out_of_range(emotions, recording, options, reason):
    with pytest.raises(WrongUseError, match=reason):
        emotions.timeline(recording, **options)
    with pytest.raises(WrongUseError, match=reason):
        emotions.stream(16000, **options)
    with pytest.raises(WrongUseError, match="sampling rate is 0 Hz"):
        emotions.stream(0)


def test_opening_when_there_is_no_such_model_or_device(model, tmp_path):
    with pytest.raises(MissingInputError, match="no model 'nowhere'"):
        EmotionClassifier("nowhere")
    with pytest.raises(MissingInputError, match="no such file: nowhere.onnx"):
        EmotionClassifier("nowhere.onnx")
    with pytest.raises(WrongUseError, match="`device` is 'gpu', where .* cannot run"):
        EmotionClassifier(model, "gpu")
    with pytest.raises(WrongUseError, match="`batch_size` is 0"):
        EmotionClassifier(model, batch_size=0)


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, dusha_ser\n"
        "assert 'EmotionClassifier' in dir(dusha_ser)\n"
        "heavy = ('torch', 'transformers', 'numpy', 'pandas', 'datasets', 'dusha_ser.inference')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "try: dusha_ser.Classifier\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "[]",
        "module 'dusha_ser' has no attribute 'Classifier'",
    ]
