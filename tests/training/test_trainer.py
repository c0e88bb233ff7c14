import inspect
import math
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from huggingface_hub import get_token
from small_network import random_features, small_classifier
from subnormal_numbers import count_subnormals, let_channels_die
from transformers import EvalPrediction, Trainer, TrainerCallback
from waiting import no_waiting

from dusha_ser.errors import WorkFailedError
from dusha_ser.training.arguments import DushaTrainingArguments
from dusha_ser.training.augmentation import Augmentation
from dusha_ser.training.averaging import TRAINED_WEIGHTS
from dusha_ser.training.batches import SpectrogramCollator
from dusha_ser.training.checkpoints import find_checkpoint, is_complete
from dusha_ser.training.losses import ClassificationLoss, Mixup
from dusha_ser.training.preparation import freeze_blocks
from dusha_ser.training.sampling import EveryClipSampler
from dusha_ser.training.trainer import DushaTrainer, compute_scores, head_names, keep_freed_memory

CLIPS = 24


class Spectrograms(torch.utils.data.Dataset):
    """Random spectrograms of 20 to 43 frames whose label is how loud they are."""

    def __init__(self, nan_at=None):
        self.nan_at = nan_at

    def __len__(self):
        return CLIPS

    def __getitem__(self, key):
        index, seed = key if isinstance(key, tuple) else (key, 0)
        features = random_features(20 + index, 12, seed=index) / (1 + index % 4)
        if index == self.nan_at:
            features[3, 4] = math.nan
        return {
            "inputs": features,
            "labels": torch.tensor(index % 4),
            "weights": torch.tensor(1.0 + index % 3),
            "seed": seed,
        }


def make_trainer(
    folder,
    dataset=None,
    batch_size=8,
    loss=None,
    augmentation=None,
    frozen_blocks=0,
    lengths=(),
    **options,
):
    torch.manual_seed(0)
    defaults = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": batch_size,
        "disable_tqdm": True,
        "load_best_model_at_end": False,
        "save_total_limit": None,
        "use_cpu": True,
        "per_device_eval_batch_size": 8,
    }
    arguments = DushaTrainingArguments(str(folder), **(defaults | options))
    model = small_classifier().train()
    freeze_blocks(model, frozen_blocks)
    dataset = dataset or Spectrograms()
    return DushaTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        eval_dataset=Spectrograms(),
        train_sampler=EveryClipSampler(
            [(20 + index) / 100 for index in range(CLIPS)], batch_size=batch_size, seed=0
        ),
        train_collator=SpectrogramCollator(
            mixup=Mixup(arguments.mixup, 4) if arguments.mixup else None,
            augmentation=augmentation or Augmentation(frequency_mask=3, time_mask=5, crop=5),
            lengths=lengths,
        ),
        data_collator=SpectrogramCollator(),
        classification_loss=loss,
    )


