"""Whole shards as tasks of a cluster: each writes its part, as a program of its own would."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dusha_ser.engines.cluster import connect
from dusha_ser.engines.options import EngineOptions
from dusha_ser.shards.jobs import DoShards, Job, Outcome, Work, do_shard
from dusha_ser.shards.options import Share


@dataclass(frozen=True)
class DoShard:
    """Does the shard of a number; what comes back is its number, rows and errors."""

    job: Job
    work: Work

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do the shard row["number"]."""
        number = int(row["number"])
        rows, errors = do_shard(self.job, self.work, number)
        return {"number": number, "rows": rows, "errors": list(errors.items())}


def choose_machines(engine: EngineOptions, quiet: bool = False) -> DoShards | None:
    """Return what does shards on a cluster of Ray; None: this program does them."""
    return partial(do_on_ray, engine.address, quiet) if engine.on_ray else None


def do_on_ray(
    address: str | None,
    quiet: bool,
    job: Job,
    work: Work,
    share: Share | None,
    outcome: Outcome,
) -> None:
    """Do the shards that are left on the cluster at an address, each in a task.

    One recording becomes many clips, so that no id lasts from reading to writing; a part that is
    there is its checkpoint.
    """
    with connect(address, quiet):
        import ray

        left = [{"number": number} for number in job.left(share)]
        # A copy, without what the work has loaded here.
        task = DoShard(job, replace(work))  # type: ignore[type-var]  # all are dataclasses
        tasks = ray.data.from_items(left, override_num_blocks=len(left))
        for row in tasks.map(task).iter_rows():
            outcome.add(row["number"], row["rows"], dict(row["errors"]))
