import csv
import os

import numpy as np
import pytest
import soundfile

from dusha_ser.audio.reading import read_audio
from dusha_ser.corpus.own_recordings import read_recordings
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.options import TableOptions
from dusha_ser.storage import write_csv


def write_tone(path, seconds=0.5, rate=16000, channels=1, pitch=440.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)
    # As bytes, because names need not be UTF-8.
    soundfile.write(os.fsencode(path), np.repeat(tone[:, None], channels, axis=1), rate)


def write_table(path, rows, delimiter=","):
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_read_recordings_of_a_table_when_files_are_of_any_rate_and_format(tmp_path, suffix):
    write_tone(tmp_path / "a.wav", 0.5, 8000)
    write_tone(tmp_path / "sub" / "b.flac", 0.25, 44100, channels=2)
    write_tone(tmp_path / "c.ogg", 0.75, 48000)
    rows = [["path", "label", "speaker"], ["a.wav", "sad", "ann"], ["sub/b.flac", "angry", ""]]
    table = write_table(
        tmp_path / f"t{suffix}", [*rows, ["c.ogg", "sad", "bob"]], "," if suffix == ".csv" else "\t"
    )
    recordings = read_recordings(table)
    assert recordings["id"] == ["a.wav", "sub/b.flac", "c.ogg"]
    assert recordings["label"] == [1, 0, 1]
    assert recordings["source_id"] == ["ann", None, "bob"]
    assert recordings["domain"] == ["own"] * 3
    assert np.allclose(recordings["duration"], [0.5, 0.25, 0.75], atol=0.01)
    assert recordings.features["label"].names == ["angry", "sad", "neutral", "positive"]
    for row in recordings:
        samples = read_audio(row["audio"], 16000)
        assert samples.dtype == np.float32
        assert abs(len(samples) / 16000 - row["duration"]) < 0.01
        peak = np.fft.rfftfreq(len(samples), 1 / 16000)[np.abs(np.fft.rfft(samples)).argmax()]
        assert abs(peak - 440) < 5


def test_read_recordings_of_a_folder_when_labels_are_ones_own(tmp_path):
    for name in ("yes/1.wav", "yes/deep/2.flac", "no/3.wav"):
        write_tone(tmp_path / name)
    (tmp_path / "no" / "notes.txt").write_text("not a sound")
    (tmp_path / "no" / "._3.wav").write_bytes(b"left by another system")
    recordings = read_recordings(tmp_path)
    assert recordings.features["label"].names == ["no", "yes"]
    assert recordings["id"] == ["no/3.wav", "yes/1.wav", "yes/deep/2.flac"]
    assert recordings["source_id"] == [None] * 3


def test_read_recordings_when_columns_have_other_names(tmp_path):
    write_tone(tmp_path / "a.wav")
    table = write_table(tmp_path / "t.csv", [["file", "emotion", "actor"], ["a.wav", "sad", "7"]])
    names = TableOptions(path_column="file", label_column="emotion", speaker_column="actor")
    assert read_recordings(table, options=names)["source_id"] == ["7"]


def test_read_recordings_when_labels_are_coded_takes_what_they_mean(tmp_path):
    for name in ("a.wav", "b.wav", "c.wav"):
        write_tone(tmp_path / name)
    rows = [["path", "label"], ["a.wav", "S"], ["b.wav", " A "], ["c.wav", "sad"]]
    table = write_table(tmp_path / "t.csv", rows)
    recordings = read_recordings(table, options=TableOptions(label_map=("S=sad", "A=angry")))
    assert recordings.features["label"].names == ["angry", "sad", "neutral", "positive"]
    assert recordings["label"] == [1, 0, 1]
    for name in ("0/a.wav", "1/b.wav"):
        write_tone(tmp_path / "folder" / name)
    options = TableOptions(label_map=("0=no", "1=yes"))
    assert read_recordings(tmp_path / "folder", options=options).features["label"].names == [
        "no",
        "yes",
    ]


