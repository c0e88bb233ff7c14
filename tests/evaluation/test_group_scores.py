"""Scores of parts of a test set: right by scikit-learn, with honest intervals."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.group_scores import groups_notes, groups_table, score_groups
from dusha_ser.evaluation.predictions import Predictions

LABELS = ("angry", "sad", "neutral")


def make_predictions(speakers=12, clips=10, seed=0):
    """Predictions whose first half of speakers is right more often than the other."""
    rng = np.random.default_rng(seed)
    count = speakers * clips
    truth = rng.integers(0, 3, count)
    who = np.repeat(np.arange(speakers), clips)
    right = rng.random(count) < np.where(who < speakers // 2, 0.9, 0.4)
    predicted = np.where(right, truth, (truth + 1) % 3)
    ids, names = list(map(str, range(count))), [f"s{one}" for one in who]
    sex = np.where(who < speakers // 2, "female", "male").tolist()
    sentence = np.where(np.arange(count) % 2, "one", "two").tolist()
    predictions = Predictions(LABELS, ids, truth, np.eye(3)[predicted], names)
    return predictions, {"sex": sex, "sentence": sentence}


def test_scores_of_each_value_and_their_distance_are_those_of_scikit_learn():
    predictions, columns = make_predictions()
    truth, predicted = predictions.references, predictions.predicted
    found = score_groups(predictions, columns)
    assert list(found) == ["sex", "sentence"]
    for name, values in columns.items():
        assert list(found[name]) == sorted(set(values))
        for value, one in found[name].items():
            own = np.array(values) == value
            assert one["count"] == own.sum()
            assert one["accuracy"] == pytest.approx((truth == predicted)[own].mean())
            f1 = f1_score(truth[own], predicted[own], average="macro")
            assert one["f1_macro"] == pytest.approx(f1)
            balanced = [balanced_accuracy_score(truth[of], predicted[of]) for of in (own, ~own)]
            assert one["balanced_accuracy"] == pytest.approx(balanced[0])
            gap = one["differences"]["balanced_accuracy"]
            assert gap["difference"] == pytest.approx(balanced[0] - balanced[1])
            assert gap["interval"][0] <= gap["difference"] <= gap["interval"][1]
    assert found["sex"]["male"]["group_count"] == 6
    assert found["sentence"]["one"]["group_count"] == 12


def test_interval_tells_a_gap_from_none_and_both_sides_say_the_same():
    found = score_groups(*make_predictions(seed=3))
    sex, sentence = (
        {value: one["differences"]["accuracy"] for value, one in found[name].items()}
        for name in ("sex", "sentence")
    )
    assert sex["female"]["interval"][0] > 0.1
    assert sentence["one"]["interval"][0] < 0 < sentence["one"]["interval"][1]
    for pair in (sex, sentence):
        one, other = pair.values()
        assert one["difference"] == pytest.approx(-other["difference"])
        assert one["interval"] == pytest.approx([-end for end in other["interval"][::-1]])


def test_speakers_that_are_on_both_sides_are_drawn_for_both():
    """What differs between speakers does not differ between sentences: the interval is narrow."""
    found = score_groups(*make_predictions(speakers=20, clips=40))["sentence"]["one"]
    low, high = found["differences"]["accuracy"]["interval"]
    own_low, own_high = found["intervals"]["accuracy"]
    assert high - low < own_high - own_low


def test_without_speakers_or_with_one_on_a_side_there_is_no_interval():
    predictions, columns = make_predictions()
    for one in score_groups(replace(predictions, speakers=None), columns)["sex"].values():
        assert one["group_count"] is None
        assert one["differences"]["accuracy"]["interval"] is None
    alone = ["one" if name == "s0" else "others" for name in predictions.speakers]
    found = score_groups(predictions, {"who": alone})["who"]
    assert found["others"]["differences"]["f1_macro"]["interval"] is None
    assert found["one"]["intervals"]["accuracy"] is None


def test_few_speakers_are_drawn_by_side_so_that_no_draw_lacks_one():
    found = score_groups(*make_predictions(speakers=4))["sex"]["male"]
    low, high = found["differences"]["accuracy"]["interval"]
    assert -1 <= low < found["differences"]["accuracy"]["difference"] < high < 0


@pytest.mark.parametrize(
    ("values", "words"), [(["same"] * 120, "1 different value;"), (range(120), "120 different")]
)
def test_columns_of_one_value_or_of_ids_are_refused(values, words):
    predictions, _ = make_predictions()
    with pytest.raises(WrongUseError, match=f"'place', of which the clips have {words}"):
        score_groups(predictions, {"place": list(map(str, values))})


def test_table_has_a_row_per_value_and_notes_say_what_is_thin():
    predictions, columns = make_predictions()
    head, *rows = groups_table(score_groups(predictions, columns))
    assert head[:4] == ["column", "value", "clips", "speakers"]
    assert [row[:4] for row in rows] == [
        ["sex", "female", "60", "6"],
        ["sex", "male", "60", "6"],
        ["sentence", "one", "60", "12"],
        ["sentence", "two", "60", "12"],
    ]
    assert rows[0][-1].startswith("+0.") and "[+0." in rows[0][-1]
    mood = [LABELS[0] if one == 0 else "other" for one in predictions.references]
    notes = groups_notes(score_groups(predictions, {**columns, "mood": mood}))
    assert "Intervals over only 6 speakers of sex male are too narrow." in notes
    assert (
        "mood angry has no sad and no neutral clips, so its scores are of fewer classes." in notes
    )
    assert not any("sentence" in note for note in notes[1:])
