"""The moving average of the weights."""

import torch
from transformers import TrainerCallback


class WeightAverage:
    """A moving average of a model's weights, which can take their place and give it back.

    In the beginning it forgets faster, as the first weights are not worth keeping.

    Args:
        decay: share of the old average that stays at each step, in (0, 1).

    Example:
        >>> average, model = WeightAverage(0.9), torch.nn.Linear(1, 1)
        >>> average.update(model)
        >>> bool(torch.equal(average.weights["weight"], model.weight))
        True
    """

    def __init__(self, decay: float):
        self.decay = decay
        self.steps = 0
        self.weights: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """Take the model's weights of one more step into the average."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in model.state_dict().items():
            if name not in self.weights or not value.is_floating_point():
                self.weights[name] = value.detach().clone()
            else:
                self.weights[name].lerp_(value, 1 - decay)
        self.steps += 1

    @torch.no_grad()
    def swap(self, model: torch.nn.Module) -> None:
        """Exchange the average and the model's weights."""
        for name, value in model.state_dict().items():
            kept = value.clone()
            value.copy_(self.weights[name])
            self.weights[name] = kept


class AverageCallback(TrainerCallback):
    """Takes the weights of each step into an average.

    Args:
        average: of the weights.
        model: whose weights they are.
    """

    def __init__(self, average: WeightAverage, model: torch.nn.Module):
        self.average = average
        self.model = model

    def on_step_end(self, args, state, control, **kwargs):
        """Update the average."""
        self.average.update(self.model)
