"""The configuration: what it says, what it refuses, and that it survives a file."""

import re

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig

from configuration_dusha import DushaConfig


def documented_fields():
    """The names under Args: in the docstring."""
    arguments = DushaConfig.__doc__.split("Args:")[1].split("Raises:")[0]
    return re.findall(r"^ {8}(\w+): ", arguments, re.MULTILINE)


def test_docstring_has_one_entry_a_field():
    own = set(DushaConfig.__annotations__) - {"stages"}
    assert len(documented_fields()) == len(set(documented_fields()))
    assert set(documented_fields()) == own


def test_labels_when_default_are_the_published_ones_in_order():
    config = DushaConfig()
    assert config.id2label == {0: "angry", 1: "sad", 2: "neutral", 3: "positive"}
    assert config.label2id == {"angry": 0, "sad": 1, "neutral": 2, "positive": 3}
    assert config.num_labels == 4


@pytest.mark.parametrize("count", [2, 3, 7])
def test_labels_when_only_their_number_is_given_have_no_emotions(count):
    config = DushaConfig(num_labels=count)
    assert config.num_labels == count
    assert config.id2label == {number: f"LABEL_{number}" for number in range(count)}
    assert config.label2id == {f"LABEL_{number}": number for number in range(count)}


def test_labels_when_number_is_changed_later_follow():
    config = DushaConfig()
    config.num_labels = 3
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}


def test_label_numbers_when_given_are_kept():
    config = DushaConfig(id2label={"0": "no", "1": "yes"}, label2id={"no": 0, "yes": 1})
    assert config.id2label == {0: "no", 1: "yes"}
    assert config.label2id == {"no": 0, "yes": 1}


def test_labels_of_two_configurations_are_apart():
    first = DushaConfig()
    first.id2label[0] = "furious"
    assert DushaConfig().id2label[0] == "angry"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_labels": 3},
        {"id2label": {0: "a", 1: "b", 2: "c"}},
        {"stage_channels": [8, 8], "expansion_ratios": [1, 6], "stage_depths": [1, 3]}
        | {"stage_strides": [2, 1]},
        {"use_attention_mask": False, "hidden_act": "silu", "batch_norm_eps": 1e-3},
        {"problem_type": "multi_label_classification", "output_hidden_states": True},
        {"temperature": 1.7},
        {"frequency_warp": 0.12, "min_frequency": 50, "max_frequency": 7600.0},
        {"logit_bias": [1.5, 0.0, -2.0, 1], "class_prior": [0.25, 0.25, 0.4, 0.1]},
        {"id2label": {0: "no", 1: "yes"}, "class_prior": [0.75, 0.25]},
    ],
)
def test_configuration_when_saved_and_loaded_is_the_same(changes, tmp_path):
    config = DushaConfig(**changes)
    config.save_pretrained(tmp_path)
    for loaded in (DushaConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is DushaConfig
        for name in (*documented_fields(), "problem_type", "output_hidden_states"):
            first, second = getattr(config, name), getattr(loaded, name)
            assert (list(first) if isinstance(first, tuple) else first) == second
    config.to_json_file(tmp_path / "again.json")
    assert DushaConfig.from_json_file(tmp_path / "again.json").to_dict() == config.to_dict()


def test_configuration_when_loaded_takes_changes(tmp_path):
    DushaConfig().save_pretrained(tmp_path)
    config = DushaConfig.from_pretrained(tmp_path, hidden_size=32, use_attention_mask=False)
    assert (config.hidden_size, config.use_attention_mask) == (32, False)


def test_number_of_layers_when_asked_counts_blocks():
    assert DushaConfig().num_hidden_layers == 15


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stage_depths": (1, 2)}, "one length.*stage_depths of 2"),
        (dict.fromkeys(DushaConfig.stages, ()), "at least 1"),
        ({"stage_strides": (1, 2, 0, 2)}, "stage_strides must be positive"),
        ({"hidden_size": 0}, "hidden_size must be positive, got 0"),
        ({"num_mel_bins": -1}, "num_mel_bins must be positive"),
        ({"batch_norm_eps": 0.0}, "batch_norm_eps must be positive"),
        ({"batch_norm_momentum": 1.5}, "within 0 to 1"),
        ({"temperature": 0.0}, "temperature must be a number above 0, got 0.0"),
        ({"temperature": float("nan")}, "temperature must be a number above 0, got nan"),
        ({"logit_bias": [0.0]}, r"logit_bias must be None or 4 numbers, one per label, got \[0.0"),
        ({"logit_bias": [0.0, 0.0, 0.0, float("inf")]}, "logit_bias must be None or 4 numbers"),
        ({"frequency_warp": 1.0}, "frequency_warp must be at least 0, below 1, got 1.0"),
        ({"frequency_warp": -0.1}, "frequency_warp must be at least 0, below 1, got -0.1"),
        ({"min_frequency": 8000}, "below max_frequency, got 8000 and 8000.0"),
        ({"class_prior": [0.5, 0.5, 0.0, 0.0]}, "class_prior must be None or 4 numbers above 0"),
    ],
)
def test_configuration_when_dimension_is_impossible_is_refused(changes, words):
    with pytest.raises(StrictDataclassError, match=words):
        DushaConfig(**changes)


@pytest.mark.parametrize("changes", [{"hidden_size": "large"}, {"stage_channels": 16}])
def test_configuration_when_type_is_wrong_is_refused(changes):
    with pytest.raises(StrictDataclassError, match=next(iter(changes))):
        DushaConfig(**changes)


def test_configuration_is_of_transformers():
    assert issubclass(DushaConfig, PreTrainedConfig)
    assert DushaConfig.model_type == "dusha"
