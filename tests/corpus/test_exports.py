"""Exports for other toolkits, read by the other toolkits where they can be installed."""

import csv
import dataclasses
import json
import logging

import lhotse
import numpy as np
import pytest
import soundfile
from small_corpus import COUNTS, EMOTIONS, make_clips, write_corpus

import dusha
from dusha_ser.corpus import exports
from dusha_ser.corpus.configurations import EXPORT_FORMATS
from dusha_ser.corpus.exports import check_exports, export_configuration, read_clips
from dusha_ser.errors import WorkFailedError, WrongUseError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset folder; one podcast has audio, because a user found it."""
    archives = write_corpus(tmp_path_factory.mktemp("archives"))
    (archives / "wavs").mkdir()
    (archives / "wavs" / "podcast_train0002.wav").write_bytes(make_clips()[0]["wav"])
    folder = tmp_path_factory.mktemp("user") / "dusha"
    dusha.write_folder(
        ["crowd", "podcast", "raw"],
        str(folder),
        data_dir=str(archives),
        validation=0.2,
        multi_threshold=0.5,
        quiet=True,
    )
    return folder


@pytest.fixture(scope="module")
def truth():
    return {clip["id"]: clip for clip in make_clips()}


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_formats_are_those_that_the_command_offers():
    assert tuple(exports.FORMATS) == EXPORT_FORMATS


def test_csv_when_written(folder, truth):
    place = export_configuration(folder, "crowd", ["csv"], quiet=True)
    assert place == folder / "exports" / "crowd"
    rows = [row for split in ("train", "validation") for row in read_csv(place / f"{split}.csv")]
    assert len(rows) == COUNTS["crowd_train"]
    for row in rows:
        clip = truth[row["id"]]
        assert row["emotion"] == clip["emotion"] == EMOTIONS[int(row["label"])]
        assert row["wav"] == f"wavs/{clip['id']}.wav"
        assert row["text"] == "да"
        assert row["golden_emotion"] == ""
        assert json.loads(row["labels"]) == [int(row["label"])]
        assert sum(json.loads(row["votes"])) == 5
    assert not (place / "wavs").exists()


def test_csv_when_raw(folder):
    place = export_configuration(folder, "raw", ["csv"], quiet=True)
    rows = read_csv(place / "test.csv")
    assert len(rows) == 5 * (COUNTS["crowd_test"] + COUNTS["podcast_test"])
    assert {row["annotator_emotion"] for row in rows} == set(EMOTIONS)


def test_csv_when_some_have_no_audio(folder, caplog):
    place = export_configuration(folder, "podcast", ["csv"], quiet=True)
    found = {row["id"]: row["wav"] for row in read_csv(place / "train.csv")}
    assert [name for name, wav in found.items() if wav] == ["podcast_train0002"]
    assert not caplog.text


def test_emobox_when_written(folder, truth):
    place = export_configuration(folder, "crowd", ["emobox"], export_audio=True, quiet=True)
    label_map = json.loads((place / "emobox" / "label_map.json").read_text())
    counts = {}
    for split in ("train", "valid", "test"):
        rows = read_jsonl(place / "emobox" / "fold_1" / f"dusha_{split}_fold_1.jsonl")
        counts[split] = len(rows)
        for row in rows:
            clip = truth[row["key"]]
            assert row["emo"] == clip["emotion"]
            assert row["emo"] in label_map
            samples, sampling_rate = soundfile.read(place / row["wav"])
            assert (row["sample_rate"], row["channel"]) == (sampling_rate, 1)
            assert row["num_frame"] == len(samples) == len(clip["samples"])
            assert row["length"] == len(samples) / sampling_rate
    assert counts["train"] + counts["valid"] == COUNTS["crowd_train"]
    assert counts["test"] == COUNTS["crowd_test"]


def test_lhotse_when_lhotse_reads_it(folder, truth):
    place = export_configuration(folder, "crowd", ["lhotse"], export_audio=True, quiet=True)
    recordings = lhotse.load_manifest(place / "lhotse" / "dusha_recordings_test.jsonl.gz")
    supervisions = lhotse.load_manifest(place / "lhotse" / "dusha_supervisions_test.jsonl.gz")
    recordings = recordings.with_path_prefix(place)
    lhotse.validate_recordings_and_supervisions(recordings, supervisions, read_data=True)
    assert len(recordings) == len(supervisions) == COUNTS["crowd_test"]
    for cut in lhotse.CutSet.from_manifests(recordings, supervisions):
        clip = truth[cut.recording.id]
        (supervision,) = cut.supervisions
        assert supervision.custom["emotion"] == clip["emotion"]
        assert supervision.speaker == clip["source"]
        assert supervision.text == "да"
        np.testing.assert_allclose(cut.load_audio()[0], clip["samples"], atol=2**-15)


def test_export_when_clips_lack_audio(folder, caplog):
    with caplog.at_level(logging.WARNING):
        place = export_configuration(
            folder, "podcast", ["csv", "emobox"], export_audio=True, quiet=True
        )
    rows = [
        row for path in (place / "emobox" / "fold_1").glob("*.jsonl") for row in read_jsonl(path)
    ]
    assert [row["key"] for row in rows] == ["podcast_train0002"]
    assert f"{COUNTS['podcast_test']} of {COUNTS['podcast_test']} clips of test" in caplog.text


def test_export_when_another_format_was_there(folder):
    export_configuration(folder, "crowd", ["csv"], export_audio=True, quiet=True)
    place = export_configuration(folder, "crowd", ["lhotse"], quiet=True)
    assert (place / "train.csv").exists()
    assert len(list((place / "wavs").iterdir())) == COUNTS["crowd_train"] + COUNTS["crowd_test"]
    (place / "train.csv").write_text("corrected by hand")
    assert export_configuration(folder, "crowd", ["csv"], export_audio=True, quiet=True) == place
    assert (place / "train.csv").read_text() == "corrected by hand"
    (place / ".content_id").write_text("of other labels")
    with pytest.raises(WrongUseError, match=r"crowd already holds .*`overwrite=True`"):
        export_configuration(folder, "crowd", ["emobox"], quiet=True)
    (place / "notes.txt").write_text("mine")
    with pytest.raises(WrongUseError, match=r"holds notes\.txt, which this program did not write"):
        export_configuration(folder, "crowd", ["emobox"], quiet=True, overwrite=True)
    (place / "notes.txt").unlink()
    place = export_configuration(folder, "crowd", ["emobox"], quiet=True, overwrite=True)
    assert [path.name for path in place.glob("[!.]*")] == ["emobox"]


def test_export_when_an_earlier_one_was_stopped_between_two_names(folder):
    place = export_configuration(folder, "crowd", ["csv"], quiet=True)
    old = place.with_name(".crowd.replaced")
    content = (place / "train.csv").read_bytes()
    place.rename(old)
    export_configuration(folder, "crowd", ["emobox"], quiet=True)
    assert (place / "train.csv").read_bytes() == content
    old.mkdir()
    (old / "left").touch()
    export_configuration(folder, "crowd", ["lhotse"], quiet=True)
    assert {path.name for path in place.iterdir()} >= {"train.csv", "emobox", "lhotse"}
    assert not old.exists()


def test_export_when_an_id_is_a_path(folder, monkeypatch):
    def renamed(*arguments):
        for clip in read_clips(*arguments):
            yield dataclasses.replace(clip, row=clip.row | {"id": "../../over"})

    monkeypatch.setattr(exports, "read_clips", renamed)
    for formats, audio in ((["csv"], False), (["emobox"], False), ([], True)):
        with pytest.raises(WorkFailedError, match=r"'../../over' would be a file outside"):
            export_configuration(folder, "crowd", formats, audio, quiet=True, overwrite=True)
    export_configuration(folder, "raw", ["csv"], quiet=True, overwrite=True)


def test_export_when_nothing_can_be_heard(folder):
    with pytest.raises(WrongUseError, match="configuration raw has no audio, which emobox"):
        export_configuration(folder, "raw", ["emobox"], quiet=True)
    with pytest.raises(WrongUseError, match="no export 'kaldi': take one of csv, emobox, lhotse"):
        export_configuration(folder, "crowd", ["kaldi"], quiet=True)
    with pytest.raises(WrongUseError, match="configuration raw has no audio, which lhotse"):
        check_exports(folder, ["crowd", "raw"], ["csv", "lhotse"])
    check_exports(folder, ["crowd", "podcast"], ["csv", "lhotse"])
    place = export_configuration(folder, "raw", ["csv"], export_audio=True, quiet=True)
    assert not (place / "wavs").exists()
