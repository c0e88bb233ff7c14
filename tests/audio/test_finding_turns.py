"""Which turns are which recording's."""

import pytest

from dusha_ser.audio.finding import AudioFile
from dusha_ser.audio.finding_turns import find_turns
from dusha_ser.audio.turns import Turn
from dusha_ser.errors import MissingInputError, WrongUseError


def files(*names):
    return [AudioFile(name, name) for name in names]


def rttm(*names):
    """A line of RTTM for each recording, of whose name its speaker is."""
    return "".join(f"SPEAKER {name} 1 0 1 <NA> <NA> {name} <NA> <NA>\n" for name in names)


def speakers(found):
    return [[turn.speaker for turn in place.read()] for place in found]


def test_one_file_of_one_recording(tmp_path):
    path = tmp_path / "any.rttm"
    path.write_text(rttm("waveform"))
    (found,) = find_turns(files("calls/a.wav"), path)
    assert found.read() == [Turn(0, 1, "waveform")]
    before = found.fingerprint()
    path.write_text(rttm("waveform", "waveform"))
    assert found.fingerprint() != before
    assert len(found.read()) == 2  # what is read once is read again when it changes
    path.write_text("")
    assert find_turns(files("calls/a.wav"), path)[0].read() == []


def test_one_file_of_several_recordings(tmp_path):
    path = tmp_path / "all.rttm"
    path.write_text(rttm("a", "b.wav", "other"))
    found = find_turns(files("x/a.wav", "x/b.wav", "c.wav"), path)
    assert speakers(found[:2]) == [["a"], ["b.wav"]]
    with pytest.raises(WrongUseError, match=r"no turns of it in .*all\.rttm, which has a, b\.wav"):
        found[2].read()
    states = [place.fingerprint() for place in found]
    path.write_text(rttm("a", "b.wav", "other", "b.wav"))
    assert [place.fingerprint() == old for place, old in zip(found, states, strict=True)] == [
        True,
        False,
        True,
    ]
    # Of one recording, too, those of its name count where there are several.
    assert speakers(find_turns(files("x/a.wav"), path)) == [["a"]]
    with pytest.raises(MissingInputError, match="has turns of none of the recordings"):
        find_turns(files("c.wav", "d.wav"), path)


def test_one_file_that_names_no_recording_is_not_that_of_several(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("start,end\n0,1\n")
    with pytest.raises(WrongUseError, match="does not say which of 2 recordings"):
        find_turns(files("a.wav", "b.wav"), path)
    path.write_text("path,start,end,speaker\na.wav,0,1,A\nb.wav,0,1,B\n")
    assert speakers(find_turns(files("b.wav", "a.wav"), path)) == [["B"], ["A"]]


def test_a_folder(tmp_path):
    for name in ("a.rttm", "b.wav.rttm", "monday/c.rttm", "tuesday/c.rttm", "x/d.rttm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(rttm(name))
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nДа\n")
    (tmp_path / "a.txt").write_text("Да")
    names = ["a.wav", "calls/b.wav", "in/tuesday/c.wav", "monday/c.flac", "d.mp3", "e.wav"]
    found = find_turns(files(*names), tmp_path)
    assert speakers(found[:-1]) == [
        ["a.rttm"],
        ["b.wav.rttm"],
        ["tuesday/c.rttm"],
        ["monday/c.rttm"],
        ["x/d.rttm"],
    ]
    with pytest.raises(WrongUseError, match=r"no file of its turns in .*, such as e\.rttm"):
        found[-1].read()
    assert found[-1].fingerprint() != found[0].fingerprint()
    with pytest.raises(WrongUseError, match=r"may all be the turns of c\.wav; keep one"):
        find_turns(files("c.wav"), tmp_path)
    with pytest.raises(WrongUseError, match=r"the turns of 1/a\.wav and of 2/a\.wav; put"):
        find_turns(files("1/a.wav", "2/a.wav"), tmp_path)
    with pytest.raises(MissingInputError, match="has turns of none of the recordings"):
        find_turns(files("e.wav"), tmp_path)
    with pytest.raises(MissingInputError, match="no such file of turns"):
        find_turns(files("a.wav"), tmp_path / "none")
