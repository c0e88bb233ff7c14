import io

import datasets
import numpy as np
import pytest
import soundfile
from small_models import replace_audio, write_corpus, write_recordings

from dusha_ser.audio.reading import encode_wav
from dusha_ser.corpus.complete_rows import complete_rows
from dusha_ser.corpus.named import load_folder_or_hub
from dusha_ser.corpus.own_recordings import read_recordings
from dusha_ser.errors import WrongUseError
from dusha_ser.options import TableOptions
from dusha_ser.training import features
from dusha_ser.training.features import compute_inputs
from feature_extraction_dusha import DushaFeatureExtractor


def wav(seconds: float) -> dict:
    content = io.BytesIO()
    noise = np.random.default_rng(0).normal(size=int(seconds * 16000)) / 10
    soundfile.write(content, noise, 16000, format="WAV", subtype="PCM_16")
    return {"bytes": content.getvalue(), "path": None}


def clips(*sounds: dict | None) -> datasets.Dataset:
    features = datasets.Features(
        id=datasets.Value("string"),
        label=datasets.ClassLabel(names=["angry", "sad"]),
        audio={"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
    )
    columns = {"id": [f"clip {i}" for i in range(len(sounds))], "label": [0] * len(sounds)}
    return datasets.Dataset.from_dict({**columns, "audio": list(sounds)}, features=features)


def test_inputs_when_some_clips_have_no_audio(tmp_path, caplog):
    rows, column = compute_inputs(
        clips(wav(0.5), None, wav(1)), DushaFeatureExtractor(), str(tmp_path), split="train"
    )
    assert rows["id"][:] == ["clip 0", "clip 2"]
    assert [len(one) for one in rows[column]] == [51, 101]
    assert "1 of 3 clips of train have no audio" in caplog.text


def test_inputs_when_no_clip_has_audio(tmp_path):
    with pytest.raises(WrongUseError, match="no clip of test has audio"):
        compute_inputs(clips(None, None), DushaFeatureExtractor(), str(tmp_path), split="test")


def test_inputs_when_all_clips_have_audio(tmp_path, caplog):
    sound = wav(0.5)
    rows, column = compute_inputs(clips(sound, sound), DushaFeatureExtractor(), str(tmp_path))
    samples = soundfile.read(io.BytesIO(sound["bytes"]), dtype="float32")[0]
    expected = DushaFeatureExtractor()(samples, sampling_rate=16000)["input_features"][0]
    np.testing.assert_allclose(rows[1][column], expected, atol=1e-4)
    assert not caplog.text


def test_inputs_when_silence_is_cut_off_are_the_same_from_sound_and_from_features(tmp_path):
    noise = np.random.default_rng(0).normal(size=16000) / 10
    quiet = np.concatenate([np.zeros(8000), noise, np.zeros(16000)])
    content = io.BytesIO()
    soundfile.write(content, quiet, 16000, format="WAV", subtype="PCM_16")
    rows = clips({"bytes": content.getvalue(), "path": None}, wav(1))
    trimming = DushaFeatureExtractor(trim_silence=40)
    cut, column = compute_inputs(rows, trimming, str(tmp_path))
    assert [len(one) for one in cut[column]] == [111, 101]
    whole, _ = compute_inputs(rows, DushaFeatureExtractor(), str(tmp_path))
    assert len(whole[0][column]) == 251
    for again in (whole, cut):
        trimmed, _ = compute_inputs(again, trimming, str(tmp_path))
        assert trimmed[0][column] == cut[0][column] and trimmed[1][column] == cut[1][column]


def inputs_of(table, cache, **options):
    """The rows of a table with inputs from a cache, and the number of entries that it then has."""
    rows, column = compute_inputs(read_recordings(table), DushaFeatureExtractor(**options), cache)
    assert column == "input_features"
    return rows, len(list((cache / "dusha_inputs").glob("*.arrow")))


def test_inputs_when_labels_and_speakers_of_a_table_are_corrected(tmp_path):
    table = write_recordings(tmp_path, speakers=2)
    text = table.read_text()
    swapped = text.replace(",angry,", ",x,").replace(",sad,", ",angry,").replace(",x,", ",sad,")
    table.write_text(swapped.replace("speaker 1", "speaker 0"))
    before, _ = inputs_of(table, tmp_path)
    table.write_text(text)
    after, entries = inputs_of(table, tmp_path)
    names = after.features["label"].names
    assert [names[label] for label in after["label"]] == [
        name.split("_")[1] for name in after["id"]
    ]
    assert after["source_id"][:] == ["speaker 0"] * 4 + ["speaker 1"] * 4
    # What was computed is taken, and belongs to the same clips.
    assert entries == 1
    assert after["input_features"][:] == before["input_features"][:]


def test_inputs_when_a_table_has_fewer_labels_than_before(tmp_path):
    table = write_recordings(tmp_path, speakers=1)
    text = table.read_text()
    table.write_text(text.replace("positive,", "joy,").replace("neutral,", "calm,"))
    assert inputs_of(table, tmp_path)[0].features["label"].names == ["angry", "calm", "joy", "sad"]
    table.write_text(text.replace("positive,", "other,").replace(",neutral,", ",other,"))
    rows, entries = inputs_of(table, tmp_path)
    assert rows.features["label"].names == ["angry", "other", "sad"]
    assert (rows["label"][:], entries) == ([0, 2, 1, 1], 1)


def test_inputs_when_audio_is_replaced_under_the_same_name_size_and_time(tmp_path):
    table = write_recordings(tmp_path, speakers=1)
    before, _ = inputs_of(table, tmp_path)
    replace_audio(tmp_path / "wavs" / "0_sad_0.wav")
    after, entries = inputs_of(table, tmp_path)
    changed = [
        one != two
        for one, two in zip(before["input_features"], after["input_features"], strict=True)
    ]
    assert (changed, entries) == ([False, True, False, False], 2)


def test_inputs_when_recordings_move_are_taken_from_the_cache(tmp_path):
    before, _ = inputs_of(write_recordings(tmp_path / "one", speakers=1), tmp_path)
    after, entries = inputs_of(write_recordings(tmp_path / "two", speakers=1), tmp_path)
    assert entries == 1
    assert after["input_features"][:] == before["input_features"][:]


def test_inputs_when_the_extractor_or_the_code_changed(tmp_path, monkeypatch):
    table = write_recordings(tmp_path, speakers=1)
    assert inputs_of(table, tmp_path)[1] == 1
    assert inputs_of(table, tmp_path, trim_silence=40)[1] == 2
    monkeypatch.setattr(features, "CODE", ("dusha_ser.errors",))
    assert inputs_of(table, tmp_path)[1] == 3


def test_inputs_when_rows_in_memory_have_the_ids_of_others(tmp_path):
    for seconds, frames in ((0.5, 51), (1, 101)):
        rows, column = compute_inputs(clips(wav(seconds)), DushaFeatureExtractor(), tmp_path)
        assert len(rows[0][column]) == frames


def test_inputs_when_rows_lie_in_the_cache_of_datasets_and_come_in_another_order(tmp_path):
    first, second = wav(0.5), wav(0.5)
    second["bytes"] = second["bytes"][:44] + second["bytes"][:43:-1]
    clips(first, second).to_parquet(tmp_path / "clips.parquet")
    cache = {"cache_dir": str(tmp_path / "datasets")}
    rows = datasets.Dataset.from_parquet(str(tmp_path / "clips.parquet"), **cache)
    there, column = compute_inputs(rows, DushaFeatureExtractor(), tmp_path)
    back, _ = compute_inputs(rows.select([1, 0]), DushaFeatureExtractor(), tmp_path)
    assert back["id"][:] == ["clip 1", "clip 0"]
    assert back[column][:] == there[column][::-1] and there[0][column] != there[1][column]


def test_inputs_when_silence_is_cut_off_ready_features_keep_todays_labels(tmp_path):
    ready, column = compute_inputs(clips(wav(0.5), wav(1)), DushaFeatureExtractor(), tmp_path)
    trimming = DushaFeatureExtractor(trim_silence=40)
    first, _ = compute_inputs(ready, trimming, tmp_path)
    labels = datasets.ClassLabel(names=["angry", "sad"])
    relabelled = ready.remove_columns("label").add_column("label", [1, 0])
    second, _ = compute_inputs(relabelled.cast_column("label", labels), trimming, tmp_path)
    assert (first["label"][:], second["label"][:]) == ([0, 0], [1, 0])
    assert second[column][:] == first[column][:]


SILENT = {"bytes": encode_wav(np.zeros(8000)), "path": None}
BROKEN = {"bytes": b"version https://git-lfs.github.com/spec/v1", "path": "a.wav"}


def test_inputs_when_clips_are_silent_warn_of_them_from_the_cache_too(tmp_path, caplog):
    rows = clips(SILENT, wav(0.5), SILENT)
    for _ in range(2):
        caplog.clear()
        inputs, column = compute_inputs(rows, DushaFeatureExtractor(), str(tmp_path), split="train")
        (warning,) = caplog.messages
        assert warning == (
            "2 of 3 clips of train are silent from beginning to end: clip 0, clip 2; leave them "
            "out with `bad_rows=skip`"
        )
        assert inputs.column_names == ["id", "label", column]


@pytest.mark.parametrize("processes", [None, 2])
def test_inputs_when_audio_cannot_be_read_names_all_clips(processes, tmp_path):
    rows = clips(wav(0.5), BROKEN, wav(0.5), {"bytes": b"RIFF", "path": None}, BROKEN, SILENT)
    with pytest.raises(WrongUseError) as caught:
        compute_inputs(rows, DushaFeatureExtractor(), str(tmp_path), processes)
    said = str(caught.value)
    assert said.startswith('4 of 6 recordings cannot be used: 2 x "is a Git LFS pointer')
    assert "(clip 1, clip 4)" in said and "(clip 3)" in said and "(clip 5)" in said


def test_inputs_when_rows_that_cannot_be_used_are_skipped(tmp_path, caplog):
    rows = clips(wav(0.5), BROKEN, SILENT, None)
    kept = complete_rows({"train": rows}, "data", TableOptions(bad_rows="skip"))["train"]
    # What has no audio may have features.
    assert kept["id"][:] == ["clip 0", "clip 3"]
    assert caplog.messages[0].startswith("2 of 4 recordings cannot be used: ")
    inputs, _ = compute_inputs(kept, DushaFeatureExtractor(), str(tmp_path))
    assert inputs["id"][:] == ["clip 0"]


def test_inputs_when_a_dataset_folder_holds_other_audio_of_the_same_sizes(tmp_path):
    folder, found = write_corpus(tmp_path / "dusha"), []
    for _ in range(2):
        rows = load_folder_or_hub(str(folder))["train"]
        found.append(compute_inputs(rows, DushaFeatureExtractor(), tmp_path)[0])
        sounds, kind = rows["audio"][:], rows.features["audio"]
        for one in sounds:
            one["bytes"] = one["bytes"][:44] + one["bytes"][:43:-1]
        rows = rows.remove_columns("audio").add_column("audio", sounds, feature=kind)
        rows.to_parquet(folder / "crowd" / "train-00000.parquet")
    first, second = (rows["input_features"][:] for rows in found)
    assert [len(one) for one in first] == [len(one) for one in second]
    assert all(one != two for one, two in zip(first, second, strict=True))
