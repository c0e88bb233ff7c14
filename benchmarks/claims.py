"""What is claimed about speed: against whom, how much is asked, and what was found."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import FEWEST_ROUNDS, RESULTS
from benchmarks.tables import follow

COLUMNS = (
    *("what", "peer, as its experts run it", "goal", "times as fast", "95 % interval", "reached"),
    *("peer, as people run it", "times as fast", "limit"),
)
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Claim:
    """What a program is to show.

    Attributes:
        program: that measures it.
        what: is measured.
        keys: that lead to what was found: a pair of `measuring.compare`, or a number.
        asked: how many times as fast it is to be, at least; None: nothing is asked.
        usual: name of the pair whose peer is used as most people do.
        at_most: whether the number may be `asked` at most.
        form: of the number and of what is asked.
        limit: keys that lead to the most that this machine allows.
        reason: for that limit, or for falling short.
    """

    program: str
    what: str
    keys: tuple[str, ...]
    asked: float | None = None
    usual: str | None = None
    at_most: bool = False
    form: str = ".2f"
    limit: tuple[str, ...] = ()
    reason: str = ""

    def row(self, found: dict | None) -> list:
        """Return the claim's row of the table.

        Args:
            found: the program's results; None where there are none of this sitting.

        Returns:
            The cells; without a measurement its numbers are None.
        """
        problem, measured = why_not_measured(found), self.measured(found)
        if measured is None:
            return [self.what, None, self.goal(), None, None, problem or NOT_MEASURED, *3 * [None]]
        if not isinstance(measured, dict):
            cells = [None, self.goal(), format(measured, self.form), None]
            return [self.what, *cells, self.reached(measured), None, None, self.reason or None]
        usual = follow(found, ("pairs", self.usual)) if self.usual else None
        reached = self.reached(measured["low"])
        if measured["rounds"] < FEWEST_ROUNDS:
            reached = f"too few rounds: {measured['rounds']}"
        interval = None
        if measured["low"] is not None:
            interval = f"{measured['low']:{self.form}} to {measured['high']:{self.form}}"
        return [
            *(self.what, measured["peer"], self.goal()),
            *(format(measured["times_as_fast"], self.form), interval, reached),
            *((usual["peer"], f"{usual['times_as_fast']:.2f}") if usual else (None, None)),
            self.limits(found) if reached == "no" else None,
        ]

    def measured(self, found: dict | None) -> Any:
        """The pair or the number that results hold; None where they do not count."""
        return None if why_not_measured(found) else follow(found, self.keys)

    def goal(self) -> str | None:
        """What is asked, as the table shows it."""
        if self.asked is None:
            return None
        return f"{'at most' if self.at_most else 'at least'} {self.asked:g}"

    def reached(self, value: float | None) -> str | None:
        """Whether a number, of a pair the lower end of its interval, is what is asked for."""
        if self.asked is None:
            return None
        if value is None:
            return "no"
        return "yes" if (value <= self.asked if self.at_most else value >= self.asked) else "no"

    def limits(self, found: Any) -> str | None:
        """What stands in the way, with the most that this machine allows if it was measured."""
        most = follow(found, self.limit) if self.limit else None
        parts = [*([f"at most {most:.1f}"] if most is not None else []), self.reason]
        return ": ".join(part for part in parts if part) or None


CLAIMS = (
    Claim(
        "answers_to_labels",
        "answers to labels, 1.7 M answers",
        ("pairs", "answers to labels"),
        15,
        usual="answers to labels, as people do",
        reason="rows of JSON are read and checked one by one",
    ),
    Claim(
        "answers_to_labels",
        "its memory, as a share",
        ("share_of_memory",),
        0.2,
        at_most=True,
        reason="the libraries' own memory, and columns of text",
    ),
    Claim("dawid_skene", "Dawid-Skene alone", ("pairs", "Dawid-Skene"), 20),
    Claim(
        "prepare_archive",
        "archive to a dataset folder, 2 GB, one process",
        ("pairs", "folder"),
        1,
        usual="folder, AudioFolder",
        reason="the disk",
    ),
    *(
        Claim(
            "download",
            f"an archive of 1 GB, fetched {kind} and checked",
            ("pairs", kind),
            usual=f"{kind}, as people do",
        )
        for kind in ("whole", "from the middle")
    ),
    *(
        Claim(
            "log_mel",
            f"log-Mel features {source}",
            ("pairs", source),
            1.5,
            usual=f"{source}, as people do",
            reason="the transform is a library's on both sides",
        )
        for source in ("of samples in memory", "from wav files")
    ),
    Claim(
        "log_mel",
        "largest change of a logit by these features",
        ("largest_difference_of_logits",),
        1e-3,
        at_most=True,
        form=".1e",
    ),
    Claim(
        "files_to_labels",
        "files to labels, one thread",
        ("pairs", "float"),
        3,
        usual="float, as people do",
        limit=("limit", "most_times_as_fast"),
        reason="the network's multiply-adds at the processor's peak",
    ),
    Claim(
        "files_to_labels",
        "its share of the processor's peak of multiply-adds",
        ("pairs", "share of the peak"),
        0.8,
        reason="convolutions over few channels are bound by memory",
    ),
    Claim(
        "files_to_labels",
        "files to labels, int8",
        ("pairs", "int8"),
        5,
        reason="features and the first two convolutions stay in float",
    ),
    Claim(
        "int8_loss",
        "points of balanced accuracy that int8 loses",
        ("points_of_balanced_accuracy_lost",),
        0.5,
        at_most=True,
    ),
    *(
        Claim("files_to_labels", f"files to labels {pair}", ("pairs", pair))
        for pair in ("beside ONNX Runtime", "beside a pipeline", "by two processes")
    ),
    *(
        Claim(
            "first_answer",
            f"first answer after start{kind}",
            ("pairs", f"ours{kind}"),
            1.3,
            usual=f"ours{kind}, as people do",
            reason=reason,
        )
        for kind, reason in (
            ("", "imports of PyTorch and Transformers"),
            (", .onnx", "imports of the libraries"),
        )
    ),
    *(
        Claim(
            "training_step",
            f"training step from {weights} weights, {peer}",
            ("pairs", f"{weights}, {peer}"),
            asked,
            usual=f"{weights}, {peer}, as people do" if peer == "plain loop" else None,
            limit=("limit", "most_times_as_fast", f"{weights}, {peer}"),
            reason="three times the forward pass's multiply-adds at the processor's peak",
        )
        for weights in ("random", "released")
        for peer, asked in (("plain loop", 2), ("stock Trainer", 1.5))
    ),
    *(
        Claim("training_data", f"training data, {kind}", ("pairs", kind))
        for kind in ("warm, no worker", "cold, no worker")
    ),
    Claim(
        "training_data",
        "training data, warm, one worker",
        ("pairs", "warm, one worker"),
        usual="warm, as people do",
    ),
    *(
        Claim(
            "long_recording",
            f"a recording of one hour{kind}",
            ("pairs", f"hour{kind}"),
            asked,
            usual=f"hour{kind}, as people do",
            reason="the network is the same for each window",
        )
        for kind, asked in (("", 4), (", int8", None))
    ),
    Claim(
        "long_recording",
        "memory for an hour beside that for six minutes",
        ("times_the_memory",),
        1.1,
        at_most=True,
    ),
)


def why_not_measured(found: dict | None) -> str | None:
    """Say why results do not count; None: they do."""
    if found is None:
        return NOT_MEASURED
    return "machine was busy" if found.get("beside_other_programs") else None


def read_sitting(folder: Path = RESULTS) -> tuple[str | None, dict[str, dict]]:
    """Read the results of the last sitting.

    Args:
        folder: of the programs' files.

    Returns:
        When the sitting began, None where there was none; and the results of the programs that it
        measured, by their names.
    """
    contents = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    dated = {name: one for name, one in contents.items() if one.get("sitting")}
    if not dated:
        return None, {}
    last = max(one["sitting"] for one in dated.values())
    return last, {name: one for name, one in dated.items() if one["sitting"] == last}


def collect(folder: Path = RESULTS) -> list[list]:
    """Write all tables from the results of the last sitting, beside their folder.

    Args:
        folder: of the programs' files; the tables' file has its name and ends with .json.

    Returns:
        The rows of the claims.
    """
    began, found = read_sitting(folder)
    rows = [claim.row(found.get(claim.program)) for claim in CLAIMS]
    content = {
        "command": "python -m benchmarks",
        "sitting": began,
        "columns": COLUMNS,
        "rows": rows,
        "found": {claim.what: claim.measured(found.get(claim.program)) for claim in CLAIMS},
        **{name: make(found) for name, make in tables.TABLES.items()},
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    folder.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    return rows
