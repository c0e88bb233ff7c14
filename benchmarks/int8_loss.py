"""What 8-bit convolutions lose: labels of trained models in float and in int8, on unseen speakers.

    python -m benchmarks.int8_loss --folds FOLDER --clips FOLDER

The folds are those of dusha cross-validate. Each fold's model is exported for clips of one
length and quantised with clips of the speakers that it was trained on; the clips that it was
tested on are then classified by both, one by one, and the answers of all folds are pooled.
"""

import csv
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.clips import read
from benchmarks.measuring import Measurement, measuring_options
from dusha_ser.audio.finding import find_audio_files
from dusha_ser.cli.program import run_program
from dusha_ser.errors import MissingInputError
from dusha_ser.evaluation.ser.ser import Bootstrap, ser_metrics
from dusha_ser.inference.onnx_export import export, quantise
from dusha_ser.inference.onnx_runtime import OnnxClassifier
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

CALIBRATION_CLIPS = 48


def measure_fold(fold: Path, clips: dict[str, Path]) -> dict[str, list[str]]:
    """Classify a fold's test clips in both forms; returns their labels and both predictions."""
    with (fold / "test_predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    tested = {row["id"] for row in rows}
    others = [path for name, path in clips.items() if name not in tested]
    step = max(1, len(others) // CALIBRATION_CLIPS)
    model = DushaForAudioClassification.from_pretrained(fold).eval()
    extractor = DushaFeatureExtractor.from_pretrained(fold)
    found = {"label": [row["label"] for row in rows]}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.onnx" for name in ("float", "int8")}
        export(model, extractor, paths["float"], one_length=True)
        quantise(paths["float"], paths["int8"], [read(path) for path in others[::step]])
        for name, path in paths.items():
            classify = OnnxClassifier(path, threads=1)
            found[name] = [
                classify.labels[int(classify([read(clips[row["id"]])])[0].argmax())] for row in rows
            ]
    return found


def compare(pooled: dict[str, list[str]]) -> dict:
    """Score both on the answers of all folds; losses are in points of a hundred."""
    labels = sorted(set(pooled["label"]))
    number = {label: place for place, label in enumerate(labels)}
    columns = {
        name: np.array([number[label] for label in column]) for name, column in pooled.items()
    }
    scored = {
        name: {
            score: float(value)
            for score, value in ser_metrics(
                columns[name], columns["label"], labels=labels, bootstrap=Bootstrap(resamples=100)
            ).items()
            if score in ("accuracy", "balanced_accuracy", "f1_macro")
        }
        for name in ("float", "int8")
    }
    loss = scored["float"]["balanced_accuracy"] - scored["int8"]["balanced_accuracy"]
    return {
        "clips": len(columns["label"]),
        **scored,
        "points_of_balanced_accuracy_lost": 100 * loss,
        "same_label": float((columns["float"] == columns["int8"]).mean()),
    }


def main() -> None:
    """Measure all finished folds, print and write the comparison."""
    parser = measuring_options(
        __doc__.splitlines()[0],
        "python -m benchmarks.int8_loss --folds folds/folds --clips recordings",
        rounds=1,
    )
    parser.add_argument("--folds", type=Path, required=True, help="folder of a folder a fold")
    parser.add_argument("--clips", type=Path, required=True, help="folder of mono 16 kHz files")
    chosen = parser.parse_args()
    folds = sorted(path.parent for path in chosen.folds.glob("*/test_predictions.csv"))
    if not folds:
        raise MissingInputError(
            f"{chosen.folds} holds no fold with test_predictions.csv; "
            "dusha cross-validate --output_dir writes them below folds/"
        )
    measurement = Measurement("int8_loss", chosen)
    clips = {path.stem: path for path in find_audio_files([chosen.clips])}
    pooled: dict[str, list[str]] = {"label": [], "float": [], "int8": []}
    for fold in folds:
        for name, column in measure_fold(fold, clips).items():
            pooled[name] += column
    found = compare(pooled)
    for name in ("float", "int8"):
        print(f"{name:<6} " + "  ".join(f"{key} {value:.4f}" for key, value in found[name].items()))
    print(
        f"{found['points_of_balanced_accuracy_lost']:+.2f} points of balanced accuracy lost over "
        f"{found['clips']} clips of {len(folds)} folds; {found['same_label']:.2%} same label"
    )
    print(f"written to {measurement.write({'folds': len(folds), **found})}")


if __name__ == "__main__":
    run_program(main)
