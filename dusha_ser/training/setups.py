"""Setups: YAML files that hold what differs from the default options."""

import argparse
import difflib
from pathlib import Path

import yaml

from dusha_ser.errors import MissingInputError, WrongUseError

SETUPS = Path(__file__).resolve().parent / "setups"
SUFFIXES = (".yaml", ".yml")


def find_setup(name: str, folder: Path = SETUPS, what: str = "setup") -> Path:
    """Find a setup by its file or its bare name.

    Args:
        name: "crowd_small", or the path of a YAML file.
        folder: of those that are shipped.
        what: a setup, or what else is looked for, for messages.

    Returns:
        The file.

    Raises:
        MissingInputError: if there is none.
    """
    path = Path(name) if Path(name).suffix in SUFFIXES else folder / f"{name}.yaml"
    if path.is_file():
        return path
    names = setup_names(folder)
    near = difflib.get_close_matches(path.stem, names, n=1)
    advice = f"did you mean {near[0]}? Else take" if near else "take"
    raise MissingInputError(
        f"there is no {what} {name!r}; {advice} one of {', '.join(names)}, or the path of a YAML "
        "file"
    )


def setup_names(folder: Path = SETUPS) -> list[str]:
    """Return the names of all setups."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def describe_setups() -> str:
    """Return one line per setup: its name and the comment that its file begins with."""
    first = {name: find_setup(name).read_text(encoding="utf-8") for name in setup_names()}
    return "\n".join(
        f"{name:<20}{text.splitlines()[0].lstrip('# ')}" for name, text in first.items()
    )


def read_setup(path: Path) -> dict:
    """Read the values of a setup file by option.

    Raises:
        WrongUseError: if it holds anything else.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WrongUseError(f"{path} is not a YAML file: {error}") from error
    if not isinstance(values, dict):
        raise WrongUseError(f"{path} holds no options; write lines such as learning_rate: 0.001")
    return values


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
    words = {
        name: value if isinstance(value, list) else [value]
        for name, value in values.items()
        if isinstance(value, (str, int, float, list))
    }
    given = [f"--{name}={value}" for name, several in words.items() for value in several]
    try:
        parsed, _ = parser.parse_known_args(given)
    except WrongUseError as error:
        raise WrongUseError(f"{path}: {error}") from error
    parser.set_defaults(**values | {name: getattr(parsed, name) for name in words})
