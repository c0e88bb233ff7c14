"""The built wheel in an environment of its own, run in an empty folder, far from any checkout."""

import re
import shutil
import signal
import subprocess
import sys
import tarfile
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = {"dusha.py", "configuration_dusha.py", "feature_extraction_dusha.py", "modeling_dusha.py"}

pytestmark = pytest.mark.timeout(1800)


def run(*command, cwd, environment=None, **options):
    """Run a command; its output, errors and status."""
    words = [str(word) for word in command]
    return subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, **options
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and sdist of the committed and changed files."""
    pytest.importorskip(
        "build", reason='wheels are built by the extra dev: pip install -e ".[dev]"'
    )
    folder = tmp_path_factory.mktemp("built")
    listed = run(
        *("git", "ls-files", "--cached", "--others", "--exclude-standard"), cwd=REPOSITORY
    ).stdout.splitlines()
    for name in listed:
        if (REPOSITORY / name).is_file():
            (folder / "project" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / "project" / name)
    done = run(sys.executable, "-m", "build", "--outdir", folder / "dist", cwd=folder / "project")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The folder of an environment with the wheel and the demo's extra."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    (wheel,) = built.glob("*.whl")
    # The extra brings what serves the page and exports graphs.
    done = run(
        *(folder / "bin" / "python", "-m", "pip", "install", "--quiet", f"{wheel}[demo,onnx]"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def dusha(installed, tmp_path_factory):
    """Runs the command `dusha` of the environment in an empty folder; (run, folder)."""
    folder = tmp_path_factory.mktemp("empty")
    environment = {
        "PATH": f"{installed / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path_factory.mktemp("home")),
        "HF_HUB_OFFLINE": "1",
        "LANG": "C.UTF-8",
    }

    def command(*arguments):
        return run(installed / "bin" / "dusha", *arguments, cwd=folder, environment=environment)

    return command, folder, environment


def test_distributions_pass_twine_and_hold_what_they_should(built):
    pytest.importorskip("twine", reason='twine is in the extra dev: pip install -e ".[dev]"')
    checked = run(
        *(sys.executable, "-m", "twine", "check", "--strict", *sorted(built.iterdir())), cwd=built
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == {"dusha_ser", *MODULES}
    assert "dusha_ser/py.typed" in names
    setups = REPOSITORY / "dusha_ser" / "training" / "setups"
    for path in [*setups.glob("*.yaml"), *(REPOSITORY / "dusha_ser" / "demo").rglob("*.[cj]s*")]:
        assert path.relative_to(REPOSITORY).as_posix() in names
    metadata = zipfile.ZipFile(wheel).read(
        next(name for name in names if name.endswith("/METADATA"))
    )
    for line in (b"Project-URL: ", b"Author: ", b"Classifier: Programming Language"):
        assert line in metadata
    text = next(name for name in names if name.endswith("entry_points.txt"))
    assert b"dusha = dusha_ser.cli.main:run" in zipfile.ZipFile(wheel).read(text)


def test_command_when_only_the_wheel_is_there(dusha, installed):
    command, folder, environment = dusha
    site = run(
        *(installed / "bin" / "python", "-c", "import dusha_ser; print(dusha_ser.__file__)"),
        cwd=folder,
        environment=environment,
    ).stdout
    assert str(installed) in site
    version = command("--version")
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", version.stdout), version.stderr
    listed = command("train", "--list_setups")
    assert listed.returncode == 0, listed.stderr
    assert len(listed.stdout.splitlines()) == 12
    assert not list(folder.iterdir())


def test_training_prediction_export_when_only_the_wheel_is_there(dusha):
    command, folder, _ = dusha
    trained = command(
        *("train", "--max_steps", 4, "--per_device_train_batch_size", 4, "--crop", 0),
        *("--output_dir", "model"),
    )
    assert trained.returncode == 0, trained.stderr
    assert "Next:" in trained.stdout
    assert (folder / "model" / "model.safetensors").is_file()
    sample = command("sample", "archives", "--clips", 48, "--quiet")
    assert sample.returncode == 0, sample.stderr
    with tarfile.open(folder / "archives" / "crowd.tar") as archive:
        name = next(name for name in archive.getnames() if name.endswith(".wav"))
        (folder / "clip.wav").write_bytes(archive.extractfile(name).read())
    predicted = command("predict", "model", "clip.wav")
    assert predicted.returncode == 0, predicted.stderr
    assert "clip.wav" in predicted.stdout
    exported = command("export", "model", "model.onnx", "--quiet")
    assert exported.returncode == 0, exported.stderr
    again = command("predict", "model.onnx", "clip.wav")
    assert again.returncode == 0, again.stderr


def test_demo_when_only_the_wheel_is_there(dusha, installed):
    command, folder, environment = dusha
    if not (folder / "model").is_dir():
        pytest.skip("the model of the test above is not there: training failed")
    server = subprocess.Popen(
        [str(installed / "bin" / "dusha"), "demo", "--model", "model", "--port", "0"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = server.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address, line + (server.stderr.read() if server.poll() is not None else "")
        page = urllib.request.urlopen(address[0], timeout=60).read().decode()
        assert "gradio" in page.lower()
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


def test_demo_when_its_extra_is_missing_says_what_to_install(dusha, installed, tmp_path):
    command, folder, environment = dusha
    # As where the extra was never installed: an import of gradio fails.
    (tmp_path / "gradio.py").write_text("raise ImportError('No module named gradio')\n")
    refused = run(
        *(installed / "bin" / "dusha", "demo", "--model", "model", "--port", 0),
        cwd=folder,
        environment=environment | {"PYTHONPATH": str(tmp_path)},
    )
    assert refused.returncode == 2
    assert 'pip install "dusha-ser[demo]"' in refused.stderr
    assert "Traceback" not in refused.stderr
