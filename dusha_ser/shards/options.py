"""What can be asked of work in shards; nothing heavy is imported."""

import re
from dataclasses import dataclass

from dusha_ser.errors import WrongUseError
from dusha_ser.options import check_range, option
from dusha_ser.storage import check_folder

JOB_FILE = "_job.json"
# The title of these options in --help.
GROUP = "more than one machine"
# Recordings of a shard: minutes of work, a multiple of the files that are classified together.
SHARD_SIZE = 1024
# Of recordings that are cut into clips: hours of audio.
LONG_SHARD_SIZE = 16


@dataclass(frozen=True)
class Share:
    """Every count-th shard from one on, for one machine of an array.

    Examples:
        >>> [number for number in range(7) if Share(1, 3).has(number)]
        [1, 4]
    """

    index: int
    count: int

    def has(self, number: int) -> bool:
        """Tell whether a shard is among them."""
        return number % self.count == self.index


@dataclass(kw_only=True)
class ShardOptions:
    """Where shards are written, and which of them by this program."""

    output_shards: str | None = option(
        "folder or URL (s3://, gs://, ...) to write Parquet shards to, part-00000.parquet and so "
        "on; the inputs may then also be Parquet files, tars (WebDataset), folders of them, and "
        "URLs; any number of machines may run the same command at once, and it resumes",
        None,
        metavar="PLACE",
        group=GROUP,
    )
    shard: str | None = option(
        "with output_shards: I/N, the shards of machine I of N, counted from 0, such as "
        "$SLURM_ARRAY_TASK_ID/8 (default: whichever no other machine works on)",
        None,
        metavar="I/N",
        group=GROUP,
    )
    shard_size: int | None = option(
        f"with output_shards: recordings of a shard (default: {SHARD_SIZE}; {LONG_SHARD_SIZE} of "
        "those to cut)",
        None,
        group=GROUP,
    )

    @property
    def share(self) -> Share | None:
        """The shards of this machine; None: all that are free."""
        return read_share(self.shard) if self.shard else None

    def check(self) -> None:
        """Raise a WrongUseError if a value is out of range or the folder is of others."""
        if self.shard_size is not None:
            check_range("shard_size", self.shard_size, self.shard_size >= 1, "at least 1")
        if self.shard:
            if not self.output_shards:
                raise WrongUseError("`shard` is for work in shards; give `output_shards`")
            read_share(self.shard)
        if self.output_shards and "://" not in self.output_shards:
            check_folder(
                self.output_shards,
                marks=[JOB_FILE],
                neutral=["_files-*.jsonl"],
                name="output_shards",
            )

    def no_overwriting(self) -> str:
        """Say why nothing is replaced."""
        return (
            "`overwrite` would remove shards that other machines may be writing; remove "
            f"{self.output_shards} yourself"
        )

    def refuse(self, **others: object) -> None:
        """Raise a WrongUseError for other options, by name, that shards leave no place for."""
        for name, value in others.items():
            if self.output_shards and value:
                raise WrongUseError(
                    f"`{name}` and `output_shards` do not go together; leave out one"
                )


def read_share(text: str) -> Share:
    """Read which shards are asked for.

    Raises:
        WrongUseError: if it is not I/N with I from 0 to N - 1.

    Examples:
        >>> read_share("0/8")
        Share(index=0, count=8)
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not found or int(found[1]) >= int(found[2]):
        raise WrongUseError(
            f"`shard` is {text!r}; give I/N, where I counts the N machines from 0, such as 0/8 to "
            "7/8"
        )
    return Share(int(found[1]), int(found[2]))
