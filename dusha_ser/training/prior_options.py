"""Options of classes that are not as frequent as predictions are to take them; nothing heavy."""

from dataclasses import dataclass

from dusha_ser import options as shared
from dusha_ser.errors import WrongUseError
from dusha_ser.options import option


@dataclass(kw_only=True)
class PriorOptions:
    """How skewed classes are learnt, and how frequent predictions take them to be."""

    logit_adjustment: float = option(
        "learn with logits plus this many times the logarithm of the classes' shares; with 1 the "
        "model predicts as if all were as frequent; 0: as they are in training",
        0.0,
        least=0,
        rare=True,
    )
    prior: str | dict[str, float] | None = shared.prior(rare=True)

    def check_prior(self, loss: str, weighted: bool, taught: bool) -> None:
        """Raise a WrongUseError where classes have no shares, or others are learnt, too."""
        for name in ("logit_adjustment", "prior"):
            if loss == "multi" and getattr(self, name):
                raise WrongUseError(
                    f"`{name}` is for one label per clip, and `loss=multi` learns several: leave "
                    "one of them out"
                )
        if self.logit_adjustment and weighted:
            raise WrongUseError(
                "`logit_adjustment` and `class_weights` both make up for skewed classes: take one"
            )
        if self.logit_adjustment and taught:
            raise WrongUseError(
                "`logit_adjustment` learns logits of other shares than a `teacher` has: take "
                "`prior`, which changes them afterwards"
            )
