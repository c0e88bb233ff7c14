"""dusha predict with a row per turn or stretch of speech."""

import csv
import json

import numpy as np
import pytest
import soundfile
from small_models import save_model

from dusha_ser import EmotionClassifier
from dusha_ser.cli.main import main as dusha
from dusha_ser.corpus.sample_voice import draw_voice, speak
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError

RATE = 16000
LABELS = ["angry", "sad", "neutral", "positive"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def dialogue(tmp_path_factory):
    """A folder with a recording of two voices, and its turns: start, end, speaker, text."""
    folder = tmp_path_factory.mktemp("dialogue")
    rng = np.random.default_rng(0)
    voices = [draw_voice(rng), draw_voice(rng)]
    parts, turns, position = [], [], 0
    for number in range(6):
        samples, text = speak(rng, voices[number % 2], LABELS[number % 4])
        samples = samples[: len(samples) // 160 * 160]  # whole hundredths of a second
        parts += [samples, np.zeros(RATE // 4)]
        start, end = position / RATE, (position + len(samples)) / RATE
        turns.append((round(start, 2), round(end, 2), f"SPEAKER_0{number % 2}", text))
        position += len(samples) + RATE // 4
    soundfile.write(folder / "talk.wav", np.concatenate(parts), RATE, subtype="FLOAT")
    return folder, turns


def write_rttm(path, turns, name="talk"):
    """Write turns as pyannote does."""
    path.write_text(
        "".join(
            f"SPEAKER {name} 1 {start:.3f} {end - start:.3f} <NA> <NA> {speaker} <NA> <NA>\n"
            for start, end, speaker, _ in turns
        )
    )
    return path


def write_whisperx(path, turns):
    """Write turns as WhisperX does."""
    segments = [
        {"start": start, "end": end, "text": f" {text}", "speaker": speaker, "words": []}
        for start, end, speaker, text in turns
    ]
    path.write_text(json.dumps({"segments": segments, "word_segments": []}, ensure_ascii=False))
    return path


def predict(model, *words, folder, name="rows.csv"):
    """The rows that `dusha predict` writes."""
    file = folder / name
    dusha(["predict", model, *map(str, words), "--output_file", str(file), "--quiet"])
    with file.open(newline="") as rows:
        return list(csv.DictReader(rows))


def shares(row):
    return [float(row[f"probability_{label}"]) for label in LABELS]


def test_a_row_per_turn_is_the_prediction_of_its_clip(model, dialogue, tmp_path):
    folder, turns = dialogue
    turns = [*turns, (0.5, 4.0, "SPEAKER_00", "over both"), (1.0, 1.05, "SPEAKER_01", "Ага")]
    rows = predict(
        model,
        folder / "talk.wav",
        "--turns",
        write_whisperx(tmp_path / "t.json", turns),
        folder=tmp_path,
    )
    turns.sort()
    assert [(float(r["start"]), float(r["end"]), r["speaker"], r["text"]) for r in rows] == turns
    assert list(rows[0])[:6] == ["id", "start", "end", "speaker", "text", "prediction"]
    samples, _ = soundfile.read(folder / "talk.wav", dtype="float32")
    emotions = EmotionClassifier(model, "cpu")
    for row, (start, end, _, text) in zip(rows, turns, strict=True):
        if text == "Ага":
            assert (row["prediction"], row["probability_sad"], row["error"]) == ("", "", "")
            continue
        clip = samples[round(start * RATE) : round(end * RATE)]
        alone = emotions.predict((clip, RATE))
        assert row["prediction"] == alone.label
        np.testing.assert_allclose(shares(row), list(alone.probabilities.values()), atol=2e-5)


def test_a_long_turn_gets_the_mean_of_its_windows(model, dialogue, tmp_path):
    folder, _ = dialogue
    turns = write_rttm(tmp_path / "t.rttm", [(0.5, 8.0, "A", ""), (1.0, 1.9, "B", "")])
    options = ["--window", "1", "--hop", "0.5", "--turns", turns]
    rows = predict(model, folder / "talk.wav", *options, "--whole", "2", folder=tmp_path)
    samples, _ = soundfile.read(folder / "talk.wav", dtype="float32")
    soundfile.write(tmp_path / "turn.wav", samples[RATE // 2 : 8 * RATE], RATE, subtype="FLOAT")
    alone = predict(
        model,
        tmp_path / "turn.wav",
        *options[:4],
        "--whole",
        "2",
        folder=tmp_path,
        name="alone.csv",
    )
    np.testing.assert_allclose(shares(rows[0]), shares(alone[0]), atol=2e-5)
    assert [row["speaker"] for row in rows] == ["A", "B"]


def test_python_gives_the_same_turns(model, dialogue, tmp_path):
    folder, turns = dialogue
    path = write_whisperx(tmp_path / "talk.json", turns)
    rows = predict(model, folder / "talk.wav", "--turns", path, folder=tmp_path)
    emotions = EmotionClassifier(model, "cpu")
    recording, names = str(folder / "talk.wav"), ["start", "end", "speaker", "text"]
    for given in (
        turns,
        path,
        str(path),
        tmp_path,
        [dict(zip(names, turn, strict=True)) for turn in turns],
    ):
        table = emotions.timeline(recording, segments=given)
        assert list(table.columns[:5]) == ["start", "end", "speaker", "text", "prediction"]
        assert table.text.tolist() == [row["text"] for row in rows]
        assert table.prediction.tolist() == [row["prediction"] for row in rows]
        np.testing.assert_allclose(
            table.filter(like="probability").to_numpy(), [shares(row) for row in rows], atol=1e-6
        )
    both = emotions.timeline([recording, recording], segments=[turns[:2], [(0, 0.05)]])
    assert [len(table) for table in both] == [2, 1]
    assert both[1].prediction.tolist() == [None]
    assert np.isnan(both[1].probability_sad[0])
    with pytest.raises(WrongUseError, match="has 1 lists of turns for 2 recordings"):
        emotions.timeline([recording, recording], segments=[turns])
    with pytest.raises(WrongUseError, match="`segments=turns` makes rows of its own; leave out"):
        emotions.timeline(recording, segments=turns, vad=True)


def test_many_recordings_with_a_folder_of_turns(model, dialogue, tmp_path):
    folder, turns = dialogue
    sounds, given = tmp_path / "sounds", tmp_path / "turns"
    sounds.mkdir()
    given.mkdir()
    for name in ("a", "b", "c", "d"):
        (sounds / f"{name}.wav").symlink_to(folder / "talk.wav")
    write_rttm(given / "a.rttm", turns[:2])
    write_whisperx(given / "b.json", turns[2:5])
    write_rttm(given / "c.rttm", [(100, 101, "A", "")])
    arguments = [model, str(sounds), "--turns", str(given), "--quiet"]
    file = tmp_path / "rows.jsonl"
    with pytest.raises(WorkFailedError, match=r"2 of 4 files failed"):
        dusha(["predict", *arguments, "--output_file", str(file), "--num_proc", "2"])
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [row["id"][-5:] for row in rows] == ["a.wav"] * 2 + ["b.wav"] * 3 + ["c.wav", "d.wav"]
    assert [row["text"] for row in rows[:5]] == [None] * 2 + [turn[3] for turn in turns[2:5]]
    assert "all 1 turns begin after its end" in rows[5]["error"]
    assert "there is no file of its turns" in rows[6]["error"]
    # Turns that changed are not those of the rows that are there.
    write_rttm(given / "a.rttm", turns[:3])
    with pytest.raises(WrongUseError, match=r"1 audio files, such as .*a\.wav, or their turns,"):
        dusha(["predict", *arguments, "--output_file", str(file)])
    with pytest.raises(WorkFailedError):
        dusha(["predict", *arguments, "--output_file", str(file), "--overwrite"])
    assert len(file.read_text("utf-8").splitlines()) == len(rows) + 1


def test_what_a_stopped_run_left_is_resumed(model, dialogue, tmp_path):
    folder, turns = dialogue
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    names = ["a", "b", "c"]
    for name in names:
        (sounds / f"{name}.wav").symlink_to(folder / "talk.wav")
    all_turns = tmp_path / "all.rttm"
    write_rttm(all_turns, turns[:2], "a")
    lines = all_turns.read_text()
    all_turns.write_text("".join(lines.replace(" a ", f" {name} ") for name in names))
    whole = predict(model, sounds, "--turns", all_turns, folder=tmp_path)
    assert len(whole) == 6
    file = tmp_path / "rows.csv"
    content = file.read_text("utf-8")
    file.write_text(content[: content.rindex("\n", 0, -1) - 5], "utf-8")
    assert predict(model, sounds, "--turns", all_turns, folder=tmp_path) == whole


def test_a_row_per_stretch_of_speech(model, dialogue, tmp_path):
    pytest.importorskip("silero_vad", reason="finds speech")
    folder, _ = dialogue
    rows = predict(model, folder / "talk.wav", "--segments", "vad", folder=tmp_path)
    line = ["--timeline", "--vad", "--window", "30"]
    windows = predict(model, folder / "talk.wav", *line, folder=tmp_path, name="line.csv")
    assert [(row["start"], row["end"]) for row in rows] == [
        (row["start"], row["end"]) for row in windows
    ]
    assert list(rows[0])[:4] == ["id", "start", "end", "prediction"]
    np.testing.assert_allclose(
        [shares(row) for row in rows if row["prediction"]],
        [shares(row) for row in windows if row["prediction"]],
        atol=2e-5,
    )
    table = EmotionClassifier(model, "cpu").timeline(str(folder / "talk.wav"), segments="vad")
    assert table.prediction.tolist() == [row["prediction"] for row in rows if row["start"]]


def test_the_table_on_the_screen(model, dialogue, tmp_path, capsys):
    folder, turns = dialogue
    turns = [(*turns[0][:2], "a speaker of a long name", "да " * 40), *turns[1:2]]
    path = write_whisperx(tmp_path / "t.json", turns)
    dusha(["predict", model, str(folder / "talk.wav"), "--turns", str(path), "--quiet"])
    head, first, second = capsys.readouterr().out.splitlines()[:3]
    assert head.split() == ["id", "start", "end", "speaker", "prediction", *LABELS, "text"]
    assert "a speaker o…  " in first
    assert first.endswith("…")
    assert second.endswith(turns[1][3])
    assert first.index("да да") == head.index("text") == second.index(turns[1][3])


def test_the_table_of_speakers(model, dialogue, tmp_path, capsys):
    folder, turns = dialogue
    sounds, given = tmp_path / "sounds", tmp_path / "turns"
    sounds.mkdir()
    given.mkdir()
    for name in ("a", "b"):
        (sounds / f"{name}.wav").symlink_to(folder / "talk.wav")
    write_rttm(given / "a.rttm", turns[:4])
    write_rttm(given / "b.rttm", turns)
    arguments = ["predict", model, str(sounds), "--turns", str(given)]
    file, table = tmp_path / "rows.csv", tmp_path / "speakers.csv"
    dusha([*arguments, "--output_file", str(file), "--speakers_file", str(table)])
    shown = capsys.readouterr().out
    with file.open(newline="") as rows:
        rows = list(csv.DictReader(rows))
    with table.open(newline="") as speakers:
        speakers = list(csv.DictReader(speakers))
    assert [(one["id"][-5:], one["speaker"], one["turns"]) for one in speakers] == [
        ("a.wav", "SPEAKER_00", "2"),
        ("a.wav", "SPEAKER_01", "2"),
        ("b.wav", "SPEAKER_00", "3"),
        ("b.wav", "SPEAKER_01", "3"),
    ]
    assert [line.split()[1:3] for line in shown.splitlines() if "SPEAKER" in line] == [
        [one["speaker"], one["turns"]] for one in speakers
    ]
    own = [row for row in rows if row["id"] == speakers[2]["id"]]
    lengths = dict.fromkeys(LABELS, 0.0)
    for row in own:
        if row["speaker"] == "SPEAKER_00":
            lengths[row["prediction"]] += float(row["end"]) - float(row["start"])
    for label, length in lengths.items():
        assert float(speakers[2][f"share_{label}"]) == pytest.approx(
            length / sum(lengths.values()), abs=1e-4
        )
    assert f"wrote {table}: 4 speakers" in shown
    with pytest.raises(WrongUseError, match=r"speakers\.csv is there already"):
        dusha([*arguments, "--output_file", str(file), "--speakers_file", str(table)])
    # The rows on the screen give the same table, and rows for another program come alone.
    dusha([*arguments, "--same_speakers"])
    assert capsys.readouterr().out.splitlines()[-3].split()[:3] == [
        "SPEAKER_00",
        "5",
        shown_sum(speakers, 0),
    ]
    dusha([*arguments, "--format", "jsonl"])
    assert all(line.startswith("{") for line in capsys.readouterr().out.splitlines())


def shown_sum(speakers, number):
    """The seconds of one speaker in all recordings, as the screen shows them."""
    seconds = [float(one["seconds"]) for one in speakers if one["speaker"].endswith(str(number))]
    return f"{sum(seconds):.1f}"


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--segments", "turns"], WrongUseError, "--segments is turns and --turns None"),
        (["--segments", "vad", "--turns", "t.rttm"], WrongUseError, "--segments is vad and"),
        (["--turns", "t.rttm", "--timeline"], WrongUseError, "--segments turns makes rows of its"),
        (["--segments", "vad", "--vad"], WrongUseError, "leave out --vad"),
        (["--turns", "none.rttm"], MissingInputError, "no such file of turns"),
        (["--turns", "t.txt"], WrongUseError, "ends in .txt; turns are read from .rttm"),
        (["--turns", "bad.rttm"], WrongUseError, "bad.rttm, line 1"),
        (["--same_speakers"], WrongUseError, "are for turns, which have speakers; give --turns"),
    ],
)
def test_what_is_refused(words, error, message, model, dialogue, tmp_path, monkeypatch):
    from dusha_ser.cli.program import with_dashes

    folder, turns = dialogue
    monkeypatch.chdir(tmp_path)
    write_rttm(tmp_path / "t.rttm", turns)
    (tmp_path / "t.txt").write_text("")
    (tmp_path / "bad.rttm").write_text("SPEAKER\n")
    with pytest.raises(error) as raised:
        dusha(["predict", model, str(folder / "talk.wav"), *words])
    assert message in with_dashes(str(raised.value))


def test_turns_are_exported_with_their_speakers_and_texts(model, dialogue, tmp_path, capsys):
    folder, turns = dialogue
    given = str(write_whisperx(tmp_path / "talk.json", turns))
    words = ["--turns", given, "--export", "json,textgrid", "--output_dir", str(tmp_path / "out")]
    dusha(["predict", model, str(folder / "talk.wav"), *words])
    content = json.loads((tmp_path / "out" / "talk.json").read_text(encoding="utf-8"))
    found = [(one["start"], one["end"], one["speaker"], one["text"]) for one in content["segments"]]
    assert found == turns
    said = sum(end - start for start, end, _, _ in turns)
    assert sum(content["seconds"].values()) == pytest.approx(said, abs=0.01)
    grid = (tmp_path / "out" / "talk.TextGrid").read_text(encoding="utf-8")
    assert grid.count('class = "IntervalTier"') == 2
    assert 'name = "SPEAKER_01"' in grid
    assert capsys.readouterr().out.endswith(f"wrote {tmp_path / 'out'}: 2 files\n")
