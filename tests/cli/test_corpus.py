"""The command `dusha corpus` says what it made."""

import pytest
from small_corpus import write_corpus

from dusha_ser.cli import corpus


@pytest.fixture
def prepare(tmp_path, monkeypatch, capsys):
    """Run the command in tmp_path, where the small corpus is; returns what it printed."""
    write_corpus(tmp_path / "archives")
    monkeypatch.chdir(tmp_path)

    def prepare(*words):
        corpus.main([*words, "--data_dir", "archives", "--cache_dir", "cache"])
        return capsys.readouterr().out

    return prepare


def test_corpus_when_it_was_written_shows_it_and_what_next_each_time(prepare):
    first = prepare("crowd", "podcast")
    lines = first.splitlines()
    assert lines[0] == "dusha: crowd, podcast written"
    assert [line for line in lines if line.startswith("total ")] == [
        "total         32  0 h 00 min        8      8          8           8",
        "total         20  0 h 00 min        5      5          5           5",
    ]
    assert "None of the 32 clips was left out." in lines
    assert lines[-1] == "Next: dusha train --dataset dusha --output_dir runs/crowd"
    again = prepare("crowd", "podcast")
    assert again == first.replace("crowd, podcast written", "nothing new written")


def test_corpus_when_quiet_shows_no_tables(prepare):
    assert prepare("crowd", "--quiet") == "dusha: crowd written\n"


def test_corpus_when_it_also_exports_says_what_next_at_the_end(prepare):
    lines = prepare("crowd", "--export", "csv").splitlines()
    assert lines[-2:] == [
        "dusha/exports/crowd written",
        "Next: dusha train --dataset dusha --output_dir runs/crowd",
    ]
