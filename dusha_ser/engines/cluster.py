"""Ray Data: connecting to a cluster, and jobs that resume.

Ray's own settings do the work: checkpoints by id, tasks and actors that start again when a machine
dies, backpressure. Here they are only chosen.
"""

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dusha_ser.errors import WorkFailedError, WrongUseError, first_cause, first_line

# Seconds until an address that nobody listens at is given up; Ray itself waits for minutes.
WAIT_FOR_ADDRESS = 5
# A task is started again as often as this when its process or its machine dies. A file that ends
# the process that reads it would otherwise be read for ever.
RETRIES = 10
# PyTorch's convolutions keep what they prepare for each shape of a batch, 1,024 times at most. With
# clips of all lengths that cuts up the freed memory, so that a worker grows for thousands of clips,
# and is not faster. Where the variable is set, it stays.
PREPARED_SHAPES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}
# Ids of rows that are written lie in the output folder; readers of Parquet skip such names.
CHECKPOINT = "_checkpoint"


@dataclass(frozen=True)
class Processors:
    """What a cluster has."""

    cpus: int
    gpus: int


@contextlib.contextmanager
def connect(address: str | None = None, quiet: bool = False) -> Iterator[Processors]:
    """Connect to a cluster, or start one of this machine's processors, until the end.

    Args:
        address: HOST:PORT of the cluster's head, or "auto" for the one that this machine is part
            of; None: one is started here.
        quiet: no progress bars, and of Ray's messages errors alone.

    Yields:
        How many processors and GPUs there are.

    Raises:
        WrongUseError: Ray is not installed, or it is not such an address.
        WorkFailedError: nobody answers at the address, or the work failed there.
    """
    # Before Ray is imported: it reports nothing to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from ray.data import DataContext
    except ImportError as error:
        raise WrongUseError(
            f'{error}; `engine=ray` needs the extra: pip install "dusha-ser[ray]"'
        ) from error

    if address and address != "auto":
        check_address(address)
    level = logging.ERROR if quiet else logging.WARNING
    logging.getLogger("ray").setLevel(level)
    workers: dict[str, Any] = {"env_vars": worker_variables()}
    options: dict[str, Any] = {"include_dashboard": False}
    if address:
        options = {"address": address}
        # Paths of a command line lie where it was given, not where a machine's Ray was started.
        workers["worker_process_setup_hook"] = same_folder()
    try:
        ray.init(log_to_driver=False, logging_level=level, runtime_env=workers, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise WorkFailedError(
            f"no cluster of Ray at {address or 'this machine'}: {first_line(error)}; `ray start "
            "--head` starts one"
        ) from error
    try:
        # Data's own messages begin when its context is first asked for.
        DataContext.get_current()
        logging.getLogger("ray.data").setLevel(level)
        found = ray.cluster_resources()
        yield Processors(int(found.get("CPU", 0)), int(found.get("GPU", 0)))
    except ray.exceptions.RayError as error:
        cause = first_cause(error)
        if isinstance(cause, WrongUseError | WorkFailedError):
            raise type(cause)(str(cause)) from error
        raise WorkFailedError(
            f"the cluster of Ray failed: {first_line(cause)}; the same command resumes"
        ) from error
    finally:
        ray.shutdown()


def worker_variables() -> dict[str, str]:
    """Return the environment variables of processes that work, which keep their memory bounded.

    Examples:
        >>> worker_variables()
        {'ONEDNN_PRIMITIVE_CACHE_CAPACITY': '64'}
    """
    return {name: os.environ.get(name, value) for name, value in PREPARED_SHAPES.items()}


def same_folder() -> Callable[[], None]:
    """Return what lets a process of another machine work in the folder that is this one's now."""
    folder = Path.cwd()

    def enter() -> None:
        # Without a common disk there are URLs alone.
        with contextlib.suppress(OSError):
            os.chdir(folder)

    return enter


def check_address(address: str) -> None:
    """Raise an error unless somebody listens at an address.

    Raises:
        WrongUseError: it is not HOST:PORT.
        WorkFailedError: nobody listens.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise WrongUseError(
            f"`address` is {address!r}; give HOST:PORT of the cluster's head, such as "
            "10.0.0.1:6379, or auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), WAIT_FOR_ADDRESS).close()
    except (OSError, OverflowError) as error:
        raise WorkFailedError(
            f"no cluster of Ray at {address}: {first_line(error)}; `ray start --head` starts one "
            "and prints its address"
        ) from error


@contextlib.contextmanager
def resumable(id_column: str, output: str, quiet: bool = False) -> Iterator[None]:
    """Let jobs of Ray Data leave out the rows that an earlier run wrote.

    Args:
        id_column: column that rows have from reading to writing.
        output: folder or URL that gets the rows.
        quiet: no progress bars.
    """
    from ray.data import DataContext
    from ray.data.checkpoint import CheckpointConfig

    context = DataContext.get_current().copy()
    # A shard is one block from reading to writing: batches of it are the same wherever and whenever
    # it is done, and all rows of a recording are written together.
    context.target_max_block_size = None
    context.checkpoint_config = CheckpointConfig(
        id_column, f"{output.rstrip('/')}/{CHECKPOINT}", delete_checkpoint_on_success=False
    )
    context.actor_init_retry_on_errors = True
    context.max_consecutive_actor_init_deaths = RETRIES
    context.enable_progress_bars = not quiet
    context.print_on_execution_start = False
    with DataContext.current(context):
        yield
