"""The page that `dusha export page` writes: what its files weigh, and the time that a clip takes.

    python -m benchmarks.browser_page [--clips FOLDER --model MODEL]

The page is opened in Chromium, with nothing but its own folder in reach. Clips are chosen one after
the other; each is timed from the choice of the file to the prediction. The first one finds the
model loaded and has run nothing yet.
"""

import argparse
import contextlib
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.clips import wav_files
from benchmarks.demo_load import save_random_model
from benchmarks.measuring import write_results
from dusha_ser.cli.program import run_program
from dusha_ser.demo.options import PageOptions
from dusha_ser.demo.static_page import LICENCES, write_page
from dusha_ser.errors import MissingInputError

CLIPS = 12
# What visitors load, by the names of the files; the rest is the page itself.
KINDS = {
    "ort*": "ONNX Runtime (compressed WebAssembly, and its script)",
    "*.onnx": "the model",
    **dict.fromkeys(LICENCES.values(), "licences, which visitors do not load"),
}
PAGE = "the page itself"
# A loaded machine may take long for anything.
PATIENCE = 120_000


class Quiet(SimpleHTTPRequestHandler):
    """What `python -m http.server` serves."""

    def log_message(self, *arguments):
        """Say nothing."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on the loopback address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def weigh(folder: Path) -> dict[str, int]:
    """Return the bytes of the page's files by their kind."""
    bytes_of = dict.fromkeys([*KINDS.values(), PAGE], 0)
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "README.md":
            kind = next((kind for name, kind in KINDS.items() if path.match(name)), PAGE)
            bytes_of[kind] += path.stat().st_size
    return bytes_of


def time_clips(address: str, clips: list[Path], chromium: str) -> list[float]:
    """Return the seconds that each clip takes."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        browser = started.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", rules]
        )
        page = browser.new_page(locale="en-US")
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.locator("body[data-state=offline]").wait_for()
        seconds = []
        for number, path in enumerate(clips):
            began = time.perf_counter()
            page.set_input_files("#files", str(path))
            page.locator("#results tbody tr").nth(number).wait_for(state="attached")
            page.locator("#state", has_text="Ready").wait_for()
            seconds.append(time.perf_counter() - began)
        browser.close()
    return seconds


def main() -> None:
    """Write the page, weigh it, measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, help="mono 16 kHz recordings (default: made)")
    parser.add_argument("--model", help="model folder (default: random weights)")
    chosen = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise MissingInputError("there is no Chromium; install it, as by apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="page-") as name:
        folder = Path(name)
        model = chosen.model or str(save_random_model(folder / "model"))
        write_page(PageOptions(model, folder / "page"))
        weights = weigh(folder / "page")
        (folder / "wavs").mkdir()
        clips = wav_files(folder / "wavs", chosen.clips, CLIPS)
        with served(folder / "page") as address:
            seconds = time_clips(address, clips, chromium)
    results = {
        "bytes": weights,
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "first_seconds": seconds[0],
        "table": {
            "columns": ["file", "size"],
            "rows": [[kind, f"{size / 1e6:.2f} MB"] for kind, size in weights.items()],
        },
    }
    print(
        f"{weights}\na clip takes {results['median_seconds']:.2f} s, the first {seconds[0]:.2f} s"
    )
    # Where folders lie is of no interest to others.
    given = ["--clips", "FOLDER"] if chosen.clips else []
    given += ["--model", "MODEL"] if chosen.model else []
    print(f"written to {write_results('browser_page', results, given)}")


if __name__ == "__main__":
    run_program(main)
