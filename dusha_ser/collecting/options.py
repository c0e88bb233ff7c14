"""What can be asked of each step of `dusha collect`; nothing heavy is imported."""

import math
from dataclasses import dataclass
from pathlib import Path

from dusha_ser import options as shared
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.inference.settings import STANDARD_INPUT, check_model
from dusha_ser.options import check_range, is_hub_name, option
from dusha_ser.shards.options import ShardOptions
from dusha_ser.storage import check_file, check_folder
from dusha_ser.tables import find_clips_table
from dusha_ser.vocabulary import METHODS, THRESHOLD, check_threshold

SOURCES = ("file", "folder")
PICKS = ("balanced", "uncertain")
UNITS = {"seconds": 1.0, "milliseconds": 0.001}


def check_choice(number: int | None, seed: int) -> None:
    """Refuse a number of clips or texts below 1, and a seed below 0."""
    if number is not None:
        check_range("number", number, number >= 1, "at least 1")
    check_range("seed", seed, seed >= 0, "at least 0")


@dataclass(frozen=True)
class Cut:
    """How recordings are cut into clips."""

    longest: float = option("longest clip in seconds; the paper's by default", 5.0)
    shortest: float = option("speech shorter than this, in seconds, is left out", 0.5)
    pause: float = option("speech around a pause of up to this many seconds is one clip", 0.3)
    threshold: float = option("probability of speech from which on a moment counts as speech", 0.5)

    def check(self) -> None:
        """Raise a WrongUseError if a number is out of range."""
        if not 0 < self.shortest <= self.longest / 2 < math.inf:
            raise WrongUseError(
                f"`shortest` is {self.shortest} s and `longest` {self.longest} s; the shortest "
                "must be above 0 and at most half of the longest"
            )
        check_range("pause", self.pause, 0 <= self.pause < math.inf, "a number of at least 0", "s")
        check_range("threshold", self.threshold, 0 < self.threshold < 1, "above 0 and below 1")


@dataclass
class SliceOptions:
    """What to cut into clips, and where to."""

    inputs: list[str] = option(
        "audio file, folder, quoted pattern ('a/**/*.wav') or table of paths (.csv, .tsv)",
        positional=True,
        nargs="+",
        metavar="INPUT",
    )
    output_dir: Path = shared.output_dir(
        "clips", "wavs/, clips.csv and recordings.csv; a stopped run is resumed"
    )
    path_column: str = shared.path_column()
    overwrite: bool = shared.overwrite()
    source: str = option(
        "what clips of one speaker or show have in common, so that no split trains and tests on "
        "it: their file, or the folder of that file",
        SOURCES[0],
        choices=SOURCES,
    )
    quiet: bool = shared.quiet()

    def check(self) -> None:
        """Raise a WrongUseError if standard input is to be cut."""
        if STANDARD_INPUT in self.inputs:
            raise WrongUseError("standard input (-) cannot be cut; give files, folders or a table")
        check_folder(self.output_dir)


def path_or_url(text: str) -> Path:
    """Return a path, or a URL as it is: a path of one would lose a slash."""
    return text if "://" in text else Path(text)  # type: ignore[return-value]


