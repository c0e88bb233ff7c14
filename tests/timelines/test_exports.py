"""Timelines in other tools' forms, each read back by a reader that is not ours."""

import csv
import io
import json

import numpy as np
import pytest

from dusha_ser.timelines.exports import TEXTS
from dusha_ser.timelines.forms import FORMS
from dusha_ser.timelines.merging import Segment
from dusha_ser.timelines.recordings import Timeline, make_timeline, read_rows

LABELS = ["angry", "sad"]


def segment(start, end, angry, speaker=None, text=None):
    label = "angry" if angry > 0.5 else "sad"
    return Segment(start, end, label, np.array([angry, 1 - angry]), speaker, text)


SEGMENTS = [segment(0, 2.5, 0.9), segment(2.5, 4, 0.25), segment(5.125, 3661.5, 0.75)]
# Speakers talk at once, with names and texts that could break a form.
TALK = [
    segment(0, 3, 0.9, 'Anna "A"', "First --> line\n\nand <b>more</b> & more"),
    segment(2, 4, 0.1, "Борис", None),
    segment(4, 6, 0.8, 'Anna "A"', "Last."),
]


def timeline(segments, name="calls/first call.wav"):
    return Timeline(name, LABELS, segments, segments)


def write(form, segments, folder):
    path = folder / f"a{FORMS[form]}"
    path.write_text(TEXTS[form](timeline(segments)), encoding="utf-8")
    return path


def times(segments):
    return [(one.start, one.end) for one in segments]


def test_rttm_as_lhotse_reads_it(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    for segments, names in (
        (SEGMENTS, ["angry", "sad", "angry"]),
        (TALK, ["Anna__A_angry", "Борис_sad", "Anna__A_angry"]),
    ):
        read = list(lhotse.SupervisionSet.from_rttm(write("rttm", segments, tmp_path)))
        assert [(one.start, one.end) for one in read] == times(segments)
        assert [one.speaker for one in read] == names
        assert {one.recording_id for one in read} == {"first_call"}


def test_audacity_labels_as_its_manual_describes_them(tmp_path):
    text = write("audacity", TALK, tmp_path).read_text(encoding="utf-8")
    rows = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [(float(start), float(end)) for start, end, _ in rows] == times(TALK)
    assert [name for _, _, name in rows] == ['Anna "A": angry', "Борис: sad", 'Anna "A": angry']


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_as_pysubs2_reads_them(form, tmp_path):
    pysubs2 = pytest.importorskip("pysubs2", reason='pip install "dusha-ser[test]"')
    read = pysubs2.load(str(write(form, SEGMENTS, tmp_path)))
    assert [(one.start / 1000, one.end / 1000) for one in read] == times(SEGMENTS)
    assert [one.plaintext for one in read] == ["[angry, 90%]", "[sad, 75%]", "[angry, 75%]"]
    read = pysubs2.load(str(write(form, TALK, tmp_path)))
    assert [(one.start / 1000, one.end / 1000) for one in read] == times(TALK)
    assert [one.plaintext.split("\n")[0] for one in read] == [
        '[Anna "A": angry, 90%]',
        "[Борис: sad, 90%]",
        '[Anna "A": angry, 80%]',
    ]
    assert read[2].plaintext.split("\n")[1:] == ["Last."]


def test_vtt_escapes_what_would_be_a_tag():
    text = TEXTS["vtt"](timeline(TALK))
    assert text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:03.000\n")
    assert "First → line and &lt;b&gt;more&lt;/b&gt; &amp; more" in text
    assert text.count("-->") == 3


def test_textgrid_as_praatio_reads_it(tmp_path):
    praatio = pytest.importorskip("praatio.textgrid", reason='pip install "dusha-ser[test]"')

    def read(segments):
        path = str(write("textgrid", segments, tmp_path))
        return praatio.openTextgrid(path, includeEmptyIntervals=True)

    grid = read(SEGMENTS)
    assert (grid.minTimestamp, grid.maxTimestamp) == (0, 3661.5)
    assert [tuple(one) for one in grid.getTier("emotion").entries] == [
        (0, 2.5, "angry"),
        (2.5, 4, "sad"),
        (4, 5.125, ""),
        (5.125, 3661.5, "angry"),
    ]
    grid = read(TALK)
    assert grid.tierNames == ('Anna "A"', "Борис")
    assert [tuple(one) for one in grid.getTier("Борис").entries] == [
        (0, 2, ""),
        (2, 4, "sad"),
        (4, 6, ""),
    ]


def test_json_and_csv_hold_all(tmp_path):
    content = json.loads(write("json", TALK, tmp_path).read_text(encoding="utf-8"))
    assert content["seconds"] == {"angry": 5.0, "sad": 2.0}
    assert [(one["start"], one["end"]) for one in content["segments"]] == times(TALK)
    assert content["segments"][1]["probabilities"] == {"angry": 0.1, "sad": 0.9}
    assert content["segments"][0]["text"] == TALK[0].text
    (rows,) = read_rows(write("csv", TALK, tmp_path))
    again = make_timeline(rows)
    assert times(again.segments) == times(TALK)
    assert [(one.speaker, one.text) for one in again.segments] == [
        (one.speaker, one.text) for one in TALK
    ]
    np.testing.assert_allclose(again.segments[2].probabilities, [0.8, 0.2])
