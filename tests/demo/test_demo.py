"""The demo without a browser: answers, sessions at the microphone, the drawing, the limits.

tests/integration/test_demo.py has the page in a real browser.
"""

import asyncio
import base64
import configparser
import csv
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from small_models import save_model

from dusha_ser.cli import demo as demo_command
from dusha_ser.cli import predict
from dusha_ser.cli.main import main as dusha
from dusha_ser.demo import page
from dusha_ser.demo.answering import LIVE_HOP, LIVE_WINDOW, Answer, Answerer
from dusha_ser.demo.drawing import COLUMNS, csv_of, show_bars, show_timeline
from dusha_ser.demo.options import MODEL_VARIABLE, DemoOptions
from dusha_ser.demo.page import LONG, find_examples, static_texts, write_examples
from dusha_ser.demo.texts import ENGLISH, MICROPHONE, RUSSIAN, TEXTS, Words
from dusha_ser.demo.waveform import Envelope
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.timelines.merging import Segment

gradio = pytest.importorskip(
    "gradio", reason="the demo needs the extra demo: pip install -e '.[demo]'"
)
REPOSITORY = Path(__file__).resolve().parents[2]
LABELS = ["angry", "sad", "neutral", "positive"]
CLOSE = 1e-4
WORDS = Words("en-GB,en;q=0.9")
RUSSIAN_WORDS = Words("ru-RU,ru;q=0.9,en;q=0.8")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("demo") / "model", seed=1)


@pytest.fixture(scope="module")
def answerer(model):
    return Answerer(DemoOptions(model, longest=1, longest_live=5 / 60, speakers=2))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return write_examples(tmp_path_factory.mktemp("examples"))


def predicted(model, path, *options):
    """The rows that dusha predict writes."""
    output = path.with_suffix(".csv")
    settings = ["--output_file", str(output), "--overwrite", "--quiet"]
    predict.main([model, str(path), *options, *settings])
    with output.open(newline="") as file:
        return list(csv.DictReader(file))


def probabilities_of(row):
    return [float(row[f"probability_{label}"]) for label in LABELS]


def pieces_of(path, seconds):
    samples, rate = soundfile.read(path, dtype="int16")
    return [
        samples[i : i + int(seconds * rate)] for i in range(0, len(samples), int(seconds * rate))
    ]


@pytest.mark.parametrize("vad", [False, True], ids=["all", "speech"])
@pytest.mark.parametrize("name", ["sad", LONG])
def test_answer_when_the_command_line_is_asked_the_same(answerer, model, recordings, name, vad):
    if vad:
        pytest.importorskip("silero_vad")
    options = ["--vad"] if vad else []
    answer = answerer.answer_file(recordings[name], vad)
    whole = predicted(model, recordings[name], *options)[0]
    assert answer.error is None
    assert answer.prediction == whole["prediction"]
    assert answer.probabilities == pytest.approx(probabilities_of(whole), abs=CLOSE)
    rows = predicted(model, recordings[name], "--timeline", *options)
    assert [(one.start, one.end) for one in answer.segments] == [
        (float(row["start"]), float(row["end"])) for row in rows
    ]
    for one, row in zip(answer.segments, rows, strict=True):
        assert one.probabilities.tolist() == pytest.approx(probabilities_of(row), abs=CLOSE)


def test_answer_when_browsers_send_48_khz_stereo(answerer, model, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "browser.wav"
    soundfile.write(path, 0.1 * rng.standard_normal((48000, 2)), 48000, "PCM_16")
    answer = answerer.answer_file(path)
    assert answer.probabilities == pytest.approx(
        probabilities_of(predicted(model, path)[0]), abs=CLOSE
    )
    assert answer.envelope.duration == pytest.approx(1, abs=0.01)


def test_answer_when_a_file_is_asked_of_the_model_once(answerer, recordings):
    asked = []
    counting = Answerer.__new__(Answerer)
    counting.__dict__ |= answerer.__dict__
    counting.classify = lambda clips: asked.extend(clips) or answerer.classify(clips)
    answer = counting.answer_file(recordings[LONG])
    assert soundfile.info(recordings[LONG]).duration > 30
    assert len(asked) == len(answer.segments)


def test_answer_when_a_file_is_too_long(answerer, tmp_path):
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(61 * 8000), 8000)
    assert answerer.answer_file(path).error.startswith("is longer than 1 minutes")


