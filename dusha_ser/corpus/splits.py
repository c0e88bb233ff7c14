"""Clips to splits: which rows a configuration holds, and with which labels."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dusha_ser.archives.members import Members
from dusha_ser.corpus.clip_sources import locate_files
from dusha_ser.corpus.clips import cached_clips, parts_at_hand, posteriors, raw_prefixes, read_raw
from dusha_ser.corpus.configurations import (
    AGGREGATED,
    CLIP_COLUMNS,
    DOMAINS,
    LIKELIHOODS,
    MANIFESTS,
    RAW,
    RAW_COLUMNS,
    SPLITS,
)
from dusha_ser.corpus.options import CorpusOptions
from dusha_ser.corpus.speakers import warn_of_shared
from dusha_ser.corpus.validation import carve_validation
from dusha_ser.errors import WrongUseError
from dusha_ser.labels.aggregation import multi_labels, single_labels
from dusha_ser.labels.answers import plain_text, read_manifest
from dusha_ser.labels.crowd_answers import Posteriors
from dusha_ser.processes import Mapper
from dusha_ser.vocabulary import EMOTIONS, OTHER

logger = logging.getLogger(__name__)

# Those of a clip that its row keeps, and where its audio is.
JOINED_COLUMNS = ("id", "duration", *CLIP_COLUMNS, "part", "audio_path")
# Whether a clip would be kept without `keep_unsure`.
SURE = "is_sure"


@dataclass
class Plan:
    """All that a configuration holds, before any audio is read."""

    # For each split its rows: metadata, then wav and npy (features) as of `locate_files`.
    splits: dict[str, pa.Table]
    # Clips that are kept out because their files are missing or empty, by MISSING_COLUMNS.
    missing: list[dict] = field(default_factory=list)
    # Rows of the archives that were skipped: file, line, field, value, reason.
    bad_rows: list[dict] = field(default_factory=list)
    # Of all `clips`, and of those whose labels leave them out, each by the first reason.
    counts: dict[str, int] = field(default_factory=dict)
    shared_sources: int = 0  # speakers or podcasts of test that are in another split too


def needed_archives(name: str, options: CorpusOptions) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name the archives that a configuration is made of, as in `archives.find.ARCHIVES`.

    Returns:
        Those without which it cannot be made, and those to fetch in addition.
    """
    domains = [
        domain for domain in DOMAINS if any(part.startswith(domain) for part in options.parts)
    ]
    answers = tuple(f"{domain}.tar" for domain in domains)
    if name in MANIFESTS:
        own = tuple(f"{domain}.tar" for domain in domains if name.startswith((domain, "dusha")))
        return ("paper_setups.tgz",), ("features.tar",) if options.input_features else own
    # Podcasts have no audio to compute features from.
    without_audio = options.input_features and "podcast" in AGGREGATED.get(name, ())
    return answers, ("features.tar",) if without_audio else ()


def needs_file(name: str, options: CorpusOptions, member: str) -> bool:
    """Tell whether a file of the corpus, by its name, can change what a configuration holds."""
    if member.startswith(raw_prefixes(options.parts)):
        return True
    if name == RAW:
        return False
    if member.startswith("features/"):
        return options.input_features
    if member.startswith("paper_setups/"):
        stem = member.removeprefix("paper_setups/").split(".")[0]
        return name in MANIFESTS and stem in (name, f"test/{MANIFESTS[name]}")
    return member.endswith((".wav", ".WAV"))


