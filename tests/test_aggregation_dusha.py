"""Answers to labels, with crowd-kit as the oracle of everything that it can do."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import DawidSkene as CrowdKitDawidSkene
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation_dusha import count_votes, dawid_skene, single_labels

ANSWERS = ("angry", "sad", "neutral", "positive", "other")


def random_crowd(seed, tasks=200, annotators=20, labels=5, answers=5, care=0.7):
    """Answers of annotators of different care to tasks of unequal classes, in random order."""
    random = np.random.default_rng(seed)
    truth = random.choice(labels, size=tasks, p=random.dirichlet(np.full(labels, 2.0)))
    task = np.repeat(np.arange(tasks), answers)
    annotator = np.concatenate(
        [random.choice(annotators, size=answers, replace=False) for _ in range(tasks)]
    )
    right = (
        random.random(len(task)) < np.clip(random.normal(care, 0.2, annotators), 0, 1)[annotator]
    )
    label = np.where(right, truth[task], random.integers(0, labels, len(task)))
    order = random.permutation(len(task))
    counts = {"task_count": tasks, "annotator_count": annotators, "label_count": labels}
    return (task[order], annotator[order], label[order]), counts, truth


def by_crowd_kit(aggregator, answers, counts, truth=None):
    """Posteriors of a class of crowd-kit as an array of all tasks and labels."""
    data = pd.DataFrame(dict(zip(("task", "worker", "label"), answers, strict=True)))
    known = None if truth is None else pd.Series(truth)[truth >= 0]
    found = aggregator.fit_predict_proba(data, *([] if known is None else [known]))
    return found.reindex(
        index=range(counts["task_count"]), columns=range(counts["label_count"]), fill_value=0
    ).to_numpy()


def assert_as_crowd_kit(answers, counts, truth=None, iterations=100, tolerance=1e-5):
    expected = by_crowd_kit(
        CrowdKitDawidSkene(n_iter=iterations, tol=tolerance or -np.inf), answers, counts, truth
    )
    found = dawid_skene(*answers, **counts, iterations=iterations, tolerance=tolerance, truth=truth)
    np.testing.assert_allclose(found.probabilities, expected, rtol=0, atol=1e-6)
    for threshold in (0.9, 0.5, 1e-3):
        kept = np.where(expected.max(1) >= threshold, expected.argmax(1), -1)
        near = np.abs(expected - threshold).min(1) < 1e-6
        top = np.sort(expected, axis=1)
        near |= top[:, -1] - (top[:, -2] if counts["label_count"] > 1 else 0) < 1e-6
        labels = single_labels(found.probabilities, threshold)
        np.testing.assert_array_equal(labels[~near], kept[~near])
    return found


def crowd_faces(shared):
    """Real answers to four emotions, and the truth."""
    folder = shared / "data" / "crowd_faces"
    data = pd.read_csv(folder / "answers.csv")
    task, tasks = pd.factorize(data.question)
    annotator, annotators = pd.factorize(data.worker)
    truth = pd.read_csv(folder / "truth.csv").set_index("question").truth.reindex(tasks)
    counts = {"task_count": len(tasks), "annotator_count": len(annotators), "label_count": 4}
    return (task, annotator, data.answer.to_numpy()), counts, truth.to_numpy()


@pytest.fixture(scope="module")
def speech(shared):
    """The answers of the RAVDESS archives, their truth and control tasks; no audio is needed."""
    path = shared / "tools" / "ravdess_as_dusha.py"
    specification = importlib.util.spec_from_file_location(path.stem, path)
    tool = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tool)
    random = np.random.default_rng(2212)
    crowd = tool.annotators(random)
    clips = list(tool.clips())
    rows = [row for clip in clips for row in tool.answers(clip, 1.0, crowd, random)]
    data = pd.DataFrame(rows)
    task, tasks = pd.factorize(data.hash_id)
    annotator, annotators = pd.factorize(data.annotator_id)
    emotions = {clip["hash_id"]: clip["emotion"] for clip in clips}
    golden = data.groupby("hash_id", sort=False).golden_emo.first()
    return {
        "answers": (task, annotator, data.annotator_emo.map(ANSWERS.index).to_numpy()),
        "counts": {"task_count": len(tasks), "annotator_count": len(annotators), "label_count": 5},
        "truth": np.array([ANSWERS.index(emotions[name]) for name in tasks]),
        "golden": np.array([ANSWERS.index(e) if isinstance(e, str) else -1 for e in golden]),
    }


def test_count_votes_when_answers_repeat():
    votes = count_votes([2, 0, 2, 2], [1, 0, 1, 2], task_count=3, label_count=3)
    np.testing.assert_array_equal(votes, [[1, 0, 0], [0, 0, 0], [0, 2, 1]])


@pytest.mark.parametrize(
    ("task", "annotator", "label", "message"),
    [
        ([0, 3], [0, 0], [0, 0], "task must be between 0 and 2, not between 0 and 3"),
        ([0, 1], [0, -1], [0, 0], "annotator must be between 0 and 1, not between -1 and 0"),
        ([0, 1], [0, 0], [0, 9], "label must be between 0 and 1"),
        ([0, 1], [0], [0, 0], "annotator has 1 entries and task 2"),
        ([0.5, 1], [0, 0], [0, 0], "task must be a one-dimensional integer array, not float64"),
    ],
)
def test_dawid_skene_when_the_arrays_are_wrong(task, annotator, label, message):
    with pytest.raises(ValueError, match=message):
        dawid_skene(task, annotator, label, task_count=3, annotator_count=2, label_count=2)


def test_dawid_skene_after_no_and_one_iteration_by_hand():
    # Two tasks; annotator 0 answers both rightly, annotator 1 answers 0 to both.
    answers = ([0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 1, 0])
    counts = {"task_count": 2, "annotator_count": 2, "label_count": 2}
    start = dawid_skene(*answers, **counts, iterations=0)
    assert start.iterations == 0
    np.testing.assert_allclose(start.probabilities, [[1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(start.prior, [0.75, 0.25])
    # Of what annotator 0 answered, 1 and a half were of truth 0: two thirds 0, one third 1.
    np.testing.assert_allclose(start.confusion[0], [[2 / 3, 1 / 3], [2e-10, 1]], atol=1e-9)
    np.testing.assert_allclose(start.confusion[1], [[1, 0], [1, 0]])
    once = dawid_skene(*answers, **counts, iterations=1)
    assert once.iterations == 1
    # Task 1: truth 0 has 3/4 * 1/3 * 1, truth 1 has 1/4 * 1 * 1: even.
    np.testing.assert_allclose(once.probabilities, [[1, 0], [0.5, 0.5]], atol=1e-9)
    # Task 0: 3/4 * 2/3 * 1 for truth 0, nothing for truth 1.
    assert once.log_likelihood == pytest.approx(np.log(1 / 2) + np.log(1 / 2), abs=1e-8)


@pytest.mark.parametrize("tolerance", [1e-5, 0])
@pytest.mark.parametrize("known", [False, True])
def test_dawid_skene_on_real_answers_equals_crowd_kit(shared, tolerance, known):
    answers, counts, truth = crowd_faces(shared)
    golden = np.where(np.arange(len(truth)) % 10 == 0, truth, -1) if known else None
    found = assert_as_crowd_kit(answers, counts, golden, tolerance=tolerance)
    assert found.iterations < 100 if tolerance else found.iterations == 100


@pytest.mark.parametrize("known", [False, True])
def test_dawid_skene_on_ravdess_archives_equals_crowd_kit(speech, known):
    found = assert_as_crowd_kit(
        speech["answers"], speech["counts"], speech["golden"] if known else None
    )
    right = (found.probabilities.argmax(1) == speech["truth"]).mean()
    kept = single_labels(found.probabilities, 0.9)
    assert right == pytest.approx(0.921, abs=0.01)
    if not known:
        assert (kept >= 0).mean() == pytest.approx(0.92, abs=0.01)
        assert (kept == speech["truth"])[kept >= 0].mean() == pytest.approx(0.956, abs=0.005)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    tasks=st.integers(1, 60),
    annotators=st.integers(1, 12),
    labels=st.integers(1, 6),
    share=st.floats(0.05, 1),
    known=st.booleans(),
)
def test_dawid_skene_on_random_tables_equals_crowd_kit(
    seed, tasks, annotators, labels, share, known
):
    random = np.random.default_rng(seed)
    task, annotator = np.nonzero(random.random((tasks, annotators)) <= share)
    label = random.integers(0, labels, len(task))
    if not len(task):
        return
    given_labels = np.unique(label)
    truth = np.where(random.random(tasks) < 0.3, random.choice(given_labels, tasks), -1)
    answered = np.bincount(task, minlength=tasks) > 0
    counts = {"task_count": tasks, "annotator_count": annotators, "label_count": labels}
    expected = by_crowd_kit(
        CrowdKitDawidSkene(n_iter=100), (task, annotator, label), counts, truth if known else None
    )
    found = dawid_skene(task, annotator, label, **counts, truth=truth if known else None)
    np.testing.assert_allclose(found.probabilities[answered], expected[answered], rtol=0, atol=1e-6)
