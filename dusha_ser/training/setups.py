"""Setups: YAML files that hold what differs from the default options."""

import argparse
import difflib
from pathlib import Path

import yaml

from dusha_ser.errors import MissingInputError, WrongUseError

SETUPS = Path(__file__).resolve().parent / "setups"
SUFFIXES = (".yaml", ".yml")


def find_setup(name: str, folder: Path = SETUPS) -> Path:
    """Find a setup by its file or its bare name.

    Args:
        name: "crowd_small", or the path of a YAML file.
        folder: where the named setups are.

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
    near = difflib.get_close_matches(path.stem, setup_names(folder), n=1)
    advice = f"did you mean {near[0]}? Else take" if near else "take"
    raise MissingInputError(
        f"there is no setup {name!r}; {advice} one of {', '.join(setup_names(folder))}, or the "
        "path of a YAML file"
    )


def setup_names(folder: Path = SETUPS) -> list[str]:
    """Return the names of all setups."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def describe_setups(folder: Path = SETUPS) -> str:
    """Return one line per setup: its name and the comment that its file begins with."""
    lines = []
    for name in setup_names(folder):
        first = (folder / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
        lines.append(f"{name:<20}{first.lstrip('# ')}")
    return "\n".join(lines)


def apply_setup(parser: argparse.ArgumentParser, path: Path) -> None:
    """Make the values of a setup the defaults of a parser.

    Args:
        parser: of all options.
        path: of the setup file.

    Raises:
        WrongUseError: naming the file and the option, if one is unknown or has a wrong value.
    """
    values = read_setup(path)
    known = vars(parser.parse_known_args([])[0])
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=2)
            advice = f"did you mean {' or '.join(near)}?" if near else "see dusha train --help_all"
            raise WrongUseError(f"{path} has the unknown option {name!r}; {advice}")
    # Text is converted and checked as on the command line; "1e-3" is text in YAML.
    words = [
        f"--{name}={value}"
        for name, value in values.items()
        if isinstance(value, (str, int, float))
    ]
    try:
        parsed = vars(parser.parse_known_args(words)[0])
    except WrongUseError as error:
        raise WrongUseError(f"{path}: {error}") from error
    parser.set_defaults(
        **{
            name: parsed[name] if isinstance(value, (str, int, float)) else value
            for name, value in values.items()
        }
    )


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
        raise WrongUseError(f"{path} is not a YAML file: {error}") from error
    if not isinstance(values, dict):
        raise WrongUseError(f"{path} holds no options; write lines such as learning_rate: 0.001")
    return values
