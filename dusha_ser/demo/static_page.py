"""A page in which the model runs, in the browser alone: files that any server of files serves.

The files of `static` and the demo's style sheet are ours; ONNX Runtime comes from its npm package.
"""

import base64
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import onnxruntime
import yaml

from dusha_ser.demo.answering import LIVE_HOP, LIVE_WINDOW
from dusha_ser.demo.options import PageOptions
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.inference.onnx_export import write_onnx
from dusha_ser.inference.onnx_runtime import OnnxClassifier
from dusha_ser.inference.settings import ExportOptions, Settings
from dusha_ser.storage import replacing_folder, write_json, write_text
from dusha_ser.vocabulary import RUSSIAN_NAMES

HERE = Path(__file__).parent
PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
# Of the package's .tgz, as `npm view` shows it: dist.integrity.
INTEGRITY = (
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02V"
    "b7QmRMDs1SigqR4CXAfKYQ=="
)
# Of its builds the smallest, which computes on the processor, as one script and its WebAssembly.
SCRIPT = "ort.wasm.bundle.min.mjs"
WASM = "ort-wasm-simd-threaded.wasm"
# Not every server knows .mjs for a script.
RUNTIME = {SCRIPT: "ort.wasm.bundle.min.js", WASM: f"{WASM}.gz"}
LICENCES = {
    "LICENSE": "onnxruntime-LICENSE.txt",
    "ThirdPartyNotices.txt": "onnxruntime-notices.txt",
}
MODEL, SETTINGS, CARD, WORKER = "model.onnx", "settings.json", "README.md", "service_worker.js"
OWN = [
    *(path.name for path in sorted((HERE / "static").iterdir())),
    *("page.css", *RUNTIME.values(), *LICENCES.values(), MODEL, SETTINGS, CARD),
]
LICENCE_KEYS = ("license", "license_name", "license_link")
TITLE = "Emotion in speech"


def write_page(options: PageOptions) -> int:
    """Write a page with a model and what runs it, whole or not at all; return its bytes.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is not one that reads waveforms, the runtime is not the one that is
            needed, npm is missing, or the folder may not be written.
        WorkFailedError: if npm cannot fetch the runtime.
    """
    with replacing_folder(options.output_dir, OWN, options.overwrite) as page:
        write_runtime(options.runtime, page)
        classifier = write_model(options, page / MODEL)
        for path in (HERE / "page.css", *(HERE / "static").iterdir()):
            shutil.copy(path, page)
        settings = {
            "labels": classifier.labels,
            "names": {one: RUSSIAN_NAMES[one] for one in classifier.labels if one in RUSSIAN_NAMES},
            "sampling_rate": classifier.sampling_rate,
            "one_length": classifier.one_length,
            "window": options.window,
            "hop": options.hop,
            "whole": Settings.whole,
            "live": {"window": LIVE_WINDOW, "hop": LIVE_HOP},
            "model": Path(options.model).resolve().name,
        }
        write_json(page / SETTINGS, settings)
        write_text(page / CARD, make_card(options.model))
        # Browsers take another service worker when its bytes change: so it names all files.
        digests = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            for path in sorted(page.iterdir())
            if path.name not in (CARD, WORKER, *LICENCES.values())
        }
        worker = (page / WORKER).read_text(encoding="utf-8")
        write_text(page / WORKER, f"const FILES = {json.dumps(digests, indent=1)};\n{worker}")
        return sum(path.stat().st_size for path in page.iterdir())


def write_model(options: PageOptions, path: Path) -> OnnxClassifier:
    """Write the graph from waveforms to probabilities, and open it."""
    if not options.model.endswith(".onnx"):
        write_onnx(
            ExportOptions(options.model, path, waveform=True, one_length=True, quiet=options.quiet),
            [],
        )
        return OnnxClassifier(path)
    classifier = OnnxClassifier(options.model)
    if not classifier.reads_waveforms:
        raise WrongUseError(
            f"{options.model} reads features, and a page needs a graph that reads waveforms: "
            "export it with `dusha export --waveform --one_length`, or give the model folder"
        )
    shutil.copyfile(options.model, path)
    return classifier


