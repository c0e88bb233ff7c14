"""Downloads from servers that misbehave for real: nothing lost, nothing spliced, one message."""

import base64
import hashlib
import json
import logging
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest
import trustme
from archive_server import ArchiveServer

from dusha_ser.archives import mirrors
from dusha_ser.archives.mirrors import Mirror, fetch_archives
from dusha_ser.archives.transfer import Patience
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError

QUICK = Patience(first_wait=0.001, longest_wait=0.01, longest_retry_after=3, timeout=5)
NAME = "crowd.tar"
CONTENT = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)


def fetch(urls, folder, names=(NAME,), **options):
    """Fetch without bars and long waits."""
    return fetch_archives(names, urls, folder, **{"quiet": True, "patience": QUICK, **options})


def part(url, folder):
    """What came of an archive so far."""
    return Mirror(url, folder).folder / f"{NAME}.part"


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


def test_fetch_archives_when_killed_before_its_last_change_tidies_up(server, tmp_path):
    path = fetch(server.url, tmp_path)[NAME]
    left = path.with_name(f"{NAME}.part.json")
    left.write_text("{}", "utf-8")
    assert fetch(server.url, tmp_path)[NAME] == path and not left.exists()


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


def test_fetch_archives_when_one_byte_comes_in_each_connection(tmp_path):
    faults = [("plain", 1)] * 40
    with ArchiveServer({NAME: CONTENT}, faults) as server:
        assert fetch(server.url, tmp_path)[NAME].read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=40-"


def test_fetch_archives_when_the_server_is_slow(tmp_path):
    with ArchiveServer({NAME: CONTENT}, [("plain", None, True, True, None, 0.05)]) as server:
        assert fetch(server.url, tmp_path)[NAME].read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_fetch_archives_when_the_server_falls_silent(tmp_path):
    def stall(handler):
        handler.plain(200_000)
        time.sleep(1)

    patience = Patience(first_wait=0.001, timeout=0.2)
    with ArchiveServer({NAME: CONTENT}, [stall]) as server:
        assert fetch(server.url, tmp_path, patience=patience)[NAME].read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=200000-"]


@pytest.mark.parametrize(
    ("fault", "ranges"),
    [
        ((lambda handler: handler.status(500)), [None, None]),
        ((lambda handler: handler.status(502, body=b"<html>bad gateway</html>")), [None, None]),
        ((lambda handler: handler.status(503, {"Retry-After": "0"})), [None, None]),
        (("hang_up",), [None, None]),
        ((lambda handler: handler.wfile.write(b"no HTTP at all\r\n\r\n")), [None, None]),
        (("plain", 50_000, True, True, None, 0, "chunked"), [None, "bytes=50000-"]),
        # A length that is too great looks like a dropped connection, and is one in effect.
        (("plain", 300_000, True, True, {"Content-Length": "300001"}), None),
        (("plain", None, True, True, None, 0, "chunked"), [None]),
    ],
)
def test_fetch_archives_when_the_first_answer_fails(fault, ranges, tmp_path):
    with ArchiveServer({NAME: CONTENT}, [fault]) as server:
        assert fetch(server.url, tmp_path)[NAME].read_bytes() == CONTENT
    assert ranges is None or server.ranges == ranges


def test_fetch_archives_when_the_server_announces_too_little(tmp_path):
    short = ("plain", None, True, True, {"Content-Length": "200000"})
    checksums = {NAME: hashlib.md5(CONTENT).hexdigest()}
    with (
        ArchiveServer({NAME: CONTENT}, [short]) as server,
        pytest.raises(WorkFailedError, match="its md5 is"),
    ):
        fetch(server.url, tmp_path, checksums=checksums)


def test_fetch_archives_shows_speed_and_time_left(server, tmp_path, capsys):
    server.faults = [("plain", 100_000), ("plain", None, True, True, None, 0.05)]
    fetch(server.url, tmp_path, quiet=False)
    shown = capsys.readouterr().err
    assert "Fetching crowd.tar" in shown and "kB/s" in shown
    assert "the connection was closed early; again in 0 s" in shown
    assert "100%" in shown and "307200" not in shown


