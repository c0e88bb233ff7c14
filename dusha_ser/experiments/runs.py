"""Training runs on given rows, with the options of `dusha train`, that can be resumed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets

from configuration_dusha import DushaConfig
from dusha_ser.corpus.contents import row_contents, rows_key, with_contents
from dusha_ser.errors import WrongUseError
from dusha_ser.fingerprints import code_digest, digest
from dusha_ser.inference.loading import model_fingerprint
from dusha_ser.inference.settings import CODE as PREDICTION_CODE
from dusha_ser.storage import read_json, write_json
from dusha_ser.training.arguments import make_arguments
from dusha_ser.training.backbones import FrozenBackbone, load_backbone, settle_seconds
from dusha_ser.training.checkpoints import checkpoint_to_resume, remove_checkpoints
from dusha_ser.training.options import (
    AUTO,
    DataOptions,
    RecipeOptions,
    RunOptions,
    changed_options,
)
from dusha_ser.training.preparation import load_extractor, network_type
from dusha_ser.training.result import TrainingResult
from dusha_ser.training.run import train
from dusha_ser.training.search_space import with_options
from dusha_ser.training.teacher_models import TeacherModel
from dusha_ser.training.waveforms import WaveformAugmentation, inputs_with_copies

SETTINGS_FILE = "settings.json"
FINISHED_FILE = "finished.json"
# Whom and what a model has heard, that it may not teach one that is tested on them.
HEARD_FILE = "heard.json"
# Options that do not decide the result; the data are compared clip by clip, the model by content.
PLACES = (
    *("output_dir", "overwrite", "quiet", "disable_tqdm", "resume_from_checkpoint", "dataset"),
    *("data_dir", "base_url", "cache_dir", "num_proc", "model_name_or_path", "backbone"),
    # What teachers say is compared clip by clip.
    *("teacher", "teacher_backbone", "unlabelled_file"),
)
# Modules whose code decides the result.
CODE = (
    *(*PREDICTION_CODE, "dusha_ser.corpus.validation", "dusha_ser.training"),
    "dusha_ser.labels",
    *("dusha_ser.evaluation", "dusha_ser.experiments"),
)
# What a run is compared by, for messages.
DECISIVE = {
    "options": "these options",
    "model": "this starting model",
    "clips": "these clips",
    "code": "this version of the software",
}


@dataclass(frozen=True)
class Run:
    """What a training run is to do, its data apart from name and cache."""

    data: DataOptions
    recipe: RecipeOptions
    options: RunOptions

    @property
    def output_dir(self) -> Path:
        """The folder for the model."""
        return Path(self.options.output_dir)

    def moved(self, output_dir: Path, dataset: str) -> "Run":
        """Return the same run with another folder for the model, and another name of its data."""
        return replace(
            self,
            data=replace(self.data, dataset=dataset),
            options=replace(self.options, output_dir=str(output_dir)),
        )

    def settled(self, rows: datasets.Dataset) -> "Run":
        """Return the same run with what its recipe takes from all clips together."""
        return replace(self, recipe=settle_seconds(self.recipe, [rows]))

    def seeded(self, seed: int | None) -> "Run":
        """Return the same run with another seed of training; None: with its own."""
        return self if seed is None else self.changed({"seed": seed})

    def changed(self, values: Mapping[str, Any]) -> "Run":
        """Return the same run with other values of options, by name."""
        return Run(*with_options((self.data, self.recipe, self.options), values))


def settings_of(run: Run, splits: dict[str, datasets.Dataset]) -> dict:
    """Return what decides a run's result: options, starting model, clips with labels, code."""
    start, trusted = run.recipe.start, run.recipe.trust_remote_code
    # The rows get what is in it later.
    own = run.data.answers_file
    answers = [Path(own).read_text("utf-8", errors="replace")] if own else []
    return {
        "options": changed_options((run.data, run.recipe, run.options), PLACES),
        "model": model_fingerprint(start, trusted) if start else None,
        "clips": digest({split: rows_key(rows) for split, rows in splits.items()}, *answers),
        "code": code_digest(*CODE),
    }


