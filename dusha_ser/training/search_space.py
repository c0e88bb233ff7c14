"""What a search for options may choose from: a YAML file; nothing heavy is imported here."""

import difflib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from dusha_ser.errors import WrongUseError
from dusha_ser.options import check_range, option
from dusha_ser.training.setups import find_setup, read_setup

SPACES = Path(__file__).resolve().parent / "spaces"
OWN_RECORDINGS = "own_recordings"
# What a range may hold.
RANGE = ("low", "high", "log", "step")
# Options that decide what the inputs of a network are.
OF_INPUTS = ("model_name_or_path", "trim_silence", "waveform_copies", "waveform_augmentation")
# Options that say where a run is and how it is watched, not what is learnt.
FIXED = (
    *("output_dir", "overwrite", "seed", "validation", "metric_for_best_model", "quiet"),
    *("eval_strategy", "save_strategy", "resume_from_checkpoint", "load_best_model_at_end"),
    *("patience", "dataset", "train_file", "validation_file", "test_file", "shuffle_labels"),
    "teacher_backbone",
)


@dataclass(kw_only=True)
class SearchOptions:
    """How options are searched for."""

    search: int = option(
        "choose options by this many trials for each fold, on its training speakers only; 0: take "
        "them as given",
        0,
        group="search",
    )
    search_space: str = option(
        "what to choose from: a YAML file, or the name of a space that is shipped",
        OWN_RECORDINGS,
        group="search",
    )
    search_folds: int = option(
        "parts of the training speakers that a trial is scored on in turn, each with a model of "
        "the others; 1: a quarter of them, once",
        3,
        group="search",
    )

    def check_search(self) -> None:
        """Raise a WrongUseError where values do not fit."""
        for name, least in (("search", 0), ("search_folds", 1)):
            value = getattr(self, name)
            check_range(name, value, value >= least, f"at least {least}")


@dataclass(frozen=True)
class Space:
    """Options and what each may be.

    Attributes:
        path: of the file.
        choices: values by option: a list, or a range with low, high and, if wanted, log or step.
    """

    path: Path
    choices: Mapping[str, Any]

    @property
    def of_inputs(self) -> bool:
        """Whether trials have inputs of their own, so that features cannot be made once for all."""
        return any(name in self.choices for name in OF_INPUTS)

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Let a trial of Optuna choose a value of each option."""
        values = {}
        for name, allowed in self.choices.items():
            if isinstance(allowed, list):
                values[name] = trial.suggest_categorical(name, allowed)
            elif isinstance(allowed["low"], int) and isinstance(allowed["high"], int):
                values[name] = trial.suggest_int(name, **allowed)
            else:
                values[name] = trial.suggest_float(name, **allowed)
        return values

    def ends(self) -> Iterator[dict[str, Any]]:
        """Give each value of a list, and both ends of a range, as the value of its option."""
        for name, allowed in self.choices.items():
            values = allowed if isinstance(allowed, list) else [allowed["low"], allowed["high"]]
            yield from ({name: value} for value in values)


def read_space(name: str, groups: Sequence[Any]) -> Space:
    """Read a space, and make sure that each of its values is one of an option of training.

    Args:
        name: of a shipped space, or a YAML file.
        groups: dataclasses of the options that trials change.

    Raises:
        MissingInputError: if there is no such file.
        WrongUseError: naming the file and the option, if one is unknown or has a wrong value.
    """
    path = find_setup(name, SPACES, "space")
    kinds = {one.name: one for group in groups for one in fields(group) if one.init}
    hints = {
        key: hint for group in groups for key, hint in typing.get_type_hints(type(group)).items()
    }
    choices: dict[str, Any] = {}
    for key, allowed in read_setup(path).items():
        if key not in kinds or key in FIXED:
            near = difflib.get_close_matches(key, [one for one in kinds if one not in FIXED], n=1)
            advice = f"did you mean {near[0]}?" if near else "see dusha train --help_all"
            word = "the option" if key in FIXED else "the unknown option"
            raise WrongUseError(f"{path} has {word} {key!r}, which no search changes; {advice}")
        kind = hints[key]
        if isinstance(allowed, list) and allowed:
            choices[key] = [converted(path, key, value, kind) for value in allowed]
        elif isinstance(allowed, dict) and {"low", "high"} <= set(allowed) <= set(RANGE):
            ends = {end: converted(path, key, allowed[end], kind) for end in ("low", "high")}
            if not ends["low"] < ends["high"]:
                raise WrongUseError(f"{path}: {key} goes from {ends['low']} to {ends['high']}")
            choices[key] = allowed | ends
        else:
            raise WrongUseError(
                f"{path}: {key} is {allowed!r}; give a list of values, or a range such as "
                "{low: 0.0001, high: 0.01, log: true}"
            )
        for value in choices[key] if isinstance(choices[key], list) else ():
            if value not in (among := kinds[key].metadata.get("choices") or [value]):
                raise WrongUseError(f"{path}: {key} is {value!r}; take {', '.join(among)}")
    space = Space(path, choices)
    for values in space.ends():
        try:
            for group in with_options(groups, values):
                group.check()
        except WrongUseError as error:
            raise WrongUseError(f"{path}: {error}") from error
    return space


def converted(path: Path, name: str, value: Any, kind: Any) -> Any:
    """Return a value as its option takes it: a number for numbers, "1e-3" among them."""
    kinds = typing.get_args(kind) or (kind,)
    if isinstance(value, bool):
        fits = bool in kinds
    elif float in kinds and isinstance(value, (int, float, str)):
        try:
            return float(value)
        except ValueError:
            fits = str in kinds
    else:
        fits = isinstance(value, tuple(one for one in kinds if one in (int, str, type(None))))
    if not fits:
        raise WrongUseError(f"{path}: {name} is {value!r}, which is not a value of this option")
    return value


def with_options(groups: Sequence[Any], values: Mapping[str, Any]) -> list[Any]:
    """Return the options with other values, each in the dataclass that has it."""
    return [
        replace(group, **{name: values[name] for name in vars(group) if name in values})
        for group in groups
    ]
