"""What can be asked of `dusha evaluate` and `dusha cross-validate`; nothing heavy is imported."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dusha_ser import options as shared
from dusha_ser.corpus.configurations import OTHER_CORPORA, SPELLINGS, check_spelling
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.inference.settings import check_model_folder
from dusha_ser.options import check_range, option, split_list
from dusha_ser.storage import check_folder
from dusha_ser.training.options import DataOptions, RecipeOptions, RunOptions
from dusha_ser.training.search_space import SearchOptions
from dusha_ser.training.teacher_options import TEACHER_FOLDER

TABLE = "JSON file for the table, from which pages take their numbers"
SETUP = "setup of `dusha train`, a name or a YAML file"
# Of these, a folder of these commands holds one.
OWN_MARKS = (
    *("metrics/*--*.json", "models/*/settings.json", "folds/*/settings.json"),
    *("seed_*/folds/*/settings.json", "search/*/settings.json"),
)
MARKS = (*OWN_MARKS, *(f"{TEACHER_FOLDER}/{mark}" for mark in OWN_MARKS))
FOLDS = 5
# Up to this number, each speaker is a fold of its own, where nothing else is said.
MOST_SINGLE_FOLDS = 10
SCORES_BY = (
    "columns by whose values scores are also given, such as sex,intensity,statement of ravdess"
)
SCORES_BY_TABLE = "the same for the table of scores_by"


def read_seeds(words: Sequence[str]) -> tuple[int, ...]:
    """Read seeds.

    Raises:
        WrongUseError: if one is not an integer of at least 0, or comes twice.

    Examples:
        >>> read_seeds(["0", "1", "2"])
        (0, 1, 2)
    """
    if not all(word.isdecimal() for word in words) or len(set(map(int, words))) < len(words):
        raise WrongUseError(
            f"`seeds` is {','.join(words)}; give integers of at least 0 with commas, each once, "
            "such as 0,1,2"
        )
    return tuple(map(int, words))


def check_scores_by(columns: Sequence[str], table: Path | None) -> None:
    """Raise a WrongUseError if there is a table of scores by no column."""
    if table and not columns:
        raise WrongUseError(
            "`scores_by_table` has nothing to hold; name columns of the data as `scores_by`"
        )


@dataclass(kw_only=True)
class EvaluateOptions(shared.TableOptions):
    """Which models to evaluate on which test sets, and how that of `train_on` is trained."""

    models: list[str] = option("model folders, or names on the Hub", [], nargs="+")
    train_on: str | None = option(
        "train a model on this first (spelled as a test set); any option of `dusha train` may "
        "follow",
        None,
        metavar="DATA",
    )
    setup: str | None = option(SETUP, None)
    test_sets: list[str] = option(SPELLINGS, nargs="+", metavar="DATA")
    output_dir: Path = shared.output_dir("results", "predictions, metrics, tables and figures")
    table: Path | None = option(TABLE, None)
    scores_by: tuple[str, ...] = option(SCORES_BY, (), type=split_list)
    scores_by_table: Path | None = option(SCORES_BY_TABLE, None)
    split: str = option("split of prepared corpora where none is named", "test")
    compare: tuple[str, str] | None = option(
        "two evaluated models to compare, paired by speaker",
        None,
        nargs=2,
        metavar=("FIRST", "SECOND"),
    )
    overwrite: bool = shared.overwrite()
    least_confidence: float = option(
        "also score the models where they may abstain: on the clips whose prediction has at least "
        "this probability, 0 to 1; 0: not",
        0.0,
    )
    prior: str | None = shared.prior()
    form: str = option("form of predictions", "csv", choices=("csv", "jsonl"))
    batch_size: int | None = shared.batch_size()
    device: str | None = shared.device()
    allow_other_counts: bool = shared.allow_other_counts()
    trust_remote_code: bool = shared.trust_remote_code()
    quiet: bool = shared.quiet()
    training: tuple[DataOptions, RecipeOptions, RunOptions] | None = field(default=None, init=False)
    command: str = field(default="", init=False)

    def check(self) -> None:
        """Raise a WrongUseError if there is no model, or no test set."""
        if self.setup and not self.train_on:
            raise WrongUseError(
                "`setup` is unknown without `train_on`; see `dusha evaluate --help`"
            )
        if self.batch_size is not None:
            check_range("batch_size", self.batch_size, self.batch_size >= 1, "at least 1")
        shared.check_confidence(self.least_confidence)
        check_scores_by(self.scores_by, self.scores_by_table)
        if not self.models and not self.train_on:
            raise WrongUseError(
                "no model to evaluate; give `models`, or what to train one on as `train_on`"
            )
        shared.read_label_map(self.label_map)
        check_folder(self.output_dir, marks=MARKS)
        for spelling in [*self.test_sets, *([self.train_on] if self.train_on else [])]:
            check_spelling(spelling)
        for model in self.models:
            check_model_folder(model)


@dataclass
class CrossValidateOptions(SearchOptions, shared.TableOptions):
    """What to divide into folds, and how the model of a fold is trained."""

    data: str = option(
        f"a corpus ({', '.join(OTHER_CORPORA)}) with its folder as data_dir, or {SPELLINGS}",
        positional=True,
    )
    data_dir: str | None = option("folder that the corpus was unpacked to", None)
    output_dir: Path = shared.output_dir("cross_validation", "models, predictions and results")
    table: Path | None = option(TABLE, None)
    folds_table: Path | None = option("the same for the table with one row per fold", None)
    scores_by: tuple[str, ...] = option(SCORES_BY, (), type=split_list)
    scores_by_table: Path | None = option(SCORES_BY_TABLE, None)
    search_table: Path | None = option("the same for what --search chose in each fold", None)
    name: str | None = option("name of the model in tables (default: that of output_dir)", None)
    folds: int | None = option(
        "number of folds (default: the usual ones of the corpus, else one per speaker up to "
        f"{MOST_SINGLE_FOLDS} speakers, else {FOLDS})",
        None,
    )
    group_column: str | None = option(
        "column whose groups are kept together, such as session (default: the speaker)", None
    )
    fold_column: str | None = option("column that gives the folds themselves", None)
    fold_seed: int = option("seed of the assignment of groups to folds", 0)
    folds_only: tuple[str, ...] = option(
        "folds to run now, by name; the same command without it pools them once all are there",
        (),
        type=split_list,
    )
    seeds: tuple[int, ...] = option(
        "seeds of training: folds are run for each, and scores are means over seeds with their "
        "standard deviation (default: --seed alone)",
        (),
        type=split_list,
    )
    train_clips: int | None = option(
        "train on this many clips of each class only, drawn by the seed of training, to see what "
        "fewer recordings give",
        None,
    )
    split: str | None = option("split of a prepared corpus, such as train", None)
    setup: str | None = option(SETUP, None)
    jobs: int = option("folds that run at once", 1)
    allow_other_counts: bool = shared.allow_other_counts()
    overwrite: bool = shared.overwrite()
    quiet: bool = shared.quiet()
    training: tuple[DataOptions, RecipeOptions, RunOptions] = field(init=False)
    command: str = field(default="", init=False)

    @property
    def shown_name(self) -> str:
        """The name of the model in tables."""
        return self.name or self.output_dir.name

    def check(self) -> None:
        """Settle the spelling of a corpus, and refuse what is missing."""
        check_range("jobs", self.jobs, self.jobs >= 1, "at least 1")
        check_scores_by(self.scores_by, self.scores_by_table)
        self.check_search()
        if self.search_table and not self.search:
            raise WrongUseError("`search_table` is of a search: give its trials as `search`")
        self.seeds = read_seeds(list(map(str, self.seeds)))
        if self.train_clips is not None:
            check_range("train_clips", self.train_clips, self.train_clips >= 1, "at least 1")
        check_folder(self.output_dir, marks=MARKS)
        shared.read_label_map(self.label_map)
        if self.data in OTHER_CORPORA:
            if not self.data_dir:
                raise MissingInputError(
                    f"`data_dir` is missing: name the folder that {OTHER_CORPORA[self.data]} was "
                    "unpacked to"
                )
            self.data = f"{self.data}={self.data_dir}"
        elif self.data_dir:
            raise WrongUseError(
                f"`data_dir` is the folder of a corpus ({', '.join(OTHER_CORPORA)}), and "
                f"{self.data!r} is none of them; leave it out, or name the corpus"
            )
        check_spelling(self.data)
