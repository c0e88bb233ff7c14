"""Texts turned into recording tasks with pairs of emotions."""

import csv

import numpy as np
import pytest
from small_models import save_text_classifier

from dusha_ser.collecting.options import PromptOptions
from dusha_ser.collecting.prompts import (
    PAIRS,
    choose_pair,
    classify_texts,
    make_prompts,
    table_probabilities,
    write_prompts,
)
from dusha_ser.errors import MissingInputError, WrongUseError

WORDS = ["как", "хорошо", "плохо", "дела", "уйди"]


@pytest.fixture(scope="module")
def make_model(tmp_path_factory):
    """Save a tiny random text classifier with labels of a test's choice."""

    def make(labels):
        return save_text_classifier(tmp_path_factory.mktemp("classifier"), labels, WORDS)

    return make


def classify(texts, model, *label_map):
    options = PromptOptions(None, model, list(label_map), device="cpu", quiet=True)
    return classify_texts(texts, options)


@pytest.mark.parametrize(
    ("probabilities", "pair"),
    [
        ([0.7, 0.0, 0.2, 0.1], ("angry", "sad")),
        ([0.4, 0.0, 0.35, 0.25], ("angry", "sad")),
        ([0.0, 0.1, 0.2, 0.7], ("positive", "neutral")),
        ([0.3, 0.6, 0.1, 0.0], ("sad", "angry")),
        ([0.1, 0.6, 0.3, 0.0], ("sad", "neutral")),
        ([0.0, 0.1, 0.6, 0.3], ("neutral", "positive")),
        ([0.0, 0.3, 0.6, 0.1], ("neutral", "sad")),
    ],
)
def test_choose_pair_of_what_a_text_suggests(probabilities, pair):
    assert choose_pair(probabilities) == pair
    assert any(set(pair) == set(one) for one in PAIRS)


def test_make_prompts_takes_each_text_once_and_each_emotion_alike(caplog):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([0.3, 0.3, 3.0, 0.3], 300)
    texts = [f"text {number}" for number in range(298)] + ["text 0 ", "  "]
    everything = make_prompts(texts, probabilities)
    assert [row["text"] for row in everything] == texts[:298]
    assert len({row["prompt"] for row in everything}) == 298
    chosen = make_prompts(texts, probabilities, 20)
    emotions = [row["emotion"] for row in chosen]
    assert sorted(emotions.count(emotion) for emotion in set(emotions)) == [5, 5, 5, 5]
    assert make_prompts(texts, probabilities, 20) == chosen
    for row in chosen:
        assert row in everything
        assert row["emotion"] in row["instruction"]
        assert row["other_emotion"] in row["instruction"]
    assert not caplog.messages
    assert make_prompts(texts, probabilities, 299) == everything
    assert caplog.messages == [
        "299 texts are asked for, and 298 different ones are there: all of these are taken"
    ]
    russian = make_prompts(texts, probabilities, 20, language="ru")
    assert [{**row, "instruction": ""} for row in russian] == [
        {**row, "instruction": ""} for row in chosen
    ]
    assert all(row["instruction"].startswith("Произнесите текст ") for row in russian)
    with pytest.raises(WrongUseError, match="`number` is 0"):
        make_prompts(texts, probabilities, 0)


def test_table_probabilities_and_write_prompts(tmp_path):
    table = tmp_path / "texts.csv"
    table.write_text(
        "phrase,probability_positive,probability_angry,probability_sad,probability_neutral\n"
        '"как, хорошо",3,1,0,0\nуйди,0,0.9,0.1,0\n',
        encoding="utf-8",
    )
    texts, probabilities = table_probabilities(table, "phrase")
    np.testing.assert_allclose(probabilities, [[0.25, 0, 0, 0.75], [0.9, 0.1, 0, 0]])
    write_prompts(tmp_path / "out" / "prompts.csv", make_prompts(texts, probabilities))
    with (tmp_path / "out" / "prompts.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["text"], row["emotion"], row["other_emotion"]) for row in rows] == [
        ("как, хорошо", "positive", "neutral"),
        ("уйди", "angry", "sad"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text\nda\n", "not 'probability_angry'; add it, or name a text classifier with `model`"),
        ("{}\nda,1,0,0,much\n", "line 2.*'much'; give numbers"),
        ("{}\nda,1,0,0,-1\n", "at least 0"),
        ("{}\nda,0,0,0,0\n", "one of them over 0"),
        ("{}\nda,nan,0,0,1\n", "at least 0"),
    ],
    ids=["columns", "text", "negative", "zero", "nan"],
)
def test_table_probabilities_when_they_are_none(content, said, tmp_path):
    header = "text,probability_angry,probability_sad,probability_neutral,probability_positive"
    (tmp_path / "texts.csv").write_text(content.format(header))
    with pytest.raises(WrongUseError, match=said):
        table_probabilities(tmp_path / "texts.csv")


def test_classify_texts_gives_what_the_model_gives(make_model):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    labels = ["Positive", "Neutral", "Angry", "Sad"]
    folder = make_model(labels)
    # The last has more words than the model takes.
    texts = ["как хорошо", "уйди", "дела плохо", "как дела " * 20]
    got = classify(texts, folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, row in zip(texts, got, strict=True):
        with torch.no_grad():
            inputs = tokenizer(text, truncation=True, max_length=16, return_tensors="pt")
            expected = model(**inputs).logits.softmax(-1)[0]
        order = [labels.index(name) for name in ("Angry", "Sad", "Neutral", "Positive")]
        np.testing.assert_allclose(row, expected[order].numpy(), atol=1e-5)


def test_classify_texts_with_a_map_adds_labels_of_one_emotion_and_leaves_others_out(make_model):
    folder = make_model(["joy", "love", "anger", "sadness", "no_emotion", "fear"])
    label_map = ("joy=positive", "love=positive", "anger=angry", "sadness=sad")
    got = classify(["как хорошо"], folder, *label_map, "no_emotion=neutral")
    assert got.sum() == pytest.approx(1)
    # A random model gives each of six labels about as much: two of them, one of them.
    assert got[0, 3] == pytest.approx(2 * got[0, :3].mean(), rel=0.2)


def test_classify_texts_when_the_model_is_not_fit(make_model, tmp_path):
    with pytest.raises(WrongUseError, match="none of which means angry, neutral, sad; say what"):
        classify(["da"], make_model(["positive", "LABEL_1"]))
    with pytest.raises(MissingInputError, match="no text classifier"):
        classify(["da"], str(tmp_path / "nowhere"))
