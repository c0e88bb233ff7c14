"""What is claimed about speed: against whom, how much is asked, and what was found."""

import json
from dataclasses import dataclass

from benchmarks.measuring import RESULTS

TABLE = RESULTS.parent / "results.json"
COLUMNS = ("what", "peer", "asked", "by the clock", "in processor time", "reached")


@dataclass(frozen=True)
class Claim:
    """What a program is to show.

    Attributes:
        program: that measures it.
        what: is measured.
        peer: that it is measured against.
        asked: how many times as fast it is to be, at least.
        by_clock: keys that lead to what was found by the clock.
        in_processor_time: keys that lead to what was found in processor time; empty: not measured.
    """

    program: str
    what: str
    peer: str
    asked: float
    by_clock: tuple[str, ...]
    in_processor_time: tuple[str, ...] = ()

    def row(self) -> list:
        """Return the claim's row of the table; without a measurement its numbers are None."""
        path = RESULTS / f"{self.program}.json"
        found = json.loads(path.read_text()) if path.is_file() else None
        values = [
            follow(found, keys) if found and keys else None
            for keys in (self.by_clock, self.in_processor_time)
        ]
        known = [value for value in values if value is not None]
        # On a machine that others use the clock counts waiting; either has to do where both are.
        reached = "not measured" if not known else "yes" if max(known) >= self.asked else "no"
        shown = [None if value is None else f"{value:.2f}" for value in values]
        return [self.what, self.peer, f"{self.asked:g}", *shown, reached]


TIMES, CLOCK = "times_as_fast", "times_as_fast_by_the_clock"
CLAIMS = (
    Claim(
        "answers_to_labels",
        "answers to labels, 1.7 M answers",
        "json, pandas, crowd-kit",
        15,
        (TIMES,),
        ("times_as_little_processor_time",),
    ),
    Claim("dawid_skene", "Dawid-Skene alone", "crowd-kit", 20, (TIMES,)),
    *(
        Claim(
            "prepare_archive",
            f"archive to a dataset {kind}, 2 GB",
            "tar -x",
            0.5,
            ("times_as_fast_as_tar", f"{kind}, 2 processes"),
        )
        for kind in ("folder", "cache")
    ),
    Claim(
        "log_mel",
        "log-Mel features from wav files",
        "librosa, warm",
        3,
        (CLOCK, "ours, one by one"),
        (TIMES, "ours, one by one"),
    ),
    Claim(
        "log_mel",
        "log-Mel features, both with two threads",
        "librosa, warm",
        3,
        ("all_processors", CLOCK, "ours, one by one"),
    ),
    Claim(
        "files_to_labels",
        "files to labels, 673 clips",
        "librosa + plain network",
        5,
        (CLOCK, "ONNX Runtime"),
        (TIMES, "ONNX Runtime"),
    ),
    Claim(
        "files_to_labels",
        "files to labels, two processes",
        "librosa + plain network, two threads (the default)",
        5,
        ("all_processors", CLOCK, "2 processes"),
    ),
    Claim(
        "files_to_labels",
        "files to labels, two processes",
        "librosa + plain network, one thread",
        5,
        ("all_processors", "times_as_fast_as_one_thread", "2 processes"),
    ),
    Claim(
        "files_to_labels",
        "files to labels, int8",
        "librosa + plain network",
        5,
        (CLOCK, "ONNX Runtime, int8"),
        (TIMES, "ONNX Runtime, int8"),
    ),
    *(
        Claim(
            "files_to_labels",
            f"files to labels{kind}, silence cut off",
            "librosa + plain network",
            5,
            (CLOCK, f"ONNX Runtime{kind}, silence cut off"),
            (TIMES, f"ONNX Runtime{kind}, silence cut off"),
        )
        for kind in ("", ", int8")
    ),
    Claim(
        "first_answer",
        "first answer after start",
        "torch + librosa + plain network",
        1,
        (CLOCK, "ours"),
        (TIMES, "ours"),
    ),
    Claim(
        "first_answer",
        "first answer after start, .onnx",
        "torch + librosa + plain network",
        1,
        (CLOCK, "ours, .onnx"),
        (TIMES, "ours, .onnx"),
    ),
    Claim(
        "training_step",
        "training step, 64 clips of 300 frames",
        "plain PyTorch, contiguous",
        2,
        ("variants", "ours", CLOCK),
        ("variants", "ours", TIMES),
    ),
    *(
        Claim(
            "training_data",
            f"training data, {start} start",
            "np.load, one worker",
            5,
            (TIMES, start, "ours"),
            ("times_as_little_processor_time", start, "ours"),
        )
        for start in ("cold", "warm")
    ),
    *(
        Claim(
            "long_recording",
            f"a recording of one hour{kind}",
            "librosa + plain network, windows one by one",
            5,
            (CLOCK, f"ours, ONNX Runtime{kind}"),
            (TIMES, f"ours, ONNX Runtime{kind}"),
        )
        for kind in ("", ", int8")
    ),
)


def follow(found: dict, keys: tuple[str, ...]) -> float | None:
    """Look up a number by the keys that lead to it; None where there is none.

    Examples:
        >>> follow({"a": {"b": 2.0}}, ("a", "b")), follow({"a": 1.0}, ("b",))
        (2.0, None)
    """
    for key in keys:
        if not isinstance(found, dict) or key not in found:
            return None
        found = found[key]
    return found


def collect() -> list[list]:
    """Write the table of all claims from the results that are there; returns its rows."""
    rows = [claim.row() for claim in CLAIMS]
    content = {"command": "python -m benchmarks", "columns": COLUMNS, "rows": rows}
    TABLE.write_text(json.dumps(content, indent=1) + "\n")
    return rows
