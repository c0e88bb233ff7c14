"""Files of timelines: their names, the rule of overwriting, the picture and the page's audio."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread

from dusha_ser.audio.finding import AudioFile
from dusha_ser.errors import WrongUseError
from dusha_ser.timelines import page
from dusha_ser.timelines.forms import FORMS
from dusha_ser.timelines.merging import Segment
from dusha_ser.timelines.page import PageAudio, embed_audio, make_page
from dusha_ser.timelines.picture import draw_timeline
from dusha_ser.timelines.recordings import Timeline
from dusha_ser.timelines.writing import TimelineWriter, name_recordings

ROWS = [
    {"id": "a.wav", "start": 0.0, "end": 2.0, "prediction": "sad", "error": None}
    | {"probabilities": {"angry": 0.2, "sad": 0.8}},
    {"id": "a.wav", "start": 1.0, "end": 3.0, "prediction": "angry", "error": None}
    | {"probabilities": {"angry": 0.9, "sad": 0.1}},
]


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.1 * np.sin(np.arange(3 * 16000) / 9), 16000)
    return AudioFile("a.wav", str(path))


def segments():
    """Three segments with gaps."""
    return [
        Segment(start, start + 1.5, label, np.array([angry, 1 - angry]))
        for start, label, angry in ((0, "sad", 0.2), (2, "angry", 0.9), (4, "sad", 0.3))
    ]


def talk(*speakers):
    """A segment per speaker, which overlap."""
    shares = np.array([0.2, 0.8])
    return [Segment(i, i + 2, "sad", shares, name, "<b>a</b>") for i, name in enumerate(speakers)]


def test_name_recordings_when_names_would_be_the_same():
    names = ["a/x.wav", "a/X.mp3", "b c.wav", "../d.wav", "-", "a_x.wav"]
    found = name_recordings([AudioFile(name, name) for name in names])
    assert found["b c.wav"] == "b_c"
    assert found["../d.wav"] == "d"
    assert len({name.casefold() for name in found.values()}) == len(names)


def test_writer_writes_each_form_and_nothing_over(recording, tmp_path):
    out = tmp_path / "out"
    writer = TimelineWriter([recording], list(FORMS), out)
    writer.take(ROWS)
    writer.take([ROWS[0] | {"id": "of another run.wav"}])
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"a{one}" for one in FORMS.values()
    )
    assert writer.written == len(FORMS)
    assert writer.shares.seconds == {"angry": 2, "sad": 1}
    assert imread(out / "a.png").shape[1] == 11 * 150
    for form in FORMS:
        with pytest.raises(WrongUseError, match=r"is there already; name another `output_dir`"):
            TimelineWriter([recording], [form], out)
    TimelineWriter([recording], list(FORMS), out, overwrite=True).take(ROWS)
    with pytest.raises(WrongUseError, match="is read here"):
        table = str(out / "a.csv")
        TimelineWriter([recording], ["csv"], out, overwrite=True, inputs=[table])
    silent = TimelineWriter([recording], ["srt"], tmp_path / "none")
    silent.take([ROWS[0] | {"start": None, "end": None, "probabilities": None}])
    assert not (tmp_path / "none").exists()


def test_draw_timeline_has_a_lane_for_each_speaker_and_no_bar_in_gaps():
    labels = ["angry", "sad"]
    figure = draw_timeline(Timeline("cost $5 $.wav", labels, segments(), segments()))
    upper, lower = figure.axes
    assert lower.get_xlim() == (0, 5.5)
    (bars,) = lower.collections
    boxes = [path.get_extents() for path in bars.get_paths()]
    assert [(box.x0, box.x1) for box in boxes] == [(0, 1.5), (2, 3.5), (4, 5.5)]
    sad = upper.collections[1].get_paths()[0].vertices
    assert sad[:, 0].max() == 5.5
    own = talk("Anna", "Boris", "Anna")
    figure = draw_timeline(Timeline("a.wav", labels, own, own))
    (lanes,) = figure.axes
    assert [one.get_text() for one in lanes.get_yticklabels()] == ["Anna", "Boris"]
    figure.savefig(io.BytesIO(), format="png")


def test_make_page_escapes_what_others_wrote():
    own = talk("Anna</script>", "Boris", "<i>")
    text = make_page(Timeline("<img>.wav", ["angry", "sad"], own, own), PageAudio())
    assert "<img>" not in text
    assert "<i>" not in text
    assert "<b>a</b>" not in text
    assert text.count("</script>") == text.count("<script") == 2
    assert "https:" not in text


def test_embed_audio_as_it_is_as_mp3_or_as_a_link(recording, tmp_path, monkeypatch):
    path, place = Path(recording.path), tmp_path / "out" / "a.html"
    audio = embed_audio(path, 3, place)
    assert audio.kind == "audio/wav"
    assert base64.b64decode(audio.content) == path.read_bytes()
    monkeypatch.setattr(page, "LARGEST", 0)
    audio = embed_audio(path, 3, place)
    assert audio.kind == "audio/mpeg"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(audio.content)))
    assert (len(samples), rate) == (pytest.approx(3 * 16000, abs=3000), 16000)
    assert len(audio.content) * 3 / 4 * 8 / 3 == pytest.approx(48000, rel=0.1)
    other = path.rename(tmp_path / "a #1.ogg")
    assert embed_audio(other, 8000, place) == PageAudio(link="../a%20%231.ogg")
    text = make_page(
        Timeline("a", ["angry", "sad"], segments(), []), PageAudio(link="../a%20b.ogg")
    )
    assert re.search(r'<audio [^>]*src="\.\./a%20b\.ogg"', text)
