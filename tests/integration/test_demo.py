"""The demo in a real browser: the same answers as dusha predict, for everybody, and only here.

A wav is Chromium's microphone. To make the picture of the page again, with a model that is worth
showing: DUSHA_MODEL=MODEL DEMO_PICTURE=docs/pictures/demo.png python -m pytest -n 0
tests/integration/test_demo.py -k picture
"""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import soundfile
import soxr
from pages import probabilities_of
from scipy.signal import correlate
from small_models import save_model

from dusha_ser.audio.reading import SAMPLING_RATE
from dusha_ser.cli.predict import main as predict_main
from dusha_ser.corpus.sample_voice import draw_voice, speak

pytest.importorskip("gradio", reason="the demo needs the extra demo: pip install -e .[demo]")
playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="a browser is driven by Playwright: pip install -e .[integration]"
)
Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium"
)
# A loaded machine may take long for anything: what is waited for is a condition, not a time.
PATIENCE = 120
PICTURE = os.environ.get("DEMO_PICTURE")
# Probabilities on the page and in files have six digits; the last ones depend on the batch.
CLOSE = 2e-4
LIVE = ("--window", 3, "--hop", 1)


def speech(emotions, phrases, rate):
    """Synthetic speech, (samples,) in [-1, 1]."""
    rng = np.random.default_rng(3)
    voice = draw_voice(rng)
    said = [speak(rng, voice, emotion)[0] for emotion in emotions for _ in range(phrases)]
    return soxr.resample(np.concatenate(said), SAMPLING_RATE, rate)


def write_stereo(path, samples, rate=48000):
    """Write what browsers and phones record: 48 kHz, 16 bit, two channels."""
    soundfile.write(path, np.stack([samples, 0.8 * samples], axis=1), rate, "PCM_16")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def model(folder):
    """A random network, whose answers differ from clip to clip."""
    return os.environ.get("DUSHA_MODEL") or save_model(folder / "model", seed=1)


class Server:
    """The demo as a user starts it."""

    def __init__(self, program, *options, folder, env=None):
        self.files = folder / "gradio"
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "GRADIO_TEMP_DIR": str(self.files),
            "TMPDIR": str(folder),
        }
        self.errors = (folder / "errors.txt").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, *map(str, program), "--port", "0", *map(str, options)],
            cwd=folder,
            env=environment | (env or {}),
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        # A server that hangs must not hang the tests.
        watch = threading.Timer(2 * PATIENCE, self.process.kill)
        watch.start()
        line = self.process.stdout.readline()
        watch.cancel()
        assert line.startswith("listening on http://127.0.0.1:"), self.said()
        self.address = line.split()[-1]

    def said(self):
        self.errors.seek(0)
        return self.errors.read()[-3000:]

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.stdout.close()
            self.errors.close()


@pytest.fixture(scope="module")
def server(repository, model, folder):
    one = Server(
        [repository / "demo" / "app.py"],
        *("--model", model),
        *([] if PICTURE else ["--max_upload", 20, "--longest", 1]),
        folder=folder,
    )
    yield one
    assert one.stop() == 0
    assert not list(one.files.rglob("*.wav")), "recordings are left behind"
    assert not list(folder.glob("dusha-demo-*"))


@pytest.fixture(scope="module")
def heard(folder):
    """What Chromium's microphone hears, over and over."""
    return write_stereo(folder / "heard.wav", speech(["angry", "sad", "positive"], 5, 48000))


@pytest.fixture(scope="module")
def browser(heard):
    with playwright_api.sync_playwright() as started:
        one = started.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-audio-capture={heard}",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                # Containers have little room there.
                "--disable-dev-shm-usage",
            ],
        )
        yield one
        one.close()