@pytest.mark.parametrize("asked", ["1", "date"])
def test_fetch_archives_waits_as_long_as_a_busy_server_asks(asked, tmp_path):
    def busy(handler):
        text = formatdate(time.time() + 2, usegmt=True) if asked == "date" else asked
        handler.status(429, {"Retry-After": text})

    with ArchiveServer({NAME: CONTENT}, [busy]) as server:
        start = time.monotonic()
        assert fetch(server.url, tmp_path)[NAME].read_bytes() == CONTENT
    # Not longer either; a busy machine may take some seconds for the rest.
    assert 0.9 < time.monotonic() - start < 10


def test_fetch_archives_when_a_busy_server_asks_for_too_long(tmp_path):
    faults = [lambda handler: handler.status(429, {"Retry-After": "99"})]
    with (
        ArchiveServer({NAME: CONTENT}, faults) as server,
        pytest.raises(WorkFailedError, match="429.*come back in 99 seconds"),
    ):
        fetch(server.url, tmp_path)


def test_fetch_archives_gives_up_after_tries_without_a_new_byte(tmp_path):
    faults = [("plain", 1000), *[("plain", 0)] * 50]
    with ArchiveServer({NAME: CONTENT}, faults) as server:
        with pytest.raises(WorkFailedError, match=r"8 tries in a row.*the next run resumes"):
            fetch(server.url, tmp_path)
        assert len(server.ranges) == 8
        server.faults.clear()
        assert fetch(server.url, tmp_path)[NAME].read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=1000-"


def test_fetch_archives_gives_up_where_each_answer_is_of_another_file(tmp_path):
    # Two machines behind one address whose entity tags differ: every range is refused.
    def one_of_two(handler):
        tag = f'"{len(handler.owner.requests) % 2}"'
        handler.plain(100_000, headers={"ETag": tag, "Last-Modified": None})

    with (
        ArchiveServer({NAME: CONTENT}, [one_of_two] * 90) as server,
        pytest.raises(WorkFailedError, match="tries in a row brought nothing"),
    ):
        fetch(server.url, tmp_path)
    assert len(server.ranges) < 20


def test_fetch_archives_when_ranges_are_ignored(tmp_path):
    faults = [("plain", 250_000), ("plain", 280_000, False), ("plain", None, False)]
    with ArchiveServer({NAME: CONTENT}, faults) as server:
        assert fetch(server.url, tmp_path)[NAME].read_bytes() == CONTENT


@pytest.mark.parametrize("conditions", [True, False], ids=["If-Range", "If-Range ignored"])
@pytest.mark.parametrize("size", [300_000, 310_000, 90_000])
@pytest.mark.parametrize("validators", [("ETag",), ("Last-Modified",), ("ETag", "Last-Modified")])
def test_fetch_archives_never_splices_a_file_that_changed(conditions, size, validators, tmp_path):
    def change(handler):
        handler.plain(100_000)
        handler.owner.files[f"/{NAME}"] = (OTHER * 2)[:size]
        handler.owner.changed = formatdate(time.time() - 60, usegmt=True)

    faults = [change, ("plain", 50_000, True, conditions), ("plain", None, True, conditions)]
    with ArchiveServer({NAME: CONTENT}, faults, validators) as server:
        path = fetch(server.url, tmp_path)[NAME]
    assert path.read_bytes() == (OTHER * 2)[:size]
    digest = hashlib.sha256((OTHER * 2)[:size]).hexdigest()
    assert path.with_name(f"{NAME}.sha256").read_text().startswith(digest)


def test_fetch_archives_starts_over_where_nothing_tells_the_file_s_state(tmp_path):
    def change(handler):
        handler.plain(100_000)
        handler.owner.files[f"/{NAME}"] = OTHER

    with ArchiveServer({NAME: CONTENT}, [change], validators=()) as server:
        assert fetch(server.url, tmp_path)[NAME].read_bytes() == OTHER
    assert server.ranges == [None, None]


def test_fetch_archives_when_only_a_checksum_tells_the_file_s_state(tmp_path):
    checksums = {NAME: hashlib.sha256(CONTENT).hexdigest()}
    with ArchiveServer({NAME: CONTENT}, [("plain", 100_000)], validators=()) as server:
        assert fetch(server.url, tmp_path, checksums=checksums)[NAME].read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-"]


