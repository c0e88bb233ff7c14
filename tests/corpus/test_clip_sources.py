"""The wav and feature files of clips: found, read, and refused with a reason."""

import io

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from small_corpus import npy_bytes, wav_bytes

from dusha_ser.archives.find import open_members
from dusha_ser.archives.members import Member
from dusha_ser.corpus.clip_sources import (
    compute_features,
    find_wav,
    load_features,
    locate_files,
    read_wav,
)


@pytest.fixture
def member(tmp_path):
    """Make a member of bytes that lie in the middle of a file."""

    def member(content):
        path = tmp_path / "archive"
        path.write_bytes(b"before" + content + b"after")
        return Member("name", str(path), 6, len(content))

    return member


@pytest.fixture
def members(tmp_path):
    folder = tmp_path / "unpacked"
    for name, content in {
        "crowd_train/wavs/a.wav": b"a",
        "crowd_train/wavs/b.wav": b"",
        "wavs/p.wav": b"p",
        "crowd_train/wavs/odd.wav": b"o",
        "features/a.npy": b"n",
        "features/q.npy": b"n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return open_members([folder], tmp_path / "index", quiet=True)


def rows(*names, domain="crowd"):
    return pa.table(
        {
            "id": list(names),
            "domain": [domain] * len(names),
            "part": [f"{domain}_train"] * len(names),
            "audio_path": [f"wavs/{name}.wav" for name in names],
        }
    )


def sizes(column):
    return [file and file["size"] for file in column.to_pylist()]


def test_locate_files_when_some_are_missing(members):
    found, missing = locate_files(rows("a", "b", "c"), "train", members, False)
    assert found["id"].to_pylist() == ["a"]
    assert sizes(found["wav"]) == [1]
    assert found["npy"].to_pylist() == [None]
    assert [(clip["id"], clip["reason"]) for clip in missing] == [
        ("b", "empty wav"),
        ("c", "no wav"),
    ]
    assert all((clip["split"], clip["domain"]) == ("train", "crowd") for clip in missing)


def test_locate_files_when_podcasts_have_some_audio(members):
    found, missing = locate_files(rows("p", "q", domain="podcast"), "train", members, False)
    assert sizes(found["wav"]) == [1, None]
    assert not missing


def test_locate_files_when_features_are_wanted(members):
    podcasts, missing = locate_files(rows("p", "q", "r", domain="podcast"), "t", members, True)
    assert sizes(podcasts["npy"]) == [None, 1]
    assert [(clip["id"], clip["reason"]) for clip in missing] == [("r", "neither features nor wav")]
    crowd, missing = locate_files(rows("a", "b"), "train", members, True)
    assert sizes(crowd["npy"]) == [1]
    assert missing[0]["reason"] == "empty wav"


def test_locate_files_when_no_wav_of_the_domain_is_there(members):
    found, missing = locate_files(rows("x", "y"), "train", members, False)
    assert found["wav"].null_count == 2
    assert not missing


def test_find_wav_when_named_by_path_or_by_hash(members):
    assert find_wav(members, "some", "crowd_train", "wavs/odd.wav").name.endswith("odd.wav")
    assert find_wav(members, "a", None, None).name == "crowd_train/wavs/a.wav"
    assert find_wav(members, "none", "crowd_train", "wavs/none.wav") is None


def test_locate_files_when_found_gives_members(members):
    found, _ = locate_files(rows("a"), "train", members, False)
    assert Member(**found["wav"][0].as_py()) == members["crowd_train/wavs/a.wav"]


def test_read_wav_when_there_is_sound(member):
    content = wav_bytes(np.zeros(10))
    assert read_wav(member(content)) == content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"RIFF", "unreadable wav"),
        (b"<html>not found</html>", "unreadable wav"),
        (wav_bytes(np.zeros(0)), "empty wav"),
    ],
)
def test_read_wav_when_there_is_none(content, reason, member):
    with pytest.raises(ValueError, match=reason):
        read_wav(member(content))


def test_read_wav_when_coded_in_another_way(member):
    for subtype in ("FLOAT", "ULAW", "IMA_ADPCM"):
        file = io.BytesIO()
        soundfile.write(file, np.zeros(500), 16000, format="WAV", subtype=subtype)
        assert read_wav(member(file.getvalue())) == file.getvalue()


def npy_of_shape(shape):
    """An .npy file whose header states a shape, and that has three numbers."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00v\x00" + header.encode() + bytes(12)


def test_load_features_when_published(member):
    array = np.arange(192, dtype=np.float32).reshape(1, 64, 3)
    found = load_features(member(npy_bytes(array)))
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, array[0].T)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (npy_bytes(np.zeros((1, 64, 3))), r"features are float64 \(1, 64, 3\), not float32"),
        (npy_bytes(np.zeros((64, 3), np.float32)), r"features are float32 \(64, 3\), not"),
        (npy_bytes(np.zeros((1, 64, 0), np.float32)), r"features are float32 \(1, 64, 0\), not"),
        (npy_bytes(np.zeros((1, 64, 3), np.float32))[:-1], "unreadable features"),
        (npy_bytes(np.array([{}], dtype=object)), "unreadable features"),
        (npy_bytes(np.full((1, 64, 3), np.nan, np.float32)), "hold NaN or infinity"),
        (npy_of_shape("(1, 64, 9999999999999)"), "unreadable features"),
        (npy_of_shape("((((("), "unreadable features"),
        (b"", "unreadable features"),
    ],
)
def test_load_features_when_something_else(content, reason, member):
    with pytest.raises(ValueError, match=reason):
        load_features(member(content))


@pytest.mark.parametrize("rate", [1, 2**31 - 1])
def test_compute_features_when_the_rate_is_impossible(rate):
    content = bytearray(wav_bytes(np.zeros(100)))
    content[24:28] = rate.to_bytes(4, "little")
    with pytest.raises(ValueError, match=f"{rate} Hz; audio of 1000 to 768000 Hz"):
        compute_features(bytes(content))


def test_compute_features_when_it_cannot_be_decoded_to_its_end():
    file = io.BytesIO()
    noise = 0.1 * np.random.default_rng(0).standard_normal(16000)
    soundfile.write(file, noise, 16000, format="FLAC")
    with pytest.raises(ValueError, match="unreadable wav"):
        compute_features(file.getvalue()[: len(file.getvalue()) // 2])


def test_compute_features_when_stereo_or_of_another_rate():
    rng = np.random.default_rng(0)
    mono = 0.1 * rng.standard_normal(3200)
    features = compute_features(wav_bytes(mono))
    assert features.shape == (21, 64)
    assert features.dtype == np.float32
    assert (features.min(), features.max()) == (pytest.approx(-80, abs=60), 0)
    stereo = compute_features(wav_bytes(np.stack([mono, mono], axis=1)))
    np.testing.assert_allclose(stereo, features, atol=1e-3)
    assert compute_features(wav_bytes(mono, 8000)).shape == (41, 64)
