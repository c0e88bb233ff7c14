"""Clips as files: named by content, converted once and for all, in folders that are whole."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dusha_ser.audio.reading import UnreadableAudioError, encode_wav
from dusha_ser.collecting.clips import convert_clip, wav_path, write_clip
from dusha_ser.files import is_safe_name
from dusha_ser.fingerprints import hash_name


def noise(size, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, size).astype(np.float32)


def test_write_clip_names_the_file_by_its_content(tmp_path):
    content = encode_wav(noise(1600))
    name = write_clip(tmp_path, content)
    path = tmp_path / "wavs" / f"{name}.wav"
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(name)
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_convert_clip_when_it_is_one_already_keeps_every_sample(tmp_path):
    values = np.arange(-32768, 32768, dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", values, 16000, subtype="PCM_16")
    with soundfile.SoundFile(tmp_path / "told.wav", "w", 16000, 1, "PCM_16") as file:
        file.title = "a control task"
        file.write(values)
    content = convert_clip(tmp_path / "a.wav")
    np.testing.assert_array_equal(soundfile.read(io.BytesIO(content), dtype="int16")[0], values)
    assert content == encode_wav(values)
    # Nothing but the sound is left.
    assert convert_clip(tmp_path / "told.wav") == content
    (tmp_path / "again.wav").write_bytes(content)
    assert convert_clip(tmp_path / "again.wav") == content


@pytest.mark.parametrize("stated", [0, 2000, 200000], ids=["nothing", "less", "more"])
def test_convert_clip_when_its_header_is_wrong_keeps_every_sample(stated, tmp_path):
    values = np.arange(-32768, 32768, dtype=np.int16)
    content = bytearray(encode_wav(values))
    content[40:44] = stated.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    assert convert_clip(tmp_path / "a.wav") == encode_wav(values)


def test_convert_clip_of_another_rate_and_two_channels(tmp_path):
    times = np.arange(48000) / 48000
    tone = 0.5 * np.sin(2 * np.pi * 440 * times)
    soundfile.write(tmp_path / "a.flac", np.stack([tone, 0 * tone], axis=1), 48000)
    samples, rate = soundfile.read(io.BytesIO(convert_clip(tmp_path / "a.flac")))
    assert (rate, samples.ndim) == (16000, 1)
    assert len(samples) == pytest.approx(16000, abs=1)
    assert np.abs(np.fft.rfft(samples)).argmax() == 440
    assert np.abs(samples[2000:-2000]).max() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("content", [b"", b"This is no sound"], ids=["empty", "text"])
def test_convert_clip_when_it_is_no_sound(content, tmp_path):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(UnreadableAudioError):
        convert_clip(tmp_path / "a.wav")
    with pytest.raises(UnreadableAudioError, match="no such file"):
        convert_clip(tmp_path / "b.wav")


@pytest.mark.parametrize(
    "name", ["../a", "/etc/a", "a/b", "a\\b", "..", ".a", "", "a\0b", "a\n", "a" * 200, "-a", "é"]
)
def test_names_that_would_leave_the_folder_become_no_file(name, tmp_path):
    assert not is_safe_name(name)
    with pytest.raises(ValueError, match="no name for a file"):
        write_clip(tmp_path / "clips", b"", name)
    assert not list(tmp_path.rglob("*.wav"))


def test_wav_path_of_a_hash():
    name = hash_name(b"clip")
    assert wav_path(Path("a"), name).as_posix() == f"a/wavs/{name}.wav"
