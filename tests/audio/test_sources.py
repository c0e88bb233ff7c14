"""What is one recording, and what several; their names. test_emotion_classifier.py reads each."""

import io
from pathlib import Path

import numpy as np
import pytest

from dusha_ser.audio.sources import is_several, name_source
from dusha_ser.errors import WrongUseError

SAMPLES = np.zeros(9)
ONE = {
    "a path": "a.wav",
    "a Path": Path("a.wav"),
    "bytes": b"RIFF",
    "samples": (SAMPLES, 16000),
    "numbers": ([0.1, 0.2], 16000),
    "a row": {"audio": None},
    "a file": io.BytesIO(),
    "an array": SAMPLES,
    "a number": 3,
    "nothing": None,
}
SEVERAL = {
    "paths": ["a.wav", "b.wav"],
    "a pair": ("a.wav", "b.wav"),
    "pairs": [(SAMPLES, 16000), (SAMPLES, 8000)],
    "files in an array": np.array(["a.wav"]),
    "a generator": (path for path in ()),
    "none": [],
}


@pytest.mark.parametrize("recording", ONE.values(), ids=ONE)
def test_is_several_when_it_is_one(recording):
    assert not is_several(recording)


@pytest.mark.parametrize("recordings", SEVERAL.values(), ids=SEVERAL)
def test_is_several_when_it_is_a_list(recordings):
    assert is_several(recordings)


@pytest.mark.parametrize(
    ("recording", "name"),
    [
        ("a.wav", "a.wav"),
        (Path("a.wav"), "a.wav"),
        (b"RIFF", "item 3"),
        ((SAMPLES, 16000), "item 3"),
        ({"id": "clip", "audio": {"bytes": b"RIFF", "path": None}}, "clip"),
        ({"id": "clip", "audio": {"bytes": b"RIFF", "path": "a.wav"}}, "a.wav"),
        ({"array": SAMPLES, "sampling_rate": 8000, "path": "a.wav"}, "a.wav"),
        (io.BytesIO(b"RIFF"), "item 3"),
    ],
)
def test_name_source_when_it_has_a_name(recording, name):
    assert name_source(recording, "item 3")[0] == name


def test_name_source_when_a_file_is_open(tmp_path):
    path = tmp_path / "a.wav"
    path.touch()
    with path.open("rb") as file:
        assert name_source(file, "item 3") == (str(path), file)
    with path.open() as text, pytest.raises(WrongUseError, match="item 3 is a file opened as text"):
        name_source(text, "item 3")
