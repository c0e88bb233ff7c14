"""Options of a program from a setup file and the command line: the file first, then what overrides.

A setup file is YAML and holds only what differs from the defaults.
"""

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path

import yaml
from transformers import HfArgumentParser

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.training.options import DataOptions, DushaTrainingArguments, RecipeOptions

SETUPS = Path(__file__).resolve().parent / "setups"
SUFFIXES = (".yaml", ".yml")


class OneLineParser(HfArgumentParser):
    """HfArgumentParser that ends wrong use with one line, without the usage of 200 options."""

    def error(self, message: str):
        """Raise a WrongUseError with the message of argparse."""
        raise WrongUseError(f"{message}; see --help")


DESCRIPTION = """Train a network on Dusha, on its sample, or on anyone's own recordings.

Without arguments it trains on a small synthetic corpus that it makes itself. A setup, one of
dusha_ser/training/setups/*.yaml or a file of one's own, holds what differs from the defaults;
options come after it.
"""
EXAMPLES = """examples:
  dusha train
  dusha train crowd_large --data_dir archives --output_dir runs/crowd_large
  dusha train --train_file clips.csv --test_file test.csv --model_name_or_path dusha-model
"""


def read_options(
    arguments: Sequence[str],
) -> tuple[DataOptions, RecipeOptions, DushaTrainingArguments]:
    """Read the options of a command line, of its setup first.

    Args:
        arguments: without the program's name.

    Returns:
        Options of data, recipe and Trainer.

    Raises:
        WrongUseError: if an option or setup is wrong.
    """
    parser = OneLineParser(
        (DataOptions, RecipeOptions, DushaTrainingArguments),
        description=DESCRIPTION,
        epilog=EXAMPLES,
        usage="%(prog)s [SETUP] [--option value ...]",
    )
    arguments = list(arguments)
    setup = None
    if arguments and not arguments[0].startswith("-"):
        setup = find_setup(arguments.pop(0))
    elif not any(one.split("=")[0] in ("--dataset", "--train_file") for one in arguments):
        setup = find_setup("sample")
    return parse_options(parser, setup, arguments)


def parse_options(parser: OneLineParser, setup: Path | None, arguments: Sequence[str]) -> tuple:
    """Read a setup file, then the arguments, which override it.

    Args:
        parser: of the dataclasses.
        setup: the file; None: only defaults and arguments.
        arguments: of the command line.

    Returns:
        The dataclasses that the parser was made of.

    Raises:
        MissingInputError: if there is no such setup.
        WrongUseError: if an option is unknown, or has a wrong value.
    """
    known = [
        one.name for kind in parser.dataclass_types for one in dataclasses.fields(kind) if one.init
    ]
    values = read_setup(setup) if setup else {}
    for name in values:
        if name not in known:
            raise WrongUseError(f"{setup} has the option {name!r}{likely(name, known)}")
    # Text is converted and checked as on the command line; "1e-3" is text in YAML.
    in_file = [
        part
        for name, value in values.items()
        if not isinstance(value, (dict, list))
        for part in (f"--{name}", "" if value is None else str(value))
    ]
    parser.set_defaults(
        **{name: value for name, value in values.items() if isinstance(value, (dict, list))}
    )
    try:
        *options, unknown = parser.parse_args_into_dataclasses(
            [*in_file, *arguments], return_remaining_strings=True, look_for_args_file=False
        )
    except ValueError as error:
        if isinstance(error, WrongUseError):
            raise
        raise WrongUseError(f"{str(error).splitlines()[0]}; see --help") from error
    if unknown:
        name = unknown[0].lstrip("-").partition("=")[0]
        raise WrongUseError(f"the command line has {unknown[0]!r}{likely(name, known)}")
    return tuple(options)


def likely(name: str, known: Sequence[str]) -> str:
    """Say which option may have been meant."""
    near = difflib.get_close_matches(name.replace("-", "_"), known, n=3)
    advice = f"is it {' or '.join(near)}?" if near else "see --help"
    return f", which is unknown; {advice}"


def find_setup(name: str, folder: Path = SETUPS) -> Path:
    """Find a setup by its file or its bare name.

    Args:
        name: "crowd_small", or the path of a YAML file.
        folder: where the named setups lie.

    Returns:
        The file.

    Raises:
        MissingInputError: if there is none.
    """
    path = Path(name)
    if path.suffix in SUFFIXES and path.is_file():
        return path
    if path.suffix not in SUFFIXES and (named := folder / f"{name}.yaml").is_file():
        return named
    raise MissingInputError(
        f"there is no setup {name!r}; take one of {', '.join(setup_names(folder))}, or the path "
        "of a YAML file"
    )


def setup_names(folder: Path = SETUPS) -> list[str]:
    """Return the names of all setups."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def describe_setups(folder: Path = SETUPS) -> str:
    """Return one line a setup: its name and the comment that its file begins with."""
    lines = []
    for name in setup_names(folder):
        first = (folder / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
        lines.append(f"{name:<20}{first.lstrip('# ')}")
    return "\n".join(lines)


def read_setup(path: Path) -> dict:
    """Read a setup file.

    Args:
        path: of the file.

    Returns:
        Values by option.

    Raises:
        WrongUseError: if it holds no options.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WrongUseError(f"{path} is no YAML file: {error}") from error
    if not isinstance(values, dict):
        raise WrongUseError(f"{path} holds no options; write lines such as learning_rate: 0.001")
    return values