def test_answer_when_a_file_is_no_sound(answerer, tmp_path):
    path = tmp_path / "text.wav"
    path.write_text("no sound")
    answer = answerer.answer_file(path)
    for words, start in (
        (WORDS, "This recording cannot be read; "),
        (RUSSIAN_WORDS, "Эту запись "),
    ):
        shown = show_bars(answer, words)
        assert re.fullmatch(r'\s*<p role="alert">[^<]+\.</p>\s*', shown)
        assert start in shown
        assert show_timeline(answer, words) == ""


def test_answer_when_nobody_speaks(answerer, tmp_path):
    pytest.importorskip("silero_vad")
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(16000), 16000)
    answer = answerer.answer_file(path, vad=True)
    assert answer.prediction is None
    assert "No speech was found" in show_bars(answer, WORDS, "no_speech")
    assert "no speech" in show_timeline(answer, WORDS)


@pytest.mark.parametrize("seconds", [0.1, 0.73, 30])
def test_session_when_its_recording_is_classified(answerer, model, tmp_path, seconds, monkeypatch):
    monkeypatch.setattr(answerer, "longest_live", 60)
    rng = np.random.default_rng(2)
    path = tmp_path / "spoken.wav"
    loudness = 0.02 + 0.1 * np.abs(np.sin(np.arange(6 * 48000) / 9000))
    soundfile.write(path, loudness * rng.standard_normal(6 * 48000), 48000, "PCM_16")
    session = answerer.open_session(tmp_path)
    counts = [len(session.push(piece, 48000).segments) for piece in pieces_of(path, seconds)]
    assert counts == sorted(counts)
    assert counts[-1] >= 3
    answer = session.finish()
    assert soundfile.info(session.recording).samplerate == 16000
    live = ["--timeline", "--window", str(LIVE_WINDOW), "--hop", str(LIVE_HOP)]
    rows = predicted(model, session.recording, *live)
    assert [(one.start, one.end) for one in answer.segments] == [
        (float(row["start"]), float(row["end"])) for row in rows
    ]
    for one, row in zip(answer.segments, rows, strict=True):
        assert one.probabilities.tolist() == pytest.approx(probabilities_of(row), abs=CLOSE)
    session.close()
    assert not session.recording.exists()


def test_session_when_it_goes_on_for_too_long(answerer, tmp_path):
    session = answerer.open_session(tmp_path)
    for _ in range(12):
        session.push(np.full(8000, 100, dtype=np.int16), 16000)
    assert session.is_full
    answer = session.finish()
    assert answer.envelope.duration == answerer.longest_live
    assert soundfile.info(session.recording).duration == answerer.longest_live
    session.close()


def test_session_when_the_rate_changes(answerer, tmp_path):
    session = answerer.open_session(tmp_path)
    session.push(np.zeros(4800, dtype=np.int16), 48000)
    with pytest.raises(ValueError, match="48000 Hz to 44100 Hz"):
        session.push(np.zeros(4410, dtype=np.int16), 44100)
    session.close()


def test_session_when_pieces_come_at_once(answerer, tmp_path, monkeypatch):
    monkeypatch.setattr(answerer, "longest_live", 60)
    session = answerer.open_session(tmp_path)
    piece = np.full(1600, 100, dtype=np.int16)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: session.push(piece, 16000), range(80)))
    answer = session.finish()
    assert answer.envelope.duration == pytest.approx(8, abs=0.01)
    assert [one.start for one in answer.segments] == [0, 1, 2, 3, 4, 5]
    # A piece that comes late changes nothing.
    assert len(session.push(piece, 16000).segments) == 6
    session.close()


def test_session_when_nothing_was_heard(answerer, tmp_path):
    session = answerer.open_session(tmp_path)
    assert session.finish().prediction is None
    session.close()