def test_training_when_layers_are_computed_again_is_the_same(tmp_path):
    plain, again = (
        make_trainer(tmp_path / str(on), max_steps=3, gradient_checkpointing=on)
        for on in (False, True)
    )
    for trainer in (plain, again):
        trainer.train()
    assert again.model.dusha.gradient_checkpointing
    for name, value in weights(plain.model).items():
        torch.testing.assert_close(again.model.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_loss_when_no_label_of_a_step_counts_is_zero_and_teaches_nothing(tmp_path):
    trainer = make_trainer(tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    ignored = batch | {"labels": torch.full_like(batch["labels"], -100)}
    weightless = batch | {"weights": torch.zeros_like(batch["weights"])}
    for empty in (ignored, weightless):
        loss = trainer.compute_loss(
            trainer.model, empty, num_items_in_batch=trainer.step_weight([empty])
        )
        loss.backward()
        assert loss.item() == 0
        for parameter in trainer.model.parameters():
            assert not parameter.grad.any()


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_weights(first, second):
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


class Stop(Exception):  # noqa: N818 - it stands for a kill
    """As if the process had been killed."""


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Stop


def test_overridden_methods_are_public_and_still_the_trainers():
    """Fails where Transformers renames one, changes its parameters or no longer calls it."""
    ours, theirs = vars(DushaTrainer), vars(Trainer)
    overridden = {name for name in ours if name in theirs and not name.startswith("__")}
    assert overridden == {
        *("get_train_dataloader", "create_optimizer", "create_scheduler", "compute_loss"),
        *("get_batch_samples", "training_step", "train", "evaluate", "save_model"),
        *("log", "create_model_card", "init_hf_repo", "push_to_hub"),
    }
    source = inspect.getsource(Trainer)
    for name in overridden:
        wanted, found = (inspect.signature(one[name]).parameters for one in (ours, theirs))
        named = [one for one in wanted if one not in ("args", "kwargs")]
        assert named == list(found)[: len(named)], name
        # The run itself calls these two.
        assert name in ("train", "push_to_hub") or f"self.{name}(" in source, name


def test_nothing_subnormal_is_saved_in_checkpoints_and_model(tmp_path):
    options = {"weight_decay": 0.5, "average_decay": 0.5, "save_strategy": "steps", "save_steps": 2}
    trainer = make_trainer(tmp_path, max_steps=4, **options)

    class Die(TrainerCallback):
        """Leave what weight decay makes of dead channels on a GPU, which flushes nothing."""

        def on_step_end(self, args, state, control, **kwargs):
            for network in (trainer.model, trainer.averaging.average.module):
                let_channels_die(network, 0.4)

    trainer.add_callback(Die())
    trainer.train()
    let_channels_die(trainer.model, 0.4)
    assert sum(map(count_subnormals, trainer.model.state_dict().values())) > 50
    trainer.save_model()
    written = [safetensors.torch.load_file(path) for path in tmp_path.rglob("*.safetensors")]
    written += [torch.load(path) for path in tmp_path.rglob(TRAINED_WEIGHTS)]
    assert len(written) == 3 + 2
    for saved in written:
        assert not sum(map(count_subnormals, saved.values()))
        dead = [name for name in saved if name.endswith("blocks.4.project_1x1.convolution.weight")]
        assert not saved[dead[0]][:, :7].any()


def test_optimizer_is_adam_with_weight_decay_in_the_gradient(tmp_path):
    trainer = make_trainer(tmp_path, weight_decay=0.1, learning_rate=0.01)
    optimizer = trainer.create_optimizer()
    assert type(optimizer) is torch.optim.Adam
    parameter = trainer.model.classifier.weight
    before, gradient = parameter.detach().clone(), torch.randn(parameter.shape)
    parameter.grad = gradient.clone()
    optimizer.step()
    # The first step of Adam moves by the sign of gradient + decay * weight, almost exactly.
    expected = before - 0.01 * torch.sign(gradient + 0.1 * before)
    torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=1e-5)


def test_optimizer_when_decay_is_to_be_decoupled_or_the_head_learns_faster(tmp_path):
    trainer = make_trainer(tmp_path, optimizer="trainer", optim="adamw_torch")
    assert type(trainer.create_optimizer()) is torch.optim.AdamW
    trainer = make_trainer(tmp_path, head_learning_rate=0.5)
    groups = trainer.create_optimizer().param_groups
    assert [group["lr"] for group in groups] == [1e-3, 0.5]
    assert len(groups[1]["params"]) == len(head_names(trainer.model)) == 2


def test_frozen_blocks_stay_as_they_are_with_their_statistics(tmp_path):
    trainer = make_trainer(tmp_path, frozen_blocks=1, num_train_epochs=1, average_decay=0.5)
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert not any(name.startswith(("dusha.stem.", "dusha.blocks.0.")) for name in changed)
    assert {"dusha.blocks.1.project_1x1.normalization.running_mean", "classifier.weight"} < changed


def test_published_values_are_the_defaults(tmp_path):
    arguments = DushaTrainingArguments(str(tmp_path))
    assert arguments.per_device_train_batch_size == 64
    assert arguments.num_train_epochs == 100
    assert arguments.weight_decay == 1e-6
    assert arguments.learning_rate == 1e-3
    assert arguments.lr_scheduler_type == "constant"
    assert arguments.max_grad_norm == 0
    assert arguments.metric_for_best_model == "f1_macro"
    assert arguments.optimizer == "adam"


def test_token_when_given_is_not_kept_with_the_model(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "another")
    arguments = DushaTrainingArguments(str(tmp_path), hub_token="hf_secret")
    assert arguments.hub_token is None
    assert get_token() == "hf_secret"
    torch.save(arguments, tmp_path / "training_args.bin")
    assert b"hf_secret" not in (tmp_path / "training_args.bin").read_bytes()


def test_loss_of_accumulated_batches_equals_that_of_one_batch(tmp_path):
    """The weighted mean over all clips of a step, not the mean of the batches' means."""
    loss = ClassificationLoss("hard", 0.1, np.array([10.0, 20.0, 1.0, 5.0]))
    whole = make_trainer(tmp_path, loss=loss)
    clips = [Spectrograms()[index] for index in range(12)]
    batch = SpectrogramCollator(multiple=64)(clips)
    whole.model.eval()  # so that batch normalisation takes no statistics of the batch
    whole.model.training = True

    def gradients(parts):
        whole.model.zero_grad()
        total = whole.step_weight(parts)
        for part in parts:
            whole.compute_loss(whole.model, part, num_items_in_batch=total).backward()
        return [parameter.grad.clone() for parameter in whole.model.parameters()]

    parts = [{name: values[:8] for name, values in batch.items()}]
    parts.append({name: values[8:] for name, values in batch.items()})
    for first, second in zip(gradients([batch]), gradients(parts), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


def test_clips_weigh_in_training_and_not_in_evaluation(tmp_path):
    trainer = make_trainer(tmp_path)
    batch = SpectrogramCollator()([Spectrograms()[index] for index in range(4)])
    features = {name: batch[name] for name in ("input_features", "attention_mask")}
    trainer.model.eval()
    losses = torch.nn.functional.cross_entropy(
        trainer.model(**features).logits, batch["labels"], reduction="none"
    )
    torch.testing.assert_close(trainer.compute_loss(trainer.model, batch), losses.mean())
    trainer.model.training = True
    expected = (losses * batch["weights"]).sum() / batch["weights"].sum()
    torch.testing.assert_close(trainer.compute_loss(trainer.model, batch), expected)


def test_train_when_the_seed_is_the_same_or_not(tmp_path):
    runs = {}
    for name, seed in {"a": 0, "b": 0, "c": 1}.items():
        trainer = make_trainer(tmp_path / name, num_train_epochs=1, save_strategy="no", seed=seed)
        trainer.train_sampler.seed = seed
        trainer.train()
        runs[name] = weights(trainer.model)
    assert_same_weights(runs["a"], runs["b"])
    assert any(not torch.equal(value, runs["c"][name]) for name, value in runs["a"].items())


@pytest.mark.parametrize(
    "options",
    [
        {"save_strategy": "epoch"},
        {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "no"},
        {"save_strategy": "epoch", "average_decay": 0.8, "mixup": 0.4},
        {"save_strategy": "steps", "save_steps": 1, "gradient_accumulation_steps": 2},
    ],
    ids=["epochs", "steps", "average and mixup", "accumulation"],
)
def test_train_when_killed_and_resumed_ends_with_the_same_weights(tmp_path, options):
    undisturbed = make_trainer(tmp_path / "undisturbed", **options)
    undisturbed.train()
    expected = weights(undisturbed.model)
    steps = undisturbed.state.global_step
    for step in (1, steps // 2, steps - 1):
        folder = tmp_path / f"killed-{step}"
        killed = make_trainer(folder, **options)
        killed.add_callback(StopAt(step))
        # What is left of a checkpoint that was being written when the process ended.
        unfinished = folder / f"checkpoint-{100 + step}"
        unfinished.mkdir(parents=True)
        (unfinished / "model.safetensors").write_bytes(b"half of a fi")
        with pytest.raises(Stop):
            killed.train()
        checkpoint = find_checkpoint(folder)
        resumed = make_trainer(folder, **options)
        resumed.train(resume_from_checkpoint=checkpoint)
        assert resumed.state.global_step == steps
        assert_same_weights(weights(resumed.model), expected)
        shutil.rmtree(folder)


def test_average_is_what_is_evaluated_saved_and_left(tmp_path):
    trainer = make_trainer(tmp_path, average_decay=0.9, save_strategy="epoch")
    trainer.train()
    saved = small_classifier().from_pretrained(find_checkpoint(tmp_path))
    assert_same_weights(weights(saved), weights(trainer.model))
    trained = torch.load(f"{find_checkpoint(tmp_path)}/trained_weights.pt", weights_only=True)
    assert trained["n_averaged"] == trainer.state.global_step == 9
    name = "classifier.weight"
    assert not torch.equal(trained[f"module.{name}"], trainer.model.state_dict()[name])
    logged = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(logged[-1], rel=1e-5)


def test_train_when_the_loss_is_no_number(tmp_path):
    make_trainer(tmp_path, num_train_epochs=1).train()
    checkpoint = find_checkpoint(tmp_path)
    before = (tmp_path / checkpoint / "model.safetensors").read_bytes()
    trainer = make_trainer(tmp_path, Spectrograms(nan_at=5), num_train_epochs=2)
    with pytest.raises(WorkFailedError, match=r"loss became nan.*learning_rate.*checkpoint-3"):
        trainer.train(resume_from_checkpoint=checkpoint)
    assert is_complete(tmp_path / checkpoint)
    assert (tmp_path / checkpoint / "model.safetensors").read_bytes() == before
    for parameter in trainer.model.parameters():
        assert torch.isfinite(parameter).all()


def test_train_when_the_loss_is_no_number_before_any_checkpoint(tmp_path):
    trainer = make_trainer(tmp_path, Spectrograms(nan_at=5), num_train_epochs=1)
    with pytest.raises(WorkFailedError, match="start again: no checkpoint has been kept"):
        trainer.train()


class Recorder(TrainerCallback):
    """Keeps the weights before the step whose loss is NaN, and how far training went."""

    def __init__(self):
        self.steps = []

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.steps.append(weights(model))


@pytest.mark.parametrize("optimizer", ["adam", "trainer"])
def test_train_when_the_loss_is_read_later_keeps_weights_and_checkpoint(tmp_path, optimizer):
    """As on an accelerator: a NaN stops the weights at once, and the run at its log."""
    make_trainer(tmp_path, num_train_epochs=1, optimizer=optimizer).train()
    checkpoint = find_checkpoint(tmp_path)
    trainer = make_trainer(
        tmp_path, Spectrograms(nan_at=5), num_train_epochs=2, optimizer=optimizer
    )
    trainer.checks_each_step = False
    recorder = Recorder()
    trainer.add_callback(recorder)
    with pytest.raises(WorkFailedError, match=r"loss became nan after \d steps.*checkpoint-3"):
        trainer.train(resume_from_checkpoint=checkpoint)
    assert find_checkpoint(tmp_path) == checkpoint
    assert len(list(tmp_path.glob("checkpoint-*"))) == 1
    # All steps of the epoch were done, and those since the failure left the weights alone.
    assert len(recorder.steps) == 3
    failed = trainer.losses.first_failure()[1] - 3
    parameters = dict(trainer.model.named_parameters())
    before = (
        recorder.steps[failed - 1]
        if failed
        else torch.load(f"{checkpoint}/optimizer.pt", weights_only=True)
    )
    for name, parameter in parameters.items():
        assert torch.isfinite(parameter).all()
        assert not failed or torch.equal(parameter, before[name]), name


def test_model_when_the_loss_was_no_number_is_not_saved(tmp_path):
    trainer = make_trainer(tmp_path, num_train_epochs=1)
    trainer.losses.add(torch.tensor(math.inf), 7)
    trainer.losses.add(torch.tensor(1.0), 8)
    for work in (trainer.save_model, trainer.evaluate, lambda: trainer.log({"loss": 1.0})):
        with pytest.raises(WorkFailedError, match="the loss became inf after 7 steps"):
            work()
    assert not (tmp_path / "model.safetensors").exists()


def test_training_step_when_on_an_accelerator_waits_for_nothing(tmp_path):
    """Forward, backward, optimizer and the note of the loss: no value is read in between."""
    trainer = make_trainer(
        tmp_path,
        loss=ClassificationLoss("hard", 0.1, np.array([10.0, 20.0, 1.0, 5.0])),
        average_decay=0.9,
        mixup=0.4,
    )
    trainer.checks_each_step = False
    optimizer = trainer.create_optimizer()
    assert optimizer.found_inf is trainer.losses.failed
    # Of the network this processor's own way out: a mask that hides nothing is not applied.
    trainer.model.config.use_attention_mask = False
    loader = iter(trainer.get_train_dataloader())
    # The loader's seed is read once.
    next(loader)
    with no_waiting():
        for _ in range(2):
            batches, weight = trainer.get_batch_samples(loader, 1, trainer.args.device)
            loss = trainer.training_step(trainer.model, batches[0], weight)
            optimizer.step()
            optimizer.zero_grad()
    assert loss.isfinite()
    with pytest.raises(AssertionError, match="waits"), no_waiting():
        trainer.check_losses()


class CountGraphs(TrainerCallback):
    """Notes how many graphs were compiled by the end of each epoch and of its evaluation."""

    def __init__(self):
        self.counts = []

    def on_epoch_end(self, args, state, control, **kwargs):
        self.counts.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])

    on_evaluate = on_epoch_end


def test_train_when_compiled_compiles_once_for_all_lengths_and_sizes(tmp_path):
    """Three lengths, each also as a batch that is not full, and evaluation between the epochs."""
    few = {"batch_size": 7, "lengths": (32, 40, 48), "save_strategy": "no"}
    plain = make_trainer(tmp_path / "plain", **few)
    shapes = set()
    plain.model.dusha.register_forward_pre_hook(
        lambda module, inputs: shapes.add(inputs[0].shape[:2]) if module.training else None
    )
    plain.train()
    assert {length for _, length in shapes} == {32, 40, 48}
    assert {size for size, _ in shapes} == {3, 7} and len(shapes) > 4

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    # The compiler up to its graph, without kernels: what is compiled again is so here, too.
    compiled = make_trainer(tmp_path / "compiled", torch_compile_backend="eager", **few)
    graphs = CountGraphs()
    compiled.add_callback(graphs)
    compiled.train()
    # After each epoch and each evaluation, which takes the network as it is.
    assert graphs.counts == [1] * 6
    for name, value in weights(plain.model).items():
        torch.testing.assert_close(compiled.model.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_fused_optimizer_learns_what_the_other_does(tmp_path):
    learnt = []
    for name in ("plain", "fused"):
        trainer = make_trainer(tmp_path / name, num_train_epochs=1, save_strategy="no")
        trainer.checks_each_step = name == "plain"
        trainer.train()
        learnt.append(weights(trainer.model))
    for name, value in learnt[0].items():
        torch.testing.assert_close(value, learnt[1][name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_train_when_resumed_with_another_learning_rate_takes_that(tmp_path, schedule):
    make_trainer(tmp_path, num_train_epochs=1, lr_scheduler_type=schedule).train()
    checkpoint = find_checkpoint(tmp_path)
    before = small_classifier().from_pretrained(checkpoint)
    options = {"num_train_epochs": 2, "lr_scheduler_type": schedule, "learning_rate": 0.0}
    trainer = make_trainer(tmp_path, **options)
    trainer.train(resume_from_checkpoint=checkpoint)
    assert trainer.state.global_step == 6
    for first, second in zip(before.parameters(), trainer.model.parameters(), strict=True):
        assert torch.equal(first, second)


def test_train_when_the_disk_is_full(tmp_path):
    """The kernel's own full disk stands where the second checkpoint's file would be written."""
    trainer = make_trainer(tmp_path)
    (tmp_path / "checkpoint-6").mkdir()
    (tmp_path / "checkpoint-6" / "optimizer.pt").symlink_to("/dev/full")
    with pytest.raises(WorkFailedError, match=r"could not be saved.*make room.*checkpoint-3"):
        trainer.train()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-3"]
    assert is_complete(tmp_path / "checkpoint-3")
    resumed = make_trainer(tmp_path)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    undisturbed = make_trainer(tmp_path / "undisturbed")
    undisturbed.train()
    assert_same_weights(weights(resumed.model), weights(undisturbed.model))


def test_compute_scores_equals_scikit_learn():
    import sklearn.metrics

    rng = np.random.default_rng(0)
    logits, references = rng.normal(size=(50, 4)), rng.integers(0, 3, 50)
    answers = logits.argmax(1)
    found = compute_scores(EvalPrediction((logits, np.zeros(3)), references))
    assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(references, answers))
    assert found["f1_macro"] == pytest.approx(
        sklearn.metrics.f1_score(references, answers, average="macro")
    )
    recalls = sklearn.metrics.recall_score(references, answers, average=None, labels=[0, 1, 2])
    assert found["balanced_accuracy"] == pytest.approx(recalls.mean())


def test_keep_freed_memory_leaves_results_alone():
    before = torch.ones(1000, 1000).sum()
    keep_freed_memory()
    assert torch.ones(1000, 1000).sum() == before
