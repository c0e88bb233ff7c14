"""The server of archives, asked as clients ask that resume a download."""

import http.client
import urllib.request
from urllib.error import HTTPError

import pytest

CONTENT = bytes(range(256)) * 100


@pytest.fixture
def address(file_server):
    (file_server.folder / "inner").mkdir()
    (file_server.folder / "inner" / "a file.tar").write_bytes(CONTENT)
    return f"{file_server.url}/inner/a%20file.tar"


def get(address, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return urllib.request.urlopen(urllib.request.Request(address, headers=named))


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, 25600),
        ("bytes=25590-99999", 25590, 25600),
        ("bytes=-5", 25595, 25600),
    ],
)
def test_range_when_it_is_within_the_file(address, asked, start, stop):
    answer = get(address, Range=asked)
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/25600"
    assert answer.read() == CONTENT[start:stop]


def test_range_when_it_begins_after_the_end(address):
    with pytest.raises(HTTPError) as refusal:
        get(address, Range="bytes=25600-")
    assert refusal.value.code == 416
    assert refusal.value.headers["Content-Range"] == "bytes */25600"


def test_range_when_the_file_has_changed(address, file_server):
    tag = get(address).headers["ETag"]
    assert get(address, Range="bytes=5-", If_Range=tag).status == 206
    (file_server.folder / "inner" / "a file.tar").write_bytes(b"other")
    answer = get(address, Range="bytes=5-", If_Range=tag)
    assert answer.status == 200
    assert answer.read() == b"other"


def test_file_when_it_is_missing_or_outside(address, file_server):
    (file_server.folder.parent / "secret").write_text("secret")
    for path in ("/none", "/../secret", "/%2e%2e/secret", "/"):
        with pytest.raises(HTTPError) as refusal:
            get(file_server.url + path)
        assert refusal.value.code == 404


def test_fault_when_a_test_asks_for_it(address, file_server):
    file_server.fail_next("tar$", 503)
    file_server.fail_next("tar$")
    file_server.fail_next("tar$", after_bytes=1000)
    with pytest.raises(HTTPError) as refusal:
        get(address)
    assert refusal.value.code == 503
    with pytest.raises(http.client.RemoteDisconnected):
        get(address)
    with pytest.raises(http.client.IncompleteRead) as cut:
        get(address).read()
    assert cut.value.partial == CONTENT[:1000]
    assert get(address).read() == CONTENT
    assert [request.status for request in file_server.requests] == [503, None, 200, 200]
