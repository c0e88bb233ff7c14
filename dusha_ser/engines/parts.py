"""Whole shards as tasks of a cluster: each writes its part, as a program of its own would."""

from dataclasses import dataclass, replace
from typing import Any

from dusha_ser.engines.cluster import connect
from dusha_ser.engines.options import EngineOptions
from dusha_ser.shards.jobs import Job, Outcome, RunJob, Work, do_shard, run_job
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


def choose_runner(engine: EngineOptions) -> RunJob:
    """Return what does jobs: this program, or a cluster of Ray."""
    if not engine.on_ray:
        return run_job

    def run_on_ray(
        job: Job, work: Work, share: Share | None = None, num_proc: int = 1, quiet: bool = False
    ) -> Outcome:
        """Do the shards of a job that are not done, on the cluster; parts are those of `run_job`.

        One recording becomes many clips, so that no id lasts from reading to writing; a part that
        is there is its checkpoint.
        """
        outcome = Outcome()
        with connect(engine.address, quiet):
            import ray

            done = job.done()
            numbers = (n for n in range(len(job.shards)) if share is None or share.has(n))
            left = [{"number": number} for number in numbers if number not in done]
            if left:
                # A copy, without what the work has loaded here.
                task = DoShard(job, replace(work))  # type: ignore[type-var]  # all are dataclasses
                tasks = ray.data.from_items(left, override_num_blocks=len(left))
                for row in tasks.map(task).iter_rows():
                    outcome.add(row["number"], row["rows"], dict(row["errors"]))
        return outcome

    return run_on_ray