def make_plan(
    name: str,
    members: Members,
    options: CorpusOptions,
    cache_dir: str | None,
    quiet: bool = False,
    mapper: Mapper = map,
) -> Plan:
    """Decide what a configuration holds.

    Args:
        name: one of CONFIGURATIONS.
        members: all files of the corpus.
        options: how labels are made and what is kept.
        cache_dir: folder for aggregated labels; None: `dusha` in the Hugging Face cache.
        quiet: no progress bars.
        mapper: parses the answers, here or on other machines.

    Returns:
        The plan; warnings say what is left out of it.

    Raises:
        WrongUseError: a split would be empty, or the parts don't fit the configuration.
        MissingInputError: files that the configuration needs are not there.
    """
    if name == RAW:
        plan = plan_raw(members, options, quiet, mapper)
    else:
        make = plan_manifest if name in MANIFESTS else plan_aggregated
        plan = make(name, members, options, cache_dir, quiet, mapper)
        if options.validation:
            plan.splits = carve_validation(plan.splits, options.validation)
            if options.keep_unsure and name not in MANIFESTS:
                # Models are chosen and tested on labels that are sure.
                validation = plan.splits["validation"]
                plan.splits["validation"] = validation.filter(validation[SURE])
        for split, rows in plan.splits.items():
            located = locate_files(rows, split, members, options.input_features, quiet)
            plan.splits[split] = located[0]
            plan.missing += located[1]
    for split, rows in plan.splits.items():
        if not len(rows):
            left_out = ", ".join(f"{count} {reason}" for reason, count in plan.counts.items())
            raise WrongUseError(
                f"split {split} of configuration {name} would be empty "
                f"({left_out or 'no rows'}, {len(plan.missing)} without their files): check the "
                "archives, lower `threshold`, or keep more (`keep_control=True`, `keep_other=True`)"
            )
    if name != RAW:
        count_shared_sources(plan)
    return plan


def plan_raw(members: Members, options: CorpusOptions, quiet: bool, mapper: Mapper) -> Plan:
    """Plan the configuration of one row per answer; arguments as in `make_plan`."""
    answers, bad_rows = read_raw(members, options, quiet, mapper)
    table = pa.table({column: plain_text(answers[column]) for column in (*RAW_COLUMNS, "part")})
    table = table.append_column("domain", first_word(table["part"]))
    return Plan(split_rows(table, options.parts), bad_rows=bad_rows)


def split_rows(table: pa.Table, parts: Sequence[str]) -> dict[str, pa.Table]:
    """Divide rows among the splits that some of the parts belong to."""
    return {
        split: table.filter(pc.ends_with(table["part"], f"_{split}"))
        for split in SPLITS
        if any(part.endswith(split) for part in parts)
    }


def plan_aggregated(
    name: str,
    members: Members,
    options: CorpusOptions,
    cache_dir: str | None,
    quiet: bool,
    mapper: Mapper,
) -> Plan:
    """Plan crowd, podcast or all; arguments as in `make_plan`."""
    wanted = [part for part in options.parts if part.rsplit("_", 1)[0] in AGGREGATED[name]]
    if not wanted:
        raise WrongUseError(
            f"configuration {name} holds none of the parts {', '.join(options.parts)}: "
            f"add its own to `parts`, or take one of {', '.join(AGGREGATED)}"
        )
    clips, bad_rows = cached_clips(members, options, cache_dir, quiet, mapper)
    clips = clips.filter(pc.is_in(clips["part"], pa.array(wanted)))
    estimated = posteriors(clips)
    found = single_labels(estimated.probabilities, options.threshold)
    classes = number_classes(estimated.labels, options)
    # Those that may be unsure.
    lenient = np.zeros(len(clips), bool)
    if options.keep_unsure:
        lenient = pc.ends_with(clips["part"], "_train").to_numpy()
    reasons = {}
    if not options.keep_control:
        reasons["control"] = pc.is_valid(clips["golden_emotion"]).to_numpy()
    reasons["unsure"] = found < 0
    if not options.keep_other and OTHER in estimated.labels:
        reasons[OTHER] = found == estimated.labels.index(OTHER)
    sure = ~np.any([reasons[name] for name in reasons if name != "control"], axis=0)
    kept, counts = np.ones(len(clips), bool), {"clips": len(clips)}
    for reason, which in reasons.items():
        if reason != "control":
            which = which & ~lenient
        counts[reason] = int((kept & which).sum())
        kept &= ~which
    best = np.where(classes >= 0, estimated.probabilities, -1).argmax(axis=1)
    found = np.where(lenient, best, found)
    columns = {column: clips[column] for column in joined_columns(clips)}
    columns[SURE] = pa.array(sure)
    columns["label"] = pa.array(np.where(kept, classes[found], -1))
    columns["domain"] = first_word(clips["part"])
    if options.multi_threshold is not None:
        columns["labels"] = multi_label_column(estimated, options)
    table = pa.table(columns).filter(pa.array(kept))
    return Plan(split_rows(table, wanted), bad_rows=bad_rows, counts=counts)


def joined_columns(clips: pa.Table) -> tuple[str, ...]:
    """Name the columns that rows get of their clips."""
    return JOINED_COLUMNS + ((LIKELIHOODS,) if LIKELIHOODS in clips.column_names else ())


