"""What Transformers' own tests ask of every model: saving, loading, initial weights, outputs."""

import copy
import json
import math
import pickle

import pytest
import torch
from small_network import (
    batch_of,
    enliven,
    one_thread,  # noqa: F401 - a fixture of every test here
    random_features,
    small_classifier,
    small_config,
)
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

from configuration_dusha import DushaConfig
from dusha_ser.training.normalization import make_precise
from modeling_dusha import DushaForAudioClassification, DushaModel


def enliven_any(model):
    """Enliven a model of either class."""
    if isinstance(model, DushaForAudioClassification):
        return enliven(model)
    holder = DushaForAudioClassification(model.config)
    holder.dusha = model
    return enliven(holder).dusha


# Saving and loading


@pytest.mark.parametrize("model_class", [DushaModel, DushaForAudioClassification])
def test_model_when_saved_and_loaded_answers_the_same(model_class, tmp_path):
    model = enliven_any(model_class(small_config()))
    model.save_pretrained(tmp_path)
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)])
    loaded, report = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert not loaded.training
    for ours, theirs in zip(
        model(features, mask).to_tuple(), loaded(features, mask).to_tuple(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert loaded.config.to_diff_dict() == model.config.to_diff_dict()


def test_folder_when_saved_loads_by_auto_classes(tmp_path):
    model = small_classifier()
    model.save_pretrained(tmp_path)
    settings_saved = json.loads((tmp_path / "config.json").read_text())
    assert settings_saved["auto_map"] == {
        "AutoConfig": "configuration_dusha.DushaConfig",
        "AutoModel": "modeling_dusha.DushaModel",
        "AutoModelForAudioClassification": "modeling_dusha.DushaForAudioClassification",
    }
    assert {"configuration_dusha.py", "modeling_dusha.py"} <= {p.name for p in tmp_path.iterdir()}
    assert type(AutoConfig.from_pretrained(tmp_path)) is DushaConfig
    assert type(AutoModel.from_pretrained(tmp_path)) is DushaModel
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert type(loaded) is DushaForAudioClassification
    assert torch.equal(loaded.classifier.weight, model.classifier.weight)


def test_auto_classes_when_given_configuration_build_models():
    config = small_config()
    assert type(AutoConfig.for_model("dusha")) is DushaConfig
    assert type(AutoModel.from_config(config)) is DushaModel
    model = AutoModelForAudioClassification.from_config(config)
    assert type(model) is DushaForAudioClassification


def test_head_when_base_model_was_saved_is_new(tmp_path):
    base = enliven_any(DushaModel(small_config()))
    base.save_pretrained(tmp_path)
    loaded, report = DushaForAudioClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert set(report["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    kept = loaded.dusha.state_dict()
    assert all(torch.equal(kept[name], weight) for name, weight in base.state_dict().items())


def test_weights_when_given_as_state_dict_are_taken(tmp_path):
    model = small_classifier()
    loaded = DushaForAudioClassification.from_pretrained(
        None, config=model.config, state_dict=model.state_dict()
    )
    features = random_features(1, 20, 12)
    assert torch.equal(loaded(features).logits, model(features).logits)


def test_head_when_number_of_labels_changes_is_new_and_the_rest_is_kept(tmp_path):
    model = small_classifier()
    model.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        DushaForAudioClassification.from_pretrained(tmp_path, num_labels=7)
    loaded = DushaForAudioClassification.from_pretrained(
        tmp_path, num_labels=7, ignore_mismatched_sizes=True
    )
    features = random_features(1, 20, 12)
    assert loaded(features).logits.shape == (1, 7)
    assert len(loaded.config.id2label) == 7
    torch.testing.assert_close(
        loaded.dusha(features).pooler_output, model.dusha(features).pooler_output
    )


def test_labels_when_given_by_name_are_saved(tmp_path):
    names = {0: "calm", 1: "upset", 2: "other"}
    small_classifier(id2label=names).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.id2label == names
    assert config.label2id == {"calm": 0, "upset": 1, "other": 2}


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_when_loaded_is_close_to_full(kind, tmp_path):
    model = small_classifier()
    model.save_pretrained(tmp_path)
    half = DushaForAudioClassification.from_pretrained(tmp_path, dtype=kind)
    assert {p.dtype for p in half.parameters()} == {kind}
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)], [2, 0])
    full = model(features, mask).logits
    for given_as in (torch.float32, kind):
        logits = half(features.to(given_as), mask).logits
        assert logits.dtype == kind
        tolerance = 0.05 * full.abs().max().item()
        torch.testing.assert_close(logits.float(), full, atol=tolerance, rtol=0)
    half.save_pretrained(tmp_path / "half")
    assert AutoConfig.from_pretrained(tmp_path / "half").dtype == kind


def test_training_under_autocast_stays_finite_and_keeps_statistics_in_full():
    model = small_classifier().train()
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)])
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(features, mask, labels=torch.tensor([0, 1])).loss
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert model.dusha.stem.normalization.running_mean.dtype == torch.float32