@pytest.fixture
def page(browser, server):
    """The page, opened; afterwards it is checked that nothing was asked of anybody else."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    context.set_default_timeout(1000 * PATIENCE)
    asked, faults = [], []
    one = context.new_page()
    one.on("request", lambda request: asked.append(request.url))
    one.on("websocket", lambda socket: asked.append(socket.url))
    one.on("pageerror", lambda error: faults.append(str(error)))
    one.goto(server.address)
    one.get_by_role("button", name="all in turn").wait_for()
    yield one
    # Browsers connect ahead, without a request that would be seen, where a page tells them to.
    ahead = one.locator("link[rel~=preconnect], link[rel~=dns-prefetch]").count()
    context.close()
    local = re.compile(rf"(blob:)?{re.escape(server.address)}/|data:")
    assert not [url for url in asked if not local.match(url)]
    assert asked
    assert not ahead
    assert not faults


def read_answer(page, where="#answer"):
    """The prediction, and the probability of each label, as the page shows them."""
    page.locator(f"{where} h2[data-prediction]").wait_for()
    rows = page.locator(f"{where} tr[data-label]").all()
    shown = {row.get_attribute("data-label"): row for row in rows}
    for row in rows:
        probability = float(row.get_attribute("data-probability"))
        assert f"{probability:.1%}" in row.inner_text()
    return page.locator(f"{where} h2").get_attribute("data-prediction"), {
        label: float(row.get_attribute("data-probability")) for label, row in shown.items()
    }


def read_timeline(page, where="#timeline"):
    """The windows that the page shows as a table: start, end, prediction, probabilities."""
    page.locator(f"{where} summary").click()
    rows = []
    for row in page.locator(f"{where} tr[data-label]").all():
        span, _, *values = row.locator("th, td").all_inner_texts()
        start, end = re.fullmatch(r"([\d.]+) to ([\d.]+) s", span).groups()
        probabilities = [float(value.rstrip("%")) / 100 for value in values]
        rows.append((float(start), float(end), row.get_attribute("data-label"), probabilities))
    return rows


@pytest.fixture
def predict(model, tmp_path):
    """Ask dusha predict about a file."""

    def run(path, *options):
        output = tmp_path / "answers.csv"
        settings = ("--output_file", output, "--overwrite", "--quiet", *options)
        predict_main(list(map(str, (model, path, *settings))))
        with output.open(newline="") as file:
            return list(csv.DictReader(file))

    return run


def assert_same_answer(shown, row):
    prediction, probabilities = shown
    expected = probabilities_of(row)
    assert probabilities.keys() == expected.keys()
    assert probabilities == pytest.approx(expected, abs=CLOSE)
    ranked = sorted(expected.values())
    if ranked[-1] - ranked[-2] > 2 * CLOSE:
        assert prediction == row["prediction"]


def assert_same_timeline(shown, rows):
    assert len(shown) == len(rows)
    for (start, end, prediction, probabilities), row in zip(shown, rows, strict=True):
        assert (start, end) == pytest.approx((float(row["start"]), float(row["end"])), abs=0.06)
        expected = list(probabilities_of(row).values())
        # The table rounds to a tenth of a percent.
        assert probabilities == pytest.approx(expected, abs=CLOSE + 0.00051)
        ranked = sorted(expected)
        if ranked[-1] - ranked[-2] > 2 * CLOSE:
            assert prediction == row["prediction"]


@needs_browser
def test_page_when_a_long_stereo_file_is_uploaded(page, predict, tmp_path):
    path = write_stereo(tmp_path / "said.wav", speech(["neutral", "angry", "sad"], 8, 48000))
    assert soundfile.info(path).duration > 30
    page.set_input_files("#recording input[type=file]", path)
    assert_same_answer(read_answer(page), predict(path)[0])
    assert_same_timeline(read_timeline(page), predict(path, "--timeline"))
    drawing = page.locator("#timeline svg[role=img]")
    assert re.match(
        r"Waveform of 0:\d\d\. Share of the time: ", drawing.get_attribute("aria-label")
    )
    assert drawing.locator("path").count() >= 1


@needs_browser
def test_page_when_only_speech_is_to_count(page, predict, tmp_path):
    rng = np.random.default_rng(0)
    silence = 1e-4 * rng.standard_normal(4 * 48000)
    path = write_stereo(
        tmp_path / "said.wav", np.concatenate([silence, speech(["angry"], 3, 48000), silence])
    )
    page.set_input_files("#recording input[type=file]", path)
    before = read_answer(page)
    page.get_by_label("Speech only").check()
    page.wait_for_function(
        "before => document.querySelector('#answer tr[data-label]')?.dataset.probability != before",
        arg=f"{next(iter(before[1].values())):.6f}",
    )
    assert_same_answer(read_answer(page), predict(path, "--vad")[0])


@needs_browser
def test_page_when_the_microphone_records(page, server, predict):
    page.locator("#recording").get_by_label("Record audio").click()
    page.locator("#recording").get_by_role("button", name="Record", exact=True).click()
    page.wait_for_function(
        "() => [...document.querySelectorAll('#recording time')]"
        ".some((one) => /0:0[2-9]/.test(one.textContent))"
    )
    page.locator("#recording").get_by_role("button", name="Stop", exact=True).click()
    shown = read_answer(page)
    recorded = max(server.files.glob("*/audio.wav"), key=lambda path: path.stat().st_mtime)
    assert soundfile.info(recorded).duration > 0.5
    assert_same_answer(shown, predict(recorded)[0])


@needs_browser
def test_page_when_somebody_speaks(page, predict, heard, folder, tmp_path):
    page.get_by_role("tab", name="Live").click()
    page.get_by_role("button", name="Start", exact=True).click()
    # The first answer, and later ones, come while the microphone is open.
    page.locator("#live-answer h2[data-prediction]").wait_for()
    page.wait_for_function(
        "() => document.querySelectorAll('#live-timeline .axis span').length > 6"
    )
    assert page.locator("#live-timeline details").count() == 0
    page.get_by_role("button", name="Stop", exact=True).click()
    page.locator("#live-timeline summary").wait_for()
    kept = page.locator("#heard a[download]").get_attribute("href")
    path = tmp_path / "kept.wav"
    path.write_bytes(page.request.get(kept).body())
    assert_same_timeline(read_timeline(page, "#live-timeline"), predict(path, "--timeline", *LIVE))
    assert_hears_all(path, heard)
    # What was kept of it until then is gone.
    end = time.monotonic() + PATIENCE
    while list(folder.glob("dusha-demo-*/*.wav")) and time.monotonic() < end:
        time.sleep(0.1)
    assert not list(folder.glob("dusha-demo-*/*.wav"))


def assert_hears_all(path, heard):
    """Check that a recording is the microphone's sound, without a gap."""
    recorded, rate = soundfile.read(path)
    original, original_rate = soundfile.read(heard)
    original = soxr.resample(original.mean(axis=1), original_rate, rate)
    played = np.concatenate([original] * (2 + len(recorded) // len(original)))
    places = []
    for start in range(0, len(recorded) - rate, rate):
        piece = recorded[start : start + rate]
        likeness = correlate(played, piece, "valid")
        place = int(np.argmax(likeness))
        size = np.linalg.norm(piece) * np.linalg.norm(played[place : place + rate])
        if likeness[place] > 0.98 * size:
            places.append(place - start)
    assert len(places) >= 3
    # The file goes round, with a hundredth of a second each time before it begins again. A piece
    # that the page lost would be half a second or more.
    half = len(original) / 2
    shifts = (np.array(places) - places[0] + half) % len(original) - half
    assert np.abs(shifts).max() < 0.4 * rate


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_when_it_is_read_by_a_screen_reader(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.reload()
    page.get_by_role("button", name="angry", exact=True).click()
    read_answer(page)
    page.locator("#timeline summary").click()
    found = violations(page)
    page.get_by_role("tab", name="Live").click()
    page.get_by_role("button", name="Start", exact=True).click()
    page.locator("#live-answer h2[data-prediction]").wait_for()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.locator("#live-timeline summary").wait_for()
    found += violations(page)
    assert not found, "\n".join(found)


def violations(page):
    """What axe finds, a line each."""
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]}"
        for rule in Axe().run(page).response["violations"]
        for node in rule["nodes"]
    ]


