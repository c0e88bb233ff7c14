"""What can be asked of the corpus, the same in Python and on the command line."""

from dataclasses import dataclass, fields
from pathlib import Path

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.options import TableOptions, bad_rows, option, split_list
from dusha_ser.vocabulary import (
    ANSWERS,
    BAD_ROWS,
    ITERATIONS,
    METHODS,
    OTHER,
    PARTS,
    THRESHOLD,
    TOLERANCE,
    check_labels,
    check_stop,
    check_threshold,
)


@dataclass
class SourceOptions:
    """Where the corpus comes from, and how it is worked on."""

    data_dir: str | None = option(
        "folder of archives that you fetched yourself, of their unpacked files, or of any mix "
        "(default: fetch them)",
        None,
    )
    base_url: tuple[str, ...] = option(
        "addresses, http(s) or file, to fetch the archives from, tried in order (default: where "
        "they were published)",
        (),
        type=split_list,
    )
    cache_dir: str | None = option(
        "folder for fetched archives, prepared data and features (default: in the Hugging Face "
        "cache)",
        None,
    )
    num_proc: int | None = option("number of processes that prepare data (default: one)", None)

    def check(self) -> None:
        """Raise a WrongUseError where the archives or processes that it names cannot be."""
        self.base_url = split_list(self.base_url)
        check_num_proc(self.num_proc)
        if self.data_dir is not None and not Path(self.data_dir).exists():
            raise MissingInputError(
                f"no file or folder {self.data_dir}; name an archive or a folder that holds "
                "archives or their unpacked files"
            )


@dataclass
class LabelOptions:
    """How the crowd's answers become labels."""

    method: str = option("how answers become labels", "dawid_skene", choices=METHODS)
    threshold: float = option(
        "keep clips whose most probable label has at least this probability", THRESHOLD
    )
    golden: bool = option("take the known answers of control tasks for their true labels", False)
    keep_unsure: bool = option(
        f"keep training clips below the threshold or labelled `{OTHER}`, with the most probable of "
        "the other labels; for losses that know the crowd's doubt",
        False,
    )


@dataclass
class OwnAnswerOptions(TableOptions):
    """Where answers to one's own recordings stand, one row per answer."""

    answers_file: str | None = option(
        "a crowd's answers to the training clips, a table with the columns "
        "path,annotator,answer (an id for a path will do): for --loss soft and --loss answers",
        None,
        rare=True,
    )
    annotator_column: str = option(
        "column of --answers_file that holds who answered", "annotator", rare=True
    )
    answer_column: str = option(
        "column of --answers_file that holds the answer", "answer", rare=True
    )


@dataclass
class CorpusOptions(LabelOptions):
    """How labels are made and what is kept; one field per option, with its help sentence."""

    iterations: int = option("most iterations of the aggregator", ITERATIONS)
    tolerance: float = option(
        "stop Dawid-Skene where its loss rises by less than this, in nats per answer; 0 takes all "
        "iterations (default: crowd-kit's 1e-5)",
        TOLERANCE,
    )
    multi_threshold: float | None = option(
        "add a column `labels` of all labels with at least this probability (default: no such "
        "column)",
        None,
    )
    log_likelihoods: bool = option(
        "add a column `log_likelihoods` of how probable a clip's answers are under each label, by "
        "how its annotators confuse them",
        False,
    )
    keep_control: bool = option("keep control tasks in the splits", False)
    keep_other: bool = option(f"keep clips labelled `{OTHER}` in the splits", False)
    labels: tuple[str, ...] = option(
        "the answers that annotators could give", ANSWERS, type=split_list
    )
    parts: tuple[str, ...] = option(
        "parts of the corpus to read and to aggregate together, fewer than all where you don't "
        "have their archives",
        PARTS,
        type=split_list,
    )
    input_features: bool = option(
        "add the log-Mel features in dB, from features.tar where it is there, else computed from "
        "the audio",
        False,
    )
    validation: float = option(
        "share of train's clips to make a validation split of, by speaker", 0.0
    )
    bad_rows: str = bad_rows()

    def check_options(self) -> None:
        """Bring lists to tuples and raise a WrongUseError where an option cannot be followed."""
        self.labels, self.parts = check_labels(split_list(self.labels)), split_list(self.parts)
        if not self.parts or len(set(self.parts)) < len(self.parts) or set(self.parts) - set(PARTS):
            raise WrongUseError(
                f"`parts` is {','.join(self.parts)}: take one or more of {', '.join(PARTS)}, "
                "each once"
            )
        # Their order is fixed: the first row of a clip is looked for in this order.
        self.parts = tuple(part for part in PARTS if part in self.parts)
        for name, allowed in {"method": METHODS, "bad_rows": BAD_ROWS}.items():
            if getattr(self, name) not in allowed:
                raise WrongUseError(
                    f"`{name}` is {getattr(self, name)!r}: take one of {', '.join(allowed)}"
                )
        check_threshold("threshold", self.threshold)
        if self.multi_threshold is not None:
            check_threshold("multi_threshold", self.multi_threshold)
        if not 0 <= self.validation < 1:
            raise WrongUseError(
                f"`validation` is {self.validation}: take a number of at least 0 and below 1"
            )
        check_stop(self.iterations, self.tolerance)

    def class_names(self) -> list[str]:
        """Name the classes of the column `label`, in order, without `other` unless it is kept."""
        return [name for name in self.labels if name != OTHER or self.keep_other]

    def as_dict(self) -> dict:
        """Return the options by name, fit for JSON."""
        return {
            own.name: list(value) if isinstance(value, tuple) else value
            for own in fields(CorpusOptions)
            for value in [getattr(self, own.name)]
        }


def check_num_proc(num_proc: int | None) -> None:
    """Raise a WrongUseError unless work can be shared among `num_proc` processes."""
    if num_proc is not None and num_proc < 1:
        raise WrongUseError(f"`num_proc` is {num_proc}: take an integer of at least 1")
