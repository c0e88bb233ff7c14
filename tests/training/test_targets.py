"""What a loss compares clips with: classes and the crowd's probabilities, by their names."""

import datasets
import numpy as np
import pytest
from small_corpus import COUNTS, make_clips, write_corpus

import dusha
from dusha_ser.errors import WrongUseError
from dusha_ser.training.options import RecipeOptions
from dusha_ser.training.sampling import read_class_weights
from dusha_ser.training.targets import class_shares, leave_out_uninformative, make_targets
from dusha_ser.vocabulary import ANSWERS, EMOTIONS

PROBABILITIES = [[0.6, 0.4, 0, 0, 0], [0, 0, 0.5, 0, 0.5], [0.1, 0.2, 0.3, 0.4, 0]]
LABELS = [0, 2, 3]
# The model's number of each class.
ORDER = np.array([2, 0, 3, 1])


@pytest.fixture
def rows():
    """Three clips and what the crowd said of them."""
    return make_rows(LABELS, PROBABILITIES, ANSWERS)


def make_rows(labels, probabilities, answers, classes=EMOTIONS):
    """Rows of clips, each with the probabilities of the answers of these names."""
    columns = {"label": labels, "label_probabilities": probabilities}
    if answers:
        columns["answers"] = [answers] * len(labels)
    rows = datasets.Dataset.from_dict(columns)
    return rows.cast_column("label", datasets.ClassLabel(names=list(classes)))


def test_targets_when_hard_are_the_models_numbers(rows):
    targets, weights = make_targets(rows, ORDER, RecipeOptions())
    assert targets.tolist() == [2, 3, 1]
    assert weights.tolist() == [1, 1, 1]


def test_targets_when_soft_are_shares_of_the_four_classes(rows):
    targets, _ = make_targets(rows, ORDER, RecipeOptions(loss="soft"))
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(
        targets[:, ORDER], [[0.6, 0.4, 0, 0], [0, 0, 1, 0], [*PROBABILITIES[2][:4]]]
    )


@pytest.mark.parametrize("loss", ["soft", "answers"])
def test_clips_that_may_be_other_weigh_as_much_as_they_are_not(loss):
    rows = with_likelihoods(make_rows(LABELS, PROBABILITIES, ANSWERS))
    _, weights = make_targets(rows, ORDER, RecipeOptions(loss=loss))
    np.testing.assert_allclose(weights, [1, 0.5, 1])
    _, weights = make_targets(rows, ORDER, RecipeOptions(loss=loss, posterior_weights=True))
    np.testing.assert_allclose(weights, [0.6, 0.5, 0.4], rtol=1e-6)


LIKELIHOODS = [[-1, -2, -3, -4, 0.0], [-9, -9, 0.0, -1, -2], [0.0, 0, 0, 0, 0]]


def with_likelihoods(rows):
    return rows.add_column("log_likelihoods", LIKELIHOODS[: len(rows)])


def test_targets_when_answers_count_are_log_likelihoods_of_the_classes(rows):
    recipe = RecipeOptions(loss="answers")
    targets, _ = make_targets(with_likelihoods(rows), ORDER, recipe)
    expected = [[0, -1, -2, -3], [-9, -9, 0, -1], [0, 0, 0, 0]]
    assert targets.dtype == np.float32 and targets[:, ORDER].tolist() == expected
    with pytest.raises(WrongUseError, match="prepare the corpus with `log_likelihoods=True`"):
        make_targets(rows, ORDER, recipe)


def test_class_shares_are_the_labels_or_what_the_crowd_says(rows):
    for loss in ("hard", "multi"):
        np.testing.assert_array_equal(
            class_shares(rows, RecipeOptions(loss=loss)), np.eye(4)[LABELS]
        )
    expected = [[0.6, 0.4, 0, 0], [0, 0, 1, 0], [0.1, 0.2, 0.3, 0.4]]
    for loss in ("soft", "answers"):
        np.testing.assert_allclose(class_shares(rows, RecipeOptions(loss=loss)), expected)


def test_balanced_soft_targets_do_not_starve_a_rare_class():
    # As podcasts: nine of ten neutral; the crowd is a little unsure of all.
    random = np.random.default_rng(0)
    truth = random.choice(4, 4000, p=[0.03, 0.02, 0.9, 0.05])
    chances = random.dirichlet([0.3, 0.3, 0.6, 0.3, 0.1], 4000) * 0.1
    chances[np.arange(4000), truth] += 0.9
    rows = make_rows(truth.tolist(), chances.tolist(), ANSWERS)
    recipe = RecipeOptions(loss="soft", class_weights="balanced")
    targets, weights = make_targets(rows, np.arange(4), recipe)
    shares = class_shares(rows, recipe)
    drawn = shares @ read_class_weights("balanced", EMOTIONS, shares.sum(0))

    def learnt(draws):
        taught = (draws * weights) @ targets
        return taught / taught.sum()

    rare = learnt(np.ones(4000)).argmin()
    assert rare == EMOTIONS.index("sad")
    assert learnt(drawn)[rare] > 3 * learnt(np.ones(4000))[rare]
    assert learnt(drawn).max() < 0.55


