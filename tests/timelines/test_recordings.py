"""Timelines of recordings made of rows, and read from the files that dusha predict writes."""

import numpy as np

from dusha_ser.inference.prediction_rows import CsvForm, JsonForm
from dusha_ser.timelines.recordings import Shares, make_timeline, read_rows
from dusha_ser.vocabulary import UNCERTAIN

LABELS = ["angry", "sad"]


def row(start, end, angry, name="a.wav", **more):
    shares = dict(zip(LABELS, (angry, round(1 - angry, 6)), strict=True))
    label = "angry" if angry > 0.5 else "sad"
    times = {"id": name, "start": start, "end": end}
    return times | {"prediction": label, "probabilities": shares, "error": None} | more


ROWS = [
    row(0.0, 4.0, 0.9, 'caf\udce9, "a".wav'),
    row(2.0, 6.0, 0.2, 'caf\udce9, "a".wav'),
    row(0.0, 4.0, 0.4, "b.wav"),
    row(None, None, 0.0, "c.wav", prediction=None, probabilities=None, error="it is empty"),
]


def test_read_rows_gives_back_what_either_form_wrote(tmp_path):
    columns = ["id", "start", "end", "prediction"]
    for kind in (CsvForm, JsonForm):
        form = kind(columns, LABELS)
        text = form.header() + "".join(form.line(one) for one in ROWS)
        path = tmp_path / kind.__name__
        path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
        assert list(read_rows(path)) == [ROWS[:2], ROWS[2:3], ROWS[3:]]


def test_make_timeline_merges_windows_only_where_they_overlap():
    timeline = make_timeline(ROWS[:2])
    assert [(one.start, one.end, one.label) for one in timeline.segments] == [
        (0, 4, "angry"),
        (4, 6, "sad"),
    ]
    assert [(one.start, one.end) for one in timeline.pieces] == [(0, 2), (2, 4), (4, 6)]
    np.testing.assert_allclose(timeline.pieces[1].probabilities, [0.55, 0.45])
    # Equal neighbours that do not overlap, such as turns, stay apart; speakers may talk at once.
    turns = [row(0, 4, 0.9, speaker="A"), row(4, 5, 0.9, speaker="A"), row(3, 6, 0.1, speaker="B")]
    timeline = make_timeline(turns)
    assert [(one.start, one.end) for one in timeline.segments] == [(0, 4), (3, 6), (4, 5)]
    assert timeline.speakers == ["A", "B"]
    assert timeline.seconds == {"angry": 5, "sad": 3}
    assert make_timeline(ROWS[3:]) is None


def test_make_timeline_when_it_may_be_uncertain():
    timeline = make_timeline(ROWS[:2], least_confidence=0.7)
    assert [(one.start, one.end, one.label) for one in timeline.segments] == [
        (0, 2, "angry"),
        (2, 4, UNCERTAIN),
        (4, 6, "sad"),
    ]
    assert timeline.seconds == {"angry": 2, "sad": 2, UNCERTAIN: 2}


def test_shares_of_several_recordings_add_up():
    shares = Shares()
    for rows in (ROWS[:2], ROWS[2:3]):
        shares.add(make_timeline(rows))
    assert shares.recordings == 2
    assert shares.rows() == [
        ["emotion", "time", "share"],
        ["sad", "0:00:06.0", "60%"],
        ["angry", "0:00:04.0", "40%"],
    ]