def number_classes(labels: Sequence[str], options: CorpusOptions) -> np.ndarray:
    """Return the class number of each label, int64 (labels,), -1 for labels that are not one."""
    classes = options.class_names()
    return np.array([classes.index(label) if label in classes else -1 for label in labels])


def multi_label_column(estimated: Posteriors, options: CorpusOptions) -> pa.ListArray:
    """List all classes of a clip that are probable enough: lists of int64 (clips,), ascending."""
    if options.multi_threshold is None:
        raise ValueError("`multi_threshold` is None: take a number above 0 and up to 1")
    classes = number_classes(estimated.labels, options)
    chosen = multi_labels(estimated.probabilities, options.multi_threshold) & (classes >= 0)
    offsets = np.concatenate([[0], np.cumsum(chosen.sum(axis=1))])
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(classes[np.nonzero(chosen)[1]])
    )


def plan_manifest(
    name: str,
    members: Members,
    options: CorpusOptions,
    cache_dir: str | None,
    quiet: bool,
    mapper: Mapper,
) -> Plan:
    """Plan a published experiment: its manifests fix ids and labels; arguments as in `make_plan`.

    What is missing in the manifests is joined from the answers of the parts that are there, else
    null.
    """
    if options.multi_threshold is not None:
        raise WrongUseError(
            f"configuration {name} has the labels of its manifest, which are single: leave "
            f"`multi_threshold` out, or take one of {', '.join(AGGREGATED)}"
        )
    if options.keep_unsure:
        raise WrongUseError(
            f"configuration {name} has the clips of its manifest: leave `keep_unsure` out, or take "
            f"one of {', '.join(AGGREGATED)}"
        )
    clips: pa.Table | None = None
    bad_rows: list[dict] = []
    at_hand = copy.copy(options)
    at_hand.parts = tuple(part for part in parts_at_hand(members) if part in options.parts)
    if at_hand.parts:
        clips, bad_rows = cached_clips(members, at_hand, cache_dir, quiet, mapper)
    # dusha_large has rows of both domains.
    domain = next((domain for domain in DOMAINS if name.startswith(domain)), None)
    splits = {
        split: join_clips(read_manifest(members, manifest), clips, len(options.labels), domain)
        for split, manifest in {"train": name, "test": f"test/{MANIFESTS[name]}"}.items()
    }
    counts = {"clips": sum(map(len, splits.values()))}
    return Plan(splits, bad_rows=bad_rows, counts=counts)


def join_clips(
    manifest: pa.Table, clips: pa.Table | None, label_count: int, domain: str | None
) -> pa.Table:
    """Give the rows of a manifest the metadata of their clips, null where there is none.

    Without any answers, `clips` is None and vectors have the length `label_count`; `domain` is for
    rows without a clip.
    """
    label = pc.index_in(plain_text(manifest["emotion"]), value_set=pa.array(EMOTIONS))
    if clips is None:
        types = dict.fromkeys(JOINED_COLUMNS, pa.string())
        types |= dict.fromkeys(
            ("label_probabilities", LIKELIHOODS), pa.list_(pa.float64(), label_count)
        )
        types["votes"] = pa.list_(pa.int32(), label_count)
        types["answers"] = pa.list_(pa.string(), label_count)
        clips = pa.schema(types).empty_table()
    row = pc.index_in(manifest["id"], value_set=clips["id"].combine_chunks())
    joined = clips.select(joined_columns(clips)[2:]).take(row)
    domains = first_word(joined["part"])
    return pa.table(
        {name: joined[name] for name in joined.column_names}
        | {
            "id": manifest["id"],
            "duration": manifest["duration"],
            "label": label.cast(pa.int64()),
            "domain": domains if domain is None else pc.fill_null(domains, domain),
        }
    )


def first_word(part: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the domain that the name of a part begins with, null for null."""
    return pc.replace_substring_regex(part, "_.*", "")


def count_shared_sources(plan: Plan) -> None:
    """Count the speakers of test that are in another split too, in place, and warn of them."""
    others = [split for split in plan.splits if split != "test"]
    if not others or "test" not in plan.splits:
        return
    known = [name for split in others for name in plan.splits[split]["source_id"].to_pylist()]
    plan.shared_sources = warn_of_shared(
        known,
        plan.splits["test"]["source_id"].to_pylist(),
        (" or ".join(others), "test"),
        "speakers or podcasts (source_id)",
    )
