"""Work on shards that needs no model, and programs of it that can be killed."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow

from dusha_ser.cli.program import run_program
from dusha_ser.shards.jobs import Job, open_job, run_job
from dusha_ser.shards.planning import plan_shards
from dusha_ser.shards.stores import Store


@dataclass(frozen=True)
class CountBytes:
    """Says how long the audio of each recording is; an empty one is an error.

    Args:
        notes: file that gets a line per recording that is worked on.
        seconds: to take for each.
    """

    notes: str = ""
    seconds: float = 0.0
    path_column: str = "path"
    by_content = False

    @property
    def schema(self):
        text = pyarrow.string()
        return pyarrow.schema([("id", text), ("size", pyarrow.int64()), ("error", text)])

    def __call__(self, recordings):
        for name, audio in recordings:
            time.sleep(self.seconds)
            if self.notes:
                with Path(self.notes).open("a") as file:
                    file.write(f"{name}\n")
            size = len(audio or b"")
            error = None if size else "is empty"
            yield pyarrow.table({"id": [name], "size": [size], "error": [error]}, self.schema)


def begin_job(inputs, place, size=2, **made_with) -> Job:
    """Open the job of some inputs."""
    store, inputs = Store(str(place)), [str(one) for one in inputs]
    pinned = {"inputs": inputs, "shard_size": size} | made_with
    return open_job(store, pinned, lambda: plan_shards(inputs, size, "path", store))


if __name__ == "__main__":
    given, place, notes, seconds = sys.argv[1:]
    work = CountBytes(notes, float(seconds))
    run_program(lambda: run_job(begin_job([given], place), work, quiet=True) and None)
