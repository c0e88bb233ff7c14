import numpy as np
import pytest
import scipy.stats
import torch
from torch.nn import functional

from dusha_ser.training.augmentation import draw
from dusha_ser.training.losses import ClassificationLoss, Mixup


@pytest.fixture
def logits():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 1, 2, 3, 2, 2])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hard_loss_equals_cross_entropy(logits, smoothing):
    expected = functional.cross_entropy(logits, LABELS, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(ClassificationLoss("hard", smoothing)(logits, LABELS), expected)


def test_soft_loss_equals_cross_entropy_with_probabilities(logits):
    targets = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
    targets /= targets.sum(1, keepdim=True)
    expected = functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(ClassificationLoss("soft")(logits, targets), expected)


def test_multi_loss_equals_binary_cross_entropy(logits):
    targets = (torch.rand(6, 4, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    expected = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    torch.testing.assert_close(ClassificationLoss("multi")(logits, targets), expected.mean(1))


def test_class_weights_in_the_loss_equal_those_of_cross_entropy(logits):
    weights = np.array([10.0, 20.0, 1.0, 5.0])
    loss = ClassificationLoss("hard", class_weights=weights)
    factors = loss.factors(LABELS)
    value = (loss(logits, LABELS) * factors).sum() / factors.sum()
    expected = functional.cross_entropy(logits, LABELS, torch.tensor(weights).float())
    torch.testing.assert_close(value, expected)


def test_class_weights_when_clips_have_several_classes_or_none():
    loss = ClassificationLoss("multi", class_weights=np.array([4.0, 2.0, 1.0]))
    labels = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(loss.factors(labels), torch.tensor([3.0, 1.0, 7 / 3]))


def test_mix_clips_mixes_inputs_and_labels_by_the_same_share():
    labels = torch.arange(4).repeat(8)
    features = torch.eye(4)[labels].unsqueeze(1).repeat(1, 3, 1)
    mask = (torch.arange(3) < torch.randint(1, 4, (32, 1))).long()
    batch = {
        "input_features": features,
        "attention_mask": mask,
        "labels": labels,
        "weights": torch.ones(32),
    }
    mixup = Mixup(0.4, 4)
    mixed = mixup.mix(batch, *mixup.pair(draw(np.arange(32))))
    torch.testing.assert_close(mixed["input_features"][:, 0], mixed["labels"])
    torch.testing.assert_close(mixed["labels"].sum(1), torch.ones(32))
    assert (mixed["labels"].gather(1, labels.unsqueeze(1)) >= 0.5).all()
    assert (mixed["labels"].max(1).values < 0.999).any()
    assert (mixed["attention_mask"] >= mask).all()
    assert batch["labels"].shape == (32,)


def test_mixup_pairs_each_clip_with_one_by_the_larger_part_of_a_beta_distribution():
    draws = draw(np.arange(5000))
    shares, others = Mixup(0.4, 4).pair(draws)
    assert sorted(others.tolist()) == list(range(5000))
    assert (shares >= 0.5).all()
    # Folded in the middle, the symmetric distribution has twice its density.
    folded = scipy.stats.beta(0.4, 0.4)
    found = scipy.stats.kstest(shares, lambda value: 2 * folded.cdf(value) - 1)
    assert found.pvalue > 0.001


def test_mix_clips_when_others_belong_to_another_process_leaves_these_out():
    batch = {"input_features": torch.eye(4)[:3].unsqueeze(1), "labels": torch.arange(3)}
    mixed = Mixup(1.0, 4).mix(batch, np.array([0.75]), np.array([2]))
    assert mixed["labels"].tolist() == [[0.75, 0.0, 0.25, 0.0]]
    assert mixed["input_features"].tolist() == [[[0.75, 0.0, 0.25, 0.0]]]
