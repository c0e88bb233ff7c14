"""Steps of dusha collect that make labels: pseudo-label, tasks and answers."""

import argparse
from pathlib import Path

import transformers

from dusha_ser.cli.program import add_step, tell
from dusha_ser.collecting.answers import (
    ANNOTATORS_FILE,
    COLUMNS,
    EXAM_MARK,
    TEST_SHARE,
    collect_answers,
)
from dusha_ser.collecting.picking import PICKS, check_pick, label_clips, write_picked
from dusha_ser.collecting.tasks import (
    CLIP,
    CONTROL,
    CONTROL_SHARE,
    EXAM,
    EXAM_SIZE,
    KEY_FILE,
    UPLOAD,
    write_tasks,
)
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.inference.settings import Settings


def add_pseudo_label(steps) -> None:
    """Describe the step from clips to those that are worth annotating."""
    step = add_step(
        steps,
        "pseudo-label",
        run_pseudo_label,
        "Add a model's probabilities to clips, and pick those to annotate.",
        "clips --model runs/crowd_large --number 5000 --output_file clips/picked.csv",
    )
    step.add_argument("clips", type=Path, help="folder of clips, or a table with id and path")
    step.add_argument("--model", required=True, help="model folder, name on the Hub, or .onnx file")
    step.add_argument("--number", type=int, required=True, help="how many clips to pick")
    step.add_argument(
        "--pick",
        choices=PICKS,
        default=PICKS[0],
        help="balanced: as many of each predicted emotion as there are (default); uncertain: those "
        "that the model is least sure of",
    )
    step.add_argument(
        "--output_file",
        type=Path,
        default=Path("picked.csv"),
        help="table of the picked clips; beside it NAME.predictions.csv gets the probabilities of "
        "all (default picked.csv)",
    )
    step.add_argument("--seed", type=int, default=0, help="of the random choice (default 0)")
    step.add_argument(
        "--overwrite", action="store_true", help="forget probabilities that are there already"
    )
    step.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    step.add_argument(
        "--trust_remote_code",
        action="store_true",
        help="let code that came with a model run; Dusha's models need none",
    )


def run_pseudo_label(options: argparse.Namespace) -> None:
    """Label clips with a model and pick some."""

    check_pick(options.pick, options.number, options.seed)
    if options.output_file.suffix.lower() != ".csv":
        raise WrongUseError(f"{options.output_file} does not end in .csv; rename it")
    predictions = options.output_file.with_suffix(".predictions.csv")
    if options.quiet:
        transformers.utils.logging.disable_progress_bar()
    rows = label_clips(
        options.clips,
        Settings(options.model),
        predictions,
        options.device,
        options.trust_remote_code,
        options.overwrite,
        options.quiet,
    )
    chosen = write_picked(
        rows, options.clips, options.output_file, options.number, options.pick, options.seed
    )
    counts: dict[str, int] = {}
    for row in chosen:
        counts[row["prediction"]] = counts.get(row["prediction"], 0) + 1
    told = ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
    tell(
        options.quiet, f"{len(chosen)} of {len(rows)} clips picked ({told}): {options.output_file}"
    )
    if failed := sum(bool(row["error"]) for row in rows):
        raise WorkFailedError(
            f"{failed} of {len(rows)} clips failed; see the error column of {predictions}"
        )