@dataclass
class PseudoLabelOptions(ShardOptions):
    """Which clips to classify, and which of them to pick for annotation."""

    clips: Path = option(
        "folder of clips, or a table with id and path; with output_shards also Parquet files, "
        "tars, folders of them, and URLs",
        positional=True,
        type=path_or_url,
    )
    model: str = option("model folder, name on the Hub, or .onnx file")
    number: int = option("number of clips to pick")
    pick: str = option(
        "balanced: equally many of each predicted emotion as far as there are; uncertain: those "
        "that the model is least sure of",
        PICKS[0],
        choices=PICKS,
    )
    output_file: Path = option(
        "table of the picked clips, .csv; NAME.predictions.csv beside it gets the probabilities of "
        "all",
        Path("picked.csv"),
    )
    seed: int = shared.seed()
    overwrite: bool = shared.overwrite("probabilities of the same model are kept")
    device: str | None = shared.device()
    trust_remote_code: bool = shared.trust_remote_code()
    quiet: bool = shared.quiet()
    path_column: str = shared.path_column()

    @property
    def inputs(self) -> list[str]:
        """What is classified in shards."""
        return [str(self.clips)]

    @property
    def predictions_file(self) -> Path:
        """The table of the probabilities of all clips."""
        return self.output_file.with_suffix(".predictions.csv")

    def check(self) -> None:
        """Raise a WrongUseError if what is asked for cannot be done."""
        check_choice(self.number, self.seed)
        if self.output_file.suffix.lower() != ".csv":
            raise WrongUseError(f"{self.output_file} does not end in .csv; rename it")
        # Beside the predictions of an earlier run, it is compared with what is picked now.
        again = self.overwrite or bool(self.output_shards) or self.predictions_file.is_file()
        inputs = [] if self.output_shards else [find_clips_table(self.clips)]
        check_file(self.output_file, again, inputs=inputs)
        ShardOptions.check(self)
        check_model(self.model)


@dataclass
class TaskOptions(shared.TableOptions):
    """Which annotation tasks to write."""

    clips: Path = option(
        "folder of clips or table with the column path, and source_id (or speaker), text and "
        "speaker_emotion where they are known; with `more`, folder of tasks that were answered",
        positional=True,
    )
    known: Path | None = option(
        "table with the columns path and label: clips whose answer is known, for control tasks and "
        "the exam (default: neither)",
        None,
    )
    output_dir: Path = shared.output_dir(
        "tasks", "upload/ for the platform and key.csv, which you keep to yourself"
    )
    control_share: float = option("fraction of control tasks, from 0 to 0.5", 0.1)
    exam_size: int = option("number of tasks of the exam", 20)
    audio_url: str = option(
        "what stands before wavs/TASK.wav in the tasks, such as https://a-bucket.example/round1/ "
        "or, for Label Studio's local files, /data/local-files/?d=round1/upload/ (default: "
        "nothing)",
        "",
    )
    seed: int = shared.seed()
    language: str | None = shared.language(
        "of the instructions and of Label Studio's interface (default: both)", None
    )
    overwrite: bool = shared.overwrite("without the key of old tasks their answers are lost")
    quiet: bool = shared.quiet()

    def check(self) -> None:
        """Raise a WrongUseError if a number is out of range."""
        shared.read_label_map(self.label_map)
        share, size = self.control_share, self.exam_size
        check_range("control_share", share, 0 <= share <= 0.5, "from 0 to 0.5")
        check_range("exam_size", size, size >= 0, "at least 0")
        check_folder(self.output_dir, self.overwrite, finished="*")


# Of `collect answers` and of `collect tasks` with `more`.
ANSWER_FILES = "answers to tasks and exam: table (.csv, .tsv), or export of Label Studio (.json)"


@dataclass(kw_only=True)
class AnswerColumns:
    """Where answers stand in tables, and whose answers count."""

    mark: float = option(
        "fraction of the exam that an annotator must have right to count, a task without an answer "
        "being wrong; 0 lets everybody pass; the paper's by default",
        0.8,
    )
    task_column: str = option("column of tables with the task or its recording's address", "task")
    annotator_column: str = option("column of tables with who answered", "annotator")
    answer_column: str = option(
        "column of tables with the answer, or another name of the control in Label Studio", "answer"
    )

    def check(self) -> None:
        """Raise a WrongUseError if the mark is out of range."""
        check_range("mark", self.mark, 0 <= self.mark <= 1, "a fraction between 0 and 1")


