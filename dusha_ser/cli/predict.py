"""Say the emotion of sound files: one answer a file, or a timeline of windows."""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import transformers
from tqdm import tqdm

from dusha_ser.audio.finding import STANDARD_INPUT, AudioFile, list_audio_files
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.inference.prediction_rows import (
    FORMATS,
    AnswerFile,
    RowForm,
    alone,
    check_settings,
    find_parts,
    make_form,
    merge_parts,
    part_path,
    settings_path,
)
from dusha_ser.inference.sound_files import (
    BATCH_SIZE,
    WHOLE,
    Settings,
    load_classifier,
    make_groups,
    model_mark,
)
from dusha_ser.inference.timeline import HOP, WINDOW
from dusha_ser.processes import WorkerPool

# The other processes of a launcher may be days behind.
WAIT_FOR_OTHERS = timedelta(days=30)
Rows = list[list[dict]]


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: dusha predict runs/crowd_large recordings 'more/**/*.flac' "
        "--output_file answers.csv; a timeline of speech: dusha predict model.onnx "
        "podcast.mp3 --timeline --vad",
        allow_abbrev=False,
    )
    parser.add_argument("model", help="model folder, name on the Hub, or .onnx file")
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="sound file, folder, quoted pattern ('a/**/*.wav'), table of paths (.csv, .tsv), or "
        "- for standard input (one sound, or a list of paths)",
    )
    parser.add_argument(
        "--output_file",
        type=Path,
        help="file to write, .csv or .jsonl; one that a stopped run left is continued "
        "(default: a table on the screen)",
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="form of the rows (default: by the output file's suffix)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="start anew where the output file is there"
    )
    parser.add_argument(
        "--path_column", default="path", help="column of tables that holds the paths (path)"
    )
    parser.add_argument(
        "--timeline", action="store_true", help="a row a window instead of a row a file"
    )
    parser.add_argument(
        "--window", type=float, default=WINDOW, help=f"length of a window in seconds ({WINDOW})"
    )
    parser.add_argument(
        "--hop",
        type=float,
        default=HOP,
        help=f"from the start of a window to the start of the next, in seconds ({HOP})",
    )
    parser.add_argument(
        "--whole",
        type=float,
        default=WHOLE,
        help="without --timeline: a file of up to so many seconds is classified in one piece, a "
        f"longer one by the mean of its windows ({WHOLE})",
    )
    parser.add_argument(
        "--vad", action="store_true", help="leave out what is not speech (needs silero-vad)"
    )
    parser.add_argument(
        "--batch_size",
        type=int,
        help=f"clips of like length that are classified at once (default: {BATCH_SIZE}, and 1 for "
        "models of other kinds, whose answers padding may change)",
    )
    parser.add_argument("--num_proc", type=int, default=1, help="processes to work with (1)")
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    parser.add_argument(
        "--trust_remote_code",
        action="store_true",
        help="let code that came with a model run; Dusha's models need none",
    )
    parser.add_argument("--quiet", action="store_true", help="show no bar and no summary")
    return check_options(parser.parse_args(arguments))


