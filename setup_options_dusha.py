"""Options of a program from a setup file and the command line: the file first, then what overrides.

A setup file is YAML and holds only what differs from the defaults.
"""

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path

import yaml
from transformers import HfArgumentParser

from command_line_dusha import MissingInputError, WrongUseError

SETUPS = Path(__file__).resolve().parent / "setups"
SUFFIXES = (".yaml", ".yml")


class OneLineParser(HfArgumentParser):
    """HfArgumentParser that ends wrong use with one line, without the usage of 200 options."""

    def error(self, message: str):
        """Raise a WrongUseError with the message of argparse."""
        raise WrongUseError(f"{message}; see --help")


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
        name: "setups/crowd_small.yaml", any other YAML file, or "crowd_small".
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
