"""Training runs on given rows, with the options of `dusha train`, that can be taken up again."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets

from configuration_dusha import DushaConfig
from dusha_ser.errors import WrongUseError
from dusha_ser.storage import read_json, write_json
from dusha_ser.training import run as train
from dusha_ser.training.checkpoints import LAST, find_checkpoint
from dusha_ser.training.features import compute_inputs
from dusha_ser.training.options import check_options
from dusha_ser.training.result import TrainingResult
from dusha_ser.training.setups import find_setup, read_options
from dusha_ser.training.starting_model import load_extractor, network_type

SETTINGS_FILE = "settings.json"
FINISHED_FILE = "finished.json"
# Options that decide what is trained on; the rows are given here.
GIVEN = ("--dataset", "--train_file", "--test_file", "--validation_file", "--configuration")


@dataclass(frozen=True)
class Run:
    """What a training run is to do.

    Attributes:
        name: of the data, for the model's card.
        setup: a setup of `dusha train`; None: its defaults.
        options: of `dusha train`, as on its command line.
        output_dir: folder for the model.
        quiet: no bars.
    """

    name: str
    setup: str | None
    options: tuple[str, ...]
    output_dir: Path
    quiet: bool

    def arguments(self) -> list[str]:
        """The command line of `dusha train`.

        Raises:
            WrongUseError: if the options name other data.
        """
        for option in self.options:
            if option.split("=")[0] in GIVEN:
                raise WrongUseError(
                    f"{option} is an option of `dusha train` alone: here the data are named already"
                )
        setup = [self.setup] if self.setup else []
        given = ["--dataset", self.name, "--output_dir", str(self.output_dir)]
        return [*setup, *self.options, *given, *(["--quiet"] if self.quiet else [])]

    def parsed(self) -> tuple:
        """The options as `dusha train` reads them; WrongUseError where it cannot."""
        return read_options(self.arguments())


def settings_of(run: Run, splits: dict[str, datasets.Dataset]) -> dict:
    """What decides a run's result: setup, options, and the clips with their labels."""
    clips = hashlib.sha256()
    for split, rows in splits.items():
        clips.update(f"{split}\0".encode())
        for name, label in zip(rows["id"], rows["label"], strict=True):
            clips.update(f"{name}\0{label}\0".encode())
    setup = find_setup(run.setup).read_text(encoding="utf-8") if run.setup else None
    return {"setup": setup, "options": list(run.options), "clips": clips.hexdigest()[:16]}


def train_run(
    run: Run, splits: dict[str, datasets.Dataset], overwrite: bool = False
) -> TrainingResult:
    """Train a model on given rows; a run that was stopped goes on from its last checkpoint.

    Args:
        run: what to do.
        splits: train and, where there is one, test.
        overwrite: whether what lies in the output folder may go.

    Returns:
        what `dusha train`'s `train` gives.

    Raises:
        WrongUseError: if options are wrong, or the folder holds a run with other ones.
        WorkFailedError: if training fails.
    """
    data, recipe, arguments = run.parsed()
    settings = settings_of(run, splits)
    path = run.output_dir / SETTINGS_FILE
    if run.output_dir.is_dir() and any(run.output_dir.iterdir()):
        known = path.is_file() and read_json(path) == settings
        if overwrite:
            shutil.rmtree(run.output_dir)
        elif not known:
            raise WrongUseError(
                f"{run.output_dir} holds something that was not made with these options and "
                "clips; name another --output_dir, or give --overwrite to lose it"
            )
    write_json(path, settings)
    if find_checkpoint(run.output_dir):
        arguments.resume_from_checkpoint = LAST
    train.set_up_logging(recipe, arguments)
    result = train.train(data, recipe, arguments, splits)
    # Checkpoints are for going on; the run is over, and they take three times the model's size.
    for checkpoint in run.output_dir.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    write_json(run.output_dir / FINISHED_FILE, settings)
    return result


def is_finished(run: Run, splits: dict[str, datasets.Dataset]) -> bool:
    """Whether the folder holds the model of this very run."""
    path = run.output_dir / FINISHED_FILE
    return path.is_file() and read_json(path) == settings_of(run, splits)


def with_inputs(rows: datasets.Dataset, run: Run) -> datasets.Dataset:
    """Rows with the features of Dusha's network, computed once for all runs; others as they are.

    Args:
        rows: with audio, or with features already.
        run: any of the runs.

    Returns:
        the rows, with input_features and without audio where the network is Dusha's.

    Raises:
        WrongUseError: if options are wrong, before anything is computed.
    """
    data, recipe, arguments = run.parsed()
    check_options(recipe, arguments)
    network = network_type(recipe.model_name_or_path, recipe.trust_remote_code)
    if network != DushaConfig.model_type:
        return rows
    extractor = load_extractor(
        recipe.model_name_or_path,
        trust_remote_code=recipe.trust_remote_code,
        trim_silence=recipe.trim_silence,
    )
    return compute_inputs(rows, extractor, data.cache_dir, data.num_proc)[0]


def split_options(arguments: Sequence[str]) -> tuple[str, ...]:
    """Options that a program does not know itself, for `dusha train`, whose names they must be."""
    options = tuple(arguments)
    if options and not options[0].startswith("-"):
        raise WrongUseError(f"{options[0]!r} belongs to no option; see --help")
    return options
