"""Too little or wrong input, asked of every program: one line, exit status 2, no traceback."""

import contextlib
import io
import runpy
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
CASES = {
    "predict, no file": ("tools/predict.py", "model", "nowhere.wav"),
    "predict, no input": ("tools/predict.py", "model"),
    "evaluate, no model": ("tools/evaluate.py", "--models", "nowhere", "--test_sets", "nowhere"),
    "evaluate, no test set": ("tools/evaluate.py", "--models", "model"),
    "cross_validate, no table": ("tools/cross_validate.py", "nowhere.csv", "--output_dir", "out"),
    "convert, no file": ("tools/convert_checkpoint.py", "nowhere.pt", "out"),
    "export, no model": ("tools/export_onnx.py", "nowhere", "out.onnx"),
    "export, nothing to calibrate with": ("tools/export_onnx.py", "model", "out.onnx", "--int8"),
    "export, no clips": ("tools/export_onnx.py", "model", "out.onnx", "--clips", "nowhere"),
    "report, no report": ("tools/report.py",),
    "report, no answers": ("tools/report.py", "annotators", "nowhere"),
    "report, no corpus": ("tools/report.py", "corpus", "nowhere"),
    "report, no results": ("tools/report.py", "results", "nowhere"),
    "train, no setup": ("train.py", "nowhere"),
    "train, no table": ("train.py", "--train_file", "nowhere.csv"),
    "train, no data set": ("train.py", "--dataset", "nowhere"),
    "train, no archives": ("train.py", "--dataset", "crowd", "--data_dir", "nowhere"),
    "train, no such option": ("train.py", "--nowhere", "1"),
    "dusha, no archives": ("dusha.py", "--data_dir", "nowhere"),
    "dusha, no such configuration": ("dusha.py", "nowhere", "--data_dir", "."),
    "sample, no such option": ("sample_dusha.py", "out", "--nowhere", "1"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_program_when_used_wrongly_ends_with_one_line(case, tmp_path, monkeypatch):
    program, *arguments = CASES[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    # A program in tools/ takes its own folder off this list.
    monkeypatch.setattr(sys, "path", [str((REPOSITORY / program).parent), *sys.path])
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as end:
        runpy.run_path(str(REPOSITORY / program), run_name="__main__")
    assert end.value.code == 2
    lines = [line for line in said.getvalue().splitlines() if Path(program).name in line]
    # argparse writes its usage before the one line.
    (line,) = [line for line in lines if not line.startswith("usage: ")]
    assert line.startswith(f"{Path(program).name}: ")
    if "nowhere" in arguments or "nowhere.csv" in arguments:
        assert "nowhere" in line
    assert "Traceback" not in said.getvalue()
    assert not list(tmp_path.rglob("*.onnx")) and not (tmp_path / "dusha").exists()