@pytest.mark.parametrize("device_map", ["auto", "cpu", {"": "cpu"}])
def test_device_map_when_given_loads_the_same_model(device_map, tmp_path):
    model = small_classifier()
    model.save_pretrained(tmp_path)
    loaded = DushaForAudioClassification.from_pretrained(tmp_path, device_map=device_map)
    features = random_features(1, 20, 12)
    torch.testing.assert_close(loaded(features).logits.cpu(), model(features).logits)


def test_model_when_copied_or_pickled_answers_the_same():
    model = small_classifier()
    features = random_features(1, 20, 12)
    expected = model(features).logits
    assert torch.equal(copy.deepcopy(model)(features).logits, expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(features).logits, expected)


# Initial weights


def forget_initialised(model):
    """Drop the marks by which Transformers knows what it has initialised."""
    for owner in (*model.modules(), *model.parameters(), *model.buffers()):
        if getattr(owner, "_is_hf_initialized", False):
            owner._is_hf_initialized = False


def test_initial_weights_are_those_of_pytorch():
    ours, theirs = (DushaForAudioClassification(small_config()) for _ in range(2))
    forget_initialised(ours)
    torch.manual_seed(3)
    ours.init_weights()
    torch.manual_seed(3)
    theirs.apply(lambda module: getattr(module, "reset_parameters", lambda: None)())
    for (name, first), second in zip(
        ours.state_dict().items(), theirs.state_dict().values(), strict=True
    ):
        assert torch.equal(first, second), name
    assert ours.dusha.attention.gamma.item() == 0


def test_initial_weights_when_model_was_on_meta_are_the_same():
    whole = DushaForAudioClassification(small_config())
    forget_initialised(whole)
    with torch.device("meta"):
        empty = DushaForAudioClassification(small_config())
    empty.to_empty(device="cpu")
    forget_initialised(empty)
    for model in (whole, empty):
        torch.manual_seed(3)
        model.init_weights()
    for ours, theirs in zip(empty.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_initial_weights_when_missing_from_the_file_are_drawn(tmp_path):
    model = small_classifier()
    kept = {name: w for name, w in model.state_dict().items() if "blocks.2" not in name}
    del kept["dusha.attention.gamma"]
    model.save_pretrained(tmp_path, state_dict=kept)
    loaded, report = DushaForAudioClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert "dusha.attention.gamma" in report["missing_keys"]
    assert loaded.dusha.attention.gamma.item() == 0
    block = loaded.dusha.blocks[2]
    assert (block.expand_1x1.normalization.running_var == 1).all()
    weight = block.expand_1x1.convolution.weight
    assert 0 < weight.abs().max() <= 1 / math.sqrt(weight[0].numel())
    assert torch.equal(loaded.dusha.stem.convolution.weight, model.dusha.stem.convolution.weight)


def test_models_when_built_from_one_seed_are_equal():
    weights = []
    for _ in range(2):
        torch.manual_seed(11)
        weights.append(DushaForAudioClassification(small_config()).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(w.values() for w in weights), strict=True))


# Outputs