def train_run(
    run: Run,
    splits: dict[str, datasets.Dataset],
    overwrite: bool = False,
    tell: Callable[[str], object] | None = None,
    named: bool = False,
) -> TrainingResult:
    """Train a model on given rows; a run that was stopped resumes from its last checkpoint.

    The splits are train and, where there is one, test; with `overwrite` a model of other options
    or clips may be replaced. `tell` and `named` are those of `dusha_ser.training.run.train`.

    Raises:
        WrongUseError: if options are wrong, or the folder holds a run with other ones.
        WorkFailedError: if training fails.
    """
    settings = settings_of(run, splits)
    path = run.output_dir / SETTINGS_FILE
    # Its own earlier model may always be replaced; what that needs is checked before it is marked.
    options = replace(run.options, overwrite=True, resume_from_checkpoint=AUTO)
    if run.output_dir.is_dir() and any(run.output_dir.iterdir()):
        known = read_json(path) if path.is_file() else {}
        other = [words for name, words in DECISIVE.items() if known.get(name) != settings[name]]
        if other and not overwrite:
            raise WrongUseError(
                f"{run.output_dir} holds something that was not made with {', '.join(other)}; name "
                "another `output_dir`, or give `overwrite=True` to lose it"
            )
    checkpoint_to_resume(options, run.recipe.start)
    if overwrite:
        remove_checkpoints(run.output_dir)
    write_json(path, settings)
    write_json(run.output_dir / HEARD_FILE, heard(run, splits))
    arguments = make_arguments(options)
    result = train(run.data, run.recipe, arguments, splits, tell, named)
    if result.told is not None:
        # Another run may learn from it.
        teacher = TeacherModel(options.output_dir, None, run.recipe.trust_remote_code)
        augmentation = WaveformAugmentation.of(run.recipe, arguments.seed)
        teacher.remember(splits["train"], result.told, augmentation)
    # Checkpoints are for resuming; the run is over, and they take three times the model's size.
    remove_checkpoints(run.output_dir)
    write_json(run.output_dir / FINISHED_FILE, settings)
    return result


def heard(run: Run, splits: dict[str, datasets.Dataset]) -> dict[str, list[str]]:
    """List whom and what a model learns from, its starting model and teachers among its sources.

    Returns:
        `clips`, by their content, and `speakers`, with the domain that names them: of the training
        rows, and of the models that this one learns from, as far as these say so.
    """
    found: dict[str, set[str]] = {"clips": set(), "speakers": set()}
    for split in set(splits) - {"test"}:
        found["clips"] |= set(row_contents(splits[split]))
        found["speakers"] |= speakers_of(splits[split])
    for model in (run.recipe.start, *run.recipe.teacher):
        for name, values in (read_heard(model) or {}).items() if model else ():
            found[name] |= set(values)
    return {name: sorted(values) for name, values in found.items()}


def read_heard(model: str) -> dict[str, list[str]] | None:
    """Read what `train_run` noted of a model; None: nobody knows what it has heard."""
    path = Path(model) / HEARD_FILE
    return read_json(path) if path.is_file() else None


def speakers_of(rows: datasets.Dataset) -> set[str]:
    """Name the speakers of rows together with their domains, as far as they are known."""
    columns = rows.column_names
    if "source_id" not in columns:
        return set()
    domains = rows["domain"] if "domain" in columns else [""] * len(rows)
    pairs = zip(domains, rows["source_id"], strict=True)
    return {f"{domain}/{speaker}" for domain, speaker in pairs if speaker not in (None, "")}


def is_finished(run: Run, splits: dict[str, datasets.Dataset]) -> bool:
    """Return whether the folder holds the model of this very run."""
    path = run.output_dir / FINISHED_FILE
    return path.is_file() and read_json(path) == settings_of(run, splits)


def with_inputs(rows: datasets.Dataset, run: Run, with_audio: bool = False) -> datasets.Dataset:
    """Compute the features of Dusha's network in place of audio, once for all folds.

    For a frozen backbone these are its embeddings. Where the run wants copies of clips, all clips
    get theirs. Rows for another network, or with features already, keep what they have, as do all
    with `with_audio`. All get a column with their contents, by which a run is compared with what is
    there.

    Raises:
        WrongUseError: if options are wrong, before anything is computed.
    """
    for options in (run.data, run.recipe, run.options):
        options.check()
    rows = with_contents(rows)
    if with_audio:
        return rows
    frozen, arguments = None, make_arguments(run.options)
    if run.recipe.trains_head_only:
        model, extractor = load_backbone(run.recipe, rows.features["label"].names)
        frozen = FrozenBackbone(model, run.recipe, arguments.device)
    elif network_type(run.recipe) != DushaConfig.model_type:
        return rows
    else:
        extractor = load_extractor(run.recipe)
    kept = run.data.cache_dir, run.data.num_proc, "the data set"
    return inputs_with_copies(rows, run.recipe, extractor, arguments, *kept, frozen)[0]