def test_session_when_all_places_are_taken(answerer, tmp_path, monkeypatch):
    first, second = answerer.open_session(tmp_path), answerer.open_session(tmp_path)
    assert answerer.open_session(tmp_path) is None
    first.finish()
    third = answerer.open_session(tmp_path)
    assert third is not None
    # Who has sent nothing for a minute has left.
    second.heard_at -= 61
    fourth = answerer.open_session(tmp_path)
    assert fourth is not None
    for one in (first, second, third, fourth):
        one.close()


def test_envelope_when_samples_come_in_pieces():
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(1234)
    whole, pieces = Envelope(1000), Envelope(1000)
    whole.push(samples)
    for start in range(0, len(samples), 7):
        pieces.push(samples[start : start + 7])
    assert np.array_equal(whole.peaks(), pieces.peaks())
    assert whole.peaks().max() == np.abs(samples).max().astype(np.float32)
    assert pieces.duration == 1.234


def window(start, end, label):
    return Segment(start, end, label, np.array([0.7 if one == label else 0.1 for one in LABELS]))


def answer_of(segments, seconds, **more):
    """An answer to a recording as loud as can be."""
    envelope = Envelope(100)
    for _ in range(seconds):
        envelope.push(np.ones(100))
    probabilities = np.mean([one.probabilities for one in segments], axis=0).tolist()
    return Answer(LABELS, segments[0].label, probabilities, segments, envelope, **more)


CHANGING = [window(0, 5, "angry"), window(2.5, 7.5, "sad"), window(12, 20, "positive")]


def test_drawing_when_emotions_change():
    drawn = show_timeline(answer_of(CHANGING, 20), WORDS)
    # Both windows agree from 2.5 to 5 s on two labels alike, and the first of these is taken.
    spans = re.findall(r'class="emotion-(\d)" style="left:([\d.]+)%;width:([\d.]+)%"', drawn)
    assert spans == [("0", "0.00", "25.00"), ("1", "25.00", "12.50"), ("3", "60.00", "40.00")]
    assert "Share of the time: positive 52%, angry 32%, sad 16%" in drawn
    for name in ("emotion-0", "emotion-1", "emotion-3", "emotion-none"):
        assert f'<path class="{name}"' in drawn
    assert drawn.count("<tr data-label") == 3
    assert re.findall(r'data-start="([\d.]+)"', drawn) == ["0", "2.5", "12"]
    assert "no prediction" in drawn
    russian = show_timeline(answer_of(CHANGING, 20), RUSSIAN_WORDS)
    assert "Доля времени: позитив 52\xa0%, злость 32\xa0%, грусть 16\xa0%" in russian
    assert "нет ответа" in russian and ">0,0–5,0 с<" in russian
    assert not re.search("no prediction|angry<|Download", russian)


def test_bars_when_a_recording_is_long():
    shown = show_bars(answer_of(CHANGING, 20, is_long=True), WORDS)
    headline = re.sub(r"<[^>]+>|\s+", " ", shown.split("</h2>")[0]).split()
    assert headline == ["positive", "52%", "angry", "32%", "sad", "16%"]
    assert "Share of the 0:15 with speech (0:20)" in shown
    # Bars and the first number are shares of the time, the second is the mean probability.
    row = shown.split('<tr data-label="positive"')[1].split("</tr>")[0]
    assert "width:51.61%" in row
    assert re.findall(r"<td>(.*?)</td>", row) == ["51.6%", "30.0%"]
    short = show_bars(answer_of(CHANGING, 20), WORDS)
    assert "%" not in short.split("</h2>")[0]
    assert "Share" not in short


def test_drawing_when_a_recording_is_loud_and_quiet():
    envelope = Envelope(100, step=1)
    for peak in (0.5, 0.05, 0.005, 0):
        envelope.push(np.full(100, peak))
    drawn = show_timeline(Answer(LABELS, envelope=envelope), WORDS)
    assert re.findall(r"100v-([\d.]+)", drawn) == ["98.0", "65.3", "32.7", "1.0"]
    assert "−20 dB" in drawn and "−40 dB" in drawn
    assert "Waveform of 0:04. " in drawn


