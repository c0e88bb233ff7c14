"""Speakers who are both learnt from and tested on, which makes scores too high."""

import logging
from collections.abc import Iterable, Mapping

import datasets

logger = logging.getLogger(__name__)


def warn_of_shared(
    known: Iterable[object],
    tested: Iterable[object],
    names: tuple[str, str],
    what: str = "speakers",
) -> int:
    """Count the speakers of tested clips that are known from training, and warn of them.

    Args:
        known: the speaker of each training clip, (clips,); None where unknown.
        tested: the speaker of each tested clip, (clips,); None where unknown.
        names: of both, for the message.
        what: they are, for the message.

    Returns:
        How many speakers both have.
    """
    tested = list(tested)
    both = (set(known) & set(tested)) - {None, ""}
    if both:
        logger.warning(
            "%d %s are in both %s and %s, with %d of %s's %d clips: results on %s flatter a model "
            "that learns voices",
            *(len(both), what, *names, sum(one in both for one in tested)),
            *(names[1], len(tested), names[1]),
        )
    return len(both)


def warn_of_splits(splits: Mapping[str, datasets.Dataset], names: Mapping[str, str]) -> None:
    """Warn of speakers of validation and test clips who are in an earlier split too, or unknown.

    Args:
        splits: train and, where there are any, validation and test, with source_id (the speaker),
            and domain where one name may be another speaker elsewhere.
        names: of the splits, for messages.
    """
    earlier: list[str] = []
    for split in splits:
        if earlier:
            place = " or ".join(names[one] for one in earlier)
            known = [speaker for one in earlier for speaker in speakers_of(splits[one])]
            tested = speakers_of(splits[split])
            for speakers, name in ((known, place), (tested, names[split])):
                if unknown := speakers.count(None):
                    logger.warning(
                        "whether %s has speakers of %s is not known: %d of the %d clips of %s have "
                        "no speaker",
                        *(names[split], place, unknown, len(speakers), name),
                    )
                    break
            warn_of_shared(known, tested, (place, names[split]))
        earlier.append(split)


def speakers_of(rows: datasets.Dataset) -> list[tuple[str | None, str] | None]:
    """Return the speaker of each row, with the domain that knows the name; None: not known."""
    columns = rows.column_names
    if "source_id" not in columns:
        return [None] * len(rows)
    domains = rows["domain"] if "domain" in columns else [None] * len(rows)
    return [
        None if speaker in (None, "") else (domain, speaker)
        for domain, speaker in zip(domains, rows["source_id"], strict=True)
    ]