@pytest.mark.parametrize("tag", ['W/"weak"', None], ids=["weak tag", "may change again"])
def test_fetch_archives_when_validators_are_weak(tag, tmp_path):
    # An hour ahead: the server's clock does not come past it, however slow the machine is.
    ahead = formatdate(time.time() + 3600, usegmt=True)
    headers = {"ETag": tag, "Last-Modified": None if tag else ahead}
    with ArchiveServer({NAME: CONTENT}, [("plain", 1000, True, True, headers)]) as server:
        assert fetch(server.url, tmp_path)[NAME].read_bytes() == CONTENT
    assert server.requests[1][2:] == (None, None)


def test_fetch_archives_when_the_server_restarts(tmp_path):
    first = ArchiveServer({NAME: CONTENT}, [("plain", 123_456)])
    again = []

    def restart():
        while not first.requests:
            time.sleep(0.01)
        first.__exit__()
        time.sleep(0.3)
        again.append(ArchiveServer({NAME: CONTENT}, port=first.server.server_address[1]))
        again[0].__enter__()

    first.__enter__()
    restarting = threading.Thread(target=restart)
    restarting.start()
    patience = Patience(first_wait=0.1, longest_wait=0.5, timeout=5)
    assert fetch(first.url, tmp_path, patience=patience)[NAME].read_bytes() == CONTENT
    restarting.join()
    again[0].__exit__()
    assert again[0].ranges == ["bytes=123456-"]


@pytest.mark.parametrize("status", [401, 403, 404, 410, 451, 418, 799])
def test_fetch_archives_when_the_server_refuses(status, tmp_path):
    with ArchiveServer({NAME: CONTENT}, [lambda handler: handler.status(status)] * 9) as server:
        error = MissingInputError if status in (404, 410) else WorkFailedError
        with pytest.raises(error) as caught:
            fetch(server.url, tmp_path)
    assert len(server.ranges) == 1
    message = str(caught.value)
    phrase = " (Forbidden)." if status == 403 else "." if status == 799 else " ("
    assert f"{server.url}{NAME}: the server answered {status}{phrase}" in message
    assert f"By hand: fetch {NAME}" in message
    assert "give that as `data_dir`" in message and "mirror as `base_url`" in message


def test_fetch_archives_when_refused_names_all_that_must_be_fetched_by_hand(tmp_path):
    names = ["crowd.tar", "podcast.tar", "features.tar"]
    with ArchiveServer(dict.fromkeys(names, CONTENT)) as server:
        server.faults = [lambda handler: handler.status(403)]
        with pytest.raises(WorkFailedError) as caught:
            fetch(server.url, tmp_path, names, optional=["features.tar"])
        assert "By hand: fetch crowd.tar and podcast.tar in" in str(caught.value)
        assert "put them in a folder" in str(caught.value)
        assert "is kept" not in str(caught.value)  # nothing came
        server.faults = [None, ("plain", 1000), *[("plain", 0)] * 7]
        with pytest.raises(WorkFailedError) as caught:
            fetch(server.url, tmp_path, names, optional=["features.tar"])
        assert "By hand: fetch podcast.tar in" in str(caught.value)  # crowd.tar is there
        assert "What came so far is kept" in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "text/html; charset=utf-8"}, b"please log in"),
        ({"Content-Type": "application/octet-stream"}, b"  \n<!DOCTYPE html><title>Proxy"),
    ],
)
def test_fetch_archives_when_a_web_page_comes(headers, body, tmp_path):
    faults = [("plain", 1000), lambda handler: handler.status(200, headers, body)]
    with ArchiveServer({NAME: CONTENT}, faults) as server:
        with pytest.raises(WorkFailedError, match="a web page came"):
            fetch(server.url, tmp_path)
        assert part(server.url, tmp_path).stat().st_size == 1000  # what came before is kept
        assert fetch(server.url, tmp_path)[NAME].read_bytes() == CONTENT


