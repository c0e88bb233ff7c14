"""Losses for labels of a crowd: one per clip, their probabilities, several, or the answers.

And for the probabilities of teachers, beside the labels or in their place.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.special
import torch
from torch.nn import functional

from dusha_ser.training.augmentation import Draws, send

# Names in a batch of what a TeacherLoss reads.
TEACHER_TARGETS = ("teachers", "labelled")


@dataclass(frozen=True)
class ClassificationLoss:
    """The loss of each clip of a batch.

    Attributes:
        kind: "hard" (class numbers) or "soft" (probabilities of the classes) for cross-entropy,
            "multi" (0 or 1 for each class) for binary cross-entropy, "answers" (log-likelihoods of
            a clip's answers under each class, as of `labels.likelihoods`) for how improbable the
            answers are where the network gives the classes' probabilities before them.
        label_smoothing: share of the target that is spread evenly over the classes, in [0, 1).
        class_weights: weight of each class in the loss, (labels,); None: 1 each.
        adjustment: added to the logits, (labels,), as of `logit_adjustment`; None: nothing.

    Examples:
        >>> logits = torch.zeros(2, 4)
        >>> ClassificationLoss("hard")(logits, torch.tensor([0, 3])).round(decimals=3).tolist()
        [1.3860000371932983, 1.3860000371932983]
        >>> ClassificationLoss(class_weights=[2, 1, 1, 1]).factors(torch.tensor([0, 3])).tolist()
        [2.0, 1.0]
    """

    kind: str = "hard"
    label_smoothing: float = 0.0
    class_weights: np.ndarray | None = None
    adjustment: np.ndarray | None = None

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the loss of each clip.

        Args:
            logits: (batch, labels).
            labels: (batch,) class numbers, or (batch, labels) in [0, 1], of "answers" at most 0.

        Returns:
            (batch,) in nats, at least 0.
        """
        logits, smoothing = logits.float(), self.label_smoothing
        if self.adjustment is not None:
            logits = logits + self._placed("adjustment", logits.device)
        if self.kind == "answers":
            # The answers to a clip have one true class together. A clip counts once, however many
            # answers it has: its gradient is the network's probabilities less what they become
            # when the answers are known, so more answers are surer, not louder.
            chances = functional.log_softmax(logits, 1)
            losses = -torch.logsumexp(chances + labels, 1)
            # As cross-entropy does it, which this is where the answers leave no doubt.
            return losses * (1 - smoothing) - chances.mean(1) * smoothing
        if self.kind != "multi":
            return functional.cross_entropy(
                logits, labels, reduction="none", label_smoothing=smoothing
            )
        targets = one_hot(labels, logits.shape[1]) * (1 - smoothing) + smoothing / 2
        losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return losses.mean(1)

    def factors(self, labels: torch.Tensor) -> torch.Tensor:
        """Return (batch,): the weight of a clip's class, or the mean of its classes' weights."""
        if self.class_weights is None:
            return torch.ones(len(labels), device=labels.device)
        weights = self._placed("class_weights", labels.device)
        labels = labels.softmax(1) if self.kind == "answers" else labels
        targets = one_hot(labels, len(weights))
        # A clip of no class weighs as one of all classes.
        targets = torch.where(targets.sum(1, keepdim=True) > 0, targets, 1.0)
        return (targets @ weights) / targets.sum(1)

    def _placed(self, name: str, device: torch.device) -> torch.Tensor:
        # Once for each device: to copy them at each step would make it wait.
        kept = self.__dict__.setdefault("_kept", {})
        if (name, device) not in kept:
            values = getattr(self, name)
            kept[name, device] = torch.as_tensor(values, dtype=torch.float32, device=device)
        return kept[name, device]


def training_prior(
    shares: np.ndarray,
    weights: np.ndarray,
    class_weights: np.ndarray | None = None,
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """Return the share of each class in what a loss for one label per clip is compared with.

    Args:
        shares: how much of each clip is of each class, (clips, classes); a class without clips
            counts as if it had one.
        weights: of the clips, (clips,).
        class_weights: by which clips are drawn or weighed, (classes,); None: all alike.
        label_smoothing: part of each clip's target that is spread evenly, in [0, 1): without it a
            rare class, of which the network learns that it is never impossible, would be taken
            for the most probable one of any clip.

    Returns:
        (classes,) above 0, whose sum is 1.

    Examples:
        >>> shares = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
        >>> training_prior(shares, np.ones(4)).tolist()
        [0.75, 0.25]
        >>> training_prior(shares, np.ones(4), label_smoothing=0.4).round(2).tolist()
        [0.65, 0.35]
    """
    mass = (shares * weights[:, None]).sum(axis=0, dtype=np.float64)
    mass = np.where(mass > 0, mass, 1.0) * (1.0 if class_weights is None else class_weights)
    return (1 - label_smoothing) * mass / mass.sum() + label_smoothing / len(mass)


def adjust_logits(prior: np.ndarray, factor: float) -> np.ndarray:
    """Return what is added to logits while they are learnt (Menon et al. 2021, equation 10).

    Args:
        prior: share of each class among the training clips, (classes,).
        factor: of the logarithm, their tau.

    Returns:
        (classes,), at most 0.
    """
    return factor * np.log(prior)


def learnt_prior(prior: np.ndarray, factor: float) -> np.ndarray:
    """Return the shares that logits assume which were learnt so adjusted, (classes,) of sum 1.

    Examples:
        >>> learnt_prior(np.array([0.8, 0.2]), 1.0).tolist()
        [0.5, 0.5]
    """
    left = prior ** (1 - factor)
    return left / left.sum()


def one_hot(labels: torch.Tensor, count: int) -> torch.Tensor:
    """Return class numbers (batch,) as float32 (batch, count); what has that shape stays."""
    if labels.ndim == 1:
        # functional.one_hot reads the labels to check them.
        labels = labels.unsqueeze(1) == torch.arange(count, device=labels.device)
    return labels.float()


@dataclass(frozen=True)
class TeacherLoss:
    """Mixes the loss of labels with the divergence from teachers (Hinton et al. 2015, section 2).

    (1 - weight) * loss of labels + weight * T^2 * KL(teachers at T || network at T). The factor T^2
    keeps the share of the gradients that come from teachers about the same at all temperatures.

    Attributes:
        weight: share of the teachers, in [0, 1].
        temperature: T, which divides logits, above 0.

    Examples:
        >>> loss = TeacherLoss(weight=1.0, temperature=1.0)
        >>> teachers = torch.tensor([[0.5, 0.5]])
        >>> loss(torch.zeros(1), torch.zeros(1, 2), {"teachers": teachers}).tolist()
        [0.0]
    """

    weight: float
    temperature: float

    def soften(self, probabilities: np.ndarray) -> np.ndarray:
        """Return what probabilities (clips, labels) are at the temperature, float32.

        Logarithms of probabilities are logits but for a constant, which softmax does not see.
        """
        with np.errstate(divide="ignore"):
            logits = np.log(probabilities.astype(np.float64))
        return scipy.special.softmax(logits / self.temperature, axis=1).astype(np.float32)

    def __call__(
        self,
        label_losses: torch.Tensor,
        logits: torch.Tensor,
        targets: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """Compute the loss of each clip.

        Args:
            label_losses: (batch,), of the labels.
            logits: (batch, labels) of the network.
            targets: "teachers", softened probabilities (batch, labels), and, where there are clips
                without labels, "labelled", (batch,) in [0, 1].

        Returns:
            (batch,) in nats, at least 0.
        """
        teachers = targets["teachers"]
        # In double precision logits stay what they are.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / self.temperature
        divergences = functional.kl_div(logits.log_softmax(1), teachers, reduction="none").sum(1)
        if "labelled" in targets:
            label_losses = label_losses * targets["labelled"]
        weight = self.weight * self.temperature**2
        return (1 - self.weight) * label_losses + weight * divergences


@dataclass(frozen=True)
class Mixup:
    """Mixes each clip of a batch, and its label, with another one (Zhang et al. 2018).

    Attributes:
        concentration: both parameters of the beta distribution of the shares, above 0.
        classes: their number.
    """

    concentration: float
    classes: int

    def pair(self, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        """Return each clip's share of its mixture, in [0.5, 1], and the number of the other."""
        share = scipy.special.betaincinv(self.concentration, self.concentration, draws.mixed_share)
        # The larger part stays in its place, so that lengths and labels belong to it.
        return np.maximum(share, 1 - share), np.argsort(draws.mixed_order)

    def mix(
        self, batch: dict[str, torch.Tensor], shares: np.ndarray, others: np.ndarray
    ) -> dict[str, torch.Tensor]:
        """Mix the first clips of a batch.

        Args:
            batch: the model's inputs, labels and weights, and the targets of a TeacherLoss.
            shares: of the clips that are mixed, (mixed,); those behind are mixed into them only.
            others: the number of the clip that each is mixed with, (mixed,).

        Returns:
            The batch with labels (mixed, classes); a frame is real where it is in either clip.
        """
        device = next(iter(batch.values())).device
        part = send(torch.from_numpy(shares.astype(np.float32)), device)
        other = send(torch.from_numpy(others), device)
        mixed = dict(batch, labels=one_hot(batch["labels"], self.classes))
        if "labelled" in batch:
            # Labels that mean nothing have no part in a mixture.
            mixed["labels"] = mixed["labels"] * batch["labelled"].unsqueeze(1)
        for name, values in mixed.items():
            own, theirs = values[: len(part)], values[other]
            if name == "attention_mask":
                mixed[name] = torch.maximum(own, theirs)
            else:
                share = part.view(-1, *[1] * (values.ndim - 1))
                mixed[name] = own * share + theirs * (1 - share)
        if "labelled" in batch:
            # The loss of labels is multiplied by what of the mixture has some.
            known = mixed["labelled"].clamp(min=torch.finfo(torch.float32).tiny)
            mixed["labels"] = mixed["labels"] / known.unsqueeze(1)
        return mixed
