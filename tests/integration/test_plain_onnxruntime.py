"""The lines of docs/onnx.md in an environment that has onnxruntime and NumPy and nothing else."""

import ast
import csv
import subprocess

import pytest
from documentation import BLOCK, text_of
from long_recordings import write_podcast
from small_models import save_model

pytest.importorskip("onnxscript", reason='exporting needs the extra onnx: pip install -e ".[onnx]"')
pytestmark = pytest.mark.timeout(600)

ABSENT = ("torch", "transformers", "soundfile", "scipy", "datasets", "dusha_ser")


def test_lines_of_the_page_answer_as_dusha_predict(python_with, shell, tmp_path):
    save_model(tmp_path / "model")
    write_podcast(tmp_path / "recording.wav", 3, phrases=2)
    shell(
        *("-m", "dusha_ser", "export", "model", "model.onnx", "--waveform", "--quiet"), cwd=tmp_path
    )
    shell(
        *("-m", "dusha_ser", "predict", "model", "recording.wav"),
        *("--output_file", "predictions.csv", "--quiet"),
        cwd=tmp_path,
    )
    (lines,) = (
        found["text"]
        for found in BLOCK.finditer(text_of("docs/onnx.md"))
        if found["language"] == "python"
    )
    absent = "".join(
        f"import importlib.util\nassert importlib.util.find_spec({name!r}) is None\n"
        for name in ABSENT
    )
    process = subprocess.run(
        [python_with("onnxruntime", "numpy"), "-c", absent + lines],
        cwd=tmp_path,
        env={"PYTHONPATH": "", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    found = ast.literal_eval(process.stdout)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    expected = {label: float(row[f"probability_{label}"]) for label in found}
    assert list(found) == ["angry", "sad", "neutral", "positive"]
    assert found == pytest.approx(expected, abs=1e-4)
    assert max(found, key=found.__getitem__) == row["prediction"]
