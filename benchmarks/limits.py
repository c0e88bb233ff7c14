"""What this machine can do at most, so that each measurement says how far from it it is.

    python -m benchmarks limits

Multiply-adds a second of a large matrix product, in single precision and of 8-bit numbers, bytes a
second of copying memory, of writing and of reading a file, each on one processor, and what the
network needs of the first.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from benchmarks.measuring import Measurement, measuring_options
from configuration_dusha import DushaConfig
from dusha_ser.cli.program import run_program
from dusha_ser.inference.onnx_export import OPSET
from modeling_dusha import DushaForAudioClassification

SIDE = 2048
COPIED_BYTES = 256 * 2**20
FILE_BYTES = 512 * 2**20
LENGTHS = (150, 300, 600)


def fastest(work, rounds: int = 5) -> float:
    """Run work some times; return the least processor time that it took, in seconds."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def peak_product() -> Callable[[], object]:
    """Choose the fastest product of two matrices of SIDE, in single precision, on one processor.

    Of PyTorch's and ONNX Runtime's the faster one: the library behind PyTorch's does not use the
    widest instructions of every maker's processors.
    """
    first, second = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    by_onnx = onnx_product("MatMul", first.numpy(), second.numpy(), onnx.TensorProto.FLOAT)
    return min((lambda: first @ second), by_onnx, key=fastest)


def peak_multiply_adds() -> float:
    """Measure multiply-adds a second in single precision, on one processor."""
    return SIDE**3 / fastest(peak_product())


def peak_8_bit_multiply_adds() -> float:
    """Measure multiply-adds a second of 8-bit numbers, summed up in 32 bits, on one processor."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    second = rng.integers(-64, 64, (SIDE, SIDE), dtype=np.int8)
    return SIDE**3 / fastest(onnx_product("MatMulInteger", first, second, onnx.TensorProto.INT32))


def onnx_product(
    operator: str, first: np.ndarray, second: np.ndarray, result_type: int
) -> Callable[[], object]:
    """Make a product in ONNX Runtime, on one processor.

    Args:
        operator: of ONNX, that multiplies matrices.
        first: (SIDE, SIDE).
        second: (SIDE, SIDE), known beforehand as weights are.
        result_type: of the product's numbers, as ONNX numbers types.

    Returns:
        What multiplies them.
    """
    helper, shape = onnx.helper, (SIDE, SIDE)
    given = helper.np_dtype_to_tensor_dtype(first.dtype)
    graph = helper.make_graph(
        [helper.make_node(operator, ["first", "second"], ["product"])],
        "product",
        [helper.make_tensor_value_info("first", given, shape)],
        [helper.make_tensor_value_info("product", result_type, shape)],
        [onnx.numpy_helper.from_array(second, "second")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"first": first})


def memory_bandwidth() -> float:
    """Measure bytes a second that are read and written while memory is copied."""
    source, target = torch.ones(COPIED_BYTES // 4), torch.empty(COPIED_BYTES // 4)
    return 2 * COPIED_BYTES / fastest(lambda: target.copy_(source))


def disk_speeds(folder: Path) -> dict[str, float]:
    """Measure bytes a second of writing a file to the disk, and of reading it back from there."""
    path, block = folder / "file", os.urandom(2**20)
    started = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(FILE_BYTES // len(block)):
            file.write(block)
        os.fsync(file.fileno())
    written = time.perf_counter() - started
    forget(path)
    started = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.read(len(block)):
            pass
    return {"written": FILE_BYTES / written, "read": FILE_BYTES / (time.perf_counter() - started)}


def forget(path: Path) -> None:
    """Make the system forget a file's content, so that reading it means the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def network_multiply_adds(frames: int) -> int:
    """Count the multiply-adds of the network for one clip.

    Args:
        frames: of the clip, 100 a second.

    Returns:
        Those of convolutions, linear layers and attention; additions alone are left out.

    Examples:
        >>> round(network_multiply_adds(300) / 10**6)
        305
    """
    config = DushaConfig()
    model = DushaForAudioClassification(config).eval()
    count = 0

    def add(layer, inputs, output):
        nonlocal count
        if isinstance(layer, torch.nn.Conv2d):
            count += output.numel() * layer.weight[0].numel()
        else:
            count += output.numel() * layer.in_features

    for layer in model.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            layer.register_forward_hook(add)
    with torch.inference_mode():
        found = model.dusha(torch.zeros(1, frames, config.num_mel_bins))
        model.classifier(found.pooler_output)
    positions = found.last_hidden_state[0, 0].numel()
    return count + positions**2 * (config.attention_size + config.hidden_size)


def main() -> None:
    """Measure, print and write the limits."""
    parser = measuring_options(__doc__.splitlines()[0], "python -m benchmarks.limits", rounds=5)
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: temporary)")
    chosen = parser.parse_args()
    measurement = Measurement("limits", chosen)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="limits-", dir=chosen.folder) as folder:
        disk = disk_speeds(Path(folder))
    results: dict[str, Any] = {
        "multiply_adds_a_second": peak_multiply_adds(),
        "8_bit_multiply_adds_a_second": peak_8_bit_multiply_adds(),
        "copied_bytes_a_second": memory_bandwidth(),
        "disk_bytes_a_second": disk,
        "network_multiply_adds": {str(frames): network_multiply_adds(frames) for frames in LENGTHS},
    }
    peak = results["multiply_adds_a_second"]
    print(f"{peak / 1e9:.1f} G multiply-adds/s on one processor, in single precision")
    eight_bit = results["8_bit_multiply_adds_a_second"]
    print(f"{eight_bit / 1e9:.1f} G multiply-adds/s on one processor, of 8-bit numbers")
    print(f"{results['copied_bytes_a_second'] / 1e9:.1f} GB/s of copying memory")
    print(f"{disk['written'] / 1e9:.2f} GB/s written to disk, {disk['read'] / 1e9:.2f} GB/s read")
    for frames, count in results["network_multiply_adds"].items():
        print(f"{frames} frames: {count / 1e6:.0f} M, at most {peak / count:.0f} clips/s")
    print(f"written to {measurement.write(results)}")


if __name__ == "__main__":
    run_program(main)
