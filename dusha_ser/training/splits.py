"""The splits to train and test on: the corpus, its sample, a dataset folder, own recordings."""

import logging
from dataclasses import fields
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from huggingface_hub.constants import HF_HOME

import dusha
from dusha_ser.corpus import sample
from dusha_ser.corpus.complete_rows import complete_rows
from dusha_ser.corpus.configurations import CONFIGURATIONS, MANIFESTS, RAW
from dusha_ser.corpus.contents import TEACHER_COLUMN
from dusha_ser.corpus.named import is_own_folder, load_folder_or_hub
from dusha_ser.corpus.options import LabelOptions, SourceOptions
from dusha_ser.corpus.own_recordings import find_split_folders, read_recordings
from dusha_ser.corpus.speakers import warn_of_splits
from dusha_ser.corpus.validation import carve_validation
from dusha_ser.errors import WrongUseError
from dusha_ser.fingerprints import code_digest
from dusha_ser.training.options import DATASETS, SAMPLE, TRAINABLE, DataOptions

logger = logging.getLogger(__name__)
SPLITS = ("train", "validation", "test")
# Modules whose code decides the sample corpus.
SAMPLE_CODE = ("dusha_ser.corpus.sample", "dusha_ser.corpus.sample_voice")


def load_splits(
    options: DataOptions, features_only: bool, likelihoods: bool = False
) -> dict[str, datasets.Dataset]:
    """Read the splits that the options name.

    Args:
        options: what to read.
        features_only: whether the published features will do where the corpus has no audio.
        likelihoods: whether the column log_likelihoods is wanted, where it can be made.

    Returns:
        train and, where there are any, validation and test; labels are the same class numbers.

    Raises:
        WrongUseError: unknown names, wrong tables, an empty split.
        WorkFailedError: the corpus' archives cannot be fetched or read.
    """
    options.check()
    if options.train_file:
        return load_own(options, options.train_file)
    if options.dataset in (SAMPLE, *CONFIGURATIONS):
        return load_corpus(options, features_only, likelihoods)
    if Path(options.dataset).is_file() or is_own_folder(Path(options.dataset)):
        return load_own(options, options.dataset)
    loaded = load_folder_or_hub(options.dataset, options.configuration, DATASETS)
    if "train" not in loaded:
        raise WrongUseError(
            f"{options.dataset} has the splits {', '.join(loaded)}; training needs train"
        )
    wanted = {split: loaded[split] for split in SPLITS if split in loaded}
    complete = complete_rows(wanted, options.dataset, options)
    warn_of_splits(complete, {split: split for split in complete})
    return complete


def load_own(options: DataOptions, train_file: str) -> dict[str, datasets.Dataset]:
    """Read one's own recordings."""
    there = find_split_folders(Path(train_file))
    train = read_recordings(train_file, options=options, split="train")
    splits, names = {"train": train}, train.features["label"].names
    places = {"train": "train" if there else train_file}
    for split in ("validation", "test"):
        given = getattr(options, f"{split}_file")
        if given and split in there:
            raise WrongUseError(
                f"{train_file} has the split {split} itself: leave out `{split}_file`, or the "
                "folder of the split"
            )
        if path := given or (train_file if split in there else None):
            splits[split] = read_recordings(path, names, options, split)
            places[split] = given or split
            shared = set.intersection(
                *({audio["path"] for audio in rows["audio"]} for rows in (train, splits[split]))
            )
            if shared:
                raise WrongUseError(
                    f"{len(shared)} recordings, such as {min(shared)}, are in both {train_file} "
                    f"and {path}: leave them out of one"
                )
    warn_of_splits(splits, places)
    return splits


def load_corpus(
    options: DataOptions, features_only: bool, likelihoods: bool
) -> dict[str, datasets.Dataset]:
    """Read the corpus, or its sample."""
    name, source = options.dataset, values_of(options, SourceOptions)
    quiet = datasets.utils.are_progress_bars_disabled()
    if name == RAW:
        raise WrongUseError(f"{RAW} has answers and no labels to train on; take another one")
    if name == SAMPLE:
        if options.data_dir or options.base_url:
            raise WrongUseError(
                "`data_dir` and `base_url` are for the corpus; name its configuration by "
                f"`dataset`, one of {', '.join(TRAINABLE)}"
            )
        name = options.configuration or "crowd"
        cache = Path(options.cache_dir or Path(HF_HOME, "dusha"))
        folder = cache / f"sample-{code_digest(*SAMPLE_CODE)}"
        if not folder.is_dir():
            sample.write_sample(folder, quiet=quiet)
        source["data_dir"] = str(folder)
    elif options.configuration:
        raise WrongUseError(f"{name} is a configuration: leave `configuration` out")
    labels = values_of(options, LabelOptions)
    if name in MANIFESTS:
        # Their labels are published.
        labels = {"golden": options.golden, "keep_unsure": options.keep_unsure}
    labels["log_likelihoods"] = likelihoods
    labels["bad_rows"] = options.bad_rows
    # Podcasts and the published experiments come as features, which save 28 GB of audio.
    features = features_only and (name in MANIFESTS or name in ("podcast", "all"))
    return dict(dusha.load_dataset(name, quiet=quiet, input_features=features, **source, **labels))