@dataclass
class MoreOptions(AnswerColumns):
    """Which clips to order further answers for, and how many."""

    option_group = "further answers"

    more: list[Path] = option(
        f"order further answers where these leave a label unsure: {ANSWER_FILES}, and the folders "
        "of the tasks of further rounds",
        [],
        nargs="+",
        metavar="ANSWERS",
    )
    further: int = option("answers to order for each unsure clip in this round", 2)
    budget: int = option("most answers to a clip, those of all rounds together", 12)
    threshold: float = option(
        "probability of its label below which a clip is unsure; as in `dusha corpus`", THRESHOLD
    )
    method: str = option(
        "how the probability is estimated; see `dusha corpus`", METHODS[1], choices=METHODS
    )

    def check(self) -> None:
        """Raise a WrongUseError if a number is out of range."""
        super().check()
        check_threshold("threshold", self.threshold)
        check_range("further", self.further, self.further >= 1, "at least 1")
        allowed = self.budget > self.further
        check_range("budget", self.budget, allowed, f"more than `further`, {self.further}")


@dataclass
class AnswerOptions(AnswerColumns):
    """Which answers to read, and what counts."""

    tasks: Path = option("folder that `dusha collect tasks` wrote", positional=True)
    files: list[Path] = option(
        f"{ANSWER_FILES}; and the folders of the tasks of further rounds",
        positional=True,
        nargs="+",
        metavar="ANSWERS",
    )
    output_dir: Path = shared.output_dir(
        "collected", "crowd_train/, crowd_test/ and annotators.csv"
    )
    overwrite: bool = shared.overwrite()
    test_share: float = option(
        "fraction of the clips for the test set, by whole sources; 0 makes none", 0.2
    )
    label_map: tuple[str, ...] = shared.label_map()
    quiet: bool = shared.quiet()

    def check(self) -> None:
        """Raise a WrongUseError if a fraction is out of range."""
        super().check()
        shared.read_label_map(self.label_map)
        share = self.test_share
        check_range("test_share", share, 0 <= share < 1, "a fraction of at least 0 and below 1")
        check_folder(self.output_dir, self.overwrite, finished="*")


@dataclass
class PromptOptions:
    """Which texts to turn into recording tasks."""

    texts: Path = option(
        "table with a column of texts and, without a model, probability_angry, _sad, _neutral and "
        "_positive",
        positional=True,
    )
    model: str | None = option("text classifier of Transformers, by folder or name", None)
    label_map: tuple[str, ...] = shared.label_map()
    text_column: str = option("column of texts", "text")
    output_file: Path = option("table to write", Path("prompts.csv"))
    number: int | None = option("texts to take, balanced over emotions (default: all)", None)
    seed: int = shared.seed()
    language: str = shared.language("of the instructions to speakers", "en")
    overwrite: bool = shared.overwrite()
    device: str | None = shared.device()
    quiet: bool = shared.quiet()

    def check(self) -> None:
        """Raise a WrongUseError if what is asked for cannot be done."""
        check_choice(self.number, self.seed)
        shared.read_label_map(self.label_map)
        if self.model and not Path(self.model).is_dir() and not is_hub_name(self.model):
            raise MissingInputError(
                f"no text classifier {self.model!r}: give its folder, or its name on the Hub "
                "(USER/NAME)"
            )
        check_file(self.output_file, self.overwrite, inputs=[self.texts])


@dataclass
class PodcastOptions:
    """Which podcasts to cut, and where their files and timings are."""

    metadata: Path = option(
        "table of links and timings (.tsv, .csv), or podcast.tar with podcast_metadata.tsv in it",
        positional=True,
    )
    audio_dir: Path = option("folder of the podcasts' files", positional=True)
    output_dir: Path = shared.output_dir(
        "podcast_audio", "wavs/HASH.wav and a list of what is missing"
    )
    id_column: str = option("column with the clip's hash", "hash_id")
    recording_column: str = option("column with the link or title of its podcast", "link")
    start_column: str = option("column with where it begins", "start")
    end_column: str = option("column with where it ends", "end")
    unit: str = option(
        "of times that are plain numbers; H:MM:SS needs none", "seconds", choices=tuple(UNITS)
    )
    files: Path | None = option(
        "table with the columns recording and path, for files whose names do not tell", None
    )
    overwrite: bool = shared.overwrite()
    quiet: bool = shared.quiet()

    def check(self) -> None:
        """Raise a WrongUseError if the folder cannot be written."""
        check_folder(self.output_dir)
