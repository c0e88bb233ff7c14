"""The model that training starts from: new, or loaded with the labels of the data."""

import datasets
import numpy as np
import pytest
import torch
from own_recordings import write_recordings
from small_network import small_classifier
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, set_seed

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.training.arguments import DushaTrainingArguments, make_arguments
from dusha_ser.training.options import DataOptions, RecipeOptions, RunOptions
from dusha_ser.training.preparation import (
    Preparation,
    freeze_blocks,
    load_extractor,
    load_starting_model,
    network_type,
    prepare,
)
from feature_extraction_dusha import DushaFeatureExtractor

LABELS = ["angry", "sad", "neutral", "positive"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model of the four emotions."""
    folder = tmp_path_factory.mktemp("model")
    small_classifier(num_mel_bins=64).save_pretrained(folder)
    DushaFeatureExtractor().save_pretrained(folder)
    return str(folder)


def test_model_when_none_is_named_is_the_published_network():
    model, extractor = load_starting_model(RecipeOptions(), ["no", "yes"])
    assert model.config.id2label == {0: "no", 1: "yes"}
    assert model.config.use_attention_mask
    assert extractor.padding_value == -80
    model, extractor = load_starting_model(
        RecipeOptions(published_quirks=True, loss="multi"), LABELS
    )
    assert model.num_parameters() == 514_909
    assert not model.config.use_attention_mask
    assert model.config.problem_type == "multi_label_classification"
    assert extractor.padding_value == 0


def test_model_when_its_labels_are_those_of_the_data_keeps_their_order(folder):
    model, _ = load_starting_model(RecipeOptions(folder), LABELS[::-1])
    assert list(model.config.id2label.values()) == LABELS
    start = small_classifier().from_pretrained(folder)
    torch.testing.assert_close(model.classifier.weight, start.classifier.weight)


def test_model_warps_frequencies_as_told_or_as_before_and_knows_those_of_its_features(tmp_path):
    small_classifier(num_mel_bins=64, frequency_warp=0.1).save_pretrained(tmp_path)
    DushaFeatureExtractor(min_frequency=50.0, max_frequency=7600.0).save_pretrained(tmp_path)
    for told, warp in ((None, 0.1), (0.2, 0.2), (0, 0)):
        recipe = RecipeOptions(str(tmp_path), frequency_warp=told)
        config = load_starting_model(recipe, LABELS)[0].config
        assert config.frequency_warp == warp
        assert (config.min_frequency, config.max_frequency) == (50, 7600)
    assert load_starting_model(RecipeOptions(), LABELS)[0].config.frequency_warp == 0


def test_model_when_it_was_calibrated_starts_without_that_temperature(tmp_path):
    small_classifier(
        num_mel_bins=64,
        temperature=1.8,
        logit_bias=[1.0, 0.0, 0.0, 0.0],
        class_prior=[0.25, 0.25, 0.25, 0.25],
    ).save_pretrained(tmp_path)
    DushaFeatureExtractor().save_pretrained(tmp_path)
    for labels in (LABELS, ["no", "yes"]):
        model, _ = load_starting_model(RecipeOptions(str(tmp_path)), labels)
        assert model.config.temperature == 1


@pytest.mark.parametrize(
    "labels",
    [
        ["angry", "happy", "neutral", "sad"],  # as many, one of them new
        ["positive", "sad"],
        ["sad", "bored", "neutral", "calm", "angry", "afraid"],
        ["positive", "neutral", "sad", "angry", "other"],
    ],
)
def test_model_when_some_labels_are_its_own_keeps_their_rows_by_name(folder, labels):
    start, told = small_classifier().from_pretrained(folder), []
    set_seed(3)
    model, _ = load_starting_model(RecipeOptions(folder), labels, told.append)
    assert list(model.config.id2label.values()) == labels
    assert model.config.label2id == {label: number for number, label in enumerate(labels)}
    old = start.classifier.weight
    for number, label in enumerate(labels):
        row = model.classifier.weight[number]
        if label in LABELS:
            assert torch.equal(row, old[LABELS.index(label)])
            assert model.classifier.bias[number] == start.classifier.bias[LABELS.index(label)]
        else:
            # As the network draws its first weights: far below a trained row, never one of them.
            assert 0 < row.abs().max() <= 1 / old.shape[1] ** 0.5
            assert not any(torch.equal(row, one) for one in old)
    network = {name: value for name, value in model.state_dict().items() if "dusha" in name}
    assert network.keys() == {name for name in start.state_dict() if "dusha" in name}
    for name, value in network.items():
        assert torch.equal(value, start.state_dict()[name])
    kept = [label for label in labels if label in LABELS]
    new = ", ".join(label for label in labels if label not in LABELS)
    (line,) = told
    assert line.startswith(f"the classifier keeps {', '.join(kept)} of {folder}")
    assert line.endswith(f"new, with random weights: {new}" if new else folder)
    set_seed(3)
    again, _ = load_starting_model(RecipeOptions(folder), labels)
    assert torch.equal(again.classifier.weight, model.classifier.weight)


def test_model_when_no_label_is_its_own_says_so(folder):
    told = []
    load_starting_model(RecipeOptions(folder), ["no", "yes"], told.append)
    assert told == [f"the classifier keeps no label of {folder}; new, with random weights: no, yes"]
    load_starting_model(RecipeOptions(folder), LABELS[::-1], told.append)
    assert len(told) == 1


def test_model_of_another_network_keeps_rows_by_name_in_its_own_head(tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    names = dict(enumerate(LABELS))
    start = ASTForAudioClassification(ASTConfig(**sizes, intermediate_size=8, id2label=names))
    torch.nn.init.normal_(start.classifier.dense.bias)
    start.save_pretrained(tmp_path)
    ASTFeatureExtractor().save_pretrained(tmp_path)
    model, _ = load_starting_model(RecipeOptions(str(tmp_path)), ["sad", "happy", "angry", "calm"])
    for part in ("weight", "bias"):
        ours, theirs = (getattr(one.classifier.dense, part) for one in (model, start))
        assert torch.equal(ours[[0, 2]], theirs[[1, 0]])
        assert not (ours[[1, 3]] == theirs[[1, 3]]).any()
    torch.testing.assert_close(model.classifier.layernorm.weight, start.classifier.layernorm.weight)
    with pytest.raises(WrongUseError, match="`frequency_warp` is for Dusha's network, and .* is "):
        load_starting_model(RecipeOptions(str(tmp_path), frequency_warp=0.1), LABELS)


def test_model_when_two_labels_are_the_same_is_refused(tmp_path):
    small_classifier(id2label={0: "no", 1: "no"}).save_pretrained(tmp_path)
    with pytest.raises(WrongUseError, match="must be different"):
        load_starting_model(RecipeOptions(str(tmp_path)), ["no", "yes"])


def test_model_when_its_labels_are_other_ones_gets_a_new_head(folder):
    model, _ = load_starting_model(RecipeOptions(folder), ["no", "yes"])
    assert model.config.id2label == {0: "no", 1: "yes"}
    assert model.classifier.weight.shape[0] == 2
    start = small_classifier().from_pretrained(folder)
    torch.testing.assert_close(
        model.dusha.stem.convolution.weight, start.dusha.stem.convolution.weight
    )


def test_clips_when_a_table_was_corrected_have_its_labels_and_speakers(folder, tmp_path):
    table = write_recordings(tmp_path / "own", ["angry", "sad", "neutral"], 9, "xyz")
    right = table.read_text()

    def prepared(text):
        table.write_text(text)
        data = DataOptions(train_file=str(table), cache_dir=str(tmp_path), validation=0)
        arguments = make_arguments(RunOptions(str(tmp_path / "model"), quiet=True))
        found = prepare(data, RecipeOptions(folder), arguments)
        targets = found.clips("train").targets
        labels = [found.model.config.id2label[int(number)] for number in targets]
        return labels, found.splits["train"]["source_id"][:]

    prepared(right.replace(",angry,", ",sad,").replace(",neutral,", ",joy,").replace(",y", ",x"))
    assert prepared(right) == (["angry", "sad", "neutral"] * 3, list("xxxyyyzzz"))
    assert prepared(right.replace(",neutral,", ",sad,"))[0] == ["angry", "sad", "sad"] * 3
    assert len(list((tmp_path / "dusha_inputs").glob("*.arrow"))) == 1


def test_extractor_cuts_off_silence_where_that_is_asked_for(folder, tmp_path):
    assert load_starting_model(RecipeOptions(folder), LABELS)[1].trim_silence is None
    for name in (None, folder):
        _, extractor = load_starting_model(RecipeOptions(name, trim_silence=40), LABELS)
        assert extractor.trim_silence == 40
    extractor.save_pretrained(folder)
    assert load_starting_model(RecipeOptions(folder), LABELS)[1].trim_silence == 40, (
        "it stays with the model"
    )
    DushaFeatureExtractor().save_pretrained(folder)


def test_extractor_of_another_network_is_not_asked_to_cut_off_silence(tmp_path):
    ASTFeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(WrongUseError, match="`trim_silence` is for Dusha's features"):
        load_extractor(RecipeOptions(str(tmp_path), trim_silence=40))


def test_network_type_when_there_is_a_model_or_not(folder, tmp_path):
    assert network_type(RecipeOptions()) == network_type(RecipeOptions(folder)) == "dusha"
    with pytest.raises(MissingInputError, match="no model"):
        network_type(RecipeOptions(str(tmp_path / "nowhere" / "model")))
    (tmp_path / "config.json").write_text('{"model_type": "unheard of"}')
    with pytest.raises(WrongUseError, match="not an audio classification model"):
        network_type(RecipeOptions(str(tmp_path)))


def test_frozen_blocks_are_the_first_ones_and_the_convolution_before_them():
    model = small_classifier()
    freeze_blocks(model, 0)
    assert all(parameter.requires_grad for parameter in model.parameters())
    freeze_blocks(model, 2)
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[2] for name in learns if ".blocks." in name} == {
        str(number) for number in range(2, len(model.dusha.blocks))
    }
    assert not any("stem" in name for name in learns)
    assert {"dusha.attention.gamma", "classifier.weight"} <= learns


def test_frozen_blocks_when_there_are_not_so_many_or_the_network_is_another():
    with pytest.raises(WrongUseError, match="`frozen_blocks` is 99: the network has"):
        freeze_blocks(small_classifier(), 99)
    config = ASTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, num_labels=4)
    with pytest.raises(WrongUseError, match="audio-spectrogram-transformer"):
        freeze_blocks(ASTForAudioClassification(config), 1)


def test_clips_of_an_evaluation_have_the_models_numbers_in_the_order_of_the_rows():
    features = datasets.Features(
        {
            "input_features": datasets.Array2D(shape=(None, 2), dtype="float32"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    spectrograms = [np.full((frames, 2), frames, np.float32) for frames in (3, 1, 2)]
    columns = {"input_features": spectrograms, "label": [0, 1, 0]}
    rows = datasets.Dataset.from_dict(columns, features=features)
    model = small_classifier()
    model.config.id2label = {1: "no", 0: "yes"}
    prepared = Preparation(model, None, {"train": rows}, "input_features")
    clips = prepared.clips("train")
    assert prepared.clips("test") is None
    assert [int(clips[number]["labels"]) for number in range(3)] == [1, 0, 1]
    assert [clips[number]["inputs"].shape[0] for number in range(3)] == [3, 1, 2]


def prepared(*lengths):
    """A small model, and clips of these lengths, in frames, to train and to validate on alike."""
    clips = [np.full((length, 12), -float(length), np.float32) for length in lengths]
    rows = datasets.Dataset.from_dict(
        {"input_features": clips, "label": [number % 4 for number in range(len(clips))]},
        features=datasets.Features(
            {
                "input_features": datasets.Array2D((None, 12), "float32"),
                "label": datasets.ClassLabel(names=["angry", "sad", "neutral", "positive"]),
            }
        ),
    )
    model = small_classifier()
    model.config.label2id = {"angry": 0, "sad": 1, "neutral": 2, "positive": 3}
    splits = {"train": rows, "validation": rows, "test": rows}
    return Preparation(model, DushaFeatureExtractor(), splits, "input_features")


def test_clips_to_evaluate_come_longest_first_and_know_their_places():
    clips = prepared(5, 9, 7, 9).longest_first("validation")
    assert clips.indices == [1, 3, 2, 0]
    assert [len(clips[number]["inputs"]) for number in range(4)] == [9, 9, 7, 5]
    assert [int(clips[number]["labels"]) for number in range(4)] == [1, 3, 2, 0]
    assert prepared(5).longest_first("unknown") is None


def test_features_when_they_are_to_be_held_are_those_seen_in_each_epoch(tmp_path):
    ready = prepared(5, 9, 7)
    assert ready.hold(DushaTrainingArguments(str(tmp_path)), -80.0) == "" and not ready.held
    arguments = DushaTrainingArguments(str(tmp_path), features_in="host")
    words = ready.hold(arguments, -80.0)
    assert words.startswith("features are held in the host's memory: 1.01e-06 GB of ")
    assert set(ready.held) == {"train", "validation"}
    assert ready.held["train"].frames.dtype == torch.float16
    clip = ready.clips("validation")[1]["inputs"]
    assert clip.shape == (9, 12) and clip.features is ready.held["validation"]


def test_features_of_another_network_are_not_held(tmp_path):
    ready = prepared(5)
    ready.model.config.model_type = "wav2vec2"
    assert ready.hold(DushaTrainingArguments(str(tmp_path)), -80.0) == ""
    arguments = DushaTrainingArguments(str(tmp_path), features_in="device")
    with pytest.raises(WrongUseError, match="`features_in=device` is for Dusha's network"):
        ready.hold(arguments, -80.0)
