"""The moving average of the weights, which is what is evaluated and saved."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel
from transformers import TrainerCallback

TRAINED_WEIGHTS = "trained_weights.pt"


def make_average(model: torch.nn.Module, decay: float) -> AveragedModel:
    """Make an exponential moving average of a model's weights and statistics.

    In the beginning it forgets faster than by `decay`, the share of the old average that stays at
    each step, in (0, 1): the first weights are not worth keeping.
    """

    @torch.no_grad()
    def update(
        averages: Sequence[torch.Tensor], values: Sequence[torch.Tensor], steps: torch.Tensor | int
    ) -> None:
        kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
        for average, value in zip(averages, values, strict=True):
            # Counters of steps are not averaged.
            average.lerp_(value, 1 - kept) if value.is_floating_point() else average.copy_(value)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)


@torch.no_grad()
def swap_weights(model: torch.nn.Module, other: torch.nn.Module) -> None:
    """Exchange the weights and statistics of two models of the same kind."""
    for ours, theirs in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        kept = ours.clone()
        ours.copy_(theirs)
        theirs.copy_(kept)


class AverageCallback(TrainerCallback):
    """Averages the weights of each training step, and leaves the average as the result.

    Attributes:
        checkpoint: folder that training resumes from; None: it starts from the beginning.
    """

    def __init__(self, model: torch.nn.Module, decay: float):
        self.model = model
        self.average = make_average(model, decay)
        self.checkpoint: str | None = None
        self.training = False

    def on_train_begin(self, args, state, control, **kwargs):
        """Take the weights of a checkpoint apart into the average and those to train on."""
        self.training = True
        if self.checkpoint:
            # The model of the checkpoint is the average.
            path = Path(self.checkpoint, TRAINED_WEIGHTS)
            trained = torch.load(path, map_location=args.device, weights_only=True)
            self.average.load_state_dict(trained)
            swap_weights(self.model, self.average.module)

    def on_step_end(self, args, state, control, **kwargs):
        """Add the weights of the step."""
        self.average.update_parameters(self.model)

    def on_train_end(self, args, state, control, **kwargs):
        """Leave the average in the model, unless a better epoch was loaded."""
        self.training = False
        is_best_loaded = args.load_best_model_at_end and state.best_model_checkpoint is not None
        if self.average.n_averaged and not is_best_loaded:
            swap_weights(self.model, self.average.module)

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Put the average in the place of the weights, during training."""
        if not self.training or not self.average.n_averaged:
            yield
            return
        swap_weights(self.model, self.average.module)
        try:
            yield
        finally:
            swap_weights(self.model, self.average.module)
