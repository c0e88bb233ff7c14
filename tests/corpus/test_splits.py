"""Which rows a configuration holds, with which labels."""

import logging

import numpy as np
import pyarrow as pa
import pytest
from small_corpus import EMOTIONS, make_clips, write_corpus

from dusha_ser.archives.find import open_members
from dusha_ser.corpus.configurations import CONFIGURATIONS, DESCRIPTIONS
from dusha_ser.corpus.options import CorpusOptions
from dusha_ser.corpus.splits import (
    Plan,
    count_shared_sources,
    first_word,
    join_clips,
    make_plan,
    multi_label_column,
    needed_archives,
    needs_file,
)
from dusha_ser.errors import WrongUseError
from dusha_ser.labels.crowd_answers import Posteriors


@pytest.fixture
def plan(tmp_path):
    """Plan a configuration of clips that a test has changed."""

    def plan(name, clips=None, **options):
        folder = write_corpus(tmp_path / "archives", clips)
        members = open_members([folder], tmp_path / "index", quiet=True)
        options = CorpusOptions(**({"method": "majority_vote", "threshold": 0.8} | options))
        options.check_options()
        return make_plan(name, members, options, tmp_path / "cache", quiet=True)

    return plan


def answered(clip, *answers):
    clip["answers"] = [(f"annotator{i}", answer) for i, answer in enumerate(answers)]


def test_descriptions_when_each_configuration_has_one():
    assert set(DESCRIPTIONS) == set(CONFIGURATIONS)


@pytest.mark.parametrize(
    ("name", "options", "required", "wanted"),
    [
        ("crowd", {}, ("crowd.tar", "podcast.tar"), ()),
        ("crowd", {"input_features": True}, ("crowd.tar", "podcast.tar"), ()),
        ("all", {"input_features": True}, ("crowd.tar", "podcast.tar"), ("features.tar",)),
        ("podcast", {"parts": ("podcast_test",)}, ("podcast.tar",), ()),
        ("raw", {"input_features": True}, ("crowd.tar", "podcast.tar"), ()),
        ("crowd_small", {}, ("paper_setups.tgz",), ("crowd.tar",)),
        ("dusha_large", {}, ("paper_setups.tgz",), ("crowd.tar", "podcast.tar")),
        ("dusha_large", {"input_features": True}, ("paper_setups.tgz",), ("features.tar",)),
    ],
)
def test_needed_archives_when_options_differ(name, options, required, wanted):
    assert needed_archives(name, CorpusOptions(**options)) == (required, wanted)


def test_needs_file_when_it_matters():
    options = CorpusOptions(parts=("crowd_train", "crowd_test"))

    def needed(name, options=options):
        files = [
            "crowd_train/raw_crowd_train.tsv.gz",
            "podcast_train/raw_podcast_train.jsonl",
            "crowd_train/wavs/a.wav",
            "features/a.npy",
            "paper_setups/crowd_small.jsonl",
            "paper_setups/crowd_large.jsonl",
            "paper_setups/test/crowd_test.jsonl",
        ]
        return [number for number, file in enumerate(files) if needs_file(name, options, file)]

    assert needed("crowd") == [0, 2]
    assert needed("raw") == [0]
    assert needed("crowd_small") == [0, 2, 4, 6]
    assert needed("crowd", CorpusOptions(input_features=True)) == [0, 1, 2, 3]


def test_make_plan_when_probability_is_at_the_threshold(plan):
    clips = make_clips()
    answered(clips[0], *["sad"] * 4, "angry")  # exactly 0.8
    answered(clips[1], *["sad"] * 3, "angry")
    answered(clips[2], "sad", "sad", "angry", "angry")
    found = plan("crowd", clips)
    train = found.splits["train"]
    assert train["id"].to_pylist()[0] == clips[0]["id"]
    assert train["label"].to_pylist()[0] == EMOTIONS.index("sad")
    assert not {clips[1]["id"], clips[2]["id"]} & set(train["id"].to_pylist())
    assert found.counts == {"clips": 32, "unsure": 2, "other": 0, "control": 0}
    tie = plan("crowd", clips, threshold=0.5).splits["train"]
    assert tie["label"].to_pylist()[2] == EMOTIONS.index("angry"), "the lowest number wins a tie"


def test_make_plan_when_control_tasks_and_other_are_left_out(plan):
    clips = make_clips()
    clips[0]["golden"] = "sad"
    answered(clips[1], *["other"] * 5)
    found = plan("crowd", clips)
    assert found.counts == {"clips": 32, "unsure": 0, "other": 1, "control": 1}
    assert found.splits["train"]["id"].to_pylist()[0] == clips[2]["id"]
    kept = plan("crowd", clips, keep_control=True).splits["train"]
    assert kept["id"].to_pylist()[:2] == [clips[0]["id"], clips[2]["id"]]


