"""The table of emotions per speaker."""

import csv

import pytest

from dusha_ser.timelines.speakers import SpeakerTable

SHARES = {"angry": 0.6, "sad": 0.4}


def row(name, start, end, speaker, prediction, shares=SHARES):
    return {
        **{"id": name, "start": start, "end": end, "speaker": speaker},
        **{"prediction": prediction, "probabilities": shares, "error": None},
    }


@pytest.fixture
def rows():
    """Two recordings, a turn without a prediction, one without a speaker, one with an error."""
    return [
        row("a.wav", 0.0, 3.0, "A", "angry"),
        row("a.wav", 1.0, 2.0, "B", "uncertain"),
        row("a.wav", 3.0, 4.0, "A", "sad"),
        row("a.wav", 4.0, 4.05, "A", None, None),
        row("b.wav", 0.0, 2.0, "A", "sad"),
        row("b.wav", 2.0, 2.5, None, "angry"),
        row("c.wav", None, None, None, None, None) | {"error": "is empty"},
    ]


def read(table, path):
    table.write(path)
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_speakers_of_two_recordings_are_other_people(rows, tmp_path):
    table = SpeakerTable()
    table.add(rows[:4])
    table.add(rows[4:])
    assert table.has_speakers
    assert table.cells() == [
        ["id", "speaker", "turns", "seconds", "angry", "sad", "uncertain"],
        ["a.wav", "A", "3", "4.0", "75%", "25%", "0%"],
        ["a.wav", "B", "1", "1.0", "0%", "0%", "100%"],
        ["b.wav", "A", "1", "2.0", "0%", "100%", "0%"],
        ["b.wav", "(unknown)", "1", "0.5", "100%", "0%", "0%"],
    ]
    written = read(table, tmp_path / "speakers.csv")
    assert written[0] == {
        **{"id": "a.wav", "speaker": "A", "turns": "3", "seconds": "4.05"},
        **{"share_angry": "0.75", "share_sad": "0.25", "share_uncertain": "0.0"},
    }
    assert [one["speaker"] for one in written] == ["A", "B", "A", ""]


def test_a_name_of_the_same_person_in_all_recordings_has_one_row(rows, tmp_path):
    table = SpeakerTable(same_speakers=True)
    table.add(rows)
    assert table.cells()[:2] == [
        ["speaker", "turns", "seconds", "angry", "sad", "uncertain"],
        ["A", "4", "6.0", "50%", "50%", "0%"],
    ]
    written = read(table, tmp_path / "speakers.csv")
    assert [(one["speaker"], one["recordings"]) for one in written] == [
        ("A", "2"),
        ("B", "1"),
        ("", "1"),
    ]


def test_a_speaker_without_any_prediction_has_no_shares(tmp_path):
    table = SpeakerTable()
    table.add([row("a.wav", 0, 0.05, "A", None, None), row("a.wav", 0, 1, "B", "sad")])
    assert table.cells()[1] == ["A", "1", "0.1", "–", "–"]
    assert read(table, tmp_path / "speakers.csv")[0]["share_sad"] == ""


def test_without_speakers_there_is_no_table():
    table = SpeakerTable()
    table.add([row("a.wav", 0, 1, None, "sad")])
    assert not table.has_speakers
