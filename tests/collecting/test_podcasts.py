"""Podcast audio cut by published timings out of files that somebody has."""

import csv
import shutil

import numpy as np
import pytest
import soundfile
from archive_files import write_tar
from hypothesis import given, settings
from hypothesis import strategies as st

from dusha_ser.collecting import podcasts
from dusha_ser.collecting.options import PodcastOptions
from dusha_ser.collecting.podcasts import (
    BadTimingError,
    Piece,
    cut_podcasts,
    file_name,
    find_recordings,
    parse_time,
    without_overlap,
)
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.fingerprints import hash_name

RATE = 16000
LINK = "https://feed.example/shows/1/"


def cut(*values, **named):
    return cut_podcasts(PodcastOptions(*values, **named))


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def name_of(number):
    return hash_name(f"clip {number}".encode())


def write_metadata(path, rows, header="hash_id\tlink\tstart\tend"):
    lines = [header, *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    """Two podcasts of noise; every sample of them differs from the others."""
    folder = tmp_path_factory.mktemp("podcasts")
    samples = {}
    for seed, name in enumerate(["выпуск 1.wav", "talk.flac"]):
        values = np.random.default_rng(seed).integers(-30000, 30000, 20 * RATE).astype(np.int16)
        soundfile.write(folder / name, values, RATE, subtype="PCM_16")
        samples[name] = values.astype(int)
    return folder, samples


TIMINGS = [
    (name_of(0), f"{LINK}%D0%B2%D1%8B%D0%BF%D1%83%D1%81%D0%BA%201.mp3?key=1", "1.5", "6.5"),
    (name_of(1), f"{LINK}talk.mp3", "0:00:02", "0:00:04.5"),
    (name_of(2), f"{LINK}talk.mp3", "4.5", "7"),
    # Begins inside another one.
    (name_of(3), f"{LINK}talk.mp3", "3", "8"),
    (name_of(4), f"{LINK}talk.mp3", "17", "20.05"),
]


def test_cut_podcasts_gives_the_samples_of_the_timings(audio, tmp_path):
    folder, samples = audio
    table = write_metadata(tmp_path / "podcast_metadata.tsv", TIMINGS)
    counts = cut(table, folder, tmp_path / "out", quiet=True)
    assert counts == {"cut": 5, "there": 0, "missing": 0}
    expected = [
        samples["выпуск 1.wav"][24000:104000],
        samples["talk.flac"][32000:72000],
        samples["talk.flac"][72000:112000],
        samples["talk.flac"][48000:128000],
        samples["talk.flac"][272000:],
    ]
    assert len(list((tmp_path / "out" / "wavs").iterdir())) == 5
    for number, values in enumerate(expected):
        path = tmp_path / "out" / "wavs" / f"{name_of(number)}.wav"
        got, rate = soundfile.read(path, dtype="int16")
        assert (rate, len(got)) == (RATE, len(values))
        assert np.abs(got - values).max() <= 1
    assert rows_of(tmp_path / "out" / "missing_podcasts.csv") == []


def test_cut_podcasts_lists_what_is_missing_with_its_reason(audio, tmp_path):
    folder, _ = audio
    (tmp_path / "podcasts").mkdir()
    for path in folder.iterdir():
        (tmp_path / "podcasts" / path.name).symlink_to(path)
    (tmp_path / "podcasts" / "broken.mp3").write_bytes(b"This is no sound")
    talk = f"{LINK}talk.mp3"
    rows = [
        (name_of(0), talk, 1, 2),
        (name_of(1), f"{LINK}lost.mp3", 1, 2),
        (name_of(2), f"{LINK}broken.mp3", 1, 2),
        (name_of(3), talk, 19, 24),
        (name_of(4), talk, 5, 4),
        (name_of(5), talk, 1000, 6000),
        (name_of(6), talk, "soon", 4),
        ("../../escaped", talk, 1, 2),
        ("", talk, 1, 2),
        (name_of(7), "", 1, 2),
    ]
    table = write_metadata(tmp_path / "metadata.tsv", rows)
    out = tmp_path / "a" / "b" / "out"
    counts = cut(table, tmp_path / "podcasts", out, quiet=True)
    assert counts == {"cut": 1, "there": 0, "missing": 9}
    missing = {row["id"]: row["reason"] for row in rows_of(out / "missing_podcasts.csv")}
    assert missing[name_of(1)] == "no file lost.mp3 in the folder of podcasts"
    assert missing[name_of(2)].startswith("broken.mp3")
    assert "ends at 20.00 s" in missing[name_of(3)]
    assert "line 6: from 5 s to 4 s is no clip" in missing[name_of(4)]
    assert "`unit`" in missing[name_of(5)]
    assert "line 8: 'soon' is no time" in missing[name_of(6)]
    assert "cannot be the name of a clip" in missing["../../escaped"]
    assert "names no recording" in missing[name_of(7)]
    assert [path.name for path in tmp_path.rglob("*.wav") if not path.is_symlink()] == [
        f"{name_of(0)}.wav"
    ]


def test_cut_podcasts_again_cuts_only_what_lacks(audio, tmp_path):
    folder, _ = audio
    table = write_metadata(tmp_path / "metadata.tsv", TIMINGS)
    cut(table, folder, tmp_path / "out", quiet=True)
    wavs = tmp_path / "out" / "wavs"
    before = {path: path.read_bytes() for path in wavs.iterdir()}
    (wavs / f"{name_of(1)}.wav").unlink()
    (wavs / f"{name_of(2)}.wav").write_bytes(b"RIFF of a run that was stopped")
    counts = cut(table, folder, tmp_path / "out", quiet=True)
    assert counts == {"cut": 2, "there": 3, "missing": 0}
    assert {path: path.read_bytes() for path in wavs.iterdir()} == before
    counts = cut(table, folder, tmp_path / "out", overwrite=True, quiet=True)
    assert counts == {"cut": 5, "there": 0, "missing": 0}
    assert {path: path.read_bytes() for path in wavs.iterdir()} == before
    for overwrite in (False, True):
        with pytest.raises(WrongUseError, match="which this program did not write"):
            cut(table, folder, folder, overwrite=overwrite, quiet=True)


def test_cut_podcasts_again_refuses_other_timings_audio_or_code_unless_told(
    audio, tmp_path, monkeypatch
):
    folder = shutil.copytree(audio[0], tmp_path / "podcasts")
    table = write_metadata(tmp_path / "metadata.tsv", TIMINGS)

    def again(overwrite=False):
        return cut(table, folder, tmp_path / "out", overwrite=overwrite, quiet=True)["cut"]

    def refused():
        before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.[cjw]*")}
        with pytest.raises(WrongUseError, match=r"\.wav was cut by other .*`overwrite=True`"):
            again()
        assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.[cjw]*")} == before
        return True

    def clip(number):
        path = tmp_path / "out" / "wavs" / f"{name_of(number)}.wav"
        return soundfile.read(path, dtype="int16")[0]

    assert (again(), again()) == (5, 0)
    moved = [*TIMINGS[:2], (*TIMINGS[2][:2], "5.5", "8"), *TIMINGS[3:]]
    write_metadata(table, moved)
    assert refused() and (again(overwrite=True), again()) == (5, 0)
    expected = audio[1]["talk.flac"][88000:128000]
    assert np.abs(clip(2) - expected).max() <= 1
    samples = audio[1]["talk.flac"][::-1].astype(np.int16)
    soundfile.write(folder / "talk.flac", samples, RATE, subtype="PCM_16")
    assert refused() and (again(overwrite=True), again()) == (5, 0)
    assert np.abs(clip(1) - samples[32000:72000].astype(int)).max() <= 1
    (folder / "talk.flac").unlink()
    assert again() == 0
    monkeypatch.setattr(podcasts, "CODE", ("dusha_ser.errors",))
    assert refused() and again(overwrite=True) == 1


def test_cut_podcasts_out_of_the_archive_with_columns_of_other_names(audio, tmp_path):
    folder, samples = audio
    rows = f"audio\ttitle\tfrom\tto\n{name_of(0)}\tTalk\t1500\t2500\n"
    write_tar(
        tmp_path / "podcast.tar",
        {
            "podcast_train/raw_podcast_train.jsonl": b"{}\n",
            "podcast_train/podcast_metadata.tsv": rows.encode(),
        },
    )
    columns = {
        "id_column": "audio",
        "recording_column": "title",
        "start_column": "from",
        "end_column": "to",
    }
    out = tmp_path / "out"
    counts = cut(tmp_path / "podcast.tar", folder, out, unit="milliseconds", quiet=True, **columns)
    assert counts["cut"] == 1
    got, _ = soundfile.read(out / "wavs" / f"{name_of(0)}.wav", dtype="int16")
    assert np.abs(got - samples["talk.flac"][24000:40000]).max() <= 1
    with pytest.raises(WrongUseError, match="audio, title, from, to and not 'hash_id'; name yours"):
        cut(tmp_path / "podcast.tar", folder, out, quiet=True)
    write_tar(tmp_path / "other.tar", {"podcast_train/raw_podcast_train.jsonl": b"{}\n"})
    with pytest.raises(MissingInputError, match=r"no podcast_metadata\.tsv"):
        cut(tmp_path / "other.tar", folder, out, quiet=True)
    with pytest.raises(MissingInputError, match="no folder"):
        cut(tmp_path / "podcast.tar", tmp_path / "none", out, quiet=True, **columns)


def test_find_recordings_never_guesses_between_files(tmp_path):
    for name in ("a/1.mp3", "b/1.mp3", "episode.mp3", "A Title.ogg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "files.csv").write_text("recording,path\nhttps://c.example/1.mp3,b/1.mp3\n")
    links = [
        "https://a.example/1.mp3",
        "https://a.example/episode.mp3",
        "https://b.example/episode.mp3",
        "a title",
        "https://c.example/1.mp3",
    ]
    found = find_recordings(links, tmp_path, tmp_path / "files.csv")
    assert "2 files have the name 1.mp3; say which with `files`" in found[links[0]]
    assert "2 links end in episode.mp3" in found[links[1]]
    assert found[links[1]] == found[links[2]]
    assert found[links[3]] == tmp_path / "A Title.ogg"
    assert found[links[4]] == tmp_path / "b/1.mp3"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("12.25", 12.25), ("12,25", 12.25), ("01:02", 62), ("2:00:00.5", 7200.5)],
)
def test_parse_time_of_all_forms(text, seconds):
    assert parse_time(text) == seconds
    assert parse_time("1500", 0.001) == 1.5


@pytest.mark.parametrize("text", ["", "-1", "1e3", "nan", "1:2:3:4", "1:", "one"])
def test_parse_time_when_it_is_none(text):
    with pytest.raises(BadTimingError):
        parse_time(text)


def test_file_name_of_links_that_lead_elsewhere():
    assert file_name("https://a.example/x/..%2F..%2Fetc%2Fpasswd") == "passwd"
    assert file_name("https://a.example/") == ""
    assert file_name("https://feed.example/a/%D0%B0%201.mp3?key=2") == "а 1.mp3"
    assert file_name("A title") == "A title"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), max_size=12))
def test_without_overlap_keeps_all_and_lets_none_overlap(spans):
    pieces = [Piece(str(n), "a", start, start + size) for n, (start, size) in enumerate(spans)]
    layers = without_overlap(pieces)
    assert sorted(one.id for layer in layers for one in layer) == sorted(one.id for one in pieces)
    for layer in layers:
        for first, second in zip(layer, layer[1:], strict=False):
            assert first.end <= second.start
