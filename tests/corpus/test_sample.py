import csv
import io
import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dusha_ser.cli.sample import main
from dusha_ser.corpus.sample import MINIMUM_CLIPS, PARTS, make_clips, write_sample
from dusha_ser.errors import WrongUseError
from dusha_ser.vocabulary import EMOTIONS
from feature_extraction_dusha import DushaFeatureExtractor

ARCHIVES = ["crowd.tar", "features.tar", "paper_setups.tgz", "podcast.tar"]
MANIFESTS = {
    *("crowd_large", "crowd_medium", "crowd_small", "crowd_unconfident"),
    *("podcast_large", "dusha_large", "test/crowd_test", "test/podcast_test", "test/dusha_test"),
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The default sample: its folder and the content of each member of its archives."""
    folder = write_sample(tmp_path_factory.mktemp("sample") / "archives", quiet=True)
    members = {}
    for name in ARCHIVES:
        with tarfile.open(folder / name) as archive:
            for member in archive.getmembers():
                members[member.name] = archive.extractfile(member).read()
    return folder, members


def rows(members, name):
    return [json.loads(line) for line in members[name].decode().splitlines()]


def answers(members):
    return {part: rows(members, f"{part}/raw_{part}.jsonl") for part in PARTS}


def truth(folder):
    with (folder / "truth.csv").open(newline="") as file:
        return {row["hash_id"]: row["emotion"] for row in csv.DictReader(file)}


def test_layout_when_written_is_as_published(sample):
    folder, members = sample
    ids = {part: {row["hash_id"] for row in found} for part, found in answers(members).items()}
    clips = set().union(*ids.values())
    assert len(clips) == sum(map(len, ids.values())) == 480
    expected = {f"{part}/raw_{part}.jsonl" for part in PARTS}
    expected |= {
        f"{part}/wavs/{clip}.wav" for part in ("crowd_train", "crowd_test") for clip in ids[part]
    }
    expected |= {f"features/{clip}.npy" for clip in clips}
    expected |= {f"paper_setups/{name}.jsonl" for name in MANIFESTS}
    assert set(members) == expected
    assert sum(path.stat().st_size for path in folder.iterdir()) < 60e6


def test_answers_when_read_have_the_published_fields(sample):
    _, members = sample
    for part, found in answers(members).items():
        podcast = part.startswith("podcast")
        for row in found:
            assert list(row) == [
                *("hash_id", "audio_path", "duration", "annotator_emo", "golden_emo"),
                *("speaker_text", "speaker_emo", "source_id", "annotator_id"),
            ]
            assert row["audio_path"] == f"wavs/{row['hash_id']}.wav"
            assert 0.8 <= row["duration"] <= 2.51
            assert row["annotator_emo"] in (*EMOTIONS, "other")
            assert row["golden_emo"] in EMOTIONS or row["golden_emo"] != row["golden_emo"]
            missing = row["speaker_text"] != row["speaker_text"]
            assert missing == (row["speaker_emo"] != row["speaker_emo"]) == podcast
        assert b"NaN" in members[f"{part}/raw_{part}.jsonl"]


def test_answers_when_counted_are_a_crowd_of_different_care(sample):
    folder, members = sample
    right, kinds, control = truth(folder), {}, set()
    with (folder / "annotators.csv").open(newline="") as file:
        kinds = {row["annotator_id"]: row["kind"] for row in csv.DictReader(file)}
    everything = [row for found in answers(members).values() for row in found]
    per_clip = Counter(row["hash_id"] for row in everything)
    control = {row["hash_id"] for row in everything if row["golden_emo"] in EMOTIONS}
    assert 5 <= len(control) <= 40
    for clip, count in per_clip.items():
        assert count == 25 if clip in control else 4 <= count <= 7
    assert all(
        right[row["hash_id"]] == row["golden_emo"]
        for row in everything
        if row["golden_emo"] in EMOTIONS
    )
    assert len({(row["hash_id"], row["annotator_id"]) for row in everything}) == len(everything)
    accuracy = {
        kind: np.mean(
            [
                row["annotator_emo"] == right[row["hash_id"]]
                for row in everything
                if kinds[row["annotator_id"]] == kind
            ]
        )
        for kind in ("careful", "hasty", "random")
    }
    assert accuracy["careful"] > 0.8 > 0.7 > accuracy["hasty"] > 0.5 > 0.3 > accuracy["random"]


def test_parts_when_compared_share_no_speaker_and_have_all_emotions(sample):
    folder, members = sample
    right = truth(folder)
    sources, emotions = {}, {}
    for part, found in answers(members).items():
        sources[part] = {row["source_id"] for row in found}
        emotions[part] = Counter(right[clip] for clip in {row["hash_id"] for row in found})
    assert len(set().union(*sources.values())) == sum(map(len, sources.values()))
    for part, counts in emotions.items():
        counted = [counts[emotion] for emotion in EMOTIONS]
        assert min(counted) >= 0.15 * sum(counted), part
    assert sum(counts["other"] for counts in emotions.values()) >= 8


def test_sound_when_read_fits_duration_and_features(sample):
    _, members = sample
    extractor = DushaFeatureExtractor()
    duration = {
        row["hash_id"]: row["duration"] for found in answers(members).values() for row in found
    }
    wavs = {name: data for name, data in members.items() if name.endswith(".wav")}
    for name, data in list(wavs.items())[::40]:
        samples, rate = soundfile.read(io.BytesIO(data))
        clip = name.rsplit("/", 1)[1].removesuffix(".wav")
        assert rate == 16000 and samples.ndim == 1
        assert len(samples) / rate == duration[clip]
        assert 0 < np.abs(samples).max() < 1
        features = np.load(io.BytesIO(members[f"features/{clip}.npy"]))
        assert features.dtype == np.float32 and features.shape[:2] == (1, 64)
        expected = extractor(samples, sampling_rate=16000)["input_features"][0]
        np.testing.assert_allclose(features[0].T, expected, atol=1e-3)


def test_manifests_when_read_hold_neither_control_tasks_nor_other(sample):
    folder, members = sample
    right, found = truth(folder), answers(members)
    control = {
        row["hash_id"] for part in found.values() for row in part if row["golden_emo"] in EMOTIONS
    }
    ids = {}
    for name in MANIFESTS:
        manifest = rows(members, f"paper_setups/{name}.jsonl")
        ids[name] = [row["id"] for row in manifest]
        for row in manifest:
            assert list(row) == ["id", "tensor", "wav_length", "label", "emotion"]
            assert row["tensor"].endswith(f"/{row['id']}.npy")
            assert EMOTIONS[row["label"]] == row["emotion"]
            assert row["id"] not in control and right[row["id"]] != "other"
    assert set(ids["crowd_small"]) < set(ids["crowd_medium"]) < set(ids["crowd_large"])
    assert set(ids["crowd_large"]) < set(ids["crowd_unconfident"])
    assert ids["dusha_large"] == ids["crowd_large"] + ids["podcast_large"]
    agreed = [
        right[row["id"]] == row["emotion"]
        for row in rows(members, "paper_setups/dusha_large.jsonl")
    ]
    assert np.mean(agreed) > 0.9


def test_emotions_when_told_by_plain_statistics_overlap_but_can_be_learnt(sample):
    folder, members = sample
    right = {clip: emotion for clip, emotion in truth(folder).items() if emotion != "other"}
    data = {}
    for part in ("crowd_train", "crowd_test"):
        clips = sorted({row["hash_id"] for row in answers(members)[part]} & set(right))
        statistics = []
        for clip in clips:
            decibel = np.load(io.BytesIO(members[f"features/{clip}.npy"]))[0]
            statistics.append(
                np.concatenate(
                    [
                        decibel.mean(1),
                        decibel.std(1),
                        np.percentile(decibel, 90, axis=1),
                        np.abs(np.diff(decibel)).mean(1),
                    ]
                )
            )
        data[part] = np.array(statistics), [right[clip] for clip in clips]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    model.fit(*data["crowd_train"])
    features, emotions = data["crowd_test"]
    assert 0.85 < balanced_accuracy_score(emotions, model.predict(features)) < 0.99
    # One number a clip must not do.
    single = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    single.fit(data["crowd_train"][0].mean(1, keepdims=True), data["crowd_train"][1])
    prediction = single.predict(features.mean(1, keepdims=True))
    assert balanced_accuracy_score(emotions, prediction) < 0.75


@pytest.mark.parametrize("clips", [MINIMUM_CLIPS, 61])
def test_make_clips_when_few_are_asked_for_gives_each_part_each_emotion(clips):
    for seed in range(2):
        found = list(make_clips(seed, clips))
        assert len(found) == clips
        for part in PARTS:
            assert {clip.heard for clip in found if clip.part == part} >= set(EMOTIONS)


def test_write_sample_when_repeated_gives_the_same_bytes(tmp_path):
    first = write_sample(tmp_path / "first", seed=3, clips=MINIMUM_CLIPS, quiet=True)
    write_sample(tmp_path / "second", seed=4, clips=MINIMUM_CLIPS, quiet=True)
    program = [
        sys.executable,
        "-m",
        "dusha_ser",
        "sample",
        tmp_path / "process",
        "--seed",
        "3",
        "--quiet",
    ]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run(
        [*program, "--clips", str(MINIMUM_CLIPS)],
        check=True,
        cwd=Path(__file__).parents[2],
        env=environment,
    )
    names = sorted(path.name for path in first.iterdir())
    assert names == ["annotators.csv", *ARCHIVES, "sample.json", "truth.csv"]
    for name in names:
        content = (first / name).read_bytes()
        assert content == (tmp_path / "process" / name).read_bytes(), name
        assert content != (tmp_path / "second" / name).read_bytes(), name


def test_write_sample_when_archives_are_there_replaces_only_a_sample(tmp_path):
    (tmp_path / "crowd.tar").write_text("58 GB of real speech")
    for overwrite in (False, True):
        with pytest.raises(WrongUseError, match=r"crowd\.tar, which this program did not write"):
            write_sample(tmp_path, clips=MINIMUM_CLIPS, quiet=True, overwrite=overwrite)
    assert (tmp_path / "crowd.tar").read_text() == "58 GB of real speech"

    sample = write_sample(tmp_path / "sample", clips=MINIMUM_CLIPS, quiet=True)
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in sample.iterdir()}
    assert write_sample(sample, clips=MINIMUM_CLIPS, quiet=True) == sample
    with pytest.raises(WrongUseError, match=r"already holds .*`overwrite=True`"):
        write_sample(sample, seed=1, clips=MINIMUM_CLIPS, quiet=True)
    after = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in sample.iterdir()}
    assert after == before
    write_sample(sample, seed=1, clips=MINIMUM_CLIPS, quiet=True, overwrite=True)
    assert (sample / "crowd.tar").read_bytes() != before["crowd.tar"][1]

    (sample / "crowd.tar").write_text("58 GB of real speech")
    for overwrite in (False, True):
        with pytest.raises(WrongUseError, match="which this program did not write"):
            write_sample(sample, 1, MINIMUM_CLIPS, quiet=True, overwrite=overwrite)
    assert (sample / "crowd.tar").read_text() == "58 GB of real speech"


def test_write_sample_when_interrupted_leaves_nothing(tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("dusha_ser.corpus.sample._write_manifests", stop)
    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path / "sample", clips=MINIMUM_CLIPS, quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_write_sample_when_asked_wrongly_refuses(tmp_path):
    with pytest.raises(WrongUseError, match="at least 48"):
        write_sample(tmp_path / "a", clips=10)
    with pytest.raises(WrongUseError, match="`seed` is -1"):
        write_sample(tmp_path / "a", seed=-1)
    (tmp_path / "file").write_text("")
    with pytest.raises(WrongUseError, match="is a file"):
        write_sample(tmp_path / "file")
    assert not (tmp_path / "a").exists()


def test_main_when_run_tells_what_it_wrote(tmp_path, monkeypatch, capsys):
    folder = str(tmp_path / "sample")
    monkeypatch.setattr(sys, "argv", ["dusha sample", folder, "--clips", "48", "--quiet"])
    main()
    captured = capsys.readouterr()
    assert captured.out == f"48 clips written to {folder}\n"
    assert captured.err == ""
    monkeypatch.setattr(sys, "argv", ["dusha sample", folder, "--clips", "48"])
    main()
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == f"Next: dusha corpus crowd --data_dir {folder} --output_dir dusha"