def test_targets_when_several_are_those_above_the_threshold(rows):
    targets, _ = make_targets(rows, ORDER, RecipeOptions(loss="multi", multi_threshold=0.35))
    assert targets[:, ORDER].tolist() == [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize(
    "recipe",
    [
        RecipeOptions(loss="soft"),
        RecipeOptions(loss="multi"),
        RecipeOptions(posterior_weights=True),
    ],
    ids=lambda recipe: recipe.loss,
)
def test_targets_when_answers_are_in_any_order_go_by_name(rows, recipe, place):
    turn = [(number + place) % 5 for number in range(5)]
    turned = make_rows(
        LABELS,
        [[row[number] for number in turn] for row in PROBABILITIES],
        [ANSWERS[number] for number in turn],
    )
    for ours, theirs in zip(
        make_targets(turned, ORDER, recipe), make_targets(rows, ORDER, recipe), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "labels", [ANSWERS, ("other", *EMOTIONS), ("sad", "other", *EMOTIONS[2:], "angry")]
)
def test_targets_of_a_prepared_corpus_when_other_is_anywhere_match_its_labels(labels, tmp_path):
    write_corpus(tmp_path, make_clips(dict.fromkeys(COUNTS, 4)))
    loaded = dusha.load_dataset(
        "crowd", data_dir=str(tmp_path), cache_dir=str(tmp_path / "cache"), quiet=True,
        labels=labels, keep_control=True,
    )["train"]  # fmt: skip
    assert loaded[0]["answers"] == list(labels)
    assert loaded.features["label"].names == [label for label in labels if label != "other"]
    numbers = np.array(loaded["label"])
    targets, weights = make_targets(
        loaded, np.arange(4), RecipeOptions(loss="soft", posterior_weights=True)
    )
    np.testing.assert_array_equal(targets.argmax(1), numbers)
    assert weights.min() >= 0.9


def test_targets_when_answers_have_no_names_are_those_of_the_classes_or_refused(rows):
    four = [row[:4] for row in PROBABILITIES]
    targets, _ = make_targets(make_rows(LABELS, four, None), ORDER, RecipeOptions(loss="soft"))
    expected, _ = make_targets(rows, ORDER, RecipeOptions(loss="soft"))
    np.testing.assert_allclose(targets, expected)
    for answers in (None, ANSWERS[1:], ["a", "b", "c", "d", "e"]):
        wrong = make_rows(LABELS, PROBABILITIES, answers)
        with pytest.raises(WrongUseError, match="5 label_probabilities of the answers.*prepare"):
            make_targets(wrong, ORDER, RecipeOptions(loss="soft"))


ONLY_OTHER = [[0, 0, 0, 0, 1.0], [0, 0.5, 0, 0, 0.5]]


@pytest.mark.parametrize(
    ("recipe", "left"),
    [
        (RecipeOptions(loss="soft"), 1),
        (RecipeOptions(loss="answers"), 1),
        (RecipeOptions(posterior_weights=True), 1),
        (RecipeOptions(loss="multi", posterior_weights=True), 1),
        # To give a clip none of several labels is an answer.
        (RecipeOptions(loss="multi"), 2),
        (RecipeOptions(), 2),
    ],
)
def test_clips_that_all_called_other_are_left_out_where_they_teach_nothing(recipe, left, caplog):
    rows = with_likelihoods(make_rows([0, 1], ONLY_OTHER, ANSWERS))
    kept = leave_out_uninformative(rows, recipe)
    assert kept["label"][:] == [0, 1][2 - left :]
    assert ("1 of 2 training clips have only answers" in caplog.text) == (left == 1)
    targets, weights = make_targets(kept, np.arange(4), recipe)
    assert np.isfinite(targets).all() and (weights > 0).all()
    if left == 1:
        with pytest.raises(WrongUseError, match="1 of 1 training clips"):
            leave_out_uninformative(rows.select([0]), recipe)


def test_weights_when_by_posterior_are_the_probabilities_of_the_labels(rows):
    targets, weights = make_targets(rows, ORDER, RecipeOptions(posterior_weights=True))
    assert targets.tolist() == [2, 3, 1]
    np.testing.assert_allclose(weights, [0.6, 0.5, 0.4], rtol=1e-6)


def test_targets_when_the_crowd_is_not_known_are_refused(rows):
    with pytest.raises(WrongUseError, match="label_probabilities"):
        make_targets(rows.remove_columns("label_probabilities"), ORDER, RecipeOptions(loss="soft"))
