"""Finds what would make the processor wait for an accelerator, where there is none."""

import contextlib

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# Operations that read values, and methods that show them to Python.
OPERATIONS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique")
METHODS = ("tolist", "numpy", "item", "__bool__", "__int__", "__float__", "__index__", "__array__")


class _NoReading(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.name().partition("::")[2]
        assert not name.startswith(OPERATIONS), f"{name} waits"
        if name.startswith("index."):
            assert all(one is None or one.dtype != torch.bool for one in arguments[1]), "waits"
        return function(*arguments, **options or {})


class _NoShowing(TorchFunctionMode):
    def __torch_function__(self, function, types, arguments=(), options=None):
        name = getattr(function, "__name__", "")
        assert name not in METHODS, f"{name} waits"
        return function(*arguments, **options or {})


@contextlib.contextmanager
def no_waiting():
    """Fail where a value of a tensor is read, as an accelerator would have to be waited for."""
    with _NoShowing(), _NoReading():
        yield
