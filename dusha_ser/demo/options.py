"""What can be asked of `dusha demo` and `dusha export page`; nothing heavy is imported."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from dusha_ser import options as shared
from dusha_ser.errors import MissingInputError
from dusha_ser.inference.settings import HOP, WINDOW, Settings, check_model
from dusha_ser.options import check_range, option
from dusha_ser.storage import check_folder

MODEL_VARIABLE = "DUSHA_MODEL"
HOST_VARIABLE = "GRADIO_SERVER_NAME"
LOOPBACK = "127.0.0.1"
PORT = 7860
MOST_EXAMPLES = 12


@dataclass
class DemoOptions:
    """Which model predicts, and what the page takes."""

    model: str | None = option(
        "model folder, name on the Hub, or .onnx file (default: what the environment variable "
        f"{MODEL_VARIABLE} names)",
        None,
    )
    examples: Path | None = option(
        f"folder of up to {MOST_EXAMPLES} audio files that visitors can try (default: examples in "
        "a synthetic voice)",
        None,
    )
    host: str | None = option(
        "address to listen on; 0.0.0.0 lets other machines in (default: the environment variable "
        f"{HOST_VARIABLE}, as Spaces set it, else {LOOPBACK})",
        None,
    )
    port: int = option("port to listen on; 0: any free one", PORT)
    max_upload: float = option("largest file that is taken, in MB", 100.0)
    longest: float = option("longest recording that is taken, in minutes", 60.0)
    longest_live: float = option("longest time at the microphone in one go, in minutes", 5.0)
    queue_size: int = option(
        "requests that may wait, first come, first served; later ones are told to come back", 100
    )
    speakers: int = option(
        "visitors who may be at their microphones at once; others are told to wait", 50
    )
    window: float = option("length of a window, in seconds", WINDOW)
    hop: float = option("from the start of a window to the start of the next, in seconds", HOP)
    device: str | None = shared.device()
    trust_remote_code: bool = shared.trust_remote_code()
    quiet: bool = shared.quiet()

    @property
    def settings(self) -> Settings:
        """How files are classified; a timeline and speech only are chosen for each file."""
        return Settings(str(self.model), window=self.window, hop=self.hop)

    def check(self) -> None:
        """Settle model and host; raise a WrongUseError for what cannot be done."""
        for name in ("max_upload", "longest", "longest_live"):
            value, unit = getattr(self, name), "MB" if name == "max_upload" else "minutes"
            check_range(name, value, 0 < value < math.inf, "a number above 0", unit)
        for name in ("queue_size", "speakers"):
            check_range(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        check_range("port", self.port, 0 <= self.port <= 65535, "from 0 to 65535")
        if self.examples is not None and not self.examples.is_dir():
            raise MissingInputError(f"there is no folder {self.examples} of examples")
        self.host = self.host or os.environ.get(HOST_VARIABLE, LOOPBACK)
        self.settings.check()
        self.model = self.model or os.environ.get(MODEL_VARIABLE)
        if not self.model:
            raise MissingInputError(
                f"no model is named: give a `model`, or set {MODEL_VARIABLE}, or put the model's "
                "files into the folder `model` beside a Space's app.py; `dusha train` trains one"
            )
        check_model(self.model)


@dataclass
class PageOptions:
    """Which model a page without a server holds, and where the page goes."""

    model: str = option(
        "model folder, name on the Hub, or .onnx file that reads waveforms", positional=True
    )
    output_dir: Path = option("folder to write", positional=True)
    runtime: Path | None = option(
        "the npm package onnxruntime-web, as its .tgz file or unpacked (default: npm fetches it)",
        None,
    )
    window: float = option("length of a window, in seconds", WINDOW)
    hop: float = option("from the start of a window to the start of the next, in seconds", HOP)
    overwrite: bool = shared.overwrite()
    quiet: bool = shared.quiet()

    def check(self) -> None:
        """Raise a WrongUseError for what cannot be done."""
        Settings(self.model, window=self.window, hop=self.hop).check()
        if self.runtime is not None and not self.runtime.exists():
            raise MissingInputError(f"no such file or folder: {self.runtime}")
        check_model(self.model)
        check_folder(self.output_dir, self.overwrite, finished="*")
