"""WAV files whose headers are wrong: read to the end of the file, and no further than the audio."""

import io
import struct

import numpy as np
import pytest
import soundfile

from dusha_ser.audio import reading
from dusha_ser.audio.reading import complete_wav, read_audio, read_blocks, read_info
from dusha_ser.audio.wav_parts import find_parts

SAMPLES = np.random.default_rng(0).integers(-20000, 20000, 8000).astype(np.int16)
FMT = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)
TITLE = b"INFOIART" + struct.pack("<I", 4) + b"abc\0"


def chunk(name, content, size=None):
    size = len(content) if size is None else size
    return name + struct.pack("<I", size) + content + bytes(len(content) % 2)


def wav(size=None, whole=None, samples=SAMPLES, before=b"", after=b"", form=b"RIFF"):
    """A wav that states the sizes given, and those that are right where none is given."""
    body = b"WAVE" + chunk(b"fmt ", FMT) + before + chunk(b"data", samples.tobytes(), size) + after
    return form + struct.pack("<I", len(body) if whole is None else whole) + body


@pytest.fixture(autouse=True)
def nothing_warned_of(monkeypatch):
    monkeypatch.setattr(reading, "_warned", set())


WRONG = {
    "killed": wav(0, 0),
    "killed, and its title written": wav(0, 36, before=chunk(b"LIST", TITLE)),
    "written to a pipe": wav(0xFFFFFFFF, 0xFFFFFFFF),
    "cut": wav(2 * len(SAMPLES) + 4000),
    "not updated since": wav(4000, 4036),
    "RF64 not updated": wav(0xFFFFFFFF, 0xFFFFFFFF, before=chunk(b"ds64", bytes(28)), form=b"RF64"),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG.keys())
def test_read_audio_when_the_header_is_wrong_reads_to_the_end(content, tmp_path, caplog):
    (tmp_path / "a.wav").write_bytes(content)
    samples = read_audio(tmp_path / "a.wav", 16000)
    np.testing.assert_array_equal(samples * 2**15, SAMPLES)
    assert read_info(tmp_path / "a.wav").frames == len(SAMPLES)
    np.testing.assert_array_equal(read_audio(content, 16000), samples)
    (warning,) = (text for text in caplog.messages if "a.wav" in text)
    assert "a.wav is read to its end: its header states" in warning
    assert "16,000 bytes are there" in warning


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG.keys())
def test_complete_wav_states_what_is_there(content):
    complete = complete_wav(content, "a.wav")
    assert soundfile.info(io.BytesIO(complete)).frames == len(SAMPLES)
    assert int.from_bytes(complete[4:8], "little") == len(complete) - 8
    assert complete_wav(complete, "a.wav") == complete


RIGHT = {
    "plain": wav(),
    "a title behind": wav(after=chunk(b"LIST", TITLE)),
    "a title behind, cut": wav(after=chunk(b"LIST", TITLE)[:-3]),
    "an ID3 tag behind": wav(after=b"TAG".ljust(128, b"x")),
    "filled up with zeros": wav(after=bytes(400)),
    "a broadcast chunk in front": wav(before=chunk(b"bext", bytes(602))),
    "the whole's size is missing": wav(whole=0),
    "no samples": wav(samples=SAMPLES[:0]),
    "no samples and a title": wav(samples=SAMPLES[:0], after=chunk(b"LIST", TITLE)),
    "not a wav": b"RIFF" + bytes(100),
    "cut in its header": wav()[:30],
}


@pytest.mark.parametrize("content", RIGHT.values(), ids=RIGHT.keys())
def test_find_parts_when_the_header_is_right_finds_none(content, caplog):
    assert find_parts(io.BytesIO(content)) == ([], "")
    assert complete_wav(content, "a.wav") is content
    assert not caplog.messages


def test_read_audio_when_a_chunk_is_not_padded_finds_the_samples():
    content = wav(before=chunk(b"LIST", b"abc")[:-1])
    np.testing.assert_array_equal(read_audio(content, 16000) * 2**15, SAMPLES)


def test_read_audio_when_wavs_were_joined_reads_all():
    samples = read_audio(wav() + wav(samples=SAMPLES[:100]) + wav(0, 0), 16000)
    expected = np.concatenate([SAMPLES, SAMPLES[:100], SAMPLES])
    np.testing.assert_array_equal(samples * 2**15, expected)


def test_read_audio_when_a_tag_is_in_front_reads_all():
    content = b"ID3\3\0\0\0\0\0\x0a" + bytes(10) + wav(0, 0)
    np.testing.assert_array_equal(read_audio(content, 16000) * 2**15, SAMPLES)


def test_warnings_of_many_files_stop(tmp_path, caplog):
    for number in range(9):
        (tmp_path / f"{number}.wav").write_bytes(wav(0))
        for _ in range(2):
            list(read_blocks(tmp_path / f"{number}.wav", 16000))
    assert len(caplog.messages) == 5
    assert caplog.messages[-1].endswith("more such files are not named")
