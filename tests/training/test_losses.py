import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch.nn import functional

from dusha_ser.training.augmentation import draw
from dusha_ser.training.losses import (
    ClassificationLoss,
    Mixup,
    TeacherLoss,
    adjust_logits,
    learnt_prior,
    training_prior,
)


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


# Of two annotators: how probable each of five answers is under each of four classes.
CONFUSION = torch.tensor(
    [
        [[0.7, 0.1, 0.1, 0.05, 0.05], [0.1, 0.6, 0.2, 0.05, 0.05]]
        + [[0.05, 0.05, 0.8, 0.05, 0.05], [0.1, 0.0, 0.1, 0.7, 0.1]],
        [[0.4, 0.2, 0.2, 0.1, 0.1], [0.1, 0.5, 0.2, 0.1, 0.1]]
        + [[0.1, 0.1, 0.6, 0.1, 0.1], [0.2, 0.1, 0.1, 0.5, 0.1]],
    ],
    dtype=torch.float64,
)
# Annotators and answers of six clips: two, two, one, three, none, and one called other.
GIVEN = [[(0, 0), (1, 1)], [(0, 2), (1, 2)], [(1, 3)], [(0, 3), (1, 3), (1, 0)], [], [(0, 4)]]


def log_likelihoods(given):
    rows = [
        sum((CONFUSION[one, :, answer].log() for one, answer in clip), torch.zeros(4).double())
        for clip in given
    ]
    return torch.stack(rows)


def answer_loss(logits, given):
    """The loss answer by answer, as it is defined: one class, which all answers are about."""
    losses = []
    for chances, clip in zip(logits.softmax(1), given, strict=True):
        together = sum(
            chances[true] * math.prod(CONFUSION[one, true, answer] for one, answer in clip)
            for true in range(4)
        )
        losses.append(-torch.log(torch.as_tensor(together)))
    return torch.stack(losses)


@pytest.mark.parametrize("lower", [False, True])
def test_answers_loss_and_its_gradient_equal_those_of_the_answers(logits, lower):
    ours = logits.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=lower):
        losses = ClassificationLoss("answers")(ours, log_likelihoods(GIVEN).float())
    losses.sum().backward()
    exact = logits.double().requires_grad_()
    expected = answer_loss(exact, GIVEN)
    expected.sum().backward()
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_answers_loss_when_annotators_are_perfect_is_cross_entropy(logits, smoothing):
    perfect = torch.where(functional.one_hot(LABELS, 4) > 0, 0.0, -1000.0)
    loss = ClassificationLoss("answers", smoothing)
    hard = ClassificationLoss("hard", smoothing)
    torch.testing.assert_close(loss(logits, perfect), hard(logits, LABELS))
    weighted = (
        ClassificationLoss(kind, class_weights=np.array([4.0, 2.0, 1.0, 3.0])).factors(labels)
        for kind, labels in (("answers", perfect), ("hard", LABELS))
    )
    torch.testing.assert_close(*weighted)


def test_answers_loss_draws_the_prior_to_the_posterior_of_dawid_skene():
    prior = torch.tensor([0.1, 0.2, 0.3, 0.4])
    logits = prior.log().repeat(len(GIVEN), 1).requires_grad_()
    values = log_likelihoods(GIVEN).float()
    ClassificationLoss("answers")(logits, values).sum().backward()
    posterior = (values + prior.log()).softmax(1)
    torch.testing.assert_close(-logits.grad, posterior - prior)