@needs_browser
def test_page_when_only_the_keyboard_is_used(page):
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == "angry":
            break
    page.keyboard.press("Enter")
    read_answer(page)
    page.locator("#timeline summary").focus()
    page.keyboard.press("Enter")
    assert page.locator("#timeline details[open]").count() == 1


@needs_browser
def test_page_when_it_is_read_on_a_telephone(page):
    page.set_viewport_size({"width": 400, "height": 800})
    page.get_by_role("button", name="all in turn").click()
    read_answer(page)
    page.locator("#timeline summary").click()
    # The player knows the recording.
    page.wait_for_function(
        "() => Math.floor(document.querySelector('#recording audio')?.duration) === 47"
    )
    page.wait_for_function("() => document.documentElement.scrollWidth <= 400")
    page.wait_for_timeout(1000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


@needs_browser
def test_page_when_a_file_is_no_sound(page, tmp_path):
    path = tmp_path / "notes.wav"
    path.write_text("<b>no sound</b>" * 20)
    page.set_input_files("#recording input[type=file]", path)
    message = page.locator("#answer [role=alert]")
    message.wait_for()
    assert message.inner_text().startswith("This recording ")


@needs_browser
@pytest.mark.parametrize("way", ["chosen", "dropped"])
def test_page_when_a_file_is_not_called_audio(page, tmp_path, way):
    """Gradio would refuse both: voice messages are saved as videos, too."""
    paper, video = tmp_path / "paper.pdf", tmp_path / "voice.mp4"
    paper.write_bytes(b"%PDF-1.7\n" + bytes(range(256)))
    write_stereo(tmp_path / "said.wav", speech(["angry"], 2, 48000))
    shutil.move(tmp_path / "said.wav", video)
    for path, kind in ((paper, "application/pdf"), (video, "video/mp4")):
        if way == "chosen":
            page.set_input_files("#recording input[type=file]", path)
        else:
            carried = page.evaluate_handle(
                """([bytes, name, type]) => {
                    const carried = new DataTransfer();
                    carried.items.add(new File([new Uint8Array(bytes)], name, { type }));
                    return carried;
                }""",
                [list(path.read_bytes()), path.name, kind],
            )
            place = page.locator("#recording button").first
            place.dispatch_event("drop", {"dataTransfer": carried})
        if path == paper:
            message = page.locator("#answer [role=alert]")
            message.wait_for()
            assert message.inner_text().startswith("This recording cannot be read; ")
            page.locator("#recording").get_by_label("Clear").click()
            page.locator("#answer [role=status]").wait_for()
    read_answer(page)
    assert not page.locator(".toast-body").count()


PLAYER = "document.querySelector('#recording audio')"


@needs_browser
def test_page_when_the_waveform_is_clicked(page):
    page.get_by_role("button", name="all in turn").click()
    strip = page.locator("#timeline .strip")
    strip.wait_for()
    page.wait_for_function(f"() => {PLAYER}?.readyState >= 1")
    length = page.evaluate(f"{PLAYER}.duration")
    assert page.evaluate(f"{PLAYER}.paused")
    box = strip.bounding_box()
    for share, height in ((0.75, 0.2), (0.25, 0.9)):  # on the waveform, and on the band below it
        page.mouse.click(box["x"] + share * box["width"], box["y"] + height * box["height"])
        page.wait_for_function(
            f"([from, to]) => !{PLAYER}.paused && {PLAYER}.currentTime > from"
            f" && {PLAYER}.currentTime < to",
            arg=[share * length, share * length + 5],
        )
        line = page.locator("#timeline .playhead")
        line.wait_for()
        place = (line.bounding_box()["x"] - box["x"]) / box["width"]
        assert share - 0.02 < place < share + 0.2
    page.locator("#timeline summary").click()
    page.locator("#timeline [data-start='10.0']").click()
    page.wait_for_function(f"() => {PLAYER}.currentTime > 10 && {PLAYER}.currentTime < 11.5")


@needs_browser
def test_page_when_a_long_answer_is_saved(page, predict, tmp_path):
    path = write_stereo(tmp_path / "said.wav", speech(["neutral", "angry", "sad"], 8, 48000))
    page.set_input_files("#recording input[type=file]", path)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    assert download.value.suggested_filename == "said.wav.csv"
    with download.value.path().open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = predict(path, "--timeline")
    assert [list(row) for row in rows] == [list(row) for row in expected]
    for row, one in zip(rows, expected, strict=True):
        assert probabilities_of(row) == pytest.approx(probabilities_of(one), abs=CLOSE)
    # The headline is the share of time of each emotion, as dusha predict merges the windows.
    seconds = {}
    for row in predict(path, "--timeline", "--merge"):
        length = float(row["end"]) - float(row["start"])
        seconds[row["prediction"]] = seconds.get(row["prediction"], 0) + length
    ranked = sorted(seconds.items(), key=lambda item: -item[1])
    headline = page.locator("#answer h2").inner_text().split()
    assert headline == [
        word for label, size in ranked for word in (label, f"{size / sum(seconds.values()):.0%}")
    ]


@needs_browser
@pytest.mark.parametrize(
    ("locale", "language"), [("ru-RU", "ru"), ("ru", "ru"), ("en-GB", "en"), ("de-DE", "en")]
)
def test_page_when_a_browser_has_a_language(browser, server, locale, language):
    texts = {
        "ru": ("Эмоции в речи", "Запись", "Микрофон", "злость", "Начать", "Вся запись"),
        "en": ("Emotion in speech", "Recording", "Live", "angry", "Start", "The whole"),
    }
    title, recording, live, angry, start, whole = texts[language]
    context = browser.new_context(locale=locale, viewport={"width": 1200, "height": 800})
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    page.goto(server.address)
    page.get_by_role("heading", name=title, exact=True).wait_for()
    page.get_by_role("tab", name=recording, exact=True).wait_for()
    page.get_by_role("button", name=angry, exact=True).click()
    page.locator("#answer h2[data-prediction]").wait_for()
    assert whole in page.locator("#answer caption").inner_text()
    page.locator("#timeline .strip").wait_for()
    shown = page.locator("#answer").inner_text() + page.locator("#timeline").inner_text()
    page.get_by_role("tab", name=live, exact=True).click()
    page.get_by_role("button", name=start, exact=True).wait_for()
    shown += page.locator("#live-answer").inner_text() + page.locator("#limits").inner_text()
    cyrillic = re.findall("[а-яё]+", shown, re.IGNORECASE)
    latin = set(re.findall("[a-z]{2,}", shown, re.IGNORECASE)) - {"dB", "CSV", "model"}
    assert (cyrillic and not latin) if language == "ru" else (latin and not cyrillic)
    if locale != "de-DE":
        assert page.evaluate("document.documentElement.lang").startswith(language)
    context.close()


@needs_browser
def test_page_when_a_recording_is_too_long(page, tmp_path):
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(61 * 16000, dtype=np.float32), 16000)
    page.set_input_files("#recording input[type=file]", path)
    message = page.locator("#answer [role=alert]")
    message.wait_for()
    assert "longer than 1 minutes" in message.inner_text()