@pytest.mark.parametrize("training", [False, True])
def test_forward_when_repeated_is_deterministic(training):
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)])
    model = small_classifier().train(training)
    assert torch.equal(model(features, mask).logits, model(features, mask).logits)


def test_outputs_when_more_is_asked_for_stay_the_same():
    model = small_classifier()
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)])
    plain = model(features, mask)
    full = model(features, mask, output_hidden_states=True, output_attentions=True)
    assert isinstance(plain, SequenceClassifierOutput)
    assert plain.hidden_states is None
    assert plain.attentions is None
    torch.testing.assert_close(full.logits, plain.logits)
    assert len(full.hidden_states) == model.config.num_hidden_layers + 1
    assert len(full.attentions) == 1


def test_outputs_when_configuration_asks_are_returned():
    features = random_features(1, 20, 12)
    model = small_classifier(output_hidden_states=True)
    assert len(model(features).hidden_states) == 6
    assert model(features, output_hidden_states=False).hidden_states is None
    model = small_classifier(output_attentions=True)
    assert len(model(features).attentions) == 1


@pytest.mark.parametrize("by_configuration", [False, True])
def test_outputs_when_tuples_are_asked_for_hold_the_same(by_configuration):
    model = small_classifier()
    features = random_features(1, 20, 12)
    asked = {"output_hidden_states": True, "output_attentions": True}
    expected = model(features, labels=torch.tensor([1]), **asked)
    if by_configuration:
        model.config.return_dict = False
        outputs = model(features, labels=torch.tensor([1]), **asked)
    else:
        outputs = model(features, labels=torch.tensor([1]), return_dict=False, **asked)
    assert isinstance(outputs, tuple)
    loss, logits, states, attentions = outputs
    assert torch.equal(loss, expected.loss)
    assert torch.equal(logits, expected.logits)
    assert all(torch.equal(a, b) for a, b in zip(states, expected.hidden_states, strict=True))
    assert torch.equal(attentions[0], expected.attentions[0])


def test_base_model_when_run_gives_embedding_that_is_the_mean():
    model = enliven_any(DushaModel(small_config()))
    outputs = model(random_features(2, 30, 12))
    assert isinstance(outputs, BaseModelOutputWithPooling)
    assert outputs.pooler_output.shape == (2, 10)
    torch.testing.assert_close(outputs.pooler_output, outputs.last_hidden_state.mean((2, 3)))


def test_gradients_when_outputs_are_kept_reach_states_and_attentions():
    model = small_classifier()
    outputs = model(random_features(1, 20, 12), output_hidden_states=True, output_attentions=True)
    kept = (*outputs.hidden_states, *outputs.attentions)
    for tensor in kept:
        tensor.retain_grad()
    outputs.logits[0, 0].backward()
    assert all(tensor.grad is not None for tensor in kept)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("prepare", [lambda model: None, make_precise])
def test_gradient_checkpointing_changes_neither_gradients_nor_statistics(masked, prepare):
    features, mask = batch_of([random_features(9, 12), random_features(30, 12, seed=1)])
    models = [small_classifier().train() for _ in range(2)]
    for model in models:
        model.to(memory_format=torch.channels_last)
        prepare(model)
    models[1].gradient_checkpointing_enable()
    assert models[1].dusha.gradient_checkpointing
    kept = []
    for model in models:
        kept.append(0)

        def pack(tensor):
            kept[-1] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            for _ in range(2):
                output = model(features, mask if masked else None, labels=torch.tensor([0, 1]))
        output.loss.backward()
    assert kept[1] < kept[0] / 2
    for (name, ours), theirs in zip(
        models[1].state_dict().items(), models[0].state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    for ours, theirs in zip(models[1].parameters(), models[0].parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-7)
    models[1].gradient_checkpointing_disable()
    assert not models[1].dusha.gradient_checkpointing


def test_channels_last_when_chosen_changes_no_answer():
    model = small_classifier()
    features, mask = batch_of([random_features(9, 12), random_features(30, 12)])
    expected = model(features, mask).logits
    model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(features, mask).logits, expected)
