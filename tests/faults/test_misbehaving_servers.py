"""Servers that misbehave while the preparing program fetches the corpus from them."""

import datetime
import ssl

import pyarrow.parquet
import pytest
import trustme
from archive_server import ArchiveServer
from small_corpus import COUNTS, make_clips, write_corpus

from dusha_ser.archives.mirrors import fetch_archives
from dusha_ser.archives.transfer import Patience
from dusha_ser.cli import corpus as corpus_command
from dusha_ser.errors import WorkFailedError

QUICK = Patience(first_wait=0.001, longest_wait=0.01, timeout=20)
NAMES = ("crowd.tar", "podcast.tar")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The archives that the crowd's labels are made of."""
    return write_corpus(tmp_path_factory.mktemp("archives"), make_clips(dict.fromkeys(COUNTS, 4)))


@pytest.fixture(scope="module")
def files(archives):
    """Their bytes by name."""
    return {name: (archives / name).read_bytes() for name in NAMES}


@pytest.fixture
def prepare(program, tmp_path):
    """Prepare the crowd from somewhere; return how that ended, and the rows."""

    def prepare(*source, folder="output"):
        output = tmp_path / folder
        ended = program(
            *(corpus_command.main, "crowd", "--output_dir", output, "--quiet", *source),
            *("--cache_dir", tmp_path / "cache"),
        )
        shards = sorted(output.glob("crowd/*.parquet"))
        return ended, [
            row for path in shards for row in pyarrow.parquet.read_table(path).to_pylist()
        ]

    return prepare


def test_corpus_when_a_server_fails_in_every_way_that_passes_is_right(prepare, archives, files):
    _, expected = prepare("--data_dir", archives, folder="undisturbed")
    size = len(files["crowd.tar"])
    faults = [
        lambda handler: handler.status(500),
        ("plain", size // 5),  # the connection ends
        lambda handler: handler.status(429, {"Retry-After": "1"}),
        ("plain", 2 * size // 5, False),  # Range is ignored, and the connection ends
        ("plain", None, True, True, None, 0.01),  # slowly
        ("hang_up",),
        ("plain", size // 7, True, True, {"ETag": '"another file"', "Last-Modified": None}),
    ]
    with ArchiveServer(files, faults) as server:
        ended, rows = prepare("--base_url", server.url)
        assert ended.status == 0
        assert rows == expected and rows
        assert not server.faults


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda handler: handler.status(200, body=b"<!DOCTYPE html>login"), "web page"),
        (lambda handler: handler.status(302, {"Location": handler.path}), "10 redirects"),
        (lambda handler: handler.status(403), "403"),
        (lambda handler: handler.status(429, {"Retry-After": "86400"}), "86400 seconds"),
        (("plain", None, True, True, {"Content-Length": str(2**62)}), "make room"),
    ],
    ids=["HTML", "redirects", "refusal", "busy for a day", "a length of 2**62"],
)
def test_corpus_when_a_server_does_not_give_it_says_why_and_goes_on_later(
    fault, words, prepare, files
):
    with ArchiveServer(files, [fault] * 99) as server:
        ended, rows = prepare("--base_url", server.url)
        assert ended.status == 1 and rows == []
        assert words in ended.complaint
        server.faults = []
        ended, rows = prepare("--base_url", server.url)
        assert ended.status == 0 and rows


def test_corpus_when_mirrors_fail_in_turn_comes_from_the_last(prepare, files):
    page = dict.fromkeys(NAMES, b"<html>not here</html>")
    with ArchiveServer({}) as empty, ArchiveServer(page) as lying, ArchiveServer(files) as good:
        mirrors = [part for one in (empty, lying, good) for part in ("--base_url", one.url)]
        ended, rows = prepare(*mirrors)
    assert ended.status == 0 and rows
    assert all(None in one.ranges for one in (empty, lying, good))


@pytest.mark.parametrize("length", ["-5", "many", "1e3", ""])
def test_archive_when_its_length_is_no_number_comes_whole(length, files, tmp_path):
    fault = ("plain", None, True, True, {"Content-Length": length})
    with ArchiveServer(files, [fault] * 3) as server:
        name = "crowd.tar"
        path = fetch_archives([name], server.url, tmp_path, quiet=True, patience=QUICK)[name]
    assert path.read_bytes() == files[name]


@pytest.mark.parametrize("kind", ["expired", "of another host", "not yet valid"])
def test_archive_when_the_certificate_is_wrong_is_not_asked_for(kind, files, tmp_path, monkeypatch):
    authority = trustme.CA()
    now = datetime.datetime.now(datetime.UTC)
    times = {}
    if kind == "expired":
        times = {"not_after": now - datetime.timedelta(days=1)}
    elif kind == "not yet valid":
        times = {"not_before": now + datetime.timedelta(days=1)}
    host = "archives.example" if kind == "of another host" else "127.0.0.1"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, **times).configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    with ArchiveServer(files, tls=context) as server:
        with pytest.raises(WorkFailedError, match="(?i)certificate"):
            fetch_archives(["crowd.tar"], server.url, tmp_path, quiet=True, patience=QUICK)
        assert server.requests == []


def test_archive_when_tls_is_cut_goes_on(files, tmp_path, monkeypatch):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    with ArchiveServer(files, [("plain", 5000)], tls=context) as server:
        name = "crowd.tar"
        path = fetch_archives([name], server.url, tmp_path, quiet=True, patience=QUICK)[name]
        assert server.ranges == [None, "bytes=5000-"]
    assert path.read_bytes() == files[name]
