"""How frequent a model takes each class to be, and what it predicts where they are otherwise.

A network learns how probable a class is among its training clips. Where classes are otherwise
frequent, Bayes' rule multiplies probabilities by the ratio of the shares, which adds its logarithm
to the logits (Saerens et al. 2002; Menon et al. 2021, section 4.1).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dusha_ser.errors import WrongUseError
from dusha_ser.options import UNIFORM
from modeling_dusha import is_multi_label


def read_prior(given: str | Mapping[str, float], labels: Sequence[str]) -> np.ndarray:
    """Turn shares of classes as people write them into one number per class.

    Args:
        given: "uniform", or all classes as "angry=10,sad=20,...", of any sum, or as a mapping.
        labels: of the model, in the order of their numbers.

    Returns:
        (classes,) above 0, whose sum is 1.

    Raises:
        WrongUseError: if a class is missing or unknown, or a share is not a number above 0.

    Examples:
        >>> read_prior("yes=1,no=3", ["no", "yes"]).tolist()
        [0.75, 0.25]
        >>> read_prior("uniform", ["no", "yes"]).tolist()
        [0.5, 0.5]
    """
    if given == UNIFORM:
        return np.full(len(labels), 1 / len(labels))
    shares: dict[str, float] = {}
    pairs = given.split(",") if isinstance(given, str) else [f"{a}={b}" for a, b in given.items()]
    for pair in pairs:
        name, _, value = (part.strip() for part in pair.partition("="))
        try:
            shares[name] = float(value)
        except ValueError:
            shares[name] = 0.0
    if sorted(shares) != sorted(labels) or not all(0 < one < np.inf for one in shares.values()):
        raise WrongUseError(
            f"`prior` is {','.join(pairs)}: give {UNIFORM}, or CLASS=SHARE with commas, a number "
            f"above 0 for each of {', '.join(labels)}"
        )
    values = np.array([shares[label] for label in labels])
    return values / values.sum()


def assume_prior(config: Any, given: str | Mapping[str, float]) -> None:
    """Let a model predict for classes of other shares, by its configuration's `logit_bias`.

    Args:
        config: of a model of Dusha's network with a `class_prior`; both are changed.
        given: the shares, as `read_prior` takes them.

    Raises:
        WrongUseError: if they are wrong, the network is another, a clip may have several labels,
            or it is not known which shares the model assumes.

    Examples:
        >>> from configuration_dusha import DushaConfig
        >>> config = DushaConfig(id2label={0: "no", 1: "yes"}, class_prior=[0.8, 0.2])
        >>> assume_prior(config, "uniform")
        >>> [round(value, 4) for value in config.logit_bias], config.class_prior
        ([-0.47, 0.9163], [0.5, 0.5])
    """
    if config.model_type != "dusha":
        raise WrongUseError(
            f"`prior` is for Dusha's network, and this one is {config.model_type}: leave it out"
        )
    if is_multi_label(config.problem_type):
        raise WrongUseError(
            "`prior` is that of one label per clip, and this model gives several: leave it out"
        )
    wanted = read_prior(given, [config.id2label[number] for number in range(config.num_labels)])
    if config.class_prior is None:
        raise WrongUseError(
            "`prior` needs the shares of the classes that the model was trained on, which its "
            "config.json does not say: set `class_prior` there, one share per label"
        )
    bias = np.log(wanted / np.array(config.class_prior))
    before = 0.0 if config.logit_bias is None else np.array(config.logit_bias)
    config.logit_bias = (before + bias).tolist()
    config.class_prior = wanted.tolist()


def describe_prior(labels: Sequence[str], shares: Sequence[float]) -> str:
    """Say in words how frequent classes are.

    Examples:
        >>> describe_prior(["no", "yes"], [0.75, 0.25])
        'no 75.0 %, yes 25.0 %'
    """
    return ", ".join(
        f"{label} {100 * share:.1f} %" for label, share in zip(labels, shares, strict=True)
    )