def test_answers_loss_when_nothing_is_known_teaches_nothing(logits):
    logits.requires_grad_()
    losses = ClassificationLoss("answers")(logits, torch.zeros(6, 4))
    losses.sum().backward()
    torch.testing.assert_close(losses, torch.zeros(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(logits.grad, torch.zeros(6, 4), atol=1e-6, rtol=0)


def test_answers_loss_of_a_network_that_is_sure_of_the_wrong_class_is_finite():
    logits = torch.tensor([[1e4, 0.0, 0.0, 0.0]]).requires_grad_()
    values = torch.tensor([[-900.0, 0.0, -2000.0, -1000.0]])
    loss = ClassificationLoss("answers")(logits, values)
    loss.sum().backward()
    assert loss.item() == 900
    assert torch.isfinite(logits.grad).all()


def test_answers_loss_of_one_answer_is_that_of_crowd_kits_layer(logits):
    learning = pytest.importorskip("crowdkit.learning")
    layer = learning.CrowdLayer(5, 2)
    with torch.no_grad():
        # Of an annotator: from classes, `other` among them, to answers.
        layer.weight[:, :, :4] = CONFUSION.float().transpose(1, 2)
    given = [[(clip % 2, answer)] for clip, answer in enumerate([0, 1, 2, 2, 4, 0])]
    chances = functional.pad(logits.softmax(1), (0, 1))
    answered = layer(chances, torch.tensor([clip[0][0] for clip in given]))
    theirs = -torch.stack(
        [row[clip[0][1]] for row, clip in zip(answered, given, strict=True)]
    ).log()
    ours = ClassificationLoss("answers")(logits, log_likelihoods(given).float())
    torch.testing.assert_close(ours, theirs)


def test_class_weights_in_the_loss_equal_those_of_cross_entropy(logits):
    weights = np.array([10.0, 20.0, 1.0, 5.0])
    loss = ClassificationLoss("hard", class_weights=weights)
    factors = loss.factors(LABELS)
    value = (loss(logits, LABELS) * factors).sum() / factors.sum()
    expected = functional.cross_entropy(logits, LABELS, torch.tensor(weights).float())
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("factor", [0.5, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_adjusted_loss_equals_that_of_logits_with_logarithms_of_the_prior(
    logits, factor, smoothing
):
    prior = training_prior(np.eye(4)[LABELS.numpy()], np.ones(6), None, smoothing)
    shares = np.array([1, 1, 3, 1]) / 6
    np.testing.assert_allclose(prior, (1 - smoothing) * shares + smoothing / 4)
    loss = ClassificationLoss("hard", smoothing, adjustment=adjust_logits(prior, factor))
    # Menon et al. 2021, equation 10: log(1 + sum of (prior' / prior)^tau exp(logit' - logit)).
    values, numbers = logits.double().numpy(), LABELS.numpy()
    targets = (1 - smoothing) * np.eye(4)[numbers] + smoothing / 4
    ratios = (prior[None] / prior[:, None]) ** factor
    each = np.array(
        [[np.log((ratios[y] * np.exp(row - row[y])).sum()) for y in range(4)] for row in values]
    )
    expected = (targets * each).sum(axis=1)
    np.testing.assert_allclose(loss(logits, LABELS).numpy(), expected, rtol=1e-5)


def test_prior_is_what_the_loss_sees_of_clips_by_their_weights_and_probabilities():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    found = training_prior(probabilities, np.array([1.0, 0.5]))
    np.testing.assert_allclose(found, np.array([1.0, 0.5, 1.0]) / 2.5)
    weights = np.array([1.0, 2.0, 1.0])
    found = training_prior(np.eye(3)[[0, 1, 2, 2]], np.ones(4), weights)
    np.testing.assert_allclose(found, np.array([1, 2, 2]) / 5)


def test_logits_learnt_so_adjusted_assume_what_is_left_of_the_prior():
    """The best probabilities, less the adjustment, are those of classes of that prior."""
    prior, factor = np.array([0.7, 0.2, 0.1]), 0.4
    likelihoods = np.random.default_rng(0).random((5, 3))
    posteriors = likelihoods * prior / (likelihoods * prior).sum(1, keepdims=True)
    logits = np.log(posteriors) - adjust_logits(prior, factor)
    found = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = likelihoods * learnt_prior(prior, factor)
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), rtol=1e-12)


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


def teacher_oracle(logits, labels, teachers, weight, temperature):
    """The loss of each clip as Hinton et al. write it, in double precision by NumPy."""

    def softmax(values):
        raised = np.exp(values - values.max(1, keepdims=True))
        return raised / raised.sum(1, keepdims=True)

    taught = softmax(np.log(teachers) / temperature)
    ours = softmax(logits / temperature)
    divergence = (taught * (np.log(taught) - np.log(ours))).sum(1)
    hard = -np.log(softmax(logits))[np.arange(len(labels)), labels]
    return (1 - weight) * hard + weight * temperature**2 * divergence


@pytest.mark.parametrize(("weight", "temperature"), [(0.5, 2.0), (1.0, 4.0), (0.3, 1.0)])
def test_teacher_loss_and_its_gradient_equal_an_oracle(logits, weight, temperature):
    logits = logits.double().requires_grad_()
    teachers = torch.rand(6, 4, generator=torch.Generator().manual_seed(1)).double().numpy()
    teachers /= teachers.sum(1, keepdims=True)
    loss = TeacherLoss(weight, temperature)
    softened = np.exp(np.log(teachers) / temperature)
    softened /= softened.sum(1, keepdims=True)
    np.testing.assert_allclose(loss.soften(teachers), softened, rtol=1e-6)
    hard = functional.cross_entropy(logits, LABELS, reduction="none")
    losses = loss(hard, logits, {"teachers": torch.from_numpy(softened)})
    values = logits.detach().numpy()
    expected = teacher_oracle(values, LABELS.numpy(), teachers, weight, temperature)
    np.testing.assert_allclose(losses.detach().numpy(), expected, rtol=1e-12)
    losses.sum().backward()
    # Central differences of the oracle.
    step = 1e-5
    for place in np.ndindex(values.shape):
        moved = [values.copy(), values.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        sums = [
            teacher_oracle(one, LABELS.numpy(), teachers, weight, temperature).sum()
            for one in moved
        ]
        assert logits.grad[place].item() == pytest.approx(
            (sums[0] - sums[1]) / (2 * step), abs=1e-8
        )


def test_teacher_loss_when_the_teacher_is_sure_of_the_labels_is_theirs(logits):
    teachers = functional.one_hot(LABELS, 4).float()
    loss = TeacherLoss(0.5, 1.0)
    assert loss.soften(teachers.numpy()).tolist() == teachers.tolist()
    hard = ClassificationLoss("hard")(logits, LABELS)
    torch.testing.assert_close(loss(hard, logits, {"teachers": teachers}), hard)


def test_teacher_loss_of_clips_without_labels_is_the_teachers_alone(logits):
    teachers = torch.full((6, 4), 0.25)
    hard = ClassificationLoss("hard")(logits, LABELS)
    labelled = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    loss = TeacherLoss(0.5, 2.0)
    found = loss(hard, logits, {"teachers": teachers, "labelled": labelled})
    both, alone = (loss(one, logits, {"teachers": teachers}) for one in (hard, hard * 0))
    torch.testing.assert_close(found[::2], both[::2])
    torch.testing.assert_close(found[1::2], alone[1::2])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mix_of_clips_with_and_without_labels_has_the_mean_of_their_losses(logits, smoothing):
    labelled = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    teachers = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
    teachers /= teachers.sum(1, keepdim=True)
    batch = {"labels": LABELS, "labelled": labelled, "teachers": teachers}
    shares, others = np.full(6, 0.75), np.array([1, 2, 3, 2, 0, 4])
    mixed = Mixup(1.0, 4).mix(batch, shares, others)
    torch.testing.assert_close(mixed["teachers"], 0.75 * teachers + 0.25 * teachers[others])
    classification = ClassificationLoss("hard", smoothing)
    found = mixed["labelled"] * classification(logits, mixed["labels"])
    first, second = (classification(logits, one) for one in (LABELS, LABELS[others]))
    expected = 0.75 * labelled * first + 0.25 * labelled[others] * second
    torch.testing.assert_close(found, expected)