def test_make_plan_when_unsure_clips_are_kept_labels_them_in_train_only(plan):
    clips = make_clips()
    tests = [clip for clip in clips if clip["part"] == "crowd_test"]
    answered(clips[1], *["sad"] * 3, "angry")
    answered(clips[2], *["other"] * 3, "positive")
    answered(tests[0], *["sad"] * 3, "angry")
    answered(tests[1], *["other"] * 5)
    found = plan("crowd", clips, keep_unsure=True)
    train, test = (found.splits[split] for split in ("train", "test"))
    assert found.counts == {"clips": 32, "unsure": 1, "other": 1, "control": 0}
    assert train["id"].to_pylist()[:3] == [clip["id"] for clip in clips[:3]]
    kept = train["label"].to_pylist()[1:3]
    assert kept == [EMOTIONS.index("sad"), EMOTIONS.index("positive")]
    assert not {clip["id"] for clip in tests[:2]} & set(test["id"].to_pylist())
    usual = plan("crowd", clips)
    assert found.splits["test"] == usual.splits["test"]
    validated = plan("crowd", clips, keep_unsure=True, validation=0.9).splits["validation"]
    assert len(validated)
    assert not {clip["id"] for clip in clips[1:3]} & set(validated["id"].to_pylist())
    with pytest.raises(WrongUseError, match="crowd_large has the clips.*`keep_unsure`"):
        plan("crowd_large", clips, keep_unsure=True)


@pytest.mark.parametrize("method", ["dawid_skene", "regularised_dawid_skene"])
@pytest.mark.parametrize("name", ["crowd", "crowd_large"])
def test_make_plan_when_likelihoods_are_asked_for_are_of_regularised_confusions(plan, name, method):
    rows = plan(name, method=method, log_likelihoods=True).splits["train"]
    values, votes = (np.array(rows[column].to_pylist()) for column in ("log_likelihoods", "votes"))
    assert values.shape == (len(rows), 5) and (values.max(axis=1) == 0).all()
    # Four of ten agree, and one is always wrong: answers like these say the label.
    np.testing.assert_array_equal(values.argmax(axis=1), votes.argmax(axis=1))
    assert "log_likelihoods" not in plan(name, method=method).splits["train"].column_names


def test_make_plan_when_other_is_the_first_label_leaves_it_out_by_name(plan):
    clips = make_clips()
    answered(clips[1], *["other"] * 5)
    usual = plan("crowd", clips)
    found = plan("crowd", clips, labels=("other", *EMOTIONS))
    assert found.counts == usual.counts and found.counts["other"] == 1
    for column in ("id", "label"):
        assert found.splits["train"][column] == usual.splits["train"][column]


def test_make_plan_when_parts_do_not_fit(plan):
    with pytest.raises(WrongUseError, match="configuration crowd holds none of the parts"):
        plan("crowd", parts="podcast_train")
    only_train = plan("crowd", parts="crowd_train")
    assert list(only_train.splits) == ["train"]
    with pytest.raises(WrongUseError, match="which are single"):
        plan("crowd_large", multi_threshold=0.5)


def test_make_plan_when_split_is_empty(plan):
    with pytest.raises(WrongUseError, match="split train of configuration podcast would be empty"):
        plan("podcast", threshold=1)


def test_multi_label_column_when_several_are_probable():
    options = CorpusOptions(multi_threshold=0.3)
    probabilities = np.array(
        [[0.3, 0.4, 0.3, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2], [0, 0, 0.5, 0, 0.5]]
    )
    estimated = Posteriors(options.labels, probabilities)
    assert multi_label_column(estimated, options).to_pylist() == [[0, 1, 2], [], [2]]
    options.keep_other = True
    assert multi_label_column(estimated, options).to_pylist()[2] == [2, 4]


def manifest(*names):
    return pa.table(
        {
            "id": list(names),
            "duration": [1.0] * len(names),
            "label": [1] * len(names),
            "emotion": ["sad"] * len(names),
        }
    )


def test_join_clips_when_no_answers_are_there():
    rows = join_clips(manifest("a", "b"), None, 5, "crowd")
    assert rows["label"].to_pylist() == [1, 1]
    assert rows["domain"].to_pylist() == ["crowd", "crowd"]
    for column in ("text", "answers", "votes", "label_probabilities", "source_id"):
        assert rows[column].null_count == 2


def test_join_clips_when_only_some_are_known(plan):
    clips = plan("crowd").splits["train"]
    known = clips["id"][0].as_py()
    table = clips.select(
        [
            "id",
            "answers",
            "label_probabilities",
            "votes",
            "text",
            "speaker_emotion",
            "golden_emotion",
        ]
    )
    for name in ("source_id", "part", "audio_path"):
        values = pa.array([f"crowd_{name}"] * len(table))
        table = table.append_column(name, values)
    rows = join_clips(manifest("unknown", known), table, 5, None)
    assert rows["votes"].to_pylist()[0] is None
    assert rows["votes"].to_pylist()[1] == clips["votes"][0].as_py()
    assert rows["domain"].to_pylist() == [None, "crowd"]


def test_first_word_when_null():
    assert first_word(pa.chunked_array([["crowd_train"], [None]])).to_pylist() == ["crowd", None]


def test_count_shared_sources_when_some_are(caplog):
    plan = Plan(
        {
            "train": pa.table({"source_id": ["a", "b", None]}),
            "test": pa.table({"source_id": ["b", "b", "c", None]}),
        }
    )
    with caplog.at_level(logging.WARNING):
        count_shared_sources(plan)
    assert plan.shared_sources == 1
    assert "2 of test's 4 clips" in caplog.text


def test_count_shared_sources_when_speakers_of_test_were_moved_to_validation(caplog):
    splits = {"train": ["a", None], "validation": ["b"], "test": ["b", "b", "c", None]}
    plan = Plan({split: pa.table({"source_id": names}) for split, names in splits.items()})
    count_shared_sources(plan)
    assert plan.shared_sources == 1
    assert "are in both train or validation and test, with 2 of test's 4 clips" in caplog.text
    plan = Plan({split: plan.splits[split] for split in ("train", "validation")})
    count_shared_sources(plan)
    assert plan.shared_sources == 0  # nothing is tested
