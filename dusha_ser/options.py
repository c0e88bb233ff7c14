"""Options as fields of dataclasses, and those that several commands share, each written once."""

import dataclasses
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from dusha_ser.errors import WrongUseError
from dusha_ser.vocabulary import BAD_ROWS, LANGUAGES, UNCERTAIN


def split_list(value) -> tuple[str, ...]:
    """Return the words, without blanks around them, of a list or of text with commas.

    Examples:
        >>> split_list("angry, sad")
        ('angry', 'sad')
    """
    words = value.split(",") if isinstance(value, str) else value
    return tuple(str(word).strip() for word in words)


# How names on the Hub look that belong to somebody.
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
# Of weights that are saved without their model.
WEIGHTS_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
FILE_SUFFIXES = (
    *(*WEIGHTS_SUFFIXES, ".onnx", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".yaml", ".parquet"),
    *(".arrow", ".tar", ".tgz", ".gz", ".zip", ".npy", ".npz", ".wav", ".flac", ".mp3", ".ogg"),
)


def is_hub_name(name: str) -> bool:
    """Return whether a model or data set can only be on the Hub, USER/NAME.

    What is there, or looks like a path or a file, is never looked for on the Hub, which would take
    half a minute without a network; nor is a misspelled folder beside others of the same parent.

    Examples:
        >>> [is_hub_name(name) for name in ("user/dusha-1.5", "./a/b", "weights/last.pt", "model")]
        [True, False, False, False]
    """
    path = Path(name)
    return bool(
        HUB_NAME.fullmatch(name)
        and path.suffix.lower() not in FILE_SUFFIXES
        and not path.exists()
        and not path.parent.is_dir()
    )


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


# Options that several commands share: each call makes a field.
quiet = partial(option, "show no progress bars and print no summary", False)
device = partial(option, "cpu, cuda, ... (default: a GPU if there is one)", None)
trust_remote_code = partial(
    option, "run code that comes with a model; Dusha's models need none", False
)
batch_size = partial(
    option,
    "clips of similar length to classify at once (default: 16 for Dusha's models; 1 for others, "
    "whose predictions padding may change)",
    None,
)
least_confidence = partial(
    option,
    f"predict `{UNCERTAIN}` where the most probable label is less probable than this, 0 to 1",
    0.0,
)
# Of `prior`: all classes are as frequent.
UNIFORM = "uniform"
prior = partial(
    option,
    f"how frequent predictions take the classes to be: {UNIFORM}, or angry=10,sad=20,... (default: "
    "as the model was trained or saved; Dusha's network)",
    None,
)
num_proc = partial(option, "number of processes to work with", 1)
cache_dir = partial(
    option,
    "folder for fetched archives, indexes and labels (default: in the Hugging Face cache)",
    None,
)
seed = partial(option, "seed of all random choices, an integer of at least 0", 0)
path_column = partial(option, "column of tables that holds the paths of audio files", "path")
label_map = partial(
    option,
    "what labels mean, such as A=angry,S=sad; others stay as they are",
    (),
    type=split_list,
    metavar="CODE=LABEL",
)
bad_rows = partial(
    option,
    "stop at rows that cannot be read and recordings without usable audio, or skip and count them",
    BAD_ROWS[0],
    choices=BAD_ROWS,
)
allow_other_counts = partial(
    option, "accept another corpus whose number of recordings is not the published one", False
)


def check_confidence(least_confidence: float) -> None:
    """Raise a WrongUseError unless it is a probability."""
    check_range("least_confidence", least_confidence, 0 <= least_confidence <= 1, "from 0 to 1")


def overwrite(warning: str = "") -> Any:
    """Make the option `overwrite`; the warning is shown in brackets."""
    text = "replace what an earlier run wrote instead of keeping or resuming it"
    return option(f"{text} ({warning})" if warning else text, False)


def language(of_what: str, default: str | None) -> Any:
    """Make the option `language` of a command that writes texts for people."""
    return option(f"language {of_what}", default, choices=LANGUAGES)


# What to do where a table has not the columns that are asked for.
NAME_COLUMNS = "rename yours, or name them with `path_column` and `label_column`"


@dataclasses.dataclass(kw_only=True)
class TableOptions:
    """How tables of one's own recordings are read, the same for all commands."""

    path_column: str = path_column()
    label_column: str = option("column of tables and data sets that holds the labels", "label")
    speaker_column: str = option("column of tables that holds the speakers", "speaker")
    label_map: tuple[str, ...] = label_map()
    bad_rows: str = bad_rows()

    @property
    def meanings(self) -> dict[str, str]:
        """What labels mean, by the code that stands for them."""
        return read_label_map(self.label_map)


@dataclasses.dataclass(frozen=True, slots=True)
class TurnColumns:
    """The columns of tables of turns; without `recording`, a table is of one recording."""

    recording: str = "path"
    start: str = "start"
    end: str = "end"
    speaker: str = "speaker"
    text: str = "text"


def read_label_map(pairs: Iterable[str]) -> dict[str, str]:
    """Read what codes mean.

    Raises:
        WrongUseError: if a pair is not CODE=LABEL, or a code has two meanings.

    Examples:
        >>> read_label_map(["A=angry", "S=sad"])
        {'A': 'angry', 'S': 'sad'}
    """
    meanings: dict[str, str] = {}
    for pair in pairs:
        code, _, label = (part.strip() for part in pair.rpartition("="))
        if not code or not label or meanings.setdefault(code, label) != label:
            raise WrongUseError(
                f"`label_map` has {pair!r}; give CODE=LABEL with commas, such as "
                "A=angry,S=sad, each code once"
            )
    return meanings


def output_dir(default: str, holds: str) -> Any:
    """Make the option `output_dir` of a command that writes what `holds` lists."""
    return option(f"folder to write: {holds}", Path(default))


def check_range(name: str, value: float, allowed: bool, words: str, unit: str = "") -> None:
    """Raise a WrongUseError for the value of an option unless it is allowed.

    Args:
        name: of the option.
        value: what was given.
        allowed: whether the value may be taken.
        words: what is allowed, such as "at least 1".
        unit: of the value.

    Examples:
        >>> check_range("hop", 0.0, False, "above 0", "s")
        Traceback (most recent call last):
        dusha_ser.errors.WrongUseError: `hop` is 0.0 s; it must be above 0
    """
    if not allowed:
        raise WrongUseError(f"`{name}` is {f'{value} {unit}'.strip()}; it must be {words}")
