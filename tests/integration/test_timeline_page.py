"""The page of a timeline in a real browser, opened as a file: it plays, jumps, saves, and is read.

To look at it: TIMELINE_PICTURE=FOLDER python -m pytest -n 0 tests/integration/test_timeline_page.py
"""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dusha_ser.audio.finding import AudioFile
from dusha_ser.timelines.writing import TimelineWriter

playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="a browser is driven by Playwright: pip install -e .[integration]"
)
Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("there is no Chromium here: apt-get install chromium", allow_module_level=True)
# What is waited for is a condition, not a time.
PATIENCE = 60_000
PICTURE = os.environ.get("TIMELINE_PICTURE")
LABELS = ["angry", "sad", "neutral", "positive"]
SEGMENTS = [
    (0.0, 8.5, "neutral", "Anna", "Добрый день, чем могу помочь?"),
    (8.0, 20.3, "angry", "Boris <b>", "Я жду третью неделю! " * 3),
    (20.3, 31.0, "uncertain", "Boris <b>", None),
    (33.0, 60.0, "positive", "Anna", "Спасибо."),
]


def row(start, end, label, speaker, text):
    shares = {one: 0.7 if one == label else 0.1 for one in LABELS}
    values = {"id": "a call.ogg", "start": start, "end": end, "prediction": label, "error": None}
    return values | {"probabilities": shares, "speaker": speaker, "text": text}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A page whose audio becomes MP3, because not every browser plays Ogg."""
    folder = tmp_path_factory.mktemp("page")
    recording = folder / "a call.ogg"
    times = np.arange(60 * 16000) / 16000
    soundfile.write(recording, 0.1 * np.sin(2 * np.pi * (200 + 10 * times) * times), 16000)
    out = folder / "out"
    writer = TimelineWriter([AudioFile("a call.ogg", str(recording))], ["page"], out)
    writer.take([row(*one) for one in SEGMENTS])
    # Alone on another machine.
    return (out / "a_call.html").rename(folder / "moved.html")


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        one = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        yield one
        one.close()


def opened(browser, page_file, width=1100, dark=False):
    scheme = "dark" if dark else "light"
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: page.errors.append(message.text))
    page.goto(page_file.as_uri())
    page.wait_for_function("audio.readyState >= 1")
    return page


def close(page):
    assert page.errors == []
    page.context.close()


def playing_at(page, start):
    """Wait until it plays there, and say at what time it does."""
    page.wait_for_function(
        f"!audio.paused && audio.currentTime >= {start} && audio.currentTime < {start + 8}"
    )
    return page.evaluate("audio.currentTime")


def test_page_plays_from_where_a_segment_is_clicked(browser, page_file):
    page = opened(browser, page_file)
    assert page.evaluate("audio.duration") == pytest.approx(60, abs=0.2)
    rows = page.locator("tr[data-start]")
    assert rows.count() == 4
    # By the mouse, in the table, forwards and back.
    rows.nth(3).get_by_role("button").click()
    playing_at(page, 33)
    current = page.locator("tr[aria-current=true]")
    assert current.count() == 1
    assert "Спасибо." in current.inner_text()
    rows.nth(1).get_by_role("button").click()
    playing_at(page, 8)
    # Two talk at once from 8 to 8.5 s, one does afterwards.
    page.wait_for_function("audio.currentTime > 8.6")
    page.wait_for_function("document.querySelectorAll('tr[aria-current]').length == 1")
    # By the keyboard.
    rows.nth(2).get_by_role("button").focus()
    page.keyboard.press("Enter")
    playing_at(page, 20.3)
    page.evaluate("audio.pause()")
    # In a lane: at the time that was clicked, not where the segment begins.
    strip = page.locator(".strip").bounding_box()
    lane = page.locator(".lane").nth(1).bounding_box()
    page.mouse.click(strip["x"] + strip["width"] * 0.75, lane["y"] + 5)
    playing_at(page, 44.8)
    page.evaluate("audio.pause()")
    head = page.locator(".head").bounding_box()
    place = (head["x"] + 1 - strip["x"]) / strip["width"]
    assert place == pytest.approx(page.evaluate("audio.currentTime") / 60, abs=0.02)
    close(page)


def test_page_has_a_lane_per_speaker_and_the_share_of_time(browser, page_file):
    page = opened(browser, page_file)
    assert page.locator(".name").all_inner_texts() == ["Anna", "Boris <b>"]
    assert [page.locator(".lane").nth(i).locator(".bar").count() for i in (0, 1)] == [2, 2]
    assert page.locator("table").first.inner_text().split()[:12] == [
        *("emotion", "time", "share"),
        *("positive", "0:00:27.0", "46%"),
        *("angry", "0:00:12.3", "21%"),
        *("uncertain", "0:00:10.7", "18%"),
    ]
    close(page)


def test_page_saves_its_table(browser, page_file, tmp_path):
    page = opened(browser, page_file)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == "a_call.csv"
    download.value.save_as(tmp_path / "a.csv")
    with Path(tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(float(one["start"]), one["prediction"]) for one in rows] == [
        (start, label) for start, _, label, _, _ in SEGMENTS
    ]
    assert rows[1]["speaker"] == "Boris <b>"
    close(page)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1100, 360])
def test_page_can_be_read_by_everybody_on_any_screen(browser, page_file, width, dark):
    page = opened(browser, page_file, width, dark)
    page.locator(".jump").nth(1).click()
    playing_at(page, 8)
    page.evaluate("audio.pause()")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    if PICTURE:
        page.screenshot(path=Path(PICTURE) / f"page_{width}_{'dark' if dark else 'light'}.png")
    close(page)
