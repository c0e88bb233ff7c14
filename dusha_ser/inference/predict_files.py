"""Predictions for many audio files: to the screen or to a file, in one process or several."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from datetime import timedelta
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
    find_parts,
    merge_parts,
    part_path,
    replaced_when_whole,
)
from dusha_ser.inference.prediction_rows import RowForm, make_form
from dusha_ser.inference.settings import PredictOptions
from dusha_ser.processes import WorkerPool

# The other processes of a launcher may be days behind.
WAIT_FOR_OTHERS = timedelta(days=30)
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

    A launcher's process takes its share of the files.

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
    own = files[options.rank :: options.world_size]
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
        return write_to_screen(own, form, classify, options, classifier.batch_size, take)
    path = options.output_file
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes of a launcher write parts of their own; other programs wait for each other.
    with (
        nullcontext() if options.world_size > 1 else FileLock(path.with_name(f".{path.name}.lock"))
    ):
        return write_to_file(names, own, form, classify, options, classifier.batch_size)


def _loading(options: PredictOptions, alone: bool) -> dict[str, Any]:
    """How a process loads the model: its share of the processors, the GPU of its rank."""
    device = options.device
    if device is None and "LOCAL_RANK" in os.environ:
        import torch

        if count := torch.cuda.device_count():
            device = f"cuda:{int(os.environ['LOCAL_RANK']) % count}"
    threads = None if alone else max(1, (os.cpu_count() or 1) // options.num_proc)
    return {"device": device, "threads": threads, "trust_remote_code": options.trust_remote_code}


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
    names: Sequence[str],
    own: Sequence[AudioFile],
    form: RowForm,
    classify: ClassifyGroups,
    options: PredictOptions,
    batch_size: int,
) -> dict[str, str]:
    """Add the rows that are missing to the output file; return the errors by name.

    Each process of a launcher writes a part of its own files, and the first one makes one file of
    the parts. Where the launcher gives no address to meet at, the same command without it does.
    """
    launched = options.world_size > 1
    replaced = replaced_when_whole(
        Path(str(options.output_file)), options.overwrite, first=not options.rank
    )
    with replaced as path:
        if launched:
            _meet(options)
        begin_file(path, decisive(options, options.trust_remote_code))
        part = part_path(path, options.rank, options.world_size) if launched else path
        if not launched and find_parts(path):
            merge_parts(path, names, form, options.several_rows)
        file = PredictionFile(part, form, options.several_rows)
        if launched and path.exists():
            before = PredictionFile(path, form, options.several_rows)
            before.check_inputs(own, note=False)
            file.done |= before.done
        file.check_inputs(own)
        done = sum(one.name in file.done for one in own)
        with _progress_bar(own, options, done) as bar:
            add_missing(file, own, classify, bar, batch_size)
        if not launched:
            return failed_of(names, file)
        failed = file.failed
        if _meet(options) and not options.rank:
            merge_parts(path, names, form)
            failed = failed_of(names, PredictionFile(path, form))
    # No process leaves before the file is whole: launchers end the others when one fails.
    _meet(options)
    return failed


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


def failed_of(names: Sequence[str], file: PredictionFile) -> dict[str, str]:
    """Return the errors of some audio files by name, in the order of the names."""
    return {name: file.failed[name] for name in names if name in file.failed}


def _meet(options: PredictOptions) -> bool:
    """Wait until all processes of a launcher are here; False where it gives them no address."""
    if "MASTER_ADDR" not in os.environ:
        return False
    from torch import distributed

    if not distributed.is_initialized():
        distributed.init_process_group("gloo", timeout=WAIT_FOR_OTHERS)
    distributed.barrier()
    return True


def _progress_bar(files: Sequence[AudioFile], options: PredictOptions, done: int = 0) -> tqdm:
    """A bar in files per second, on a terminal, of the first process."""
    disable = options.quiet or bool(options.rank) or None
    return tqdm(total=len(files), initial=done, unit="file", disable=disable)


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