def write_runtime(given: Path | None, page: Path) -> None:
    """Write ONNX Runtime for browsers and its licences, of a package that is given or fetched."""
    with tempfile.TemporaryDirectory() as folder:
        files = read_package(fetch_package(Path(folder)) if given is None else given)
    (page / RUNTIME[SCRIPT]).write_bytes(files[SCRIPT])
    # A quarter of the bytes, on servers that do not compress, too.
    (page / RUNTIME[WASM]).write_bytes(gzip.compress(files[WASM], mtime=0))
    # The npm package brings none; they are those of the same project for Python.
    for name, written in LICENCES.items():
        shutil.copyfile(Path(onnxruntime.__file__).with_name(name), page / written)


def fetch_package(folder: Path) -> Path:
    """Fetch the package by npm, from where the user's settings of npm say, or its cache."""
    # The extra's lies beside Python, whose environment need not be the shell's.
    npm = shutil.which("npm") or shutil.which("npm", path=Path(sys.executable).parent)
    if npm is None:
        raise WrongUseError(
            f"npm, which fetches {PACKAGE}, is missing: install Node.js, or the extra: pip install "
            f'"dusha-ser[page]"; or give the .tgz file of {PACKAGE} {VERSION} as `runtime`'
        )
    words = [npm, "pack", f"{PACKAGE}@{VERSION}", "--prefer-offline", "--loglevel=error"]
    done = subprocess.run(
        [*words, "--pack-destination", str(folder)], cwd=folder, capture_output=True, text=True
    )
    found = list(folder.glob("*.tgz"))
    if done.returncode or len(found) != 1:
        said = (done.stderr.strip() or "it wrote nothing").splitlines()[0]
        raise WorkFailedError(
            f"npm cannot fetch {PACKAGE} {VERSION} ({said}); give its .tgz file as `runtime`"
        )
    return found[0]


def read_package(path: Path) -> Mapping[str, bytes]:
    """Read what a page needs of the package, from its .tgz or the folder that it was unpacked to.

    Raises:
        WrongUseError: if it is another package or version.
    """
    needed = f"`runtime` must be the npm package {PACKAGE} {VERSION}"
    if path.is_dir():
        try:
            about = json.loads((path / "package.json").read_text(encoding="utf-8"))
            came = about["name"], about["version"]
            files = {name: (path / "dist" / name).read_bytes() for name in RUNTIME}
        except (OSError, ValueError, KeyError) as error:
            raise WrongUseError(f"{path} is not an unpacked package ({error}); {needed}") from error
        if came != (PACKAGE, VERSION):
            raise WrongUseError(f"{path} holds {' '.join(came)}; {needed}")
        return files
    with path.open("rb") as file:
        digest = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if f"sha512-{digest}" != INTEGRITY:
        raise WrongUseError(f"{path} has the integrity sha512-{digest}, not {INTEGRITY}; {needed}")
    with tarfile.open(path) as archive:
        members = {name: archive.extractfile(f"package/dist/{name}") for name in RUNTIME}
        return {name: file.read() for name, file in members.items() if file is not None}


def make_card(model: str) -> str:
    """Make the README of a static Space, with the licence of the model's own card."""
    card = Path(model) / "README.md"
    known: dict[str, Any] = (huggingface_hub.metadata_load(card) or {}) if card.is_file() else {}
    head: dict[str, Any] = {
        "title": TITLE,
        "emoji": "🎙️",
        "colorFrom": "blue",
        "colorTo": "green",
        "sdk": "static",
        "app_file": "index.html",
        "pinned": False,
        **{name: value for name, value in known.items() if name in LICENCE_KEYS},
        "short_description": "Which emotion a listener hears in Russian speech",
    }
    front = yaml.safe_dump(head, allow_unicode=True, sort_keys=False)
    text = (HERE / "static_page.markdown").read_text(encoding="utf-8")
    return f"---\n{front}---\n\n{text}"