def test_csv_when_the_command_line_is_asked_the_same(answerer, model, recordings):
    answer = answerer.answer_file(recordings[LONG])
    rows = list(csv.DictReader(csv_of(answer).splitlines()))
    expected = predicted(model, recordings[LONG], "--timeline")
    assert [row["id"] for row in rows] == [recordings[LONG].name] * len(expected)
    for row, one in zip(rows, expected, strict=True):
        assert list(row) == list(one)
        assert [float(row[key]) for key in ("start", "end")] == [
            float(one["start"]),
            float(one["end"]),
        ]
        assert row["prediction"] == one["prediction"]
        assert probabilities_of(row) == pytest.approx(probabilities_of(one), abs=CLOSE)
    (link,) = re.findall(
        r'download="(.*?)" href="data:text/csv;charset=utf-8,(.*?)"', show_timeline(answer, WORDS)
    )
    assert link[0] == f"{recordings[LONG].name}.csv"
    assert urllib.parse.unquote(link[1]) == csv_of(answer)


def test_texts_when_languages_are_compared():
    for texts in (TEXTS, MICROPHONE):
        assert set(texts) == {ENGLISH, RUSSIAN}
        assert texts[ENGLISH].keys() == texts[RUSSIAN].keys()
        for key, text in texts[ENGLISH].items():
            other = texts[RUSSIAN][key]
            assert not re.search("[а-яё]", text, re.IGNORECASE)
            assert re.search("[а-яё]", other, re.IGNORECASE)
            if key not in ("too_long", "shares_of_speech"):
                assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", other))
    static = static_texts(DemoOptions("a/<model>", longest=7, longest_live=2.5))
    assert static[RUSSIAN].keys() == static[ENGLISH].keys()
    assert static[RUSSIAN]["choose"] == "Запись, до 100 МБ и 7 мин"
    assert static[RUSSIAN]["limit_live"] == "До 2.5 мин за один раз."
    assert static[RUSSIAN]["sad"] == "грусть"
    assert "&lt;model&gt;" in static[ENGLISH]["limits"]


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("ru", RUSSIAN),
        ("ru-RU,ru;q=0.9,en;q=0.8", RUSSIAN),
        ("en-US,ru;q=0.9", ENGLISH),
        ("de", ENGLISH),
        ("", ENGLISH),
    ],
)
def test_words_when_a_browser_names_its_languages(accepted, language):
    assert Words(accepted).language == language


def test_drawing_when_a_recording_is_an_hour_long():
    segments = [window(i * 2.5, i * 2.5 + 5, LABELS[i % 4]) for i in range(1439)]
    drawn = show_timeline(answer_of(segments, 3600), WORDS, is_whole=False)
    assert drawn.count("M") <= COLUMNS + 10
    assert len(drawn) < 250_000
    assert "Waveform of 1:00:00" in drawn


def test_drawing_when_labels_are_markup():
    label = '<img src=x onerror="alert(1)">'
    envelope = Envelope(100)
    envelope.push(np.ones(200))
    answer = Answer([label], label, [1.0], [Segment(0, 2, label, np.ones(1))], envelope)
    answer.name = label
    assert "<img" not in show_bars(answer, WORDS) + show_timeline(answer, WORDS)


def test_examples_when_they_are_written(recordings, tmp_path):
    assert list(recordings) == [*LABELS, LONG]
    again = write_examples(tmp_path)
    for name, path in recordings.items():
        assert path.read_bytes() == again[name].read_bytes()
        assert soundfile.info(path).duration > 1
    assert soundfile.info(recordings[LONG]).duration > 30


def test_examples_when_a_folder_is_named(recordings, tmp_path):
    assert find_examples(None) is None
    assert list(find_examples(recordings["sad"].parent)) == sorted(
        path.name for path in recordings.values()
    )
    with pytest.raises(MissingInputError, match="no audio files in"):
        find_examples(tmp_path)
    for number in range(13):
        shutil.copy(recordings["sad"], tmp_path / f"{number}.wav")
    with pytest.raises(WrongUseError, match="`examples` is 13; it must be up to 12 files"):
        find_examples(tmp_path)


def piece(**changes):
    samples = base64.b64encode(np.arange(100, dtype="<i2").tobytes()).decode()
    return {"samples": samples, "rate": 48000, "first": True, "last": False} | changes


