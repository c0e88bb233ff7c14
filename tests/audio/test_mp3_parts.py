"""MP3 files that were joined: every part is read, whatever the first header states."""

import io

import numpy as np
import pytest
import soundfile

from dusha_ser.audio.mp3_parts import find_mp3_parts, frame_kind
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
    kind = frame_kind(content[:4])
    assert content[kind.mark : kind.mark + 4] in (b"Xing", b"Info")
    return content[kind.size :]


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
    kind = frame_kind(long[:4])
    # Where the frames of the advertisement end the header of the first part still counts them.
    middle = next(
        place for place in range(len(long) // 2, len(long)) if frame_kind(long[place : place + 4])
    )
    assert kind
    samples = read_audio(long[:middle] + SECOND["of another rate"] + long[middle:], 16000)
    assert len(samples) == pytest.approx(5 * 16000, abs=3000)
    assert pitches(samples)[-2] == pytest.approx(400, abs=2)
    assert 1000 in [round(pitch, -2) for pitch in pitches(samples)]


def test_read_audio_when_the_first_part_is_whole_keeps_its_samples():
    alone = read_audio(FIRST, 16000)
    joined = read_audio(FIRST + FIRST, 16000)
    assert len(alone) == 32000 and len(joined) == 64000
    np.testing.assert_allclose(joined[:32000], alone, atol=1e-6)
    np.testing.assert_allclose(joined[32000:], alone, atol=1e-6)


def test_read_audio_when_mp3s_were_joined_agrees_with_ffmpeg():
    av = pytest.importorskip("av")
    content = FIRST + SECOND["of another bit rate"] + SECOND["without a header"]
    with av.open(io.BytesIO(content)) as container:
        count = sum(frame.samples for frame in container.decode(container.streams.audio[0]))
    assert len(read_audio(content, 44100)) == pytest.approx(count, abs=4 * 1152)


def test_read_audio_when_no_header_states_a_length_reads_all():
    # The first frames are small, or large: libsndfile guesses the length from the first one.
    loud, quiet = without_header(mp3(2, 400)), without_header(mp3(2, 400, level=0.9))
    for content in (loud + quiet, quiet + loud, quiet):
        seconds = 4 if content is not quiet else 2
        assert len(read_audio(content, 16000)) == pytest.approx(seconds * 16000, abs=2000)


@pytest.mark.parametrize(
    "content",
    [
        FIRST,
        FIRST + b"TAG".ljust(128, b"\0"),
        FIRST[: len(FIRST) // 2],
        FIRST + bytes(300),
        without_header(mp3(1, 400, mode="CONSTANT")),
        b"\xff\xfb",
        b"",
        b"RIFF",
        bytes(10000),
    ],
    ids=["plain", "tag", "cut", "zeros", "no header", "two bytes", "empty", "wav", "nothing"],
)
def test_find_mp3_parts_when_there_is_one_finds_none(content):
    assert find_mp3_parts(content) == []


@pytest.mark.parametrize(
    ("header", "size", "rate", "channels"),
    [
        ("fffb9064", 417, 44100, 2),  # MPEG 1, 128 kbit/s
        ("fffbe4c0", 960, 48000, 1),  # MPEG 1, 320 kbit/s
        ("fff350c4", 130, 22050, 1),  # MPEG 2, 40 kbit/s
        ("ffe318c4", 72, 8000, 1),  # MPEG 2.5, 8 kbit/s
    ],
)
def test_frame_kind_when_of_each_version(header, size, rate, channels):
    kind = frame_kind(bytes.fromhex(header))
    assert (kind.size, kind.sampling_rate, kind.channels) == (size, rate, channels)


@pytest.mark.parametrize("header", ["fffb0064", "fffbf064", "fffb9c64", "fff15080", "fffd9064", ""])
def test_frame_kind_when_it_is_none(header):
    assert frame_kind(bytes.fromhex(header)) is None
