"""What can be asked of `dusha predict` and `dusha export`; nothing heavy is imported."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dusha_ser import options as shared
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.options import (
    WEIGHTS_SUFFIXES,
    TurnColumns,
    check_range,
    is_hub_name,
    option,
    split_list,
)
from dusha_ser.storage import check_file
from dusha_ser.timelines.forms import FORMS, check_forms

# Windows are as long as the clips of Dusha's podcasts are (paper, section 3.2).
WINDOW = 5.0
HOP = 2.5
# The Dusha corpus has clips of up to 20 s; up to here a file is classified in one piece.
WHOLE = 30.0
FORMATS = ("csv", "jsonl", "table")
# What has a row of its own: stretches of speech, or somebody else's turns.
SEGMENTS = ("vad", "turns")
STANDARD_INPUT = "-"
# Modules whose code decides predictions.
CODE = (
    *("configuration_dusha", "feature_extraction_dusha", "modeling_dusha"),
    *("dusha_ser.audio", "dusha_ser.inference", "dusha_ser.timelines.merging"),
)


def check_model(name: str) -> None:
    """Raise a WrongUseError for what cannot be a model, without loading it or asking the Hub."""
    path = Path(name)
    is_file, suffix = path.is_file(), path.suffix.lower()
    if is_file and suffix in WEIGHTS_SUFFIXES:
        raise WrongUseError(
            f"{name} holds weights alone; `dusha convert {name} MODEL` makes a model folder of "
            "released ones, and of others give the whole folder that they were saved in"
        )
    if suffix == ".onnx" and not path.exists():
        raise MissingInputError(f"no such file: {name}; `dusha export` writes one")
    if is_file and suffix != ".onnx":
        raise WrongUseError(f"{name} is a file; give a model folder, a Hub name or an .onnx file")
    if not path.exists() and not is_hub_name(name):
        raise MissingInputError(
            f"no model {name!r}: there is no such folder, and names on the Hub are USER/NAME; give "
            "a model folder (what `dusha train` or `dusha convert` writes), a Hub name or an "
            ".onnx file"
        )


def check_model_folder(name: str) -> None:
    """Raise a WrongUseError for what cannot be a model folder or a name on the Hub."""
    check_model(name)
    if name.endswith(".onnx"):
        raise WrongUseError(f"{name} is an exported model; give the model folder")


@dataclass
class Settings:
    """What decides predictions, apart from the files."""

    model: str = option("model folder, name on the Hub, or .onnx file")
    timeline: bool = option("one row per window instead of one row per file", False)
    window: float = option("length of a window, in seconds", WINDOW)
    hop: float = option("from the start of a window to the start of the next, in seconds", HOP)
    merge: bool = option(
        "join the windows of a timeline into segments: each instant gets the mean probabilities of "
        "the windows over it, and neighbouring instants of the same label are one segment",
        False,
    )
    shortest: float = option(
        "with `merge`: segments shorter than this, in seconds, join the longer neighbour", 0.0
    )
    whole: float = option(
        "without a timeline: longest file that is classified in one piece, in seconds; a longer "
        "one gets the mean of its windows",
        WHOLE,
    )
    vad: bool = option("leave out what is not speech (needs silero-vad)", False)
    segments: str | None = option(
        "one row per stretch of speech (vad; needs silero-vad) or per turn (turns, which `turns` "
        "gives) instead of one row per file",
        None,
        choices=SEGMENTS,
    )
    least_confidence: float = shared.least_confidence()
    prior: str | dict[str, float] | None = shared.prior()
    batch_size: int | None = shared.batch_size()

    def check(self) -> None:
        """Raise a WrongUseError if a number is out of range."""
        if not 0 < self.hop <= self.window:
            raise WrongUseError(
                f"`hop` is {self.hop} s and `window` {self.window} s; the hop must be above 0 and "
                "at most the window"
            )
        if self.merge and not self.timeline:
            raise WrongUseError("`merge` joins the windows of a timeline; add `timeline=True`")
        check_range("shortest", self.shortest, 0 <= self.shortest < float("inf"), "at least 0", "s")
        if self.shortest and not self.merge:
            raise WrongUseError("`shortest` is that of merged segments; add `merge=True`")
        for name in ("timeline", "vad"):
            if self.segments and getattr(self, name):
                raise WrongUseError(
                    f"`segments={self.segments}` makes rows of its own; leave out `{name}`"
                )
        check_range("whole", self.whole, 0 < self.whole < float("inf"), "a number above 0", "s")
        shared.check_confidence(self.least_confidence)
        if self.prior is not None and self.model.endswith(".onnx"):
            raise WrongUseError(
                f"`prior` is fixed in an exported model, and {self.model} is one: give it to "
                "`dusha export`"
            )
        if self.batch_size is not None:
            check_range("batch_size", self.batch_size, self.batch_size >= 1, "at least 1")

    @property
    def several_rows(self) -> bool:
        """Whether a recording has several rows, with their start and end."""
        return self.timeline or bool(self.segments)

    @property
    def finds_speech(self) -> bool:
        """Whether speech is looked for."""
        return self.vad or self.segments == "vad"

    def decisive(self) -> dict[str, Any]:
        """Return the values that decide predictions, fit for JSON; of the model its name alone."""
        values = {one.name: getattr(self, one.name) for one in fields(Settings)}
        return values | {"model": Path(self.model).name}


@dataclass(kw_only=True)
class PredictOptions(Settings):
    """What `dusha predict` is to do."""

    model: str = option("model folder, name on the Hub, or .onnx file", positional=True)
    inputs: list[str] = option(
        "audio file, folder, quoted pattern ('a/**/*.wav'), table of paths (.csv, .tsv), or - for "
        "standard input (one recording, or a list of paths)",
        positional=True,
        nargs="+",
        metavar="INPUT",
    )
    output_file: Path | None = option(
        "file to write, .csv or .jsonl; one that a stopped run left is resumed (default: a table "
        "on the screen)",
        None,
    )
    format: str | None = option(
        "form of the rows (default: by the suffix of the output file)", None, choices=FORMATS
    )
    export: tuple[str, ...] = option(
        f"write each recording's timeline in these forms: {', '.join(FORMS)}; windows that overlap "
        "are merged",
        (),
        type=split_list,
        metavar="FORM",
    )
    output_dir: Path = shared.output_dir("timelines", "the files of `export`, one per recording")
    overwrite: bool = shared.overwrite()
    path_column: str = shared.path_column()
    turns: Path | None = option(
        "one row per turn of this file (.rttm, .json of Whisper or WhisperX, .csv, .tsv, .vtt, "
        ".srt), or of the folder's file that is named as the recording",
        None,
        metavar="PATH",
    )
    start_column: str = option("column of a table of turns: start, in seconds", "start")
    end_column: str = option("column of a table of turns: end, in seconds", "end")
    speaker_column: str = option("column of a table of turns: speaker", "speaker")
    text_column: str = option("column of a table of turns: text", "text")
    speakers_file: Path | None = option(
        "with turns: table to write, .csv: turns, time and share of each emotion by speaker", None
    )
    same_speakers: bool = option(
        "names of speakers mean the same people in all recordings: the table has one row for each",
        False,
    )
    num_proc: int = shared.num_proc()
    device: str | None = shared.device()
    trust_remote_code: bool = shared.trust_remote_code()
    quiet: bool = shared.quiet()

    @property
    def turn_columns(self) -> TurnColumns:
        """The columns of tables of turns."""
        columns = self.start_column, self.end_column, self.speaker_column, self.text_column
        return TurnColumns(self.path_column, *columns)

    def check(self) -> None:
        """Settle the format; raise a WrongUseError for what cannot be done."""
        file = self.output_file
        by_suffix = {".csv": "csv", ".jsonl": "jsonl", "": None if file else "table"}
        self.format = self.format or by_suffix.get(file.suffix.lower() if file else "")
        if self.format is None:
            raise WrongUseError(
                f"{file} ends neither in .csv nor in .jsonl; rename it or give a `format`"
            )
        if file and self.format == "table":
            raise WrongUseError("a table is for the screen; give `format` csv or jsonl with a file")
        if file:
            # Rows that are there are resumed, or it is said whose they are.
            check_file(file, overwrite=True, inputs=self.inputs)
        check_range("num_proc", self.num_proc, self.num_proc >= 1, "at least 1")
        if self.inputs.count(STANDARD_INPUT) > 1:
            raise WrongUseError("standard input (-) can be read only once")
        if self.turns:
            self.segments = self.segments or "turns"
        if (self.segments == "turns") != bool(self.turns):
            raise WrongUseError(
                f"`segments` is {self.segments} and `turns` {self.turns}; turns are rows of a file "
                "or folder of turns: give `turns`, or `segments=vad`"
            )
        if (self.speakers_file or self.same_speakers) and not self.turns:
            raise WrongUseError(
                "`speakers_file` and `same_speakers` are for turns, which have speakers; give "
                "`turns`"
            )
        if self.speakers_file:
            check_file(self.speakers_file, self.overwrite, self.inputs, "speakers_file")
        super().check()
        check_forms(self.export)
        if self.export and not self.several_rows:
            raise WrongUseError("`export` writes timelines; add `timeline=True`, or `turns`")
        check_model(self.model)


@dataclass
class ExportOptions:
    """What `dusha export` is to do."""

    model: str = option("model folder, or name on the Hub", positional=True)
    output_file: Path = option("ONNX file to write", positional=True)
    waveform: bool = option(
        "put the feature extraction into the graph, which then reads waveforms", False
    )
    one_length: bool = option(
        "hide no padding, which is faster: clips of a batch must be of one length, and `dusha "
        "predict` classifies them one by one",
        False,
    )
    clips: list[Path] = option(
        "audio files and folders of them, which show what the export loses; with int8 every second "
        "clip calibrates, and the others show it",
        [],
        nargs="+",
        metavar="PATH",
    )
    prior: str | None = shared.prior()
    int8: bool = option("write 8-bit convolutions (static quantisation); needs clips", False)
    overwrite: bool = shared.overwrite()
    quiet: bool = shared.quiet()

    def check(self) -> None:
        """Raise a WrongUseError if there is nothing to calibrate with, or no such model."""
        if self.int8 and not self.clips:
            raise WrongUseError("`int8` needs `clips`: some tens of typical clips to calibrate it")
        for path in self.clips:
            if not path.exists():
                raise MissingInputError(f"no such file or folder: {path}")
        check_model_folder(self.model)
        check_file(self.output_file, self.overwrite, inputs=self.clips)
