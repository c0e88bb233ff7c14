"""MP3 files that were joined: every part is read, whatever the first header states."""

import io

import numpy as np
import pytest
import soundfile

from dusha_ser.audio.reading import read_audio, read_info

ID3 = b"ID3\x04\0\0\0\0\x0f\x76" + bytes(15 * 128 + 0x76)  # 2,038 bytes behind ten


def mp3(seconds, pitch, rate=44100, channels=1, level=0.0, mode="VARIABLE"):
    """An MP3 with a header, and a tone in it."""
    tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)
    file = io.BytesIO()
    samples = np.repeat(tone[:, None], channels, 1)
    soundfile.write(file, samples, rate, format="MP3", compression_level=level, bitrate_mode=mode)
    return file.getvalue()


def without_header(content):
    """The same MP3 without its first frame, which states how many follow."""
    place = max(content.find(b"Xing"), content.find(b"Info"))
    assert 0 < place < 40
    return content[content.index(content[:2], place) :]


def pitches(samples, rate=16000):
    """The pitch, in Hz, of each half second."""
    halves = [samples[start : start + rate // 2] for start in range(0, len(samples), rate // 2)]
    return [2 * int(np.abs(np.fft.rfft(one, rate // 2)).argmax()) for one in halves]


FIRST = mp3(2, 400)
SECOND = {
    "alike": mp3(1, 1000),
    "of another bit rate": mp3(1, 1000, level=0.9),
    "of another rate": mp3(1, 1000, rate=22050),
    "of more channels": mp3(1, 1000, channels=2),
    "of another rate and more channels": mp3(1, 1000, rate=48000, channels=2),
    "behind a tag": ID3 + mp3(1, 1000),
    "behind two kinds of tags": b"TAG".ljust(128, b"x") + ID3 + mp3(1, 1000),
    "without a header": without_header(mp3(1, 1000)),
}


@pytest.mark.parametrize("first", [FIRST, ID3 + FIRST, without_header(FIRST)], ids=len)
@pytest.mark.parametrize("second", SECOND.values(), ids=SECOND.keys())
def test_read_audio_when_mp3s_were_joined_reads_all(first, second, tmp_path):
    (tmp_path / "a.mp3").write_bytes(first + second)
    samples = read_audio(tmp_path / "a.mp3", 16000)
    # Encoders fill up their last frame.
    assert len(samples) == pytest.approx(3 * 16000, abs=2000)
    assert pitches(samples)[:4] == pytest.approx([400] * 4, abs=2)
    assert pitches(samples)[-2] == pytest.approx(1000, abs=20)
    assert np.array_equal(samples, read_audio(first + second, 16000))
    assert read_info(tmp_path / "a.mp3").duration == pytest.approx(len(samples) / 16000, abs=0.001)


def test_read_audio_when_an_advertisement_was_inserted_reads_what_follows_it():
    long = mp3(4, 400)
    # Where a frame begins: the header of the first part still counts those behind it.
    middle = long.index(long[:2], len(long) // 2)
    samples = read_audio(long[:middle] + SECOND["of another rate"] + long[middle:], 16000)
    assert len(samples) == pytest.approx(5 * 16000, abs=3000)
    assert pitches(samples)[-2] == pytest.approx(400, abs=2)
    assert 1000 in [round(pitch, -2) for pitch in pitches(samples)]


def test_read_audio_when_the_first_part_is_whole_keeps_its_samples():
    alone = read_audio(FIRST, 16000)
    joined = read_audio(FIRST + FIRST, 16000)
    assert len(alone) == 32000
    np.testing.assert_allclose(joined[:31900], alone[:31900], atol=1e-6)
    # The frames with which encoders begin and end are left out at both ends of the file only.
    assert len(joined) == pytest.approx(64000, abs=2000)


def test_read_audio_when_no_header_states_a_length_reads_all():
    # The first frames are small, or large: libsndfile guesses the length from the first one.
    loud, quiet = without_header(mp3(2, 400)), without_header(mp3(2, 400, level=0.9))
    for content in (loud + quiet, quiet + loud, quiet):
        seconds = 4 if content is not quiet else 2
        assert len(read_audio(content, 16000)) == pytest.approx(seconds * 16000, abs=2000)


def test_read_audio_of_a_plain_mp3_is_what_libsndfile_reads():
    for content in (FIRST, FIRST + b"TAG".ljust(128, b"\0"), ID3 + FIRST, FIRST + bytes(300)):
        expected = soundfile.read(io.BytesIO(FIRST), dtype="float32")[0]
        samples = read_audio(content, 44100)
        np.testing.assert_allclose(samples[: len(expected)], expected, atol=1e-5)
        assert len(samples) == len(expected) == read_info(content).frames


def test_read_audio_of_an_mp3_that_was_cut_reads_what_is_there():
    samples = read_audio(FIRST[: len(FIRST) // 2], 16000)
    assert len(samples) == pytest.approx(16000, abs=2000)
