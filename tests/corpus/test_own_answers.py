"""Answers of a crowd to one's own recordings are joined by path or id, and judged."""

import numpy as np
import pytest
from own_recordings import write_recordings

from dusha_ser.corpus.options import OwnAnswerOptions
from dusha_ser.corpus.own_answers import add_answers
from dusha_ser.corpus.own_recordings import read_recordings
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.labels.crowd_answers import CrowdAnswers
from dusha_ser.labels.likelihoods import answer_log_likelihoods
from dusha_ser.labels.regularised import regularised_dawid_skene

LABELS = ["no", "yes"]
# Of eight clips, whose labels come in turn; one annotator always says the other.
ANSWERS = [
    (clip, annotator, LABELS[(clip + (annotator == "liar")) % 2])
    for clip in range(8)
    for annotator in ("anna", "boris", "liar")
]


@pytest.fixture
def rows(tmp_path):
    return read_recordings(write_recordings(tmp_path / "own", LABELS, 8))


def write_answers(folder, answers, name="{}.flac"):
    path = folder / "own" / "answers.csv"
    lines = [f"{name.format(clip)},{annotator},{answer}" for clip, annotator, answer in answers]
    path.write_text("\n".join(["path,annotator,answer", *lines]) + "\n")
    return OwnAnswerOptions(answers_file=str(path))


def test_answers_are_those_of_the_clip_whatever_their_order(rows, tmp_path):
    found = add_answers(rows, write_answers(tmp_path, [*ANSWERS, ("other", "anna", "no")][::-1]))
    assert found["label"] == rows["label"] and found["answers"][0] == ["no", "yes", "other"]
    crowd = CrowdAnswers.from_columns(
        *zip(*ANSWERS, strict=True), label_names=("no", "yes", "other")
    )
    judged = regularised_dawid_skene(crowd)
    np.testing.assert_allclose(found["label_probabilities"], judged.probabilities, atol=1e-9)
    np.testing.assert_allclose(
        found["log_likelihoods"], answer_log_likelihoods(crowd, judged), atol=1e-9
    )
    assert np.argmax(found["label_probabilities"], axis=1).tolist() == [0, 1] * 4


def test_answers_by_id_are_the_same(rows, tmp_path):
    by_path = add_answers(rows, write_answers(tmp_path, ANSWERS))
    ids = dict(enumerate(rows["id"]))
    answers = [(ids[clip], annotator, answer) for clip, annotator, answer in ANSWERS]
    by_id = add_answers(rows, write_answers(tmp_path, answers, "{}"))
    assert by_id["log_likelihoods"] == by_path["log_likelihoods"]


def test_answers_when_coded_are_told_by_the_label_map(rows, tmp_path):
    answers = [(clip, annotator, answer[0]) for clip, annotator, answer in ANSWERS]
    options = write_answers(tmp_path, answers)
    with pytest.raises(WrongUseError, match="answers.csv, line 2 has the answer 'n'.*label_map"):
        add_answers(rows, options)
    options.label_map = ("n=no", "y=yes")
    expected = add_answers(rows, write_answers(tmp_path, ANSWERS))
    write_answers(tmp_path, answers)
    assert add_answers(rows, options)["log_likelihoods"] == expected["log_likelihoods"]


def test_answers_when_they_are_missing_are_asked_for(rows, tmp_path):
    options = write_answers(tmp_path, ANSWERS[3:])
    with pytest.raises(WrongUseError, match=r"1 of 8 training clips, such as \S+, have no answer"):
        add_answers(rows, options)
    options.annotator_column = "worker"
    with pytest.raises(WrongUseError, match="`annotator_column`"):
        add_answers(rows, options)
    with pytest.raises(MissingInputError, match="no file"):
        add_answers(rows, OwnAnswerOptions(answers_file=str(tmp_path / "none.csv")))