def test_fetch_archives_when_a_proxy_sends_its_page(tmp_path, monkeypatch):
    page = [lambda handler: handler.status(200, {}, b"<html>blocked</html>")]
    with ArchiveServer({}, page) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(WorkFailedError, match="archives.invalid.*a web page came"):
            fetch("http://archives.invalid/dusha/", tmp_path)
    assert proxy.requests[0][1] == f"http://archives.invalid/dusha/{NAME}"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda handler: handler.status(302, {"Location": f"/{NAME}"}), "more than 10 redirects"),
        (lambda handler: handler.status(302, {"Location": "file:///etc/passwd"}), "adapters"),
        (lambda handler: handler.status(302, {"Location": "http://[::"}), "Invalid IPv6"),
        (lambda handler: handler.status(304), "answered 304"),
        (lambda handler: handler.status(200), "the file on the server is empty"),
        (lambda handler: handler.status(206, {"Content-Range": "bytes 0-1/9"}), "a part of the"),
        (
            lambda handler: handler.plain(headers={"Content-Encoding": "gzip"}),
            r"encoded \(gzip\), though asked not to",
        ),
    ],
)
def test_fetch_archives_when_the_answer_is_of_no_use(fault, message, tmp_path):
    with (
        ArchiveServer({NAME: CONTENT}, [fault] * 99) as server,
        pytest.raises(WorkFailedError, match=message),
    ):
        fetch(server.url, tmp_path)


def test_fetch_archives_follows_redirects_with_the_range(server, tmp_path):
    with ArchiveServer({}) as front:
        moved = {"Location": f"{server.url}{NAME}"}
        front.faults = [lambda handler: handler.status(307, moved)] * 2
        server.faults = [("plain", 1000)]
        assert fetch(front.url, tmp_path)[NAME].read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-"]


def test_fetch_archives_keeps_a_compressed_archive_as_it_lies(tmp_path):
    headers = {"Content-Encoding": "x-gzip"}  # what some servers say of any .tgz
    content = b"\x1f\x8b" + CONTENT
    faults = [("plain", None, True, True, headers)]
    with ArchiveServer({"paper_setups.tgz": content}, faults) as server:
        path = fetch(server.url, tmp_path, ["paper_setups.tgz"])["paper_setups.tgz"]
    assert path.read_bytes() == content