def test_piece_when_a_browser_sends_it():
    samples, rate, is_first, is_last = page.read_piece(piece())
    assert samples.tolist() == list(range(100))
    assert (rate, is_first, is_last) == (48000, True, False)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        piece(rate=10),
        piece(rate=float("nan")),
        piece(rate=float("inf")),
        piece(rate="48000"),
        piece(samples="?"),
        piece(samples=5),
        piece(samples=base64.b64encode(b"odd").decode()),
        piece(rate=8000, samples=base64.b64encode(bytes(2 * 8000 * 91)).decode()),
    ],
    ids=range(11),
)
def test_piece_when_it_is_something_else(wrong):
    with pytest.raises(gradio.Error, match="a piece of audio has"):
        page.read_piece(wrong)


def test_page_when_a_request_names_an_address(answerer, tmp_path):
    built = page.build_page(answerer, DemoOptions("model"), tmp_path)
    sound = next(one for one in built.blocks.values() if one.elem_id == "recording")
    with pytest.raises(gradio.Error, match="addresses are not fetched"):
        asyncio.run(sound.async_move_resource_to_block_cache("http://127.0.0.1:9/a.wav"))


def test_page_when_it_is_built(answerer, tmp_path):
    built = page.build_page(answerer, DemoOptions("model", queue_size=7), tmp_path)
    assert built.analytics_enabled is False
    assert built._queue.max_size == 7
    public = [one.api_name for one in built.fns.values() if one.api_visibility == "public"]
    assert public == ["classify"]
    assert all(one.concurrency_limit is not None for one in built.fns.values() if one.queue)


def options_for(*arguments):
    (options,) = demo_command.main.make_parser().parse_options(arguments)
    return options


def test_options_when_no_model_is_named(monkeypatch):
    monkeypatch.delenv(MODEL_VARIABLE, raising=False)
    with pytest.raises(MissingInputError, match="DUSHA_MODEL"):
        options_for()
    monkeypatch.setenv(MODEL_VARIABLE, "from-the/environment")
    assert options_for().model == "from-the/environment"
    assert options_for("--model", "a/named").settings.model == "a/named"


def test_space_takes_the_folder_beside_it_unless_the_variable_names_a_model(tmp_path):
    app = shutil.copy(REPOSITORY / "demo" / "app.py", tmp_path)
    for variable, said in (("", "model is not an audio"), ("nowhere", "no model 'nowhere'")):
        (tmp_path / "model").mkdir(exist_ok=True)
        environment = os.environ | {MODEL_VARIABLE: variable, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(
            [sys.executable, app, "--port", "0"], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert said in done.stderr


def test_options_when_the_page_is_for_this_machine_only(monkeypatch):
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    assert options_for("--model", "a/m").host == "127.0.0.1"
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    assert options_for("--model", "a/m").host == "0.0.0.0"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--max_upload", "0"),
        ("--longest", "nan"),
        ("--longest_live", "inf"),
        ("--queue_size", "0"),
        ("--speakers", "-1"),
        ("--port", "70000"),
        ("--hop", "9"),
    ],
)
def test_options_when_a_limit_is_none(option, value):
    with pytest.raises(WrongUseError, match=option.lstrip("-")):
        options_for("--model", "a/m", option, value)


def test_program_when_the_port_is_taken(model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WrongUseError, match=f"port {port}"):
            dusha(["demo", "--model", model, "--port", str(port)])


def test_program_when_there_is_no_such_model():
    with pytest.raises(WrongUseError, match="nowhere"):
        dusha(["demo", "--model", "nowhere", "--port", "0"])


def test_space_when_its_requirements_are_those_of_the_project():
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    texts = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    allowed = {line for text in texts for line in text.splitlines() if line}
    lines = (REPOSITORY / "demo" / "requirements.txt").read_text().splitlines()
    needed = {line for line in lines if not line.startswith("#")}
    assert needed <= allowed


def test_space_when_its_settings_are_read():
    text = (REPOSITORY / "demo" / "README.md").read_text()
    settings = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1])
    assert settings["sdk"] == "gradio"
    assert (REPOSITORY / "demo" / settings["app_file"]).is_file()
    assert (
        f"gradio>={settings['sdk_version'].rsplit('.', 1)[0]},"
        in (REPOSITORY / "demo" / "requirements.txt").read_text()
    )
