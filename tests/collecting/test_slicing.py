"""Recordings cut into clips: where somebody speaks, never too long, nothing lost or done twice."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from long_recordings import write_podcast

from dusha_ser.audio.finding import AudioFile
from dusha_ser.collecting import slicing
from dusha_ser.collecting.options import Cut
from dusha_ser.collecting.slicing import cut_clips, join_spans, quietest, slice_recordings
from dusha_ser.errors import WrongUseError
from dusha_ser.fingerprints import hash_name

pytest.importorskip("silero_vad")


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def podcasts(tmp_path_factory):
    """Two recordings with what is said in them, a broken one, and one where nobody speaks."""
    folder = tmp_path_factory.mktemp("podcasts")
    truth = {
        name: write_podcast(folder / name, seed) for seed, name in enumerate(["a.wav", "b.flac"])
    }
    (folder / "broken.mp3").write_bytes(b"This is no sound")
    soundfile.write(folder / "silence.wav", np.zeros(16000), 16000)
    names = [*truth, "broken.mp3", "silence.wav", "missing.wav"]
    return [AudioFile(name, str(folder / name)) for name in names], truth


@pytest.fixture(scope="module")
def sliced(podcasts, tmp_path_factory):
    """The undisturbed run, only read."""
    folder = tmp_path_factory.mktemp("sliced")
    return folder, slice_recordings(podcasts[0], folder, Cut(), quiet=True)


def test_slice_recordings_finds_what_was_said(podcasts, sliced):
    folder, _ = sliced
    clips = rows_of(folder / "clips.csv")
    source = {row["path"]: row["source_id"] for row in rows_of(folder / "recordings.csv")}
    for name, phrases in podcasts[1].items():
        own = [clip for clip in clips if clip["source_id"] == source[name]]
        for phrase in phrases:
            # The detector spares 30 ms on both sides, and may hear a pause inside a phrase.
            heard = sum(
                min(float(clip["end"]), phrase.end) - max(float(clip["start"]), phrase.start)
                for clip in own
                if float(clip["start"]) < phrase.end and float(clip["end"]) > phrase.start
            )
            assert heard > 0.6 * (phrase.end - phrase.start)
        total = sum(float(clip["duration"]) for clip in own)
        assert total < sum(phrase.end - phrase.start for phrase in phrases) + 0.2 * len(own)


def test_slice_recordings_writes_the_samples_of_the_recording(podcasts, sliced):
    folder, _ = sliced
    clips = rows_of(folder / "clips.csv")
    samples, _ = soundfile.read(podcasts[0][0].path, dtype="int16")
    source = rows_of(folder / "recordings.csv")[0]["source_id"]
    own = [clip for clip in clips if clip["source_id"] == source]
    assert len(own) >= 4
    for clip in own:
        content = (folder / clip["path"]).read_bytes()
        assert clip["id"] == hash_name(content)
        got, rate = soundfile.read(folder / clip["path"], dtype="int16")
        first = round(float(clip["start"]) * 16000)
        assert rate == 16000
        assert len(got) == round(float(clip["duration"]) * 16000)
        assert 0.5 <= float(clip["duration"]) <= 5
        expected = samples[first : first + len(got)].astype(int)
        # Read as parts of one and written as 16 bits again: one step of 65,536 at most.
        assert np.abs(got - expected).max() <= 1


def test_slice_recordings_lists_what_is_broken_and_goes_on(sliced):
    folder, rows = sliced
    errors = {row["path"]: row["error"] for row in rows}
    assert errors["a.wav"] is errors["b.flac"] is errors["silence.wav"] is None
    assert "read" in errors["broken.mp3"]
    assert "No such file" in errors["missing.wav"]
    listed = rows_of(folder / "recordings.csv")
    assert [row["path"] for row in listed] == list(errors)
    assert listed[3]["clips"] == "0"
    assert sum(int(row["clips"]) for row in listed) == len(rows_of(folder / "clips.csv"))


def test_slice_recordings_when_stopped_goes_on_where_it_was(
    podcasts, sliced, tmp_path, monkeypatch
):
    cut_one, begun = slicing.slice_recording, []

    def stop_once_at_the_second(path, *rest):
        begun.append(Path(path).name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return cut_one(path, *rest)

    monkeypatch.setattr(slicing, "slice_recording", stop_once_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        slice_recordings(podcasts[0], tmp_path, Cut(), quiet=True)
    # No table says that the work is done.
    assert not list(tmp_path.glob("*.csv"))
    slice_recordings(podcasts[0], tmp_path, Cut(), quiet=True)
    assert begun == ["a.wav", "b.flac", "b.flac", "broken.mp3", "silence.wav"]
    assert files_of(tmp_path) == files_of(sliced[0])


def test_slice_recordings_with_other_limits_or_a_lost_clip_does_the_work_again(podcasts, tmp_path):
    shorter = Cut(longest=1.0, shortest=0.2)
    sound = podcasts[0][:1]
    slice_recordings(sound, tmp_path, Cut(), quiet=True)
    before = rows_of(tmp_path / "clips.csv")
    (tmp_path / before[0]["path"]).unlink()
    slice_recordings(sound, tmp_path, Cut(), quiet=True)
    assert (tmp_path / before[0]["path"]).is_file()
    with pytest.raises(WrongUseError, match="begun with another longest, shortest; .*overwrite="):
        slice_recordings(sound, tmp_path, shorter, quiet=True)
    assert rows_of(tmp_path / "clips.csv") == before
    slice_recordings(sound, tmp_path, shorter, quiet=True, overwrite=True)
    after = rows_of(tmp_path / "clips.csv")
    assert sorted(path.name for path in (tmp_path / "wavs").iterdir()) == sorted(
        f"{clip['id']}.wav" for clip in after
    )
    assert max(float(clip["duration"]) for clip in after) <= 1
    assert len(after) > len(before)


def test_slice_recordings_when_audio_changed_refuses_and_when_code_did_works_again(
    podcasts, tmp_path, monkeypatch
):
    first, second = podcasts[0][:2]
    path = tmp_path / "recording"
    shutil.copy(first.path, path)
    cut_one, begun = slicing.slice_recording, []
    monkeypatch.setattr(
        slicing, "slice_recording", lambda *given: begun.append(given) or cut_one(*given)
    )

    def slices(overwrite=False):
        sounds, out = [AudioFile("a", str(path))], tmp_path / "out"
        rows = slice_recordings(sounds, out, Cut(), quiet=True, overwrite=overwrite)
        return rows[0]["source_id"], len(begun)

    source, count = slices()
    assert (slices(), count) == ((source, 1), 1)
    shutil.copy(second.path, path)
    with pytest.raises(WrongUseError, match=r"\.wav, cut of the same files; .*overwrite"):
        slices()
    begun.clear()
    changed, count = slices(overwrite=True)
    assert changed != source and count == 1
    assert slices() == (changed, 1)
    monkeypatch.setattr(slicing, "CODE", ("dusha_ser.errors",))
    assert slices() == (changed, 2)


def test_slice_recordings_when_clips_would_be_lost_refuses(podcasts, tmp_path):
    first, second = podcasts[0][:2]
    slice_recordings([first], tmp_path, Cut(), quiet=True)
    before = files_of(tmp_path)
    with pytest.raises(WrongUseError, match=r"clips of a\.wav, which is not given now; .*overw"):
        slice_recordings([second], tmp_path, Cut(), quiet=True)
    assert files_of(tmp_path) == before
    with pytest.raises(WrongUseError, match=r"holds wavs/\w+\.wav, cut of the same files; .*overw"):
        slice_recordings([AudioFile(first.name, "gone.wav")], tmp_path, Cut(), quiet=True)
    assert files_of(tmp_path) == before
    # Further recordings take nothing away.
    slice_recordings([first, second], tmp_path, Cut(), quiet=True)
    assert before.keys() < files_of(tmp_path).keys()
    slice_recordings([second], tmp_path, Cut(), quiet=True, overwrite=True)
    assert [row["path"] for row in rows_of(tmp_path / "recordings.csv")] == [second.name]


def test_slice_recordings_when_the_folder_is_somebody_elses_refuses(podcasts, tmp_path):
    (tmp_path / "clips.csv").write_text("path,label\na.wav,sad\n")
    for overwrite in (False, True):
        with pytest.raises(WrongUseError, match=r"holds clips\.csv, which this program did not"):
            slice_recordings(podcasts[0], tmp_path, Cut(), quiet=True, overwrite=overwrite)
    assert (tmp_path / "clips.csv").read_text() == "path,label\na.wav,sad\n"


def test_slice_recordings_when_nobody_speaks_warns(podcasts, tmp_path, caplog):
    (silence,) = (sound for sound in podcasts[0] if sound.name == "silence.wav")
    slice_recordings([silence], tmp_path, Cut(), quiet=True)
    (message,) = caplog.messages
    assert message.startswith("1 of 1 recordings gave no clip: they hold no speech of 0.5 s")


def test_slice_recordings_when_a_recording_comes_twice_keeps_its_clips_once(podcasts, tmp_path):
    first = podcasts[0][0]
    rows = slice_recordings([first, AudioFile("copy", first.path)], tmp_path, Cut(), quiet=True)
    assert rows[0]["clips"] > 0 == rows[1]["clips"]
    assert rows[1]["repeated"] == rows[0]["clips"]
    ids = [clip["id"] for clip in rows_of(tmp_path / "clips.csv")]
    assert len(set(ids)) == len(ids) == rows[0]["clips"]


def test_slice_recordings_by_folder_gives_a_show_one_source(podcasts, tmp_path):
    sounds = [AudioFile(f"show/{sound.name}", sound.path) for sound in podcasts[0][:2]]
    sounds.append(AudioFile("other/a.wav", podcasts[0][3].path))
    rows = slice_recordings(sounds, tmp_path, Cut(), "folder", quiet=True)
    assert rows[0]["source_id"] == rows[1]["source_id"] != rows[2]["source_id"]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"longest": 0.5}, "`shortest` is 0.5 s and `longest` 0.5 s"),
        ({"shortest": 0.0}, "above 0"),
        ({"longest": float("inf")}, "at most half"),
        ({"pause": -1.0}, "`pause` is -1.0 s"),
        ({"threshold": 1.0}, "`threshold` is 1.0"),
    ],
)
def test_slice_recordings_when_a_limit_is_out_of_range(limits, said, tmp_path):
    with pytest.raises(WrongUseError, match=said):
        slice_recordings([], tmp_path / "out", Cut(**limits))
    assert not (tmp_path / "out").exists()


edges = st.lists(st.integers(0, 400), unique=True, max_size=20).map(sorted)


@settings(deadline=None, max_examples=60)
@given(edges)
def test_join_spans_keeps_all_speech_in_order(places):
    spans = [(a / 20, b / 20) for a, b in zip(places[::2], places[1::2], strict=False)]
    joined = join_spans(spans, Cut())
    assert all(a < b for a, b in joined)
    assert all(first[1] <= second[0] for first, second in zip(joined, joined[1:], strict=False))
    for start, end in spans:
        assert any(a <= start and end <= b for a, b in joined)
    for start, end in joined:
        assert end - start <= 5 or (start, end) in spans


@settings(deadline=None, max_examples=40)
@given(edges, st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_cut_clips_covers_the_spans_with_clips_within_the_limits(places, pieces, seed):
    cut = Cut(longest=1.0, shortest=0.25)
    spans = [(a / 20, b / 20) for a, b in zip(places[::2], places[1::2], strict=False)]
    spans = [(start, end) for start, end in spans if end - start >= cut.shortest]
    samples = np.random.default_rng(seed).uniform(-1, 1, 20 * 16000).astype(np.float32)
    clips = list(cut_clips(iter(np.array_split(samples, pieces)), spans, cut))
    covered = []
    for begin, clip in clips:
        np.testing.assert_array_equal(clip, samples[begin : begin + len(clip)])
        assert 0.25 * 16000 <= len(clip) <= 16000
        covered += range(begin, begin + len(clip))
    expected = [i for a, b in spans for i in range(round(a * 16000), round(b * 16000))]
    assert covered == expected


def test_cut_clips_of_long_speech_cuts_in_its_pauses():
    rng = np.random.default_rng(0)
    samples = rng.uniform(-1, 1, 12 * 16000).astype(np.float32)
    pauses = [3.5, 7.9]
    for pause in pauses:
        samples[round(pause * 16000) : round((pause + 0.06) * 16000)] *= 0.01
    clips = list(cut_clips(iter([samples]), [(0.0, 12.0)], Cut()))
    starts = [begin / 16000 for begin, _ in clips]
    assert starts == pytest.approx([0, *(pause + 0.03 for pause in pauses)], abs=0.04)


def test_quietest_of_a_stretch_shorter_than_its_window():
    assert quietest(np.ones(1000), 100, 200) == 150


def test_notes_are_plain_json(podcasts, sliced):
    notes = sorted((sliced[0] / ".slices").glob("*.json"))
    assert len(notes) == 3
    for note in notes:
        assert json.loads(note.read_text())["error"] is None
