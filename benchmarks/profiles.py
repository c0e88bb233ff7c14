"""Where the time of a piece of work goes, operator by operator."""

import cProfile
import json
import pstats
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def torch_profile(work: Callable[[], object], rows: int = 8) -> dict[str, float]:
    """Profile work in PyTorch.

    Args:
        work: to run once.
        rows: operators to name.

    Returns:
        The share of the processor time that each of the most expensive operators took itself.
    """
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work()
    spent = Counter({one.key: one.self_cpu_time_total for one in profile.key_averages()})
    return largest_shares(spent, rows)


def python_profile(work: Callable[[], object], rows: int = 8) -> dict[str, float]:
    """Profile work in Python, with what it calls in C.

    Args:
        work: to run once.
        rows: functions to name.

    Returns:
        The share of the time that each of the most expensive functions took itself.

    Examples:
        >>> list(python_profile(lambda: sorted(range(10**6)), 1))
        ['<built-in method builtins.sorted>']
    """
    profile = cProfile.Profile()
    profile.runcall(work)
    told: Any = pstats.Stats(profile)
    spent: Counter = Counter()
    for (file, _, function), (_, _, own, _, _) in told.stats.items():
        spent[function if file == "~" else f"{Path(file).stem}.{function}"] += own
    return largest_shares(spent, rows)


def onnx_profile(path, work: Callable, rows: int = 8) -> dict[str, float]:
    """Profile work in ONNX Runtime.

    Args:
        path: of the model.
        work: called with a session that keeps a profile.
        rows: operators to name.

    Returns:
        The share of the time of all operators that each of the most expensive took.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = 1, True
    options.profile_file_prefix = f"{path}.profile"
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    work(session)
    spent: Counter = Counter()
    with open(session.end_profiling(), encoding="utf-8") as file:  # noqa: PTH123 - a name
        for event in json.load(file):
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                spent[event["args"]["op_name"]] += event["dur"]
    return largest_shares(spent, rows)


def largest_shares(spent: Counter, rows: int) -> dict[str, float]:
    """Turn amounts into shares of their sum, the largest ones first.

    Examples:
        >>> largest_shares(Counter(a=1, b=3, c=0), 2)
        {'b': 0.75, 'a': 0.25}
    """
    total = sum(spent.values())
    return {name: round(amount / total, 4) for name, amount in spent.most_common(rows)}
