"""Lists beside a prepared corpus: clips whose audio is missing, and rows that were skipped."""

import json
import logging
from collections import Counter
from pathlib import Path

from dusha_ser.audio.problems import count_reasons
from dusha_ser.corpus.clip_sources import MISSING_COLUMNS
from dusha_ser.storage import write_csv

logger = logging.getLogger(__name__)

MISSING_FILE = "missing_audio.csv"
BAD_ROWS_FILE = "bad_rows.csv"
# Ends the reason of a clip that stays although its file is broken.
KEPT = ", kept without audio"
# Each process writes notes in files of its own, which are gathered at the end.
NOTE_PREFIX = ".missing-"


def note_missing(folder: str | None, name: str, missing: list[dict]) -> None:
    """Keep clips whose files are broken for `collect_lists`, by a note with a name of its own.

    While streaming, there is no folder: this warns of each.
    """
    if folder is None:
        for clip in missing:
            logger.warning("clip %(id)s of %(domain)s %(split)s: %(reason)s", clip)
    elif missing:
        Path(folder, f"{NOTE_PREFIX}{name}.json").write_text(json.dumps(missing))


def collect_lists(folder: str, bad_rows: list[dict]) -> None:
    """Gather the notes of all processes in an unfinished result and write the lists."""
    notes = sorted(Path(folder).glob(f"{NOTE_PREFIX}*.json"))
    missing = [clip for note in notes for clip in json.loads(note.read_text())]
    write_lists(folder, missing, bad_rows)
    for note in notes:
        note.unlink()


def count_left_out(missing: list[dict]) -> Counter[str]:
    """Count the missing clips that were left out, by their reasons without what is in brackets.

    Examples:
        >>> count_left_out([{"reason": "unreadable wav (no RIFF)"}, {"reason": "no wav"}])
        Counter({'unreadable wav': 1, 'no wav': 1})
    """
    reasons = (clip["reason"] for clip in missing)
    return Counter(reason.partition(" (")[0] for reason in reasons if not reason.endswith(KEPT))


def write_lists(folder: str | Path, missing: list[dict], bad_rows: list[dict]) -> None:
    """Write the lists beside a result, each only if it is not empty, and warn with a count."""
    if missing:
        missing = sorted(missing, key=lambda clip: (clip["split"], clip["id"]))
        write_csv(Path(folder) / MISSING_FILE, MISSING_COLUMNS, missing)
        logger.warning(
            "%d clips have missing, empty or unreadable files and are listed in %s: %s",
            len(missing),
            MISSING_FILE,
            count_reasons({clip["id"]: clip["reason"] for clip in missing}),
        )
    if bad_rows:
        write_csv(Path(folder) / BAD_ROWS_FILE, list(bad_rows[0]), bad_rows)
        logger.warning(
            "%d rows of the archives were skipped and are listed in %s",
            len(bad_rows),
            BAD_ROWS_FILE,
        )
