"""The report on labels: which clips it doubts, and what its page shows of them."""

import csv
import importlib.util
import json
import logging

import numpy as np
import pytest
from pages import Page
from small_corpus import COUNTS, EMOTIONS, make_clips, write_corpus

from dusha_ser.cli.main import main as dusha
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.storage import write_csv

# What the crowd calls angry and sad, and the model positive and neutral.
DOUBTED = {"crowd_train0004": "positive", "crowd_train0009": "neutral"}
HAS_CLEANLAB = importlib.util.find_spec("cleanlab") is not None


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A prepared corpus with its answers beside it, of clips with and without audio."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder / "archives")
    words = ["--data_dir", str(folder / "archives"), "--output_dir", str(folder / "dusha")]
    cache = ["--cache_dir", str(folder / "cache"), "--quiet"]
    dusha(["corpus", "all", "raw", *words, *cache])
    return folder / "dusha"


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    """Out-of-fold predictions of a model that agrees with the crowd but for two clips."""
    rows = []
    for clip in make_clips():
        label = DOUBTED.get(clip["id"], clip["emotion"])
        row = {"id": clip["id"], "label": clip["emotion"], "prediction": label, "fold": "1"}
        rows.append(row | {f"probability_{e}": 0.85 if e == label else 0.05 for e in EMOTIONS})
    path = tmp_path_factory.mktemp("predictions") / "folds.csv"
    write_csv(path, list(rows[0]), rows)
    return path


def report(*words):
    return dusha(["report", "labels", *map(str, words)])


@pytest.fixture(scope="module")
def written(corpus, predictions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    report(f"{corpus}:all", predictions, "--output_dir", folder, "--clips", 30, "--quiet")
    return folder


def test_table_begins_with_the_clips_that_the_model_doubts(written):
    rows = rows_of(written / "labels.csv")
    assert len(rows) == sum(COUNTS.values())
    assert {row["id"]: row["model_label"] for row in rows[:2]} == DOUBTED
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, len(rows) + 1)]
    trust = [float(row["trust"]) for row in rows]
    assert trust == sorted(trust)
    # Four votes for the label and one for another; the model gives it 0.05.
    first = next(row for row in rows if row["id"] == "crowd_train0004")
    assert (first["label"], first["split"]) == ("angry", "train")
    votes = {name: int(first[f"votes_{name}"]) for name in EMOTIONS}
    assert votes == {"angry": 4, "sad": 1, "neutral": 0, "positive": 0}
    evidence = {name: (votes[name] + 1) * float(first[f"model_{name}"]) for name in EMOTIONS}
    assert float(first["trust"]) == pytest.approx(
        evidence["angry"] / sum(evidence.values()), abs=1e-4
    )
    assert first["model_other"] == "0.0000"


def test_page_has_players_answers_and_a_choice_of_labels(written):
    html = (written / "labels.html").read_text()
    page = Page(html)
    assert not page.open
    clips = [given for tag, given in page.tags if "data-group" in given]
    assert len(clips) == 30
    players = [given["src"] for tag, given in page.tags if tag == "audio"]
    shown = [row["id"] for row in rows_of(written / "labels.csv")[:30]]
    assert len(players) == sum(name.startswith("crowd") for name in shown)
    assert all(src.startswith("data:audio/") and ";base64,UklGR" in src for src in players)
    assert "no audio in the corpus" in page.texts
    assert "all (30)" in page.texts
    options = [given["value"] for tag, given in page.tags if tag == "option"]
    assert options == ["", *sorted({given["data-group"] for given in clips})]
    text = (written / "labels.md").read_text()
    assert f"### 1. {shown[0]}".replace("_", r"\_") in text
    assert "1 × " in text and "annotator9" in text
    assert "which fold tested" not in html


def test_report_when_the_model_saw_the_clips_warns(corpus, predictions, tmp_path, caplog):
    rows = rows_of(predictions)
    # As `dusha predict` writes them: no label, a path for an id, an error in place of numbers.
    own = [
        {"id": f"wavs/{row['id']}.wav", "prediction": row["prediction"], "error": None}
        | {"probabilities": {e: float(row[f"probability_{e}"]) for e in EMOTIONS}}
        for row in rows
    ]
    own.append({"id": "broken.wav", "prediction": None, "probabilities": None, "error": "broken"})
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in own))
    with caplog.at_level(logging.WARNING):
        report(f"{corpus}:all:train", path, "--output_dir", tmp_path / "report", "--quiet")
    assert "do not say which fold tested each clip" in caplog.text
    assert "which fold tested" in (tmp_path / "report" / "labels.html").read_text()
    found = rows_of(tmp_path / "report" / "labels.csv")
    assert {row["id"] for row in found[:2]} == set(DOUBTED)
    assert {row["split"] for row in found} == {"train"}


def test_report_when_cleanlab_is_asked_for(corpus, predictions, tmp_path):
    words = [f"{corpus}:all", predictions, "--output_dir", tmp_path / "a", "--sort", "cleanlab"]
    if not HAS_CLEANLAB:
        with pytest.raises(WrongUseError, match=r"sort.cleanlab.*pip install .dusha-ser\[report"):
            report(*words)
        return
    report(*words, "--quiet")
    rows = rows_of(tmp_path / "a" / "labels.csv")
    assert {row["id"] for row in rows[:2]} == set(DOUBTED)
    quality = np.array([float(row["consensus_quality"]) for row in rows])
    assert ((quality >= 0) & (quality <= 1)).all()


@pytest.mark.parametrize(
    ("spelling", "error", "said"),
    [
        ("nowhere", MissingInputError, "nowhere holds no prepared corpus with labels"),
        ("{corpus}:podcast", MissingInputError, "no configuration 'podcast' with labels"),
        ("{corpus}:raw", MissingInputError, "no configuration 'raw' with labels"),
        ("{corpus}:all:dev", MissingInputError, "has no split 'dev'; it has"),
    ],
)
def test_report_when_there_is_no_such_corpus(spelling, error, said, corpus, predictions, tmp_path):
    with pytest.raises(error, match=said):
        report(spelling.format(corpus=corpus), predictions, "--output_dir", tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"id": "other", "probability_sad": 1}], "none of the 1 clips of .* is in"),
        ([{"id": "crowd_train0000", "probability_bored": 1}], "the label bored, which the crowd"),
        ([{"id": "crowd_train0000", "probability_sad": ""}], "holds no predictions"),
    ],
)
def test_report_when_predictions_are_of_something_else(rows, said, corpus, tmp_path):
    write_csv(tmp_path / "rows.csv", list(rows[0]), rows)
    with pytest.raises(WrongUseError, match=said):
        report(f"{corpus}:all", tmp_path / "rows.csv", "--output_dir", tmp_path / "report")