def check_options(options: argparse.Namespace) -> argparse.Namespace:
    """Refuse what cannot be done before anything is loaded, and settle the format."""
    suffix = options.output_file.suffix.lower() if options.output_file else ""
    by_suffix = {".csv": "csv", ".jsonl": "jsonl", "": None if options.output_file else "table"}
    options.format = options.format or by_suffix.get(suffix)
    if options.format is None:
        raise WrongUseError(
            f"{options.output_file} ends neither in .csv nor in .jsonl; rename it or give --format"
        )
    if options.output_file and options.format == "table":
        raise WrongUseError("a table is for the screen; give --format csv or jsonl with a file")
    if options.output_file and options.output_file.is_dir():
        raise WrongUseError(f"{options.output_file} is a folder; name a file in it")
    if options.num_proc < 1:
        raise WrongUseError(f"--num_proc is {options.num_proc}; it must be at least 1")
    if options.inputs.count(STANDARD_INPUT) > 1:
        raise WrongUseError("standard input (-) can be read only once")
    options.rank, options.world_size = (
        int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1))
    )
    if options.world_size > 1 and STANDARD_INPUT in options.inputs:
        raise WrongUseError("processes of a launcher share no standard input; give a .csv of paths")
    if options.world_size > 1 and not options.output_file:
        raise WrongUseError("processes of a launcher share no screen; give --output_file")
    if options.world_size > 1 and options.overwrite and "MASTER_ADDR" not in os.environ:
        raise WrongUseError(
            "--overwrite needs the address where a launcher's processes meet (MASTER_ADDR); remove "
            "the old files yourself"
        )
    options.settings = Settings(
        **{name: getattr(options, name) for name in Settings.__dataclass_fields__}
    )
    options.settings.check()
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Classify all files that the command line names."""
    options = parse_options(arguments)
    if options.quiet or options.rank:
        transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="dusha-predict-") as folder:
        sounds = list_audio_files(options.inputs, options.path_column, sys.stdin.buffer, folder)
        own = sounds[options.rank :: options.world_size]
        classifier = load_classifier(options.settings, **loading(options, options.num_proc == 1))
        form = make_form(
            options.format,
            options.timeline,
            options.vad,
            classifier.labels,
            (sound.name for sound in sounds),
        )
        if not options.output_file:
            failed = write_to_screen(own, form, answer_groups(classifier, options), options)
        elif options.world_size > 1:
            failed = write_to_file(sounds, own, form, classifier, options)
        else:
            with alone(options.output_file):
                failed = write_to_file(sounds, own, form, classifier, options)
    if options.rank:
        return
    if failed:
        where = f"see the error column of {options.output_file}" if options.output_file else ""
        raise WorkFailedError(
            f"{len(failed)} of {len(sounds)} files failed; {where or 'their rows say why'}"
        )
    if options.output_file and not options.quiet:
        print(f"wrote {options.output_file}: {len(sounds)} files")


def loading(options: argparse.Namespace, alone: bool) -> dict:
    """How a process loads the model: its share of the processors, the GPU of its rank."""
    device = options.device
    if device is None and "LOCAL_RANK" in os.environ:
        import torch

        if count := torch.cuda.device_count():
            device = f"cuda:{int(os.environ['LOCAL_RANK']) % count}"
    threads = None if alone else max(1, (os.cpu_count() or 1) // options.num_proc)
    return {
        "device": device,
        "threads": threads,
        "trust_remote_code": options.trust_remote_code,
    }


def write_to_screen(sounds: list[AudioFile], form: RowForm, answer, options) -> set[str]:
    """Print the rows of all files as they come; returns the names of those that failed."""
    failed = set()
    # Names of files need not be UTF-8.
    sys.stdout.reconfigure(errors="surrogateescape")
    sys.stdout.write(form.header())
    with progress_bar(sounds, 0, options) as bar:
        for files in answer(make_groups(sounds)):
            with tqdm.external_write_mode(file=sys.stdout):
                sys.stdout.write("".join(form.line(row) for rows in files for row in rows))
                sys.stdout.flush()
            failed |= {rows[0]["id"] for rows in files if rows[0]["error"] is not None}
            bar.update(len(files))
    return failed


def write_to_file(
    sounds: list[AudioFile], own: list[AudioFile], form: RowForm, classifier, options
) -> set[str]:
    """Add the rows that are not yet in the output file; returns the names that failed.

    Under a launcher each process writes a part, and the first one makes one file of them. Where
    the launcher gives no address to meet at, the same command without it does.
    """
    path, launched = options.output_file, options.world_size > 1
    names = [sound.name for sound in sounds]
    if options.overwrite:
        remove_old(path, options)
    if launched:
        meet(options)
    mark = model_mark(options.settings, options.trust_remote_code)
    check_settings(path, asdict(options.settings) | {"model": Path(options.model).name, "is": mark})
    done: set[str] = set()
    if launched:
        if path.exists():
            done = take_up(path, form, options.timeline).done
        path = part_path(path, options.rank, options.world_size)
    elif find_parts(path):
        merge_parts(path, names, form, options.timeline)

    file = AnswerFile(path, form, options.timeline)
    file.done |= done
    try:
        todo = (
            group
            for group in make_groups(own)
            if not all(sound.name in file.done for sound in group)
        )
        left = sum(sound.name not in file.done for sound in own)
        with progress_bar(own, len(own) - left, options) as bar:
            for files in answer_groups(classifier, options)(todo):
                before = len(file.done)
                file.write(files)
                bar.update(len(file.done) - before)
    finally:
        file.close()
    if not launched:
        return file.failed & set(names)
    failed = file.failed
    if meet(options) and not options.rank:
        merge_parts(options.output_file, names, form)
        failed = take_up(options.output_file, form, False).failed & set(names)
    # No process leaves before the file is whole: launchers end the others when one fails.
    meet(options)
    return failed


def take_up(path: Path, form: RowForm, rows_of_a_file: bool) -> AnswerFile:
    """What is in a file of rows, without adding to it."""
    file = AnswerFile(path, form, rows_of_a_file)
    file.close()
    return file


def remove_old(path: Path, options: argparse.Namespace) -> None:
    """Remove what earlier runs left; one process of a launcher does."""
    if not options.rank:
        for old in (path, settings_path(path), *find_parts(path)):
            old.unlink(missing_ok=True)


def meet(options: argparse.Namespace) -> bool:
    """Wait until all processes of a launcher are here; False where it gives them no address."""
    if "MASTER_ADDR" not in os.environ:
        return False
    from torch import distributed

    if not distributed.is_initialized():
        distributed.init_process_group("gloo", timeout=WAIT_FOR_OTHERS)
    distributed.barrier()
    return True


def progress_bar(sounds: list[AudioFile], done: int, options: argparse.Namespace) -> tqdm:
    """A bar with files a second, on a terminal, of the first process."""
    return tqdm(
        total=len(sounds),
        initial=done,
        unit="file",
        disable=True if options.quiet or options.rank else None,
    )


def answer_groups(classifier, options: argparse.Namespace):
    """How to go from groups of files to their rows: here, or in processes that load the model."""
    if options.num_proc == 1:
        return lambda groups: map(classifier, groups)
    return lambda groups: answer_in_processes(groups, options)


def answer_in_processes(
    groups: Iterator[list[AudioFile]], options: argparse.Namespace
) -> Iterator[Rows]:
    """Classify groups in several processes; their rows come in the order of the groups."""
    with WorkerPool(options.num_proc, load_here, options.settings, loading(options, False)) as pool:
        running: list[Future] = []
        for group in groups:
            running.append(pool.submit(answer_here, group))
            # A few groups ahead keep all processes busy, and no more rows wait than that.
            if len(running) > 2 * options.num_proc:
                yield running.pop(0).result()
        while running:
            yield running.pop(0).result()


_here = contextlib.nullcontext


def load_here(settings: Settings, load: dict) -> None:
    """Load the model in a process of its own."""
    global _here
    transformers.utils.logging.disable_progress_bar()
    _here = load_classifier(settings, **load)


def answer_here(group: list[AudioFile]) -> Rows:
    """Classify a group with the model of this process."""
    return _here(group)
