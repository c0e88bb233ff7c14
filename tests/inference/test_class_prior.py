"""Shares of classes that predictions assume: read, applied by Bayes' rule, refused."""

import numpy as np
import pytest
import torch
from small_network import small_classifier

from dusha_ser.errors import WrongUseError
from dusha_ser.inference.class_prior import assume_prior, describe_prior, read_prior
from modeling_dusha import class_probabilities

LABELS = ["angry", "sad", "neutral", "positive"]
PRIOR = [0.05, 0.03, 0.9, 0.02]


def probabilities(model, clips):
    with torch.no_grad():
        return class_probabilities(model(clips).logits.double(), None).numpy()


def test_prior_when_it_is_written_in_any_order_and_sum():
    assert read_prior("uniform", LABELS).tolist() == [0.25] * 4
    for given in (
        "sad=20, angry=10,neutral=60,positive=10",
        {"angry": 0.1, "positive": 0.1, "sad": 0.2, "neutral": 0.6},
    ):
        np.testing.assert_allclose(read_prior(given, LABELS), [0.1, 0.2, 0.6, 0.1])


@pytest.mark.parametrize(
    "given",
    ["", "even", "angry=1,sad=1,neutral=1", "angry=1,sad=1,neutral=1,happy=1"]
    + ["angry=1,sad=0,neutral=1,positive=1", "angry=1,sad=x,neutral=1,positive=1"]
    + [{"angry": 1, "sad": 1, "neutral": 1, "positive": float("inf")}],
)
def test_prior_when_a_class_is_missing_or_no_share(given):
    with pytest.raises(WrongUseError, match="give uniform, or CLASS=SHARE .* angry, sad, neutral"):
        read_prior(given, LABELS)


def test_probabilities_of_another_prior_are_those_of_bayes_rule():
    model = small_classifier(temperature=1.3, class_prior=PRIOR)
    clips = torch.randn(6, 40, 12, generator=torch.Generator().manual_seed(0)) * 10 - 40
    before = probabilities(model, clips)
    assume_prior(model.config, "uniform")
    expected = before / np.array(PRIOR)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities(model, clips), expected, atol=1e-6)
    assert model.config.class_prior == [0.25] * 4
    # Back, and no step further.
    assume_prior(model.config, dict(zip(LABELS, PRIOR, strict=True)))
    np.testing.assert_allclose(probabilities(model, clips), before, atol=1e-6)
    np.testing.assert_allclose(model.config.logit_bias, 0, atol=1e-12)
    # A loss must not see it.
    model.config.logit_bias = None
    model.train()
    plain = model(clips[:1]).logits
    model.config.logit_bias = [5.0, 0.0, 0.0, 0.0]
    torch.testing.assert_close(model(clips[:1]).logits, plain)


def test_prior_when_a_model_cannot_assume_one():
    for changes, words in (
        ({}, "set `class_prior` there"),
        ({"class_prior": PRIOR, "problem_type": "multi_label_classification"}, "gives several"),
    ):
        with pytest.raises(WrongUseError, match=words):
            assume_prior(small_classifier(**changes).config, "uniform")
    config = small_classifier(class_prior=PRIOR).config
    config.model_type = "wav2vec2"
    with pytest.raises(WrongUseError, match="for Dusha's network, and this one is wav2vec2"):
        assume_prior(config, "uniform")


def test_description_rounds_to_tenths_of_a_percent():
    assert describe_prior(LABELS, PRIOR).startswith("angry 5.0 %, sad 3.0 %, neutral 90.0 %")
