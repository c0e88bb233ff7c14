"""Which clips to annotate, by a model's predictions: each emotion alike, or the least certain.

Most speech is neutral (paper, section 3): annotating clips as they come would spend nearly all
answers on it.
"""

import logging
import os
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dusha_ser.audio.finding import AudioFile
from dusha_ser.collecting.balance import Best, choose_best, merge_best
from dusha_ser.collecting.options import PICKS, PseudoLabelOptions, check_choice
from dusha_ser.errors import WrongUseError
from dusha_ser.files import named_file
from dusha_ser.fingerprints import hash_name
from dusha_ser.inference.audio_files import decisive, load_classifier
from dusha_ser.inference.predict_files import add_missing
from dusha_ser.inference.prediction_files import PredictionFile, begin_file, replaced_when_whole
from dusha_ser.inference.prediction_rows import make_form
from dusha_ser.inference.settings import Settings
from dusha_ser.storage import read_csv, write_csv
from dusha_ser.tables import find_clips_table, read_table
from dusha_ser.timelines.recordings import PROBABILITY_PREFIX

logger = logging.getLogger(__name__)


def label_clips(options: PseudoLabelOptions) -> list[dict[str, str]]:
    """Add a model's probabilities to a table of clips; a stopped run is resumed.

    Args:
        options: the table (columns id and `path_column`, paths relative to the table's folder),
            the model, and the CSV that gets one row per clip as `dusha predict` writes it.

    Returns:
        The rows of the table with prediction, probability_LABEL and error, all text.

    Raises:
        MissingInputError: if the table or the model is missing.
        WrongUseError: if it is not such a table, or the output file is another model's.
    """
    settings, output_file = Settings(options.model), options.predictions_file
    table, column = find_clips_table(options.clips), options.path_column
    clips = read_table(table, ("id", column), "name yours with `path_column`")
    sounds = [AudioFile(clip["id"], str(named_file(clip[column], table.parent))) for clip in clips]
    if len({sound.name for sound in sounds}) < len(sounds):
        raise WrongUseError(f"{table} has an id twice; each clip needs its own")
    classifier = load_classifier(
        settings, options.device, trust_remote_code=options.trust_remote_code
    )
    mark = decisive(settings, options.trust_remote_code)
    form = make_form("csv", classifier.settings, classifier.labels)
    is_other = False
    if options.overwrite and output_file.is_file():
        # Of the same model and audio, it need not be made again to pick other clips.
        try:
            begin_file(output_file, mark)
            PredictionFile(output_file, form).check_inputs(sounds, note=False)
        except WrongUseError:
            is_other = True
    with (
        replaced_when_whole(output_file, is_other) as place,
        tqdm(total=len(sounds), unit="clip", disable=options.quiet or None) as bar,
    ):
        begin_file(place, mark)
        file = PredictionFile(place, form)
        file.check_inputs(sounds)
        bar.update(len(file.done))
        batch_size = classifier.batch_size
        add_missing(file, sounds, lambda groups: map(classifier, groups), bar, batch_size)
    found = {row["id"]: row for row in read_table(output_file, ("id",), exact=True)}
    return [clip | {k: v for k, v in found[clip["id"]].items() if k not in clip} for clip in clips]


def best_clips(
    ids: Sequence[str],
    probabilities: np.ndarray,
    chosen: Sequence[Any],
    options: PseudoLabelOptions,
) -> Best:
    """Find the candidates of a part of the clips; `merge_best` makes those of all of the parts'.

    "balanced" orders the clips of each most probable label by a hash of seed and id: at random,
    but the same in whatever order and on whatever machine. "uncertain" orders all of them by the
    probability of their most probable label.

    Args:
        ids: of the clips.
        probabilities: float (clips, labels).
        chosen: what `choose_best` is to return of each clip.
        options: number, pick and seed.
    """
    check_choice(options.number, options.seed)
    if options.pick not in PICKS:
        raise WrongUseError(f"`pick` is {options.pick!r}; allowed are {', '.join(PICKS)}")
    if options.pick == "balanced":
        kinds = probabilities.argmax(axis=1).tolist()
        keys = [
            hash_name(f"{options.seed} {name}".encode("utf-8", "surrogateescape")) for name in ids
        ]
    else:
        kinds, keys = [0] * len(ids), probabilities.max(axis=1).tolist()
    every: Best = {}
    for kind, *candidate in zip(kinds, keys, ids, chosen, strict=True):
        every.setdefault(kind, []).append(tuple(candidate))
    ordered = {kind: sorted(own, key=itemgetter(0, 1)) for kind, own in every.items()}
    return merge_best(ordered, {}, options.number)


def write_picked(
    rows: Sequence[dict[str, str]], options: PseudoLabelOptions
) -> list[dict[str, str]]:
    """Choose among classified clips and write those to annotate as a table of clips.

    Args:
        rows: as `label_clips` returns them; those with an error are left out.
        options: how many to choose and how, and the table to write, whose paths lead to the clips
            from there.

    Returns:
        The rows that were chosen.

    Raises:
        WrongUseError: if no clip has probabilities, or another choice is there.
    """
    usable = [row for row in rows if not row["error"] and row["prediction"]]
    if not usable:
        raise WrongUseError(
            f"there is no prediction for any clip of {options.clips}; see their errors"
        )
    warn_of_few(len(usable), options.number)
    columns = [name for name in usable[0] if name.startswith(PROBABILITY_PREFIX)]
    probabilities = np.array([[float(row[name]) for name in columns] for row in usable])
    ids = [row["id"] for row in usable]
    best = best_clips(ids, probabilities, range(len(usable)), options)
    # In the order of the clips.
    chosen = [usable[place] for place in sorted(choose_best(best, options.number))]
    folder, path = find_clips_table(options.clips).parent, options.output_file
    column = options.path_column
    for row in chosen:
        row[column] = Path(os.path.relpath(folder / row[column], path.parent)).as_posix()
    columns = [name for name in chosen[0] if name != "error"]
    table = [{name: row[name] for name in columns} for row in chosen]
    write_choice(table, options)
    return chosen


def warn_of_few(there: int, number: int) -> None:
    """Warn where fewer clips have a prediction than are to be picked."""
    if there < number:
        logger.warning(
            "%d clips are to be picked, and %d have a prediction: all of these are taken",
            *(number, there),
        )


def write_choice(table: Sequence[dict[str, str]], options: PseudoLabelOptions) -> None:
    """Write the table of the picked clips, unless another choice is there.

    Raises:
        WrongUseError: if one is.
    """
    path = options.output_file
    if not options.overwrite and path.is_file() and read_csv(path) != table:
        raise WrongUseError(
            f"{path} holds another choice of clips; name another `output_file`, or replace it with "
            "`overwrite=True`"
        )
    write_csv(path, table[0], table)