def add_tasks(steps) -> None:
    """Describe the step from clips to annotation tasks."""
    step = add_step(
        steps,
        "tasks",
        run_tasks,
        "Write annotation tasks with control tasks among them, and an exam to pass first.",
        "clips/picked.csv --known known.csv --output_dir round1 "
        "--audio_url https://a-bucket.example/round1/",
    )
    step.add_argument(
        "clips",
        type=Path,
        help="folder of clips or table with the column path, and source_id, text and "
        "speaker_emotion where they are known",
    )
    step.add_argument(
        "--known",
        type=Path,
        help="table with the columns path and label: clips whose answer is known, for control "
        "tasks and the exam (default: neither)",
    )
    step.add_argument(
        "--output_dir",
        type=Path,
        default=Path("tasks"),
        help="folder to write: upload/ for the platform, key.csv for you alone (default tasks)",
    )
    step.add_argument(
        "--control_share",
        type=float,
        default=CONTROL_SHARE,
        help=f"share of control tasks (default {CONTROL_SHARE:g})",
    )
    step.add_argument(
        "--exam_size",
        type=int,
        default=EXAM_SIZE,
        help=f"number of tasks of the exam (default {EXAM_SIZE})",
    )
    step.add_argument(
        "--audio_url",
        default="",
        help="what stands before wavs/TASK.wav in the tasks, such as "
        "https://a-bucket.example/round1/ or, for Label Studio's local files, "
        "/data/local-files/?d=round1/upload/ (default: nothing)",
    )
    step.add_argument("--seed", type=int, default=0, help="of all random choices (default 0)")
    step.add_argument(
        "--overwrite",
        action="store_true",
        help="replace tasks that are there: without their key, no answer to them can be read",
    )


def run_tasks(options: argparse.Namespace) -> None:
    """Write annotation tasks."""
    counts = write_tasks(
        options.clips,
        options.known,
        options.output_dir,
        options.control_share,
        options.exam_size,
        options.audio_url,
        options.seed,
        options.overwrite,
        options.quiet,
    )
    tell(
        options.quiet,
        f"{counts[CLIP]} clips, {counts[CONTROL]} control tasks and an exam of {counts[EXAM]} in "
        f"{options.output_dir / UPLOAD}; {counts['repeated']} clips left out that are known or "
        f"come twice; keep {options.output_dir / KEY_FILE} to yourself",
    )
    if counts["unreadable"]:
        raise WorkFailedError(
            f"{counts['unreadable']} clips of {options.clips} cannot be read and are no tasks"
        )


def add_answers(steps) -> None:
    """Describe the step from answers to the raw layout of the corpus."""
    step = add_step(
        steps,
        "answers",
        run_answers,
        "Turn the crowd's answers into the raw layout of the corpus, as dusha.py reads it.",
        "round1 answers.csv export.json --output_dir collected",
    )
    step.add_argument("tasks", type=Path, help="folder that the step `tasks` wrote")
    step.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="ANSWERS",
        help="answers to tasks and exam: table (.csv, .tsv), or Label Studio's export (.json)",
    )
    step.add_argument(
        "--output_dir",
        type=Path,
        default=Path("collected"),
        help="folder for crowd_train/, crowd_test/ and annotators.csv, made anew each time "
        "(default collected)",
    )
    step.add_argument(
        "--mark",
        type=float,
        default=EXAM_MARK,
        help="share of the exam that an annotator must have right to count; 0 lets everybody pass "
        f"(default {EXAM_MARK:g}, the paper's)",
    )
    step.add_argument(
        "--test_share",
        type=float,
        default=TEST_SHARE,
        help="share of the clips for the test set, by whole sources; 0 makes none "
        f"(default {TEST_SHARE:g})",
    )
    for role, meaning in (
        ("task", "the task, or the address of its sound"),
        ("annotator", "who answered"),
        ("answer", "the answer"),
    ):
        default = COLUMNS[role]
        step.add_argument(
            f"--{role}_column", default=default, help=f"column of tables with {meaning} ({default})"
        )


def run_answers(options: argparse.Namespace) -> None:
    """Turn answers into raw parts."""
    columns = {role: getattr(options, f"{role}_column") for role in COLUMNS}
    counts = collect_answers(
        options.tasks,
        options.files,
        options.output_dir,
        options.mark,
        options.test_share,
        columns,
        options.quiet,
    )
    tell(
        options.quiet,
        f"{counts['answers']} answers to {counts['clips']} clips ({counts['train']} train, "
        f"{counts['test']} test) written to {options.output_dir}; {counts['failed']} of "
        f"{counts['annotators']} annotators failed the exam and {counts['left_out']} answers of "
        f"theirs are left out, see {options.output_dir / ANNOTATORS_FILE}; "
        f"{counts['other_tasks']} answers to tasks that are not of this key",
    )