def values_of(options: DataOptions, kind: type) -> dict[str, Any]:
    """Return those options by name that are fields of a class."""
    return {one.name: getattr(options, one.name) for one in fields(kind)}


# What a permutation of the labels moves from clip to clip.
LABEL_COLUMNS = (
    *("label", "labels", "answers", "label_probabilities", "log_likelihoods", "votes"),
    TEACHER_COLUMN,
)


def shuffle_labels(rows: datasets.Dataset, seed: int) -> datasets.Dataset:
    """Give each clip the labels of another, drawn at random, so that nothing can be learnt.

    To be done before validation is held out: from an epoch that was chosen on true labels something
    would be learnt after all.
    """
    names = [name for name in LABEL_COLUMNS if name in rows.column_names]
    order = np.random.default_rng([seed, 0]).permutation(len(rows))
    moved = rows.select_columns(names).select(order)
    return datasets.concatenate_datasets([rows.remove_columns(names), moved], axis=1)


def sure_clips(rows: datasets.Dataset, threshold: float) -> datasets.Dataset:
    """Leave out clips that only `keep_unsure` has kept: an epoch is chosen on sure labels.

    Raises:
        WrongUseError: if none is sure.
    """
    names, numbers = rows.features["label"].names, []
    columns = [rows[name] for name in ("label", "answers", "label_probabilities")]
    for number, (label, answers, chances) in enumerate(zip(*columns, strict=True)):
        best = int(np.argmax(chances))
        if chances[best] >= threshold and answers[best] == names[label]:
            numbers.append(number)
    if not numbers:
        raise WrongUseError(
            f"no validation clip has a label of at least {threshold}: take a lower `threshold`, or "
            "`validation=0`, which trains on all clips and takes the last epoch"
        )
    return rows.select(numbers)


def hold_out_validation(
    splits: dict[str, datasets.Dataset], share: float, on_test: bool = False
) -> dict[str, datasets.Dataset]:
    """Move whole speakers from train to a validation split, unless there is one.

    Where no speaker is known, each clip counts as a speaker of its own. Where all have more clips
    than are wanted, one speaker is taken, with a warning that counts the clips.

    Args:
        splits: with train.
        share: of train's clips; 0: no validation.
        on_test: whether the test set is the validation split, as published.

    Raises:
        WrongUseError: if train cannot be divided, or there is no test set.
    """
    if on_test:
        if "test" not in splits:
            raise WrongUseError("`published_quirks` chooses on the test set, and there is none")
        return splits | {"validation": splits["test"]}
    if "validation" in splits or not share:
        return splits
    rows = splits["train"]
    sources = list(rows["source_id"]) if "source_id" in rows.column_names else []
    if all(source in (None, "") for source in sources):
        sources = list(map(str, range(len(rows))))
        logger.warning(
            "no speaker is known, so single clips are held out to choose the best epoch: their "
            "speakers may be in train, too"
        )
    table = pa.table(
        {
            "number": range(len(rows)),
            "domain": rows["domain"] if "domain" in rows.column_names else [""] * len(rows),
            "label": rows["label"],
            "source_id": pa.array(sources, pa.string()),
        }
    )
    try:
        carved = carve_validation({"train": table}, share, at_least_one=True)
    except WrongUseError as error:
        raise WrongUseError(
            f"{error}; `validation=0` trains on all clips and takes the last epoch"
        ) from error
    chosen = {split: rows.select(part["number"].to_pylist()) for split, part in carved.items()}
    held_out = len(chosen["validation"])
    if held_out > 2 * share * len(rows):
        logger.warning(
            "validation is %g of %d clips, and whole speakers are held out: these are %d clips; "
            "`validation=0` trains on all of them and takes the last epoch",
            *(share, len(rows), held_out),
        )
    return splits | chosen