@needs_browser
@pytest.mark.skipif(not PICTURE, reason="the picture is made on request")
def test_picture(page, repository):
    page.get_by_role("button", name="all in turn").click()
    read_answer(page)
    page.mouse.move(0, 0)
    page.screenshot(path=repository / PICTURE, full_page=True)
    assert (repository / PICTURE).stat().st_size < 300_000


def refused(server, path, body, **headers):
    """The status with which the server refuses a body; None where it cuts it off."""
    request = urllib.request.Request(f"{server.address}{path}", body, headers)
    with pytest.raises((urllib.error.URLError, OSError)) as refusal:
        urllib.request.urlopen(request, timeout=PATIENCE)
    status = getattr(refusal.value, "code", None)
    if status is not None:
        refusal.value.close()
    return status


def form(size):
    head = '--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
    return f"{head}{'0' * size}\r\n--x--\r\n".encode()


@pytest.mark.parametrize("size", [20_000_001, 20_200_000], ids=["file", "form"])
def test_server_when_an_upload_is_too_large(server, size):
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    # Who is refused before everything is sent may find the line closed.
    assert refused(server, "/gradio_api/upload", form(size), **kind) in (413, None)
    assert not [path for path in server.files.rglob("*") if path.stat().st_size > 20_000_000]


def test_server_when_a_request_is_too_large(server):
    body = b'{"data": ["' + b"0" * 17_000_000 + b'"]}'
    kind = {"Content-Type": "application/json"}
    assert refused(server, "/gradio_api/queue/join", body, **kind) in (413, None)
    # Without a word of how much comes.
    pieces = iter([body[i : i + 2**20] for i in range(0, len(body), 2**20)])
    assert refused(server, "/gradio_api/queue/join", pieces, **kind) in (400, 413, 422, 500, None)


def test_folder_when_it_is_a_space(repository, without_project, model, tmp_path):
    """As docs/demo.md says, on a machine where the project is not installed."""
    space = tmp_path / "space"
    shutil.copytree(repository / "demo", space, ignore=shutil.ignore_patterns("__pycache__"))
    for path in repository.glob("*_dusha.py"):
        shutil.copy(path, space)
    shutil.copytree(
        repository / "dusha_ser",
        space / "dusha_ser",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copytree(model, space / "model")
    write_stereo(space / "my first.wav", speech(["sad"], 1, 48000))
    (space / "examples").mkdir()
    shutil.move(space / "my first.wav", space / "examples")
    program = tmp_path / "run.py"
    program.write_text(
        f"{without_project}\nimport runpy\nsys.path.insert(0, {str(space)!r})\n"
        f"sys.argv[0] = {str(space / 'app.py')!r}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    one = Server([program], folder=tmp_path, env={"DUSHA_MODEL": ""})
    try:
        with urllib.request.urlopen(f"{one.address}/config", timeout=PATIENCE) as answer:
            config = answer.read()
        assert b"Emotion in speech" in config
        assert b'"value":"my first"' in config
    finally:
        assert one.stop() == 0, one
