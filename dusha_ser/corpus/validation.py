"""A validation split of whole speakers of train, so that no model is chosen on test."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dusha_ser.errors import WrongUseError


def carve_validation(
    splits: dict[str, pa.Table], share: float, at_least_one: bool = False
) -> dict[str, pa.Table]:
    """Move whole speakers from train to a validation split between train and test.

    Speakers come in an order that only their names decide; each is taken if it brings the counts
    of clips by domain and class nearer to the share asked for. Rows without a source_id stay.

    Args:
        splits: rows by split; columns domain, label and source_id matter.
        share: of train's clips, above 0 and below 1.
        at_least_one: whether the speaker who comes nearest is moved where all have too many clips.

    Raises:
        WrongUseError: no speaker can be moved, or all would be.
    """
    if "train" not in splits:
        raise WrongUseError(
            "`validation` is taken from train, and the chosen `parts` have no train"
        )
    rows = splits["train"]
    group, _ = _codes(
        pc.binary_join_element_wise(
            pc.fill_null(rows["domain"], ""), pc.cast(rows["label"], pa.string()), "/"
        )
    )
    source, names = _codes(rows["source_id"])
    counts = np.zeros((len(names), int(group.max(initial=-1)) + 1))
    known = source >= 0
    np.add.at(counts, (source[known], group[known]), 1)
    wanted = share * np.bincount(group, minlength=counts.shape[1])
    taken = np.zeros(len(names), bool)
    so_far = np.zeros(counts.shape[1])
    # Not by the names themselves, which often show when or where a speaker was recorded.
    keys = [hashlib.sha256(name.encode()).digest() for name in names]
    for index in sorted(range(len(names)), key=keys.__getitem__):
        with_it = so_far + counts[index]
        if np.abs(wanted - with_it).sum() < np.abs(wanted - so_far).sum():
            taken[index], so_far = True, with_it
    if at_least_one and not taken.any() and len(names) > 1:
        taken[np.abs(wanted - counts).sum(1).argmin()] = True
    in_validation = known & np.append(taken, False)[source]
    if not in_validation.any() or in_validation.all():
        raise WrongUseError(
            f"`validation` is {share}, and train's {len(rows)} clips are by {len(names)} speakers: "
            "no choice of whole speakers comes near; take a share closer to one speaker's"
        )
    return {
        "train": rows.filter(pa.array(~in_validation)),
        "validation": rows.filter(pa.array(in_validation)),
    } | {split: table for split, table in splits.items() if split != "train"}


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, list]:
    encoded = column.combine_chunks().dictionary_encode()
    return pc.fill_null(encoded.indices, -1).to_numpy(), encoded.dictionary.to_pylist()
