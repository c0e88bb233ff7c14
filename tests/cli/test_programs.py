"""Too little or wrong input, asked of every program: one line, exit status 2, no traceback."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dusha_ser.cli.main import run
from dusha_ser.cli.program import on_interrupt, run_program

CASES = {
    "predict, no file": ("predict", "model", "nowhere.wav"),
    "predict, no input": ("predict", "model"),
    "evaluate, no model": ("evaluate", "--models", "nowhere", "--test_sets", "nowhere"),
    "evaluate, no test set": ("evaluate", "--models", "model"),
    "cross_validate, no table": ("cross-validate", "nowhere.csv", "--output_dir", "out"),
    "convert, no file": ("convert", "nowhere.pt", "out"),
    "export, no model": ("export", "nowhere", "out.onnx"),
    "export, nothing to calibrate with": ("export", "model", "out.onnx", "--int8"),
    "export, no clips": ("export", "model", "out.onnx", "--clips", "nowhere"),
    "report, no report": ("report",),
    "report, no answers": ("report", "annotators", "nowhere"),
    "report, no corpus": ("report", "corpus", "nowhere"),
    "report, no results": ("report", "results", "nowhere"),
    "train, no setup": ("train", "nowhere"),
    "train, no table": ("train", "--train_file", "nowhere.csv"),
    "train, no data set": ("train", "--dataset", "nowhere"),
    "train, no archives": ("train", "--dataset", "crowd", "--data_dir", "nowhere"),
    "train, no such option": ("train", "--nowhere", "1"),
    "dusha, no archives": ("corpus", "--data_dir", "nowhere"),
    "dusha, no such configuration": ("corpus", "nowhere", "--data_dir", "."),
    "sample, no such option": ("sample", "out", "--nowhere", "1"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_program_when_used_wrongly_ends_with_one_line(case, tmp_path, monkeypatch):
    command, *arguments = CASES[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dusha", command, *arguments])
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as end:
        run()
    assert end.value.code == 2
    lines = [line for line in said.getvalue().splitlines() if f"dusha {command}" in line]
    # argparse writes its usage before the one line.
    (line,) = [line for line in lines if not line.startswith("usage: ")]
    assert line.startswith(f"dusha {command}")
    if "nowhere" in arguments or "nowhere.csv" in arguments:
        assert "nowhere" in line
    assert "Traceback" not in said.getvalue()
    assert not list(tmp_path.rglob("*.onnx")) and not (tmp_path / "dusha").exists()


def test_command_when_unknown_or_misspelled_says_what_may_be_meant(monkeypatch, capsys):
    for arguments, words in (
        (["trian"], "dusha: unknown command 'trian'; did you mean train?\n"),
        (["sample", "x", "--clip", "9"], "dusha sample: unknown option --clip; did you mean"),
    ):
        monkeypatch.setattr(sys, "argv", ["dusha", *arguments])
        with pytest.raises(SystemExit) as end:
            run()
        assert end.value.code == 2
        assert capsys.readouterr().err.startswith(words)


def test_program_when_interrupted_ends_with_130_and_how_to_resume(capsys):
    def main():
        on_interrupt("the same command resumes")
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        run_program(main)
    assert end.value.code == 130
    assert capsys.readouterr().err.endswith(": interrupted; the same command resumes\n")
    on_interrupt("")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks the system what is loaded")
@pytest.mark.parametrize("library", ["numpy", "libtorch"])
@pytest.mark.parametrize(
    "words",
    [
        ("predict", "somebody/model", "a.wav", "--output_file", "predictions.csv"),
        ("collect", "slice", "a.wav"),
    ],
    ids=["predict", "collect slice"],
)
def test_program_when_interrupted_during_imports_ends_in_one_line(words, library, tmp_path):
    (tmp_path / "a.wav").touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "dusha_ser", *words],
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        stderr=subprocess.PIPE,
        text=True,
        # Tests may run in the background, where the shell lets programs ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    maps = Path(f"/proc/{process.pid}/maps")
    while process.poll() is None and library not in maps.read_text():
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130, error
    command = " ".join(words[: 2 if words[0] == "collect" else 1])
    assert error == f"dusha {command}: interrupted; the same command resumes\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
