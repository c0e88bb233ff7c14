"""What a benchmark ran on: the processor, the versions, and what else used the processors."""

import importlib.metadata
import os
import platform
from pathlib import Path

import psutil

from dusha_ser.errors import WorkFailedError

CPUINFO = Path("/proc/cpuinfo")
# As Linux calls them: what decides how fast sums of products of 32, 16 and 8 bits are.
WIDE_INSTRUCTIONS = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16"),
    *("amx_tile", "amx_int8", "amx_bf16"),
)
PACKAGES = (
    *("accelerate", "crowd-kit", "datasets", "huggingface_hub", "librosa", "numpy", "onnxruntime"),
    *("pandas", "pyarrow", "scipy", "soundfile", "torch", "torchaudio", "torchvision"),
    "transformers",
)
# Processors that other programs may keep busy before a measurement starts.
MOST_LOAD = 0.3
WATCHED_SECONDS = 5.0


def wide_instructions(cpuinfo: Path = CPUINFO) -> list[str]:
    """Name the instructions for many numbers at once that this machine's processors have.

    Args:
        cpuinfo: Linux's file about the processors.

    Returns:
        Those of WIDE_INSTRUCTIONS that are there; none where the file is not.

    Examples:
        >>> wide_instructions(Path("no such file"))
        []
    """
    words = set(cpuinfo.read_text().split()) if cpuinfo.is_file() else set()
    return [name for name in WIDE_INSTRUCTIONS if name in words]


def processor_model(cpuinfo: Path = CPUINFO) -> str:
    """Name the processor, with family and model, which tell a hidden name's generation.

    Args:
        cpuinfo: Linux's file about the processors.

    Returns:
        Its name; Python's word for it where the file is not.

    Examples:
        >>> processor_model(Path("no such file")) == platform.processor()
        True
    """
    if not cpuinfo.is_file():
        return platform.processor()
    pairs = (line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
    # All processors of a machine are listed; the last one's values are as good as the first's.
    found = {key.strip(): value.strip() for key, value in pairs}
    numbers = [f"{key} {found[key]}" for key in ("cpu family", "model") if key in found]
    return ", ".join([found.get("model name", platform.machine()), *numbers])


def versions() -> dict[str, str]:
    """Name the versions of Python and of the packages that take part, those that are there."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict:
    """Describe this machine: processors, their model and instructions, and versions."""
    return {
        "processors": os.cpu_count(),
        "architecture": platform.machine(),
        "model": processor_model(),
        "instructions": wide_instructions(),
        "versions": versions(),
    }


def busy_processors(seconds: float) -> float:
    """Watch for some seconds how many processors are busy on average, by any program.

    The load that the system reports would do where a machine rests before each program: it takes
    minutes to forget the program before.
    """
    return psutil.cpu_percent(seconds) / 100 * (os.cpu_count() or 1)


def check_idle(allowed: bool, seconds: float = WATCHED_SECONDS) -> float:
    """Refuse to measure beside other programs.

    Args:
        allowed: whether to measure even so; the result says so and reaches nothing.
        seconds: to watch.

    Returns:
        Processors that other programs kept busy.

    Raises:
        WorkFailedError: if they were more than MOST_LOAD and that is not allowed.
    """
    load = busy_processors(seconds)
    if load > MOST_LOAD and not allowed:
        raise WorkFailedError(
            f"other programs keep {load:.1f} processors busy, and at most {MOST_LOAD} may be; "
            "wait until they end, or try with `allow_load`, whose rows count as not measured"
        )
    return round(load, 3)
