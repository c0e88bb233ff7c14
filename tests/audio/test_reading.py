"""The one reader of audio: every source gives the same samples."""

import io
import struct

import av
import numpy as np
import pytest
import soundfile
from small_corpus import wav_bytes

from dusha_ser.audio.reading import (
    UnreadableAudioError,
    count_frames,
    read_audio,
    read_blocks,
    read_info,
)


@pytest.fixture
def stereo():
    return np.random.default_rng(0).uniform(-0.5, 0.5, (4410, 2)).astype(np.float32)


def test_read_audio_when_sources_differ_gives_the_same(stereo, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, stereo, 44100, subtype="FLOAT")
    expected = read_audio(path, 16000)
    assert expected.dtype == np.float32
    assert len(expected) == 1600
    for source in (
        str(path),
        path.read_bytes(),
        io.BytesIO(path.read_bytes()),
        {"bytes": path.read_bytes(), "path": "other.wav"},
        {"bytes": None, "path": str(path)},
        (stereo, 44100),
        (stereo.astype(np.float64), 44100),
    ):
        assert np.array_equal(read_audio(source, 16000), expected)


def test_read_audio_when_samples_are_integers_is_of_full_scale_1():
    for kind in (np.int16, np.int32):
        samples = np.array([np.iinfo(kind).min, 0, np.iinfo(kind).max // 2 + 1], kind)
        assert read_audio((samples, 16000), 16000).tolist() == [-1, 0, 0.5]


def test_read_blocks_when_ffmpeg_reads_a_file_object(tmp_path):
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        samples = np.zeros((1, 16000), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    assert abs(len(read_audio(content.getvalue(), 16000)) - 16000) <= 2048
    assert sum(map(len, read_blocks(content, 8000))) > 7000


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"", "is empty"),
        ((np.empty(0), 16000), "holds no samples"),
        ((np.array([np.nan]), 16000), "NaN or infinite"),
        ((np.ones(9), 2), "its sampling rate is 2 Hz; audio of 1000 to 768000 Hz is read"),
        ("missing.wav", "there is no such file"),
        ({"bytes": b"", "path": "a.wav"}, r"cannot read the recording a.wav \(is empty"),
        ({"bytes": None, "path": None}, "cannot read the recording None"),
    ],
)
def test_read_audio_when_there_is_none_says_why(source, reason):
    with pytest.raises(UnreadableAudioError, match=reason):
        read_audio(source, 16000)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 60000\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (LFS, "is a Git LFS pointer, not the file itself: fetch that with git lfs pull"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "is a web page that a server"),
        (b"", r"is empty \(0 bytes\)"),
    ],
    ids=["pointer", "web page", "empty"],
)
def test_reading_when_something_else_took_the_files_place_says_what(content, reason, tmp_path):
    (tmp_path / "a.wav").write_bytes(content)
    for source in (tmp_path / "a.wav", content, {"bytes": content, "path": "a.wav"}):
        for read in (read_info, lambda source: read_audio(source, 16000)):
            with pytest.raises(UnreadableAudioError, match=reason):
                read(source)


@pytest.mark.parametrize(
    ("place", "form", "value", "reason"),
    [
        (24, "<I", 999_983, "999983 Hz; audio of 1000 to 768000 Hz is read"),
        (24, "<I", 999, "999 Hz; audio of 1000 to 768000 Hz is read"),
        (22, "<H", 255, "it has 255 channels; audio of up to 64 is read"),
    ],
)
def test_reading_when_a_header_is_damaged_names_the_limit(place, form, value, reason):
    content = bytearray(wav_bytes(np.zeros(1000)))
    struct.pack_into(form, content, place, value)
    for read in (read_info, lambda source: read_audio(source, 16000)):
        with pytest.raises(UnreadableAudioError, match=reason):
            read(bytes(content))


@pytest.mark.parametrize("suffix", ["m4a", "webm", "mka"])
def test_read_info_when_ffmpeg_reads_the_file_counts_its_samples(suffix, tmp_path):
    codec, form = {"m4a": ("aac", "mp4"), "webm": ("libopus", "webm"), "mka": ("aac", "matroska")}[
        suffix
    ]
    with av.open(str(tmp_path / f"a.{suffix}"), "w", format=form) as container:
        stream = container.add_stream(codec, rate=48000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 96000), np.float32), "fltp", "stereo")
        frame.sample_rate = 48000
        resampler = av.AudioResampler(stream.format, "stereo", 48000, stream.frame_size or 960)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(part))
    info = read_info(tmp_path / f"a.{suffix}")
    assert (info.sampling_rate, info.channels) == (48000, 2)
    assert info.duration == pytest.approx(2, abs=0.05)
    assert len(read_audio(tmp_path / f"a.{suffix}", 16000)) == pytest.approx(32000, abs=800)


def test_read_info_when_the_header_is_read(stereo, tmp_path):
    soundfile.write(tmp_path / "a.wav", stereo, 44100, subtype="PCM_16")
    info = read_info((tmp_path / "a.wav").read_bytes())
    assert info == (44100, 2, 4410, "PCM_16")
    assert info.duration == 0.1
    with pytest.raises(UnreadableAudioError, match="Format not recognised"):
        read_info(b"no audio at all")
    with pytest.raises(UnreadableAudioError, match="not a file"):
        read_info((stereo, 44100))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_U8"])
@pytest.mark.parametrize("channels", [1, 2])
def test_count_frames_when_plain(subtype, channels):
    file = io.BytesIO()
    soundfile.write(file, np.zeros((7, channels)), 16000, format="WAV", subtype=subtype)
    content = file.getvalue()
    assert count_frames(content) == 7
    assert count_frames(content + b"LIST") == 7
    cut = content[: len(content) - 3 * channels]
    assert count_frames(cut) == soundfile.info(io.BytesIO(cut)).frames < 7
    odd = content[:12] + b"note" + (3).to_bytes(4, "little") + b"abc\0" + content[12:]
    assert count_frames(odd) == 7


def test_count_frames_when_something_else():
    file = io.BytesIO()
    soundfile.write(file, np.zeros(7), 16000, format="WAV", subtype="FLOAT")
    content = wav_bytes(np.zeros(7))
    for other in (file.getvalue(), content[:40], content[:20], b"", b"RIFX" + content[4:]):
        assert count_frames(other) is None
