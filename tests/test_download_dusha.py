"""Downloads from servers that misbehave for real: nothing lost, nothing spliced, one message."""

import hashlib
import random

import pytest
from archive_server import ArchiveServer

from download_dusha import Mirror, fetch_archives
from transfer_dusha import Patience

QUICK = Patience(first_wait=0.001, longest_wait=0.01, longest_retry_after=3, timeout=5)
NAME = "crowd.tar"
CONTENT = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)


def fetch(urls, folder, names=(NAME,), **options):
    """Fetch without bars and long waits."""
    return fetch_archives(names, urls, folder, **{"quiet": True, "patience": QUICK, **options})


def part(url, folder):
    """What came of an archive so far."""
    return Mirror(url, folder).place(f"{NAME}.part")


@pytest.fixture
def server():
    """A server of one archive."""
    with ArchiveServer({NAME: CONTENT}) as server:
        yield server


def test_fetch_archives_writes_digests_beside_what_came(server, tmp_path):
    path = fetch(server.url, tmp_path)[NAME]
    assert path.read_bytes() == CONTENT
    md5, sha256 = (path.with_name(f"{NAME}.{kind}").read_text() for kind in ("md5", "sha256"))
    assert md5 == f"{hashlib.md5(CONTENT).hexdigest()}  {NAME}\n"
    assert sha256 == f"{hashlib.sha256(CONTENT).hexdigest()}  {NAME}\n"
    left = sorted(file.name for file in path.parent.iterdir())
    assert left == [NAME, f"{NAME}.lock", f"{NAME}.md5", f"{NAME}.sha256"]
    assert fetch(server.url, tmp_path)[NAME] == path and server.ranges == [None]


def test_fetch_archives_when_the_server_is_gone_but_the_archive_was_fetched(server, tmp_path):
    path = fetch(server.url, tmp_path)[NAME]
    server.__exit__()
    assert fetch(server.url, tmp_path)[NAME] == path


@pytest.mark.parametrize("seed", range(100))
def test_fetch_archives_when_connections_drop_at_random_bytes(seed, tmp_path):
    rng = random.Random(seed)
    faults = [("plain", rng.choice([0, 1, rng.randrange(200_000)])) for _ in range(6)]
    with ArchiveServer({NAME: CONTENT}, faults) as server:
        path = fetch(server.url, tmp_path)[NAME]
    assert path.read_bytes() == CONTENT
    assert path.with_name(f"{NAME}.md5").read_text().split()[0] == hashlib.md5(CONTENT).hexdigest()
    begun = sum(stop for _, stop in faults)
    if begun < len(CONTENT):  # each connection goes on from the byte where the last one stopped
        places = [sum(stop for _, stop in faults[:i]) for i in range(len(faults) + 1)]
        assert server.ranges == [f"bytes={place}-" if place else None for place in places]
