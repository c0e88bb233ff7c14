"""Options as fields of dataclasses, and those that several commands share, each written once."""

import dataclasses
from typing import Any

from dusha_ser.errors import WrongUseError


def option(help: str, default: Any = dataclasses.MISSING, **metadata: Any) -> Any:
    """Make a field of a dataclass that is an option of a command.

    Args:
        help: one sentence, with the unit of the value.
        default: the value where none is given; without one the option is required.
        metadata: `positional`, `choices`, `nargs` and so on, as `cli.program.Parser` takes them.

    Returns:
        The field.

    Examples:
        >>> @dataclasses.dataclass
        ... class Options:
        ...     clips: int = option("number of clips", 480)
        >>> Options().clips
        480
    """
    metadata["help"] = help
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def quiet() -> Any:
    """Make the option `quiet`."""
    return option("show no progress bars and print no summary", False)


def overwrite(warning: str = "") -> Any:
    """Make the option `overwrite`; the warning is shown in brackets."""
    text = "replace what an earlier run wrote instead of keeping or resuming it"
    return option(f"{text} ({warning})" if warning else text, False)


def output_dir(default: str, holds: str) -> Any:
    """Make the option `output_dir` of a command that writes what `holds` lists."""
    from pathlib import Path

    return option(f"folder to write: {holds}", Path(default))


def device() -> Any:
    """Make the option `device`."""
    return option("cpu, cuda, ... (default: a GPU if there is one)", None)


def trust_remote_code() -> Any:
    """Make the option `trust_remote_code`."""
    return option("run code that comes with a model; Dusha's models need none", False)


def batch_size() -> Any:
    """Make the option `batch_size`."""
    return option(
        "clips of similar length to classify at once (default: 16 for Dusha's models; 1 for "
        "others, whose predictions padding may change)",
        None,
    )


def num_proc() -> Any:
    """Make the option `num_proc`."""
    return option("number of processes to work with", 1)


def cache_dir() -> Any:
    """Make the option `cache_dir`."""
    return option(
        "folder for fetched archives, indexes and labels (default: in the Hugging Face cache)",
        None,
    )


def seed() -> Any:
    """Make the option `seed`."""
    return option("seed of all random choices, an integer of at least 0", 0)


def path_column() -> Any:
    """Make the option `path_column`."""
    return option("column of tables that holds the paths of audio files", "path")


def allow_other_counts() -> Any:
    """Make the option `allow_other_counts`."""
    return option(
        "accept another corpus whose number of recordings is not the published one", False
    )


def check_range(name: str, value: float, allowed: bool, words: str, unit: str = "") -> None:
    """Refuse the value of an option.

    Args:
        name: of the option.
        value: what was given.
        allowed: whether the value may be taken.
        words: what is allowed, such as "at least 1".
        unit: of the value.

    Raises:
        WrongUseError: if it may not.

    Examples:
        >>> check_range("hop", 0.0, False, "above 0", "s")
        Traceback (most recent call last):
        dusha_ser.errors.WrongUseError: `hop` is 0.0 s; it must be above 0
    """
    if not allowed:
        raise WrongUseError(f"`{name}` is {f'{value} {unit}'.strip()}; it must be {words}")
