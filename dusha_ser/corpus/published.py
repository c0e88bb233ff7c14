"""By which clips a corpus is known to be Dusha, whatever its folder and configuration are called.

Anyone's own answers are prepared by the same program, under the same names of configurations,
domains and splits. What no other corpus has is Dusha's number of clips and their length.
"""

from collections import defaultdict
from collections.abc import Iterable

# The paper's Table 2: clips, hours and minutes.
PAPER_PARTS = {
    "crowd": {"train": (150352, 188, 44), "test": (14035, 18, 29)},
    "podcast": {"train": (79825, 71, 23), "test": (10637, 9, 25)},
}
# Other thresholds and missing recordings change the number of clips more than their mean length.
NEAR_COUNT = 0.1
NEAR_LENGTH = 0.03


def published_domains(
    domains: Iterable[str | None], durations: Iterable[float | None], split: str
) -> set[str]:
    """Return the domains whose clips are those of a published part, maybe prepared otherwise.

    Args:
        domains: of each clip, (clips,).
        durations: of each clip in seconds, (clips,).
        split: train (validation included) or test.

    Returns:
        Those of crowd and podcast whose number of clips is within 10 % of the published one, and
        whose mean length within 3 %.
    """
    lengths = defaultdict(list)
    for domain, seconds in zip(domains, durations, strict=True):
        lengths[domain].append(seconds or 0.0)
    found = set()
    for domain, parts in PAPER_PARTS.items():
        count, hours, minutes = parts[split]
        published = (3600 * hours + 60 * minutes) / count
        mean = sum(lengths[domain]) / max(1, len(lengths[domain]))
        if (
            abs(len(lengths[domain]) - count) <= NEAR_COUNT * count
            and abs(mean - published) <= NEAR_LENGTH * published
        ):
            found.add(domain)
    return found
