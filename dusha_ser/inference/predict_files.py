"""Predictions for many audio files: to the screen or to a file, in one process or several."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm import tqdm

from dusha_ser.audio.finding import AudioFile
from dusha_ser.inference.audio_files import FileClassifier, decisive, load_classifier
from dusha_ser.inference.batching import Rows, make_groups
from dusha_ser.inference.decoding import classify_decoded
from dusha_ser.inference.prediction_files import (
    PredictionFile,
    begin_file,
    replaced_when_whole,
)
from dusha_ser.inference.prediction_rows import RowForm, make_form
from dusha_ser.inference.settings import PredictOptions
from dusha_ser.processes import WorkerPool

# From groups of files to their rows.
ClassifyGroups = Callable[[Iterable[list[AudioFile]]], Iterator[Rows]]
# Takes the rows of a file.
TakeRows = Callable[[list[dict]], None]


def predict_files(
    options: PredictOptions,
    files: Sequence[AudioFile],
    decode_in_workers: bool | None = None,
    take: TakeRows | None = None,
) -> dict[str, str]:
    """Classify audio files and write their rows to the screen or to the output file.

    Args:
        options: of the command.
        files: to classify.
        decode_in_workers: whether worker processes only read files, for the model in this process,
            or else have a model each; None: where the model is on a GPU.
        take: is given the rows of each file that are written to the screen, too.

    Returns:
        The errors of those that failed, by name.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is not such a model, or the output file is not of this run.
        WorkFailedError: if a worker process was killed.
    """
    classifier = load_classifier(options, **_loading(options, options.num_proc == 1))
    classify: ClassifyGroups = partial(map, classifier)
    if decode_in_workers is None:
        decode_in_workers = classifier.on_accelerator
    if options.num_proc > 1 and decode_in_workers:
        classify = partial(classify_decoded, classifier, num_proc=options.num_proc)
    elif options.num_proc > 1:
        classify = partial(_classify_in_processes, options)
    names = [one.name for one in files]
    form = make_form(str(options.format), options, classifier.labels, names)
    if not options.output_file:
        return write_to_screen(files, form, classify, options, classifier.batch_size, take)
    path = options.output_file
    path.parent.mkdir(parents=True, exist_ok=True)
    # Other programs that write it wait.
    with FileLock(path.with_name(f".{path.name}.lock")):
        return write_to_file(files, form, classify, options, classifier.batch_size)


def _loading(options: PredictOptions, alone: bool) -> dict[str, Any]:
    """How a process loads the model: with its share of the processors."""
    threads = None if alone else max(1, (os.cpu_count() or 1) // options.num_proc)
    trust = options.trust_remote_code
    return {"device": options.device, "threads": threads, "trust_remote_code": trust}


def write_to_screen(
    files: Sequence[AudioFile],
    form: RowForm,
    classify: ClassifyGroups,
    options: PredictOptions,
    batch_size: int,
    take: TakeRows | None = None,
) -> dict[str, str]:
    """Print the rows of all files as they come; return the errors by name."""
    failed: dict[str, str] = {}
    # Names of files need not be UTF-8.
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # tests replace it by another stream with this method
    sys.stdout.write(form.header())
    with _progress_bar(files, options) as bar:
        for group in classify(make_groups(files, batch_size)):
            with tqdm.external_write_mode(file=sys.stdout):
                sys.stdout.write("".join(form.line(row) for rows in group for row in rows))
                sys.stdout.flush()
            if take is not None:
                for rows in group:
                    take(rows)
            failed |= {
                rows[0]["id"]: rows[0]["error"] for rows in group if rows[0]["error"] is not None
            }
            bar.update(len(group))
    return failed


def write_to_file(
    files: Sequence[AudioFile],
    form: RowForm,
    classify: ClassifyGroups,
    options: PredictOptions,
    batch_size: int,
) -> dict[str, str]:
    """Add the rows that are missing to the output file; return the errors by name."""
    replaced = replaced_when_whole(Path(str(options.output_file)), options.overwrite)
    with replaced as path:
        begin_file(path, decisive(options, options.trust_remote_code))
        file = PredictionFile(path, form, options.several_rows)
        file.check_inputs(files)
        done = sum(one.name in file.done for one in files)
        with _progress_bar(files, options, done) as bar:
            add_missing(file, files, classify, bar, batch_size)
    return {one.name: file.failed[one.name] for one in files if one.name in file.failed}


def add_missing(
    file: PredictionFile,
    files: Iterable[AudioFile],
    classify: ClassifyGroups,
    bar: tqdm,
    batch_size: int,
) -> None:
    """Add rows of those groups of audio files that a file does not hold whole, under a bar."""
    groups = make_groups(files, batch_size)
    for rows in classify(one for one in groups if not {s.name for s in one} <= file.done):
        before = len(file.done)
        file.write(rows)
        bar.update(len(file.done) - before)


def _progress_bar(files: Sequence[AudioFile], options: PredictOptions, done: int = 0) -> tqdm:
    """A bar in files per second, on a terminal."""
    return tqdm(total=len(files), initial=done, unit="file", disable=options.quiet or None)


def _classify_in_processes(
    options: PredictOptions, groups: Iterable[list[AudioFile]]
) -> Iterator[Rows]:
    """Classify groups in several processes; their rows come in the order of the groups."""
    with WorkerPool(options.num_proc, _load_here, options, _loading(options, False)) as pool:
        running: deque[Future] = deque()
        for group in groups:
            running.append(pool.submit(_classify_here, group))
            # A few groups ahead keep all processes busy, and no more rows wait than that.
            if len(running) > 2 * options.num_proc:
                yield running.popleft().result()
        yield from (future.result() for future in running)


_here: FileClassifier


def _load_here(options: PredictOptions, loading: dict[str, Any]) -> None:
    """Load the model in a process of its own."""
    global _here
    # Before Transformers is imported: one process shows that weights are loaded.
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    _here = load_classifier(options, **loading)


def _classify_here(group: list[AudioFile]) -> Rows:
    return _here(group)
