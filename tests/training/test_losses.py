import numpy as np
import pytest
import torch
from torch.nn import functional

from dusha_ser.training.losses import ClassificationLoss, mix_clips


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
    mixed = mix_clips(batch, 4, 0.4)
    torch.testing.assert_close(mixed["input_features"][:, 0], mixed["labels"])
    torch.testing.assert_close(mixed["labels"].sum(1), torch.ones(32))
    assert (mixed["labels"].gather(1, labels.unsqueeze(1)) >= 0.5).all()
    assert (mixed["labels"].max(1).values < 0.999).any()
    assert (mixed["attention_mask"] >= mask).all()
    assert batch["labels"].shape == (32,)
