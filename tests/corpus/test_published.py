"""Dusha is known by its clips: their number and their mean length."""

import pytest

from dusha_ser.corpus.published import PAPER_PARTS, published_domains


def durations_of(domain, split, share=1.0, longer=1.0):
    count, hours, minutes = PAPER_PARTS[domain][split]
    seconds = longer * (3600 * hours + 60 * minutes) / count
    return [seconds] * round(share * count)


@pytest.mark.parametrize("split", ["train", "test"])
def test_published_domains_of_both_together_are_both(split):
    crowd, podcast = (durations_of(domain, split) for domain in ("crowd", "podcast"))
    domains = ["crowd"] * len(crowd) + ["podcast"] * len(podcast)
    assert published_domains(domains, crowd + podcast, split) == {"crowd", "podcast"}


@pytest.mark.parametrize(
    ("share", "longer", "known"),
    [(0.91, 1, True), (1.09, 1.02, True), (0.89, 1, False), (1.11, 1, False), (1, 1.04, False)],
)
def test_published_domains_of_other_thresholds_are_known_and_of_other_clips_are_not(
    share, longer, known
):
    durations = durations_of("crowd", "test", share, longer)
    assert published_domains(["crowd"] * len(durations), durations, "test") == (
        {"crowd"} if known else set()
    )


def test_published_domains_of_clips_without_domain_or_duration_are_none():
    assert published_domains([None] * 14035, durations_of("crowd", "test"), "test") == set()
    assert published_domains(["crowd"] * 14035, [None] * 14035, "test") == set()
    assert published_domains([], [], "train") == set()
