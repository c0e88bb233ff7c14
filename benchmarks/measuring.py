"""How all benchmarks measure: variants in turn within one run, ratios of the same round.

The clock decides, on a machine where nothing else runs: a program refuses to start beside others.
The processor time of this process and of its ended children is kept beside it. A ratio is the
median over the rounds, with the interval of that median. PyTorch and SciPy are imported where they
are used: programs whose memory is measured import this module, too.
"""

import argparse
import contextlib
import functools
import json
import os
import resource
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.machine import MOST_LOAD, check_idle, describe

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
# Fewer give no interval that would hold the median in 95 of 100 cases.
FEWEST_ROUNDS = 7
# A ratio may fall by a fifth.
LEAST_SHARE = 0.8
CONFIDENCE = 0.95
CLOCK = "wall"
# `python -m benchmarks` names its sitting here, so that no table mixes two.
SITTING = "DUSHA_BENCHMARKS_SITTING"


@contextlib.contextmanager
def processors(count: int) -> Iterator[None]:
    """Let PyTorch and NumPy's libraries use so many threads.

    Threads of the one that wait a while for more work take processor time from the other.

    Args:
        count: of threads.
    """
    import torch

    before = torch.get_num_threads()
    with threadpool_limits(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def processor_seconds() -> float:
    """Processor time of this process and of its children that have ended, in seconds."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def measure_in_turn(
    variants: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: bool = True,
    before: Callable[[], object] = lambda: None,
) -> dict[str, dict[str, list[float]]]:
    """Measure several ways of doing the same work.

    Args:
        variants: name and work.
        rounds: how often each is measured; the order is A B C A B C ..., so that a machine whose
            speed drifts slows all of them alike.
        warm_up: whether each is run once before anything is measured.
        before: what is done before each run, unmeasured, such as to forget files.

    Returns:
        seconds (by the clock) and processor_seconds, for each variant the values of its rounds.
    """
    if warm_up:
        for work in variants.values():
            before()
            work()
    times: dict[str, list[float]] = {name: [] for name in variants}
    used: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, work in variants.items():
            before()
            started, began = time.perf_counter(), processor_seconds()
            work()
            used[name].append(round(processor_seconds() - began, 6))
            times[name].append(round(time.perf_counter() - started, 6))
    return {"seconds": times, "processor_seconds": used}


def paired_ratio(peer: Sequence[float], ours: Sequence[float]) -> dict[str, float | int | None]:
    """Say how many times as fast as the peer ours is, and how sure that is.

    Args:
        peer: seconds of its rounds.
        ours: seconds of the rounds that took turns with them.

    Returns:
        times_as_fast, the median of the rounds' ratios; low and high, the order statistics that
        hold the median of many more rounds in 95 of 100 cases, whatever the ratios' distribution
        (None where the rounds are too few for that); and rounds.

    Examples:
        >>> paired_ratio([4, 4, 4, 6, 4, 4, 9], [2, 2, 1, 2, 2, 2, 3])
        {'times_as_fast': 2.0, 'low': 2.0, 'high': 4.0, 'rounds': 7}
        >>> paired_ratio([4], [2])
        {'times_as_fast': 2.0, 'low': None, 'high': None, 'rounds': 1}
    """
    from scipy.stats import quantile_test

    ratios = np.divide(peer, ours)
    interval: Any = quantile_test(ratios, p=0.5).confidence_interval(CONFIDENCE)
    low, high = (None if np.isnan(end) else float(end) for end in interval)
    return {
        "times_as_fast": float(np.median(ratios)),
        "low": low,
        "high": high,
        "rounds": len(ratios),
    }


def has_fallen(
    measure: Callable[[int], Mapping], committed: float, rounds: int = FEWEST_ROUNDS
) -> Mapping | None:
    """Say whether a ratio has fallen by more than a fifth.

    Args:
        measure: takes a number of rounds and returns what `paired_ratio` says of them.
        committed: the ratio as it was.
        rounds: of the first try; the second one has twice as many.

    Returns:
        The second try's ratio, if the upper ends of both intervals lie below four fifths of the
        committed one; None if the ratio holds.
    """
    for tried in (rounds, 2 * rounds):
        found = measure(tried)
        if found["high"] >= LEAST_SHARE * committed:
            return None
    return found


def compare(
    times: Mapping[str, Mapping[str, Sequence[float]]], pairs: Mapping[str, tuple[str, str]]
) -> dict[str, dict]:
    """Compare variants that were measured in turn.

    Args:
        times: what `measure_in_turn` returned.
        pairs: peer and ours by the name of the pair.

    Returns:
        For each pair its variants, the clock that decides, `paired_ratio` of it, and the ratio of
        processor times alone.
    """
    seconds, used = times["seconds"], times["processor_seconds"]
    return {
        name: {
            "peer": peer,
            "ours": ours,
            "clock": CLOCK,
            **paired_ratio(seconds[peer], seconds[ours]),
            "in_processor_time": paired_ratio(used[peer], used[ours])["times_as_fast"]
            if min(used[ours]) > 0
            else None,
        }
        for name, (peer, ours) in pairs.items()
    }


def print_pairs(pairs: Mapping[str, Mapping]) -> None:
    """Print what `compare` found, one line per pair."""
    for name, one in pairs.items():
        interval = f" [{one['low']:.2f}, {one['high']:.2f}]" if one["low"] is not None else ""
        print(
            f"{name}: {one['ours']} {one['times_as_fast']:.2f}{interval} times as fast as "
            f"{one['peer']}, {one['rounds']} rounds"
        )


def run_quietly(command: Sequence[object], threads: int = 1) -> str:
    """Run a program of one side to its end, from the repository's folder.

    Args:
        command: its words.
        threads: that its libraries may use.

    Returns:
        What it printed.
    """
    words = [str(word) for word in command]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        words, check=True, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env=environment
    )
    return done.stdout


def programs_in_turn(commands: Mapping[str, Sequence[object]], rounds: int) -> dict:
    """Measure whole programs from start to end, as `measure_in_turn` does."""
    work = {name: functools.partial(run_quietly, command) for name, command in commands.items()}
    return measure_in_turn(work, rounds)


def slope(sizes: Mapping[int, float] | Mapping[float, float]) -> dict[str, float]:
    """Say how cost grows with work.

    Args:
        sizes: seconds by the amount of work.

    Returns:
        exponent (1 where cost is linear, from a line through the logarithms) and seconds_each
        (seconds for one more unit, from a line through the values).

    Examples:
        >>> slope({10: 1.0, 20: 2.0, 40: 4.0})
        {'exponent': 1.0, 'seconds_each': 0.1}
    """
    amounts, seconds = np.array(list(sizes)), np.array(list(sizes.values()))
    return {
        "exponent": round(float(np.polyfit(np.log(amounts), np.log(seconds), 1)[0]), 6),
        "seconds_each": round(float(np.polyfit(amounts, seconds, 1)[0]), 9),
    }


def measuring_options(
    description: str, example: str, rounds: int = FEWEST_ROUNDS
) -> argparse.ArgumentParser:
    """Describe the options that all programs of the table have.

    Args:
        description: of the program, one line.
        example: of its command line.
        rounds: how often each variant is measured by default.

    Returns:
        The parser, for more options.
    """
    parser = argparse.ArgumentParser(description=description, epilog=f"example: {example}")
    parser.add_argument(
        "--rounds", type=int, default=rounds, help=f"times each variant is measured ({rounds})"
    )
    parser.add_argument(
        "--allow_load",
        action="store_true",
        help="measure beside other programs, too; the table then counts it as not measured",
    )
    parser.add_argument(
        "--results_dir", type=Path, default=RESULTS, help="where to write (benchmarks/results)"
    )
    return parser


def command_line(name: str, chosen: argparse.Namespace) -> str:
    """Write out a program's command line with all its options, without this machine's paths.

    Args:
        name: of the program.
        chosen: its options.

    Returns:
        The command; of a path the last part alone.

    Examples:
        >>> command_line("x", argparse.Namespace(rounds=7, clips=Path("/data/a"), limit=None))
        'python -m benchmarks.x --clips a --rounds 7'
    """
    words = ["python", "-m", f"benchmarks.{name}"]
    for option, value in sorted(vars(chosen).items()):
        if value is None or value is False or option == "results_dir":
            continue
        values = value if isinstance(value, (list, tuple)) else [value]
        words += [f"--{option}", *(shown(one) for one in values if one is not True)]
    return shlex.join(words)


def shown(value: object) -> str:
    """A value of an option as results show it."""
    path = Path(str(value))
    return path.name if path.is_absolute() or ".." in path.parts else str(value)


class Measurement:
    """One run of a program of the table: begins on an idle machine, and ends with a file.

    Args:
        name: of the program; its file is benchmarks/results/NAME.json.
        chosen: its options, those of `measuring_options` among them.

    Raises:
        WorkFailedError: if the machine is not idle and `allow_load` is not set.
    """

    def __init__(self, name: str, chosen: argparse.Namespace):
        self.name = name
        self.chosen = chosen
        self.load = check_idle(chosen.allow_load)
        self.began = time.time()

    def write(self, results: dict) -> Path:
        """Write what was found, and what it was found on; returns the file."""
        chosen = self.chosen
        content = {
            "command_line": command_line(self.name, chosen),
            "sitting": os.environ.get(SITTING),
            "busy_processors_before": self.load,
            "beside_other_programs": self.load > MOST_LOAD,
            "minutes": round((time.time() - self.began) / 60, 2),
            **results,
        }
        return write_results(self.name, content, folder=chosen.results_dir)


def write_results(
    name: str, results: dict, arguments: Sequence[str] = (), folder: Path | None = None
) -> Path:
    """Write a benchmark's results and what it ran on.

    Args:
        name: of the benchmark; the file is benchmarks/results/NAME.json.
        results: what was measured; must be JSON.
        arguments: of the command line, if it had any.
        folder: where to; None: RESULTS.

    Returns:
        The file.
    """
    folder = folder or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    # Programs that wanted a processor in the last minute; ours alone count as one to two.
    machine = {**describe(), "load": os.getloadavg()[0]}
    command = f"python -m benchmarks.{name}" if arguments else f"python -m benchmarks {name}"
    command = shlex.join([*command.split(), *arguments])
    content = {"command": command, "machine": machine, **results}
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
