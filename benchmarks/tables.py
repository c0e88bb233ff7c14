"""Small tables that pages show beside that of the claims: machine, limits, growth, options."""

import statistics
from collections.abc import Iterable
from typing import Any

KINDS_OF_GROWTH = {
    "answers to labels": ("growth", "answers to labels", "the disk's speed of reading"),
    "an iteration of Dawid-Skene": (
        *("growth", "an iteration of Dawid-Skene", "copying memory twice"),
    ),
    "a training step, by frames": ("growth", "training step", "the peak of multiply-adds"),
    "files to labels": ("files_to_labels", None, None),
    "log-Mel features": ("log_mel", None, None),
    "training data": ("training_data", None, None),
    "archive to a dataset folder": ("prepare_archive", None, None),
    "a long recording": ("long_recording", None, None),
}


def follow(found: Any, keys: Iterable[str]) -> Any:
    """Look up what some keys lead to; None where there is nothing.

    Examples:
        >>> follow({"a": {"b": 2.0}}, ("a", "b")), follow({"a": 1.0}, ("b",))
        (2.0, None)
    """
    for key in keys:
        if not isinstance(found, dict) or key not in found:
            return None
        found = found[key]
    return found


def text(value: float | None, form: str, unit: str = "", scale: float = 1.0) -> str | None:
    """A number in some form with its unit; None if it was not measured.

    Examples:
        >>> text(1.5e9, ".1f", " GB/s", 1e9), text(None, ".1f")
        ('1.5 GB/s', None)
    """
    return None if value is None else f"{value / scale:{form}}{unit}"


def machine(found: dict[str, dict]) -> dict:
    """What all was measured on, in which sitting."""
    first = next(iter(found.values()), {})
    about = first.get("machine", {})
    used = about.get("versions", {})
    minutes = round(sum(one["minutes"] for one in found.values()))
    rows = [
        ["sitting", first.get("sitting")],
        ["measured", f"{minutes} minutes, {len(found)} programs" if found else None],
        ["processor", f"{about['model']}, {about['processors']} cores" if about else None],
        ["instructions", ", ".join(about.get("instructions", [])) or None],
        ["versions", ", ".join(f"{name} {version}" for name, version in used.items()) or None],
    ]
    return {"columns": ["what", "value"], "rows": rows}


def limits(found: dict[str, dict]) -> dict:
    """What this machine can do at most."""
    own = found.get("limits", {})
    rows = [
        [
            "multiply-adds of one core, single precision",
            text(own.get("multiply_adds_a_second"), ".0f", " G/s", 1e9),
        ],
        [
            "multiply-adds of one core, 8 bits",
            text(own.get("8_bit_multiply_adds_a_second"), ".0f", " G/s", 1e9),
        ],
        ["memory copied", text(own.get("copied_bytes_a_second"), ".1f", " GB/s", 1e9)],
        ["disk read", text(follow(own, ("disk_bytes_a_second", "read")), ".2f", " GB/s", 1e9)],
        [
            "disk written",
            text(follow(own, ("disk_bytes_a_second", "written")), ".2f", " GB/s", 1e9),
        ],
        [
            "the network's multiply-adds for 3 s of speech",
            text(follow(own, ("network_multiply_adds", "300")), ".0f", " M", 1e6),
        ],
    ]
    return {"columns": ["limit", "measured"], "rows": rows}


def growth(found: dict[str, dict]) -> dict:
    """How cost grows with work, and where the time goes."""
    rows = []
    for name, (program, key, of) in KINDS_OF_GROWTH.items():
        own = follow(found, (program, key) if key else (program,)) or {}
        share = text(follow(own, ("limit", "share_reached")), ".0%") if of else None
        most = list(own.get("profile", {}).items())[:3]
        spent = ", ".join(f"`{part}` {part_share:.0%}" for part, part_share in most)
        exponent = text(follow(own, ("growth", "exponent")), ".2f")
        rows.append([name, exponent, f"{share} of {of}" if share else None, spent or None])
    return {"columns": ["what", "exponent", "share of the limit", "most of the time"], "rows": rows}


def options(found: dict[str, dict]) -> dict:
    """What options of training cost or save."""
    pairs = follow(found, ("training_options", "pairs")) or {}
    rows = [
        [
            f"`{name}`",
            f"{pair['times_as_fast']:.2f}",
            f"{pair['low']:.2f} to {pair['high']:.2f}" if pair["low"] is not None else None,
        ]
        for name, pair in pairs.items()
    ]
    columns = ["option", "times as fast as the defaults", "95 % interval"]
    return {"columns": columns, "rows": rows or [["not measured", None, None]]}


def median(found: dict[str, dict], *keys: str) -> float | None:
    """The median of the rounds that some keys lead to."""
    row = follow(found, keys)
    return statistics.median(row) if row else None


def costs(found: dict[str, dict]) -> dict:
    """How long the steps take at the size of Dusha, by the rule of three."""
    files = follow(found, ("files_to_labels", "audio_seconds"))
    clips = follow(found, ("log_mel", "audio_seconds"))
    gigabytes = follow(found, ("prepare_archive", "gigabytes"))
    batch = [follow(found, ("training_step", key)) for key in ("batch_size", "frames")]
    of_batch = batch[0] * batch[1] / 100 if None not in batch else None
    step = median(found, "training_step", "times", "random", "seconds", "ours")
    features = median(found, "log_mel", "measured", "from wav files", "seconds", "ours")
    predicting = median(found, "files_to_labels", "seconds", "ours")
    # What is to be done, how many units of it, seconds for some units, and that number of units.
    steps = [
        ("answers to labels", 1, median(found, "answers_to_labels", "seconds", "ours"), 1),
        (
            "crowd as a folder, 28 GB",
            28,
            median(found, "prepare_archive", "seconds", "ours, 1 process"),
            gigabytes,
        ),
        ("features of crowd, 207 h", 207 * 3600, features, clips),
        ("an epoch of crowd_large, 189 h", 189 * 3600, step, of_batch),
        ("an epoch of dusha_large, 260 h", 260 * 3600, step, of_batch),
        ("100 epochs of crowd_large", 100 * 189 * 3600, step, of_batch),
        ("predicting the crowd test set, 18.5 h", 18.5 * 3600, predicting, files),
    ]
    rows = [
        [name, span(units * seconds / each) if seconds and each else None]
        for name, units, seconds, each in steps
    ]
    return {"columns": ["step", "time"], "rows": rows}


def span(seconds: float) -> str:
    """A time as people say it.

    Examples:
        >>> span(40), span(5400), span(600000)
        ('40 s', '1.5 hours', '6.9 days')
    """
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"


def memory(found: dict[str, dict]) -> dict:
    """The most memory that some jobs took."""
    of_answers = follow(found, ("answers_to_labels", "peak_memory", "ours"))
    recordings = follow(found, ("long_recording", "peak_memory")) or {}
    rows = [["answers to labels", text(of_answers, ".2f", " GB", 1e9)]]
    rows += [
        [f"a recording of {float(minutes):.0f} minutes", text(used, ".2f", " GB", 1e9)]
        for minutes, used in recordings.items()
    ]
    return {"columns": ["job", "memory"], "rows": rows}


TABLES = {
    "machine": machine,
    "limits": limits,
    "growth": growth,
    "options": options,
    "costs": costs,
    "memory": memory,
}
