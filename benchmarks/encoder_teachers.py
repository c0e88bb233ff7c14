"""A teacher for each fold: a linear classifier on all layers of a frozen encoder.

    python -m benchmarks.encoder_teachers ravdess=FOLDER --backbone ENCODER --output_dir TEACHERS

It sees the mean and the deviation of each layer over a clip's frames, which no class of
Transformers does. So it cannot be served as a model, and leaves tables of probabilities: FOLD.csv
has those of the clips that a fold trains on, each by a classifier that has not learned its speaker,
for `dusha cross-validate --teacher 'TEACHERS/{fold}.csv'`; tested.csv has those of the clips that
each fold tests. How strongly a fold's classifier is regularised is chosen within its training
speakers. With `--waveform_copies` classifiers learn from noisy, faster and slower copies, too, and
tell of these, which are those of a run with the same seed.
"""

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.mixed_predictions import aligned, difference_cell, score
from dusha_ser.cli.program import hide_bars, run_program
from dusha_ser.corpus.contents import copy_column
from dusha_ser.corpus.named import NamedRows, named_rows
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predictions import Predictions, read_predictions, write_predictions
from dusha_ser.evaluation.results import metrics_row, results_table, write_table
from dusha_ser.experiments.folds import assign_folds
from dusha_ser.files import safe_name
from dusha_ser.fingerprints import code_digest, digest
from dusha_ser.storage import check_file, replacing_folder
from dusha_ser.tables import screen_table
from dusha_ser.training.arguments import make_arguments
from dusha_ser.training.backbones import FrozenBackbone, load_backbone, settle_seconds
from dusha_ser.training.options import RecipeOptions, RunOptions
from dusha_ser.training.waveforms import inputs_with_copies

TESTED = "tested.csv"
# Inverse strengths of the regularisation that are tried, and the parts that speakers are divided
# into for it.
STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03)
PARTS = 5


class FrameStatistics(FrozenBackbone):
    """An encoder that is frozen; of each layer it gives mean and deviation over a clip's frames."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.fingerprint = digest(self.fingerprint, code_digest("benchmarks.encoder_teachers"))

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Return the means of all layers, and then their deviations, (2 * layers, hidden) float32.

        Args:
            inputs: of the feature extractor, without the axis of the batch: a spectrogram
                (mels, frames), whose end without any change is left out, or samples.
        """
        layers = self.layers(inputs)
        if inputs.ndim == 2:
            changes = np.flatnonzero((inputs != inputs[:, -1:]).any(0))
            share = (changes[-1] + 1) / inputs.shape[1] if len(changes) else 1.0
            layers = layers[:, : max(2, round(layers.shape[1] * share))]
        return np.concatenate([layers.mean(1).numpy(), layers.std(1).numpy()])


def read_embeddings(
    rows: NamedRows, backbone: str, cache_dir: str | None, copies: int = 0
) -> np.ndarray:
    """Compute what classifiers see of each clip and its copies, or take it from the cache.

    Returns:
        (clips, 1 + copies, values), the clip itself first.
    """
    recipe = RecipeOptions(backbone=backbone, waveform_copies=copies)
    recipe = settle_seconds(recipe, [rows.rows])
    recipe.check()
    model, extractor = load_backbone(recipe, list(rows.labels))
    arguments = make_arguments(RunOptions())
    encoder = FrameStatistics(model, recipe, arguments.device)
    inputs, column = inputs_with_copies(
        rows.rows, recipe, extractor, arguments, cache_dir, encode=encoder
    )
    if len(inputs) < len(rows.rows):
        raise WrongUseError(f"{len(rows.rows) - len(inputs)} clips are silent: leave them out")
    columns = [column, *(copy_column(column, copy) for copy in range(copies))]
    values = [np.array(inputs[one][:], np.float32).reshape(len(inputs), -1) for one in columns]
    return np.stack(values, axis=1)


def fit(values: np.ndarray, labels: np.ndarray, strength: float) -> Pipeline:
    """Fit a classifier on standardised values (clips, versions, values); classes weigh alike."""
    regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    classifier = make_pipeline(StandardScaler(), regression)
    clips, versions, size = values.shape
    return classifier.fit(values.reshape(clips * versions, size), np.repeat(labels, versions))


@dataclass(frozen=True)
class Taught:
    """What a classifier learned of the clips that a fold trains on.

    Attributes:
        classifier: of all these clips.
        strength: that was chosen.
        unheard: what classifiers that had not learned a clip's speaker say of it and its copies,
            (clips, versions, labels).
    """

    classifier: Pipeline
    strength: float
    unheard: np.ndarray


def tell(classifier: Pipeline, values: np.ndarray) -> np.ndarray:
    """Return what is said of values (clips, versions, values), (clips, versions, labels)."""
    return np.stack([classifier.predict_proba(one) for one in values.swapaxes(0, 1)], axis=1)


