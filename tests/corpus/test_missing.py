"""Lists of what a prepared corpus lacks."""

import csv
import logging

from dusha_ser.corpus.missing import collect_lists, note_missing, write_lists


def clip(name, split="train"):
    return {"id": name, "split": split, "domain": "crowd", "reason": "no wav, so it is said"}


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_collect_lists_when_several_processes_noted(tmp_path, caplog):
    note_missing(tmp_path, "train-0-0", [clip("b"), clip("c")])
    note_missing(tmp_path, "train-9-0", [])
    note_missing(tmp_path, "planned", [clip("a"), clip("z", "test")])
    with caplog.at_level(logging.WARNING):
        collect_lists(tmp_path, [])
    assert [path.name for path in tmp_path.iterdir()] == ["missing_audio.csv"]
    assert [row["id"] for row in read(tmp_path / "missing_audio.csv")] == ["z", "a", "b", "c"]
    assert "4 clips" in caplog.text


def test_note_missing_when_streaming(caplog):
    with caplog.at_level(logging.WARNING):
        note_missing(None, "any", [clip("a")])
    assert caplog.messages == ["clip a of crowd train: no wav, so it is said"]


def test_write_lists_when_nothing_is_lacking(tmp_path, caplog):
    write_lists(tmp_path, [], [])
    assert not list(tmp_path.iterdir())
    assert not caplog.text


def test_write_lists_when_rows_were_skipped(tmp_path, caplog):
    bad_row = {"file": "raw", "line": 3, "field": "", "value": "{", "problem": "no JSON"}
    write_lists(tmp_path, [], [bad_row])
    assert read(tmp_path / "bad_rows.csv") == [bad_row | {"line": "3"}]
    assert "1 rows of the archives" in caplog.text