def test_read_recordings_when_labels_are_dushas_but_for_their_case_warns(tmp_path, caplog):
    rows = [["path", "label"]]
    for label in ("Angry", "sad", "Calm"):
        write_tone(tmp_path / f"{label}.wav")
        rows.append([f"{label}.wav", label])
    names = read_recordings(write_table(tmp_path / "t.csv", rows)).features["label"].names
    assert names == ["Angry", "Calm", "sad"]
    (message,) = caplog.messages
    assert message.endswith("if these are meant, give `label_map=Angry=angry`")


def test_read_recordings_of_a_table_from_windows_finds_the_files(tmp_path):
    write_tone(tmp_path / "sub" / "deep" / "a.wav")
    table = write_table(tmp_path / "t.csv", [["path", "label"], ["sub\\deep\\a.wav", "sad"]])
    recordings = read_recordings(table)
    assert recordings["audio"][0]["path"] == str(tmp_path / "sub" / "deep" / "a.wav")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([["file", "label"], ["a.wav", "sad"]], ["file, label", "`path_column`"]),
        ([["path", "label"]], ["no rows"]),
        ([["path", "label"], ["a.wav", ""]], ["line 2", "has no label"]),
        ([["path", "label"], ["b.wav", "sad"]], ["line 2", "b.wav", "there is no such file"]),
        ([["path", "label"], ["a.wav", "sad"], ["a.wav", "angry"]], ["line 3", "line 2"]),
        ([["path", "label"], ["t.csv", "sad"]], ["line 2", "read it"]),
        ([["path", "label"], ["a.raw", "sad"]], ["cannot be read"]),
        ([["path", "label"], ["empty.wav", "sad"]], ["holds no samples"]),
        ([["path", "label"], ["a.wav", "glad"]], ["glad", "angry, sad", "`label_map`"]),
        (
            [["path", "label"], ["a.wav", "sad"], ["b.wav", "Sad"]],
            ["'Sad' and 'sad'", "differ in case only", "`label_map=Sad=sad`"],
        ),
    ],
)
def test_read_recordings_when_the_table_is_wrong(tmp_path, rows, words):
    write_tone(tmp_path / "a.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    (tmp_path / "a.raw").write_bytes(bytes(100))
    table = write_table(tmp_path / "t.csv", rows)
    with pytest.raises(WrongUseError) as caught:
        read_recordings(table, labels=["angry", "sad"])
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        ([0.1, np.nan], 16000, "NaN or infinite"),
        ([0.1, -np.inf], 16000, "NaN or infinite"),
        ([0.1], 192000, "holds no samples"),
        ([0.1, 0.2], 2, "its sampling rate is 2 Hz"),
    ],
)
def test_read_audio_when_it_is_not_audio_refuses(samples, rate, words, tmp_path):
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    with pytest.raises(WrongUseError, match=f"a.wav .*{words}"):
        read_audio({"bytes": None, "path": str(tmp_path / "a.wav")}, 16000)


def test_read_recordings_when_nothing_is_there(tmp_path):
    with pytest.raises(MissingInputError, match=r"no file or folder .*nowhere"):
        read_recordings(tmp_path / "nowhere")
    with pytest.raises(WrongUseError, match="holds no audio files"):
        read_recordings(tmp_path)


def test_read_recordings_when_they_are_real(shared):
    names = TableOptions(path_column="file", label_column="emotion", speaker_column="actor")
    recordings = read_recordings(shared / "data" / "ravdess" / "labels.csv", options=names)
    assert np.bincount(recordings["label"]).tolist() == [192, 192, 288, 192]
    assert len(set(recordings["source_id"])) == 24


LFS = b"version https://git-lfs.github.com/spec/v1\nsize 9\n"


def write_unusable(folder):
    """Eight recordings for each of two labels, of which seven cannot be used."""
    for number in range(16):
        write_tone(folder / ("sad" if number % 2 else "angry") / f"{number}.wav")
    for name in ("angry/0", "sad/1"):
        soundfile.write(folder / f"{name}.wav", np.zeros(0), 16000)
    for name in ("angry/2", "sad/3", "angry/4"):
        (folder / f"{name}.wav").write_bytes(LFS)
    soundfile.write(folder / "sad" / "5.wav", np.zeros(16000), 16000)
    soundfile.write(folder / "angry" / "6.wav", [0.1, np.nan], 16000, subtype="FLOAT")
    return folder


