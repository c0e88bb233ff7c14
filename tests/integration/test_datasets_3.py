"""dusha.py as a loading script of datasets 3.6, in an environment of its own, without PyTorch."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from small_corpus import COUNTS, make_clips, write_corpus  # noqa: E402

import dusha  # noqa: E402

# What dusha.py imports. 3.6 is the last datasets with loading scripts; it wants the old hub client.
NEEDED = ("datasets==3.6.*", "huggingface-hub<1", "scipy", "soundfile", "soxr", "tabulate")

LOAD = """
    import importlib.util, json, sys
    import datasets

    assert datasets.__version__.startswith("3.6."), datasets.__version__
    for absent in ("torch", "transformers"):
        assert importlib.util.find_spec(absent) is None, absent
    datasets.disable_progress_bars()
    script, archives, seen = sys.argv[1], sys.argv[2], {}
    for name in sys.argv[4:]:
        options = dict(data_dir=archives, trust_remote_code=True)
        dataset = datasets.load_dataset(script, name, num_proc=2, **options)
        streamed = datasets.load_dataset(script, name, streaming=True, **options)
        assert {split: list(part) for split, part in streamed.items()} == {
            split: list(part) for split, part in dataset.items()
        }
        seen[name] = {
            split: [
                {column: value for column, value in row.items() if column != "audio"}
                | ({"bytes": len(row["audio"]["bytes"])} if row.get("audio") else {})
                for row in part
            ]
            for split, part in dataset.items()
        }
    other = datasets.load_dataset(
        script, "crowd", keep_control=True, validation=0.2, split="validation", **options
    )
    seen["validation"] = other["id"]
    json.dump(seen, open(sys.argv[3], "w"))
"""


@pytest.fixture(scope="module")
def project(repository, tmp_path_factory):
    """The project's files elsewhere: building leaves folders beside them."""
    folder = tmp_path_factory.mktemp("project")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (repository / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def old_python(project, tmp_path_factory):
    """The interpreter of an environment with datasets 3.6 and the project."""
    folder = tmp_path_factory.mktemp("datasets-3.6")
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    for arguments in ([*NEEDED], ["--no-deps", str(project)]):
        process = subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *arguments], capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr
    return python


@pytest.mark.timeout(600)
def test_script_when_datasets_3_loads_it(old_python, repository, tmp_path):
    clips = make_clips()
    clips[5]["golden"] = clips[5]["emotion"]
    archives = write_corpus(tmp_path / "archives", clips)
    names = ["crowd", "podcast", "all", "raw", "dusha_large"]
    process = subprocess.run(
        [old_python, "-c", textwrap.dedent(LOAD), repository / "dusha.py", archives]
        + [tmp_path / "seen.json", *names],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"HF_HOME": str(tmp_path / "home"), "PYTHONPATH": ""},
    )
    assert process.returncode == 0, process.stderr
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert len(seen["crowd"]["train"]) == COUNTS["crowd_train"] - 1
    assert seen["validation"]
    for name in names:
        today = dusha.load_dataset(
            name, data_dir=str(archives), cache_dir=str(tmp_path / "today"), quiet=True
        )
        for split, part in today.items():
            for old, row in zip(seen[name][split], part, strict=True):
                audio = row.pop("audio", None)
                assert old.pop("bytes", None) == (audio and len(audio["bytes"]))
                assert old == row
