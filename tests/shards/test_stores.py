"""Files in a folder and in an object store: whole or not there, created by one program alone."""

import fsspec
import pytest

from dusha_ser.errors import WrongUseError
from dusha_ser.shards import stores
from dusha_ser.shards.stores import Store, file_states


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()
        return Store("memory://bucket/job")
    return Store(str(tmp_path / "job"))


def test_files_are_written_listed_read_and_removed(store):
    assert store.names() == []
    assert not store.exists("a")
    store.write("a", b"one")
    store.write("b/c", b"two")
    with store.writing("d") as path:
        path.write_bytes(b"three")
    assert [name for name in store.names() if not name.startswith(".")] == ["a", "b", "d"]
    assert store.names("b") == ["c"]
    assert [store.read(name) for name in ("a", "b/c", "d")] == [b"one", b"two", b"three"]
    store.remove("a")
    store.remove("a")
    assert not store.exists("a")


def test_what_fails_is_not_there(store):
    with pytest.raises(KeyError), store.writing("a") as path:
        path.write_bytes(b"half")
        raise KeyError
    assert not store.exists("a")


def test_only_one_creates_a_file(store):
    assert store.create("a/b", b"mine")
    assert not store.create("a/b", b"yours")
    assert store.read("a/b") == b"mine"
    assert store.names("a") == ["b"]


@pytest.mark.parametrize("listed", [0, 20], ids=["listed", "asked one by one"])
def test_states_of_files_change_with_them(listed, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "LISTED", listed)
    files = fsspec.filesystem("memory")
    files.store.clear()
    places = [str(tmp_path / "a"), "memory://bucket/b", "memory://bucket/c"]
    (tmp_path / "a").write_bytes(b"1")
    for name in "bc":
        files.pipe_file(f"/bucket/{name}", b"1")
    before = file_states([*places, str(tmp_path / "none"), "memory://bucket/none", "a\0b"])
    assert [*before] == places
    assert file_states(places) == before
    (tmp_path / "a").write_bytes(b"12")
    files.pipe_file("/bucket/c", b"12")
    after = file_states(places)
    assert [after[one] == before[one] for one in places] == [False, True, False]


@pytest.mark.parametrize("place", ["nonsense://a/b", "what ever://x"])
def test_urls_that_nobody_knows_are_refused(place):
    with pytest.raises(WrongUseError, match="cannot be read or written.*pip install"):
        Store(place)