def test_read_recordings_when_some_cannot_be_used_names_all_at_once(tmp_path):
    with pytest.raises(WrongUseError) as caught:
        read_recordings(write_unusable(tmp_path))
    said = str(caught.value)
    assert said.startswith('7 of 16 recordings cannot be used: 3 x "is a Git LFS pointer')
    assert "fetch that with git lfs pull" in said and said.endswith("`bad_rows=skip`")
    for reason, names in {
        "holds no samples": ("angry/0.wav", "sad/1.wav"),
        "silent from beginning to end": ("sad/5.wav",),
        "NaN or infinite": ("angry/6.wav",),
    }.items():
        part = next(part for part in said.split("; ") if reason in part)
        assert part.startswith(f"{len(names)} x ") and all(name in part for name in names)


def test_read_recordings_when_those_that_cannot_be_used_are_skipped_counts_them(tmp_path, caplog):
    rows = read_recordings(write_unusable(tmp_path), options=TableOptions(bad_rows="skip"))
    assert rows["id"][:] == [
        *(f"angry/{number}.wav" for number in (10, 12, 14, 8)),
        *(f"sad/{number}.wav" for number in (11, 13, 15, 7, 9)),
    ]
    (warning,) = caplog.messages
    assert warning.startswith("7 of 16 recordings cannot be used: ")
    assert warning.endswith("; they are left out")


def test_read_recordings_when_none_can_be_used_is_refused(tmp_path):
    (tmp_path / "sad").mkdir()
    (tmp_path / "sad" / "a.wav").write_bytes(LFS)
    with pytest.raises(WrongUseError, match="1 of 1 recordings cannot be used"):
        read_recordings(tmp_path, options=TableOptions(bad_rows="skip"))


def test_read_recordings_when_files_are_missing_names_all_lines(tmp_path):
    write_tone(tmp_path / "a.wav")
    names = ["a.wav", *(f"{number}.wav" for number in range(9))]
    table = write_table(tmp_path / "t.csv", [["path", "label"], *([one, "sad"] for one in names)])
    with pytest.raises(MissingInputError, match="9 of 10 .*line 3: 0.wav, .*line 7: 4.wav, "):
        read_recordings(table)
    rows = read_recordings(table, options=TableOptions(bad_rows="skip"))
    assert rows["id"][:] == ["a.wav"]


def test_read_recordings_of_a_folder_when_phones_recorded_them(tmp_path):
    av = pytest.importorskip("av")
    (tmp_path / "sad").mkdir()
    with av.open(str(tmp_path / "sad" / "a.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        tone = np.sin(np.arange(16000, dtype=np.float32))[None]
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    (row,) = read_recordings(tmp_path)
    assert row["id"] == "sad/a.m4a"
    assert row["duration"] == pytest.approx(1, abs=0.13)
    assert len(read_audio(row["audio"], 16000)) == pytest.approx(16000 * row["duration"], abs=1)


def test_read_recordings_when_names_are_hidden_or_unusual(tmp_path):
    names = ("caf\udce9.wav", "new\nline.wav", " blank.wav", "Ёж.wav", 'a,"b".wav')
    for name in (*names, "._a.wav", ".a.wav"):
        write_tone(tmp_path / "in" / "sad" / name)
    for name in (".cache", "__MACOSX"):
        write_tone(tmp_path / "in" / name / "a.wav")
    rows = read_recordings(tmp_path / "in")
    assert rows.features["label"].names == ["angry", "sad", "neutral", "positive"]
    assert len(rows) == len(names)
    # The ids in a table find the files again.
    table = tmp_path / "in" / "t.csv"
    write_csv(table, ["path", "label"], ({"path": one, "label": "sad"} for one in rows["id"]))
    again = read_recordings(table)
    assert again["id"][:] == rows["id"][:]
    assert again["audio"][:] == rows["audio"][:]
    for row in again:
        assert len(read_audio(row["audio"], 16000)) == 8000