def test_fetch_archives_when_there_is_no_network(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
        with pytest.raises(WorkFailedError, match=r"Connection refused \(3 tries.*By hand"):
            fetch(url, tmp_path)


def test_fetch_archives_when_tls_fails(server, tmp_path, monkeypatch):
    with pytest.raises(WorkFailedError, match="SSL.*By hand"):
        fetch(server.url.replace("http:", "https:"), tmp_path)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with ArchiveServer({NAME: CONTENT}, tls=context) as safe:
        with pytest.raises(WorkFailedError, match="certificate verify failed.*By hand"):
            fetch(safe.url, tmp_path)
        assert safe.ranges == []
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
        assert fetch(safe.url, tmp_path)[NAME].read_bytes() == CONTENT


def test_fetch_archives_tries_mirrors_in_turn(server, tmp_path):
    with ArchiveServer({}) as empty, ArchiveServer({NAME: OTHER}) as lame:
        lame.faults = [("plain", 1000), *[("plain", 0)] * 7]
        urls = [f"file://{tmp_path}/nowhere", empty.url, lame.url, server.url]
        assert fetch(urls, tmp_path)[NAME].read_bytes() == CONTENT
        assert len(empty.ranges) == 1 and len(lame.ranges) == 8
        assert not part(lame.url, tmp_path).exists()  # of no use any more


def test_fetch_archives_goes_on_first_with_the_mirror_that_has_begun(server, tmp_path):
    server.faults = [("plain", 1000), *[("plain", 0)] * 7]
    with ArchiveServer({NAME: OTHER}, [lambda handler: handler.status(403)]) as other:
        with pytest.raises(WorkFailedError, match="403.*; .*8 tries in a row"):
            fetch([other.url, server.url], tmp_path)
        assert fetch([other.url, server.url], tmp_path)[NAME].read_bytes() == CONTENT
    assert len(other.ranges) == 1


def test_fetch_archives_when_an_optional_archive_is_nowhere(server, tmp_path, caplog):
    names = [NAME, "features.tar"]
    with pytest.raises(MissingInputError, match="features.tar could not be fetched"):
        fetch(server.url, tmp_path, names)
    with caplog.at_level(logging.WARNING):
        assert list(fetch(server.url, tmp_path, names, optional=["features.tar"])) == [NAME]
    assert "continuing without features.tar" in caplog.text


def test_fetch_archives_uses_files_of_a_file_address_in_place(tmp_path):
    folder = tmp_path / "with space"
    folder.mkdir()
    (folder / NAME).write_bytes(CONTENT)
    assert fetch(folder.as_uri(), tmp_path / "cache") == {NAME: folder / NAME}
    assert not (tmp_path / "cache").exists()
    good, bad = (hashlib.md5(content).hexdigest() for content in (CONTENT, OTHER))
    fetch(folder.as_uri(), tmp_path / "cache", checksums={NAME: f"md5:{good}"})
    with pytest.raises(WorkFailedError, match=f"its md5 is {good}, not {bad}"):
        fetch(folder.as_uri(), tmp_path / "cache", checksums={NAME: f"md5:{bad}"})
    with pytest.raises(MissingInputError, match="no such file"):
        fetch(folder.as_uri(), tmp_path / "cache", ["podcast.tar"])


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_fetch_archives_compares_checksums(kind, server, tmp_path):
    good, bad = (hashlib.new(kind, content).hexdigest() for content in (CONTENT, OTHER))
    server.faults = [("plain", 1000)]
    with pytest.raises(WorkFailedError, match=f"its {kind} is {good}, not {bad}"):
        fetch(server.url, tmp_path, checksums={NAME: bad.upper()})
    assert not part(server.url, tmp_path).exists()
    path = fetch(server.url, tmp_path, checksums={NAME: f"{kind}:{good}"})[NAME]
    assert path.read_bytes() == CONTENT
    path.write_bytes(OTHER)
    with pytest.raises(WorkFailedError, match=f"its {kind} is {bad}, not {good}; delete it"):
        fetch(server.url, tmp_path, checksums={NAME: f"{kind}:{good}"})


@pytest.mark.parametrize("text", ["", "md5:", "sha1:" + 40 * "0", "md5:" + 64 * "0", 31 * "f"])
def test_fetch_archives_when_a_checksum_is_none(text, tmp_path):
    with pytest.raises(WrongUseError, match="is not a checksum of crowd.tar; give"):
        fetch("http://127.0.0.1:9/", tmp_path, checksums={NAME: text})


@pytest.mark.parametrize("url", ["", "crowd", "/data", "ftp://host/", "http://", "http://[::/"])
def test_fetch_archives_when_an_address_is_none(url, tmp_path):
    with pytest.raises(WrongUseError, match="is not an address of archives; give one.*`data_dir`"):
        fetch(url, tmp_path)


def test_fetch_archives_sends_credentials_and_query_and_shows_neither(server, tmp_path, caplog):
    server.faults = [lambda handler: (seen.append(handler), handler.status(403))[1]]
    seen = []
    url = server.url.replace("//", "//user:secret@") + "dusha?token=hidden"
    with (
        caplog.at_level(logging.DEBUG, "dusha_ser.archives.mirrors"),
        pytest.raises(WorkFailedError) as caught,
    ):
        fetch(url, tmp_path)
    assert seen[0].path == f"/dusha/{NAME}?token=hidden"
    assert base64.b64decode(seen[0].headers["Authorization"].split()[1]) == b"user:secret"
    shown = caplog.text + str(caught.value) + "".join(map(str, tmp_path.rglob("*")))
    assert "secret" not in shown and "hidden" not in shown


@pytest.mark.parametrize(
    ("left", "ranges"),
    [
        ((CONTENT[:1000], "full"), ["bytes=1000-"]),
        ((CONTENT, "full"), []),  # killed just before the file got its name
        ((CONTENT[:1000], None), [None]),
        ((CONTENT[:1000], "torn"), [None]),
        ((CONTENT + b"!", "full"), [None]),
        ((b"", "full"), [None]),
    ],
)
def test_fetch_archives_goes_on_from_what_a_killed_run_left(left, ranges, server, tmp_path):
    content, sidecar = left
    path = part(server.url, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    tag = f'"{hashlib.md5(CONTENT).hexdigest()}"'
    text = json.dumps({"size": len(CONTENT), "etag": tag, "last_modified": server.changed})
    if sidecar:
        path.with_name(f"{NAME}.part.json").write_text(text if sidecar == "full" else text[:20])
    done = fetch(server.url, tmp_path)[NAME]
    assert done.read_bytes() == CONTENT and server.ranges == ranges
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert done.with_name(f"{NAME}.sha256").read_text().split()[0] == digest


FETCH = """
import sys
from dusha_ser.archives.mirrors import fetch_archives
fetch_archives(["crowd.tar"], sys.argv[1], sys.argv[2], quiet=True)
"""


def start(url, folder, script=FETCH, **options):
    """Fetch in a process of its own."""
    project = Path(mirrors.__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", script, url, folder], cwd=project, **options)


def test_fetch_archives_when_killed_again_and_again(tmp_path):
    slow = ("plain", None, True, True, None, 0.05)
    rng = random.Random(0)
    with ArchiveServer({NAME: CONTENT}, [slow] * 9) as server:
        path = part(server.url, tmp_path)
        sizes = [0]
        for _ in range(3):
            process = start(server.url, tmp_path)
            while not path.exists() or path.stat().st_size <= sizes[-1]:
                assert process.poll() is None
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            process.wait()
            sizes.append(path.stat().st_size)
        server.faults.clear()
        done = fetch(server.url, tmp_path)[NAME]
    assert done.read_bytes() == CONTENT
    assert server.ranges == [None, *(f"bytes={size}-" for size in sizes[1:])]
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert done.with_name(f"{NAME}.sha256").read_text().split()[0] == digest


def test_fetch_archives_when_two_programs_want_the_same(tmp_path):
    slow = ("plain", None, True, True, None, 0.3)
    with ArchiveServer({NAME: CONTENT}, [slow] * 2) as server:
        processes = [start(server.url, tmp_path) for _ in range(2)]
        assert [process.wait() for process in processes] == [0, 0]
        assert fetch(server.url, tmp_path)[NAME].read_bytes() == CONTENT
    assert server.ranges == [None]


def test_fetch_archives_when_the_disk_has_no_room(tmp_path):
    vast = {"Content-Length": str(10**16)}
    with ArchiveServer({NAME: CONTENT}, [("plain", 10, True, True, vast)]) as server:
        with pytest.raises(WorkFailedError, match=r"10000000.0 GB more in .*GB are free"):
            fetch(server.url, tmp_path)
        assert part(server.url, tmp_path).stat().st_size == 0
        server.files["/podcast.tar"] = OTHER
        server.announced["/podcast.tar"] = 10**16
        with pytest.raises(WorkFailedError, match="crowd.tar and podcast.tar needs.*`cache_dir`"):
            fetch(server.url, tmp_path, [NAME, "podcast.tar"])
        assert len(server.ranges) == 1  # before the first byte of the first one


FETCH_ON_A_FULL_DISK = """
import pathlib, resource, sys, threading, time
from dusha_ser.cli.program import run_program

def make_room():
    # A disk takes a part of what it is given, and is full; soon after, it is not.
    while not any(path.stat().st_size == 200_000 for path in folder.rglob("*.part")):
        time.sleep(0.01)
    time.sleep(0.1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

folder = pathlib.Path(sys.argv[2])
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most))
threading.Thread(target=make_room, daemon=True).start()
""" + FETCH.replace("fetch_archives([", "run_program(lambda: fetch_archives([").replace(
    "quiet=True)", "quiet=True) and 0)"
)


def test_fetch_archives_when_writing_fails_midway(server, tmp_path):
    server.faults = [("plain", None, True, True, None, 0.3)]
    process = start(server.url, tmp_path, FETCH_ON_A_FULL_DISK, stderr=subprocess.PIPE)
    message = process.communicate()[1].decode()
    assert process.returncode == 1 and len(message.splitlines()) == 1
    assert "crowd.tar.part: File too large after 200000 bytes; what came is kept" in message
    assert part(server.url, tmp_path).stat().st_size == 200_000
    assert fetch(server.url, tmp_path)[NAME].read_bytes() == CONTENT
    assert server.ranges[1] == "bytes=200000-"
