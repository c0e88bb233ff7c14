"""Numbers too small to be normal: who takes them for 0, who holds some, and networks that do."""

import contextlib
from collections.abc import Iterator

import torch
from torch.nn.modules.module import register_module_forward_hook
from transformers.modeling_outputs import SequenceClassifierOutput

from configuration_dusha import DushaConfig
from dusha_ser.cli.main import main as dusha
from modeling_dusha import DushaForAudioClassification

# The bits of 7e-40.
BITS = 500_000


def flushes(count: int = 400_000) -> bool:
    """Tell whether a product with subnormal numbers is 0, by default in all threads of PyTorch.

    A product of few numbers is computed by the calling thread alone.
    """
    numbers = torch.full((count,), BITS, dtype=torch.int32).view(torch.float32)
    return not (numbers * torch.ones(len(numbers))).view(torch.int32).any()


@contextlib.contextmanager
def looking() -> Iterator[dict[str, list[bool]]]:
    """Note whether subnormals are flushed each time that a classifier computes, and backwards."""
    assert not flushes(10)
    found = {"forward": [], "backward": []}

    def look(module, inputs, output):
        if not isinstance(output, SequenceClassifierOutput) or torch.compiler.is_compiling():
            return
        found["forward"].append(flushes())
        if output.logits.requires_grad:
            output.logits.register_hook(lambda gradient: found["backward"].append(flushes()))

    handle = register_module_forward_hook(look)
    yield found
    handle.remove()


def run_and_look(*arguments: object) -> dict[str, list[bool]]:
    """Run a command of `dusha` in a process whose threads have not begun, and look."""
    torch.set_num_threads(2)
    with looking() as found:
        dusha([*map(str, arguments), "--quiet"])
    return found


def count_subnormals(tensor: torch.Tensor) -> int:
    """Count them by their bits, which are the same whether or not the processor flushes them."""
    if tensor.dtype != torch.float32:
        return 0
    bits = tensor.detach().contiguous().view(torch.int32)
    return int((((bits & 0x7F800000) == 0) & ((bits & 0x007FFFFF) != 0)).sum())


def let_channels_die(model: torch.nn.Module, share: float) -> torch.nn.Module:
    """Turn a share of the channels inside the blocks into what weight decay leaves of dead ones."""
    for block in model.dusha.blocks:
        dead = round(share * block.depthwise_3x3.convolution.out_channels)
        layers = [layer for layer in (block.expand_1x1, block.depthwise_3x3) if layer is not None]
        rows = [tensor for layer in layers for tensor in layer.state_dict().values() if tensor.ndim]
        rows.append(block.project_1x1.convolution.weight.detach().transpose(0, 1))
        for tensor in rows:
            bits = torch.randint(1, BITS, tensor[:dead].shape, dtype=torch.int32)
            tensor[:dead] = bits.view(torch.float32)
    return model


def network(share: float = 0.0, seed: int = 0, **changes) -> DushaForAudioClassification:
    """A random network, of the published dimensions unless changed, a share of it dead."""
    torch.manual_seed(seed)
    return let_channels_die(DushaForAudioClassification(DushaConfig(**changes)), share)
