"""Whether the losses of a run are finite, known to the device that computes them."""

import torch


class FiniteLosses:
    """Notes the first loss that is NaN or infinite, without waiting for the device.

    Attributes:
        failed: 1 once there was one, else 0: float32, as optimizers take it that are to leave the
            weights alone.
    """

    def __init__(self, device: torch.device):
        self.failed = torch.zeros((), device=device)
        self._first = torch.zeros(2, device=device)

    def add(self, loss: torch.Tensor, step: int) -> None:
        """Note the loss of a step, a scalar."""
        noted = torch.stack([loss.detach().float(), torch.full_like(self.failed, step)])
        self._first = torch.where(self.failed > 0, self._first, noted)
        self.failed.copy_(torch.maximum(self.failed, (~noted[0].isfinite()).float()))

    def first_failure(self) -> tuple[float, int] | None:
        """Return the first loss that is not finite and its step; this waits for the device."""
        failed, loss, step = torch.cat([self.failed.view(1), self._first]).tolist()
        return (loss, int(step)) if failed else None