def teach(
    values: np.ndarray,
    labels: np.ndarray,
    speakers: Sequence[str],
    strengths: Sequence[float] = STRENGTHS,
) -> Taught:
    """Train a classifier, regularised so that the loss of clips by other speakers is least.

    Args:
        values: of the clips and their copies, (clips, versions, values), the clips' own first.
        labels: their class numbers, (clips,), each class at least once.
        speakers: of the clips, (clips,).
        strengths: to choose from.
    """
    parts = list(GroupKFold(min(PARTS, len(set(speakers)))).split(values, labels, speakers))
    shape = *values.shape[:2], len(np.unique(labels))
    unheard = {strength: np.empty(shape, values.dtype) for strength in strengths}
    for strength, said in unheard.items():
        for learnt, others in parts:
            classifier = fit(values[learnt], labels[learnt], strength)
            said[others] = tell(classifier, values[others])
    best = min(strengths, key=lambda strength: log_loss(labels, unheard[strength][:, 0]))
    return Taught(fit(values, labels, best), best, unheard[best])


def teach_folds(
    rows: NamedRows, values: np.ndarray, folds: Sequence[str], folder: Path, heard: bool
) -> Predictions:
    """Write what the teacher of each fold says; return what is said of the clips that are tested.

    Args:
        rows: with speakers.
        values: of the clips, as of `teach`.
        folds: that test the clips, (clips,).
        folder: to write into.
        heard: whether a teacher has learned the clips that it tells of.
    """
    labels, speakers = np.array(rows.rows["label"]), np.array(rows.speakers)
    ids, fold_of = np.array(list(map(str, rows.rows["id"]))), np.array(folds)
    tested = np.empty((len(labels), len(rows.labels)))
    for fold in dict.fromkeys(folds):
        test = fold_of == fold
        taught = teach(values[~test], labels[~test], speakers[~test].tolist())
        print(f"fold {fold}: C {taught.strength:g}", flush=True)
        tested[test] = taught.classifier.predict_proba(values[test, 0])
        said = tell(taught.classifier, values[~test]) if heard else taught.unheard
        own, versions = ids[~test].tolist(), values.shape[1]
        named = [own, *([copy_column(one, copy) for one in own] for copy in range(versions - 1))]
        known = Predictions(
            rows.labels,
            list(itertools.chain(*named)),
            np.tile(labels[~test], versions),
            said.swapaxes(0, 1).reshape(-1, said.shape[2]),
        )
        write_predictions(folder / f"{safe_name(fold)}.csv", known)
    found = Predictions(
        rows.labels, ids.tolist(), labels, tested, speakers.tolist(), fold_of.tolist()
    )
    write_predictions(folder / TESTED, found)
    return found


def main() -> None:
    """Compute the embeddings of a corpus, teach the folds, and score what they predict."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="as `dusha cross-validate` takes it, such as ravdess=FOLDER")
    parser.add_argument("--backbone", required=True, help="encoder, as `dusha train` takes it")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the tables")
    parser.add_argument("--overwrite", action="store_true", help="replace tables that are there")
    parser.add_argument("--cache_dir", help="folder for embeddings, in place of that of `datasets`")
    parser.add_argument("--folds", type=int, help="number of folds, as in the cross-validation")
    parser.add_argument("--fold_seed", type=int, default=0, help="as in the cross-validation")
    parser.add_argument("--allow_other_counts", action="store_true", help="a part of a corpus")
    parser.add_argument(
        "--heard", action="store_true", help="a teacher tells of clips that it has learned"
    )
    parser.add_argument("--waveform_copies", type=int, default=0, help="as `dusha train` takes it")
    parser.add_argument("--beside", type=Path, help=f"another {TESTED}, to tell the difference to")
    parser.add_argument("--table", type=Path, help="file to write the scores to, .json")
    options = parser.parse_args()
    hide_bars(quiet=False)
    if options.table:
        check_file(options.table, options.overwrite, name="table")
    rows = named_rows(options.data, allow_other_counts=options.allow_other_counts)
    if rows.speakers is None:
        raise WrongUseError(f"the speakers of {rows.name} are not known, and teachers need them")
    folds = assign_folds(rows, options.folds, rows.speakers, options.fold_seed)
    with replacing_folder(options.output_dir, ("*.csv",), options.overwrite) as folder:
        copies = options.waveform_copies
        values = read_embeddings(rows, options.backbone, options.cache_dir, copies)
        found = teach_folds(rows, values, folds, folder, options.heard)
    name = f"linear classifier on {Path(options.backbone).name}"
    source = f"all layers, frozen{f', {copies} copies of each clip' if copies else ''}"
    row = metrics_row(name, f"{rows.name}, {len(set(folds))} folds", score([found]), source)
    table = results_table([row])
    if options.beside:
        other = aligned(read_predictions(options.beside), found)
        table[0].append(f"balanced_accuracy, more than {options.beside.parent.name}")
        table[1].append(difference_cell([found], [other]))
    print(screen_table(table))
    if options.table:
        corpus = options.data.partition("=")[0]
        command = f"python -m benchmarks.encoder_teachers {corpus}={corpus} --backbone"
        command += f" runs/{Path(options.backbone).name}"
        command += f" --output_dir runs/{options.output_dir.name}"
        command += f" --waveform_copies {copies}" if copies else ""
        command += " --heard" if options.heard else ""
        command += f" --beside runs/{options.beside.parent.name}/{TESTED}" if options.beside else ""
        write_table(options.table, command, table)


if __name__ == "__main__":
    run_program(main)
