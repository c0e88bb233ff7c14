"""The files of a page without a server; tests/integration/test_browser_page.py opens it."""

import gzip
import json
import os
import re
import tarfile
from pathlib import Path

import huggingface_hub
import pytest
from small_models import save_model

from dusha_ser.cli.main import main as dusha
from dusha_ser.demo.options import PageOptions
from dusha_ser.errors import WorkFailedError, WrongUseError

static_page = pytest.importorskip(
    "dusha_ser.demo.static_page", reason="graphs need the extra onnx: pip install -e .[onnx]"
)
# Stands for the package, which is 33 MB.
BUILD = {static_page.SCRIPT: b"export default 1;", static_page.WASM: b"\0asm" * 1000}


def write_package(folder, name=static_page.PACKAGE, version=static_page.VERSION):
    """Write a package with files of the names that are needed, unpacked."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": name, "version": version}))
    for file, content in BUILD.items():
        (folder / "dist" / file).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    return write_package(tmp_path_factory.mktemp("package") / "onnxruntime-web")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, seed=1)
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: mine\n---\n# Card\n")
    return folder


@pytest.fixture(scope="module")
def page(model, runtime, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "out"
    words = ("--runtime", runtime, "--window", 4, "--quiet")
    assert not dusha(list(map(str, ("export", "page", model, folder, *words))))
    return folder


def test_page_holds_what_it_needs_and_nothing_else(page, model):
    assert {path.name for path in page.iterdir()} == set(static_page.OWN)
    settings = json.loads((page / "settings.json").read_text())
    assert settings["labels"] == ["angry", "sad", "neutral", "positive"]
    assert settings["names"]["sad"] == "грусть"
    assert settings["model"] == model.name
    assert (settings["window"], settings["hop"], settings["whole"]) == (4.0, 2.5, 30.0)
    packed = (page / "ort-wasm-simd-threaded.wasm.gz").read_bytes()
    assert gzip.decompress(packed) == BUILD[static_page.WASM]
    assert "Microsoft" in (page / "onnxruntime-LICENSE.txt").read_text()


def test_page_names_only_files_that_are_there_and_no_other_machine(page):
    for path in [*page.glob("*.js"), *page.glob("*.html"), *page.glob("*.css")]:
        text = path.read_text(encoding="utf-8")
        names = re.findall(r"""["'](?:\./)?([\w.-]+\.(?:js|css|json|onnx|gz))["']""", text)
        assert {name for name in names if not (page / name).is_file()} == set(), path
        addresses = set(re.findall(r"https?://(?!\s)[^\"'`\s$]+", text))
        # The namespaces of elements, and what a text says of addresses.
        assert addresses <= {"http://www.w3.org/"}, path


def test_page_says_the_same_in_both_languages(page):
    text = (page / "texts.js").read_text(encoding="utf-8")
    english, russian = re.search(r"en: \{(.*?)\n  \},\n  ru: \{(.*?)\n  \},", text, re.S).groups()
    both = [
        dict(re.findall(r"^    (\w+):((?:.|\n      )*)", one, re.M)) for one in (english, russian)
    ]
    assert list(both[0]) == list(both[1])
    for key, said in both[0].items():
        assert set(re.findall(r"\{\w+\}", said)) == set(re.findall(r"\{\w+\}", both[1][key])), key
    asked = re.findall(
        r'(?:say|become)\("(\w+)"|data-(?:text|label)="(\w+)"',
        "".join(
            path.read_text(encoding="utf-8") for path in [*page.glob("*.js"), *page.glob("*.html")]
        ),
    )
    assert {one or other for one, other in asked} == set(both[0])


def test_service_worker_names_the_files_by_what_is_in_them(page, model, runtime, tmp_path):
    files = re.match(r"const FILES = (\{.*?\});", (page / "service_worker.js").read_text(), re.S)
    names = json.loads(files[1])
    assert {"index.html", "model.onnx", "worker.js"} <= names.keys()
    assert not {"README.md", "service_worker.js"} & names.keys()
    static_page.write_page(PageOptions(str(page / "model.onnx"), tmp_path / "new", runtime))
    other = (tmp_path / "new" / "service_worker.js").read_text()
    changed = json.loads(re.match(r"const FILES = (\{.*?\});", other, re.S)[1])
    # The graph is the same, the window is not.
    assert {name for name in names if names[name] != changed[name]} == {"settings.json"}


def test_page_is_a_static_space_with_the_licence_of_the_model(page):
    head = huggingface_hub.metadata_load(page / "README.md")
    assert head["sdk"] == "static"
    assert head["app_file"] == "index.html"
    assert (head["license"], head["license_name"]) == ("other", "mine")
    assert len(head["short_description"]) <= 60


def test_page_of_a_graph_that_reads_features_is_refused(page, runtime, tmp_path):
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(page / "model.onnx")
    for entry in graph.metadata_props:
        entry.value = '"input_features"' if entry.key == "input" else entry.value
    onnx.save(graph, tmp_path / "features.onnx")
    with pytest.raises(WrongUseError, match="reads features.*--waveform"):
        static_page.write_page(
            PageOptions(str(tmp_path / "features.onnx"), tmp_path / "out", runtime)
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        (static_page.PACKAGE, "1.0.0", r"holds onnxruntime-web 1\.0\.0; `runtime` must be"),
        ("other", static_page.VERSION, "holds other 1"),
    ],
)
def test_runtime_when_it_is_another_says_which(name, version, message, tmp_path):
    with pytest.raises(WrongUseError, match=message):
        static_page.read_package(write_package(tmp_path / "package", name, version))


def test_runtime_when_it_is_damaged_is_refused(tmp_path):
    with pytest.raises(WrongUseError, match="is not an unpacked package"):
        static_page.read_package(tmp_path)
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        archive.add(write_package(tmp_path / "package"), "package")
    with pytest.raises(WrongUseError, match="has the integrity sha512-"):
        static_page.read_package(tmp_path / "package.tgz")


def test_runtime_when_its_file_is_the_one_that_npm_states_is_read(tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        archive.add(write_package(tmp_path / "package"), "package")
    with pytest.raises(WrongUseError) as refusal:
        static_page.read_package(tmp_path / "package.tgz")
    stated = re.search(r"integrity (\S+), not", str(refusal.value))[1]
    monkeypatch.setattr(static_page, "INTEGRITY", stated)
    assert static_page.read_package(tmp_path / "package.tgz") == BUILD


def test_runtime_when_npm_is_missing_says_how_to_get_it(model, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(static_page.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(WrongUseError, match=r"npm, which fetches .*dusha-ser\[page\].*`runtime`"):
        static_page.write_page(PageOptions(str(model), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_runtime_when_npm_fails_says_what_it_said(model, tmp_path, monkeypatch):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(WorkFailedError, match=r"cannot fetch .*\(npm error network\).*`runtime`"):
        static_page.write_page(PageOptions(str(model), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_export_of_a_folder_named_page_is_still_an_export(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WrongUseError, match="no model './page'"):
        dusha(["export", "./page", "model.onnx"])
    assert not list(Path().iterdir())
