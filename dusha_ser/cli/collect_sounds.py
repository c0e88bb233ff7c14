"""Steps of dusha collect that make sounds: slice, podcast, and prompts for actors."""

import argparse
from pathlib import Path

from dusha_ser.audio.finding import STANDARD_INPUT, list_audio_files
from dusha_ser.cli.program import add_step, tell
from dusha_ser.collecting.balance import check_seed
from dusha_ser.collecting.podcasts import COLUMNS, MISSING_FILE, UNITS, cut_podcasts
from dusha_ser.collecting.prompts import (
    classify_texts,
    make_prompts,
    table_probabilities,
    write_prompts,
)
from dusha_ser.collecting.slicing import RECORDINGS_FILE, SOURCES, Cut, slice_recordings
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.tables import read_table


def add_slice(steps) -> None:
    """Describe the step from recordings to clips."""
    step = add_step(
        steps,
        "slice",
        run_slice,
        "Cut recordings into clips where somebody speaks, 16 kHz, 16 bits, named by hash.",
        "recordings 'more/**/*.mp3' --output_dir clips",
    )
    step.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="sound file, folder, quoted pattern ('a/**/*.wav') or table of paths (.csv, .tsv)",
    )
    step.add_argument(
        "--output_dir",
        type=Path,
        default=Path("clips"),
        help="folder for wavs/, clips.csv and recordings.csv; one that a stopped run left is "
        "continued (default clips)",
    )
    step.add_argument("--path_column", default="path", help="column of tables with paths (path)")
    for name, meaning in (
        ("longest", "longest clip in seconds, the paper's"),
        ("shortest", "speech shorter than so many seconds is left out"),
        ("pause", "speech on both sides of a pause of up to so many seconds is one clip"),
        ("threshold", "probability of speech from which on a moment counts as speech"),
    ):
        default = getattr(Cut, name)
        step.add_argument(
            f"--{name}", type=float, default=default, help=f"{meaning} (default {default:g})"
        )
    step.add_argument(
        "--source",
        choices=SOURCES,
        default=SOURCES[0],
        help="what clips of one speaker or show have in common, so that it is not both trained "
        "and tested on: their file (default), or the folder that the file lies in",
    )


def run_slice(options: argparse.Namespace) -> None:
    """Cut recordings into clips."""
    if STANDARD_INPUT in options.inputs:
        raise WrongUseError("standard input (-) cannot be cut; give files, folders or a table")
    cut = Cut(options.longest, options.shortest, options.pause, options.threshold)
    sounds = list_audio_files(options.inputs, options.path_column)
    rows = slice_recordings(sounds, options.output_dir, cut, options.source, options.quiet)
    clips = sum(row["clips"] for row in rows)
    tell(options.quiet, f"{clips} clips of {len(rows)} recordings written to {options.output_dir}")
    if failed := sum(row["error"] is not None for row in rows):
        raise WorkFailedError(
            f"{failed} of {len(rows)} recordings failed; see the error column of "
            f"{options.output_dir / RECORDINGS_FILE}"
        )


def add_prompts(steps) -> None:
    """Describe the step from texts to recording tasks."""
    step = add_step(
        steps,
        "prompts",
        run_prompts,
        "Turn texts into recording tasks for acted speech, each with a pair of emotions.",
        "texts.csv --output_file prompts.csv --number 1000",
    )
    step.add_argument(
        "texts",
        type=Path,
        help="table with a column of texts and, without --model, probability_angry, _sad, _neutral "
        "and _positive",
    )
    step.add_argument("--model", help="text classifier of Transformers, by folder or name")
    step.add_argument(
        "--label_map",
        nargs="+",
        default=[],
        metavar="LABEL=EMOTION",
        help="what the model's labels mean, such as joy=positive anger=angry",
    )
    step.add_argument("--text_column", default="text", help="column of texts (text)")
    step.add_argument(
        "--output_file",
        type=Path,
        default=Path("prompts.csv"),
        help="table to write (default prompts.csv)",
    )
    step.add_argument(
        "--number", type=int, help="texts to take, balanced over emotions (default: all)"
    )
    step.add_argument("--seed", type=int, default=0, help="of the random choice (default 0)")
    step.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")


def run_prompts(options: argparse.Namespace) -> None:
    """Turn texts into recording tasks."""
    check_seed(options.seed)
    if not all("=" in text for text in options.label_map):
        raise WrongUseError(f"--label_map is {' '.join(options.label_map)}; give LABEL=EMOTION")
    if options.model:
        column = options.text_column
        rows = read_table(options.texts, (column,), "name yours with --text_column")
        texts = [row[column] for row in rows]
        label_map = dict(text.rsplit("=", 1) for text in options.label_map)
        probabilities = classify_texts(
            texts, options.model, label_map or None, options.device, options.quiet
        )
    else:
        texts, probabilities = table_probabilities(options.texts, options.text_column)
    prompts = make_prompts(texts, probabilities, options.number, options.seed)
    write_prompts(options.output_file, prompts)
    tell(options.quiet, f"{len(prompts)} recording tasks written to {options.output_file}")


def add_podcast(steps) -> None:
    """Describe the step from podcasts' files to the corpus' clips."""
    step = add_step(
        steps,
        "podcast",
        run_podcast,
        "Cut the clips of Dusha's podcasts out of files that you have, by the published timings.",
        "archives/podcast.tar podcasts --output_dir archives/podcast_audio",
    )
    step.add_argument(
        "metadata",
        type=Path,
        help="table of links and timings (.tsv, .csv), or podcast.tar with podcast_metadata.tsv "
        "in it",
    )
    step.add_argument("audio_dir", type=Path, help="folder of the podcasts' files")
    step.add_argument(
        "--output_dir",
        type=Path,
        default=Path("podcast_audio"),
        help="folder for wavs/HASH.wav and a list of what is missing (default podcast_audio)",
    )
    for role, meaning in (
        ("id", "the clip's hash"),
        ("recording", "the link or title of its podcast"),
        ("start", "where it begins"),
        ("end", "where it ends"),
    ):
        default = COLUMNS[role]
        step.add_argument(
            f"--{role}_column", default=default, help=f"column with {meaning} ({default})"
        )
    step.add_argument(
        "--unit",
        choices=UNITS,
        default=next(iter(UNITS)),
        help="of times that are plain numbers; H:MM:SS needs none (default seconds)",
    )
    step.add_argument(
        "--files",
        type=Path,
        help="table with the columns recording and path, for files whose names do not tell",
    )
    step.add_argument(
        "--overwrite", action="store_true", help="cut clips again that are there already"
    )


def run_podcast(options: argparse.Namespace) -> None:
    """Cut podcasts."""
    counts = cut_podcasts(
        options.metadata,
        options.audio_dir,
        options.output_dir,
        {role: getattr(options, f"{role}_column") for role in COLUMNS},
        options.unit,
        options.files,
        options.overwrite,
        options.quiet,
    )
    tell(
        options.quiet,
        f"{counts['cut']} clips cut, {counts['there']} were there: {options.output_dir / 'wavs'}",
    )
    if counts["missing"]:
        raise WorkFailedError(
            f"{counts['missing']} clips are missing; see {options.output_dir / MISSING_FILE}"
        )
