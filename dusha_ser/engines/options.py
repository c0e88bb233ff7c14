"""What can be asked of engines; nothing heavy is imported."""

from dataclasses import dataclass

from dusha_ser.errors import WrongUseError
from dusha_ser.options import option

HERE, RAY = "here", "ray"
ENGINES = (HERE, RAY)


@dataclass(kw_only=True)
class EngineOptions:
    """What spreads the work over machines."""

    option_group = "more than one machine"

    engine: str = option(
        "what does the work: here, this program; ray, a cluster of Ray (needs the extra ray; a "
        "corpus is written to a disk that all machines see, all else to `output_shards`)",
        HERE,
        choices=ENGINES,
    )
    address: str | None = option(
        'with engine=ray: HOST:PORT of the cluster\'s head, or "auto" on one of its machines '
        "(default: the processors of this machine)",
        None,
    )

    @property
    def on_ray(self) -> bool:
        """Whether a cluster of Ray does the work."""
        return self.engine == RAY

    def check(self) -> None:
        """Raise a WrongUseError for an engine that there is not, or an address without Ray."""
        if self.engine not in ENGINES:
            raise WrongUseError(f"`engine` is {self.engine!r}; allowed are {', '.join(ENGINES)}")
        if self.address and not self.on_ray:
            raise WrongUseError("`address` is that of a cluster of Ray; add `engine=ray`")

    def refuse(self) -> None:
        """Raise a WrongUseError for a cluster whose rows would go to one file or the screen."""
        if self.on_ray:
            raise WrongUseError(
                "`engine=ray` writes a folder of Parquet files; give `output_shards`, a folder or "
                "URL that all machines see"
            )
