"""Answers of crowds whose truth is known: simulated, real, and simulated about real speech."""

import functools
import importlib.util

import numpy as np
import pandas as pd

from dusha_ser.labels.crowd_answers import CrowdAnswers

LABELS = ("angry", "sad", "neutral", "positive", "other")


def random_crowd(seed, tasks=200, annotators=20, labels=5, answers=5, care=0.7):
    """Answers of annotators of different care to tasks of unequal classes, in random order."""
    random = np.random.default_rng(seed)
    truth = random.choice(labels, size=tasks, p=random.dirichlet(np.full(labels, 2.0)))
    task = np.repeat(np.arange(tasks), answers)
    annotator = random.random((tasks, annotators)).argsort(axis=1)[:, :answers].ravel()
    accuracy = np.clip(random.normal(care, 0.2, annotators), 0, 1)
    right = random.random(len(task)) < accuracy[annotator]
    label = np.where(right, truth[task], random.integers(0, labels, len(task)))
    order = random.permutation(len(task))
    counts = {"task_count": tasks, "annotator_count": annotators, "label_count": labels}
    return (task[order], annotator[order], label[order]), counts, truth


@functools.cache
def crowd_faces(shared):
    """Real answers to four emotions of faces, and the truth."""
    folder = shared / "data" / "crowd_faces"
    data = pd.read_csv(folder / "answers.csv")
    task, tasks = pd.factorize(data.question)
    annotator, annotators = pd.factorize(data.worker)
    truth = pd.read_csv(folder / "truth.csv").set_index("question").truth.reindex(tasks)
    counts = {"task_count": len(tasks), "annotator_count": len(annotators), "label_count": 4}
    return (task, annotator, data.answer.to_numpy()), counts, truth.to_numpy()


@functools.cache
def crowd_of_speech(shared):
    """The answers of the RAVDESS archives without their audio; also control tasks and kinds."""
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
    kinds = {annotator_id: kind for annotator_id, kind, _ in crowd}
    golden = data.groupby("hash_id", sort=False).golden_emo.first()
    return {
        "answers": (task, annotator, data.annotator_emo.map(LABELS.index).to_numpy()),
        "counts": {
            "task_count": len(tasks),
            "annotator_count": len(annotators),
            "label_count": len(LABELS),
        },
        "truth": np.array([LABELS.index(emotions[name]) for name in tasks]),
        "golden": np.array([LABELS.index(e) if isinstance(e, str) else -1 for e in golden]),
        "kinds": np.array([kinds[name] for name in annotators]),
    }


def crowd_of(task, annotator, label, *, task_count, annotator_count, label_count, truth=None):
    """Answers whose tasks, annotators and labels are named by their numbers."""
    labels = tuple(map(str, range(label_count)))
    names = range(task_count), range(annotator_count), labels
    return CrowdAnswers(task, annotator, label, *names).with_truth(truth)


def by_crowd_kit(aggregator, answers, counts, truth=None):
    """Posteriors of a class of crowd-kit as an array of all tasks and labels."""
    data = pd.DataFrame(dict(zip(("task", "worker", "label"), answers, strict=True)))
    known = [] if truth is None else [pd.Series(truth)[truth >= 0]]
    found = aggregator.fit_predict_proba(data, *known)
    return found.reindex(
        index=range(counts["task_count"]), columns=range(counts["label_count"]), fill_value=0
    ).to_numpy()


def right_share(probabilities, truth):
    """Share of tasks whose most probable label is the true one."""
    return (probabilities.argmax(axis=1) == truth).mean()


def log_loss(probabilities, truth):
    """Mean negative logarithm of the probability of the truth, which counts as 1e-6 at least."""
    return -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-6)).mean()
