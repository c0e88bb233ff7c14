"""The page as a server."""

import os
import signal
import socket
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Before Gradio and the Hub's client are imported: nothing is reported to anybody.
os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")
# Before PyTorch is: on a machine that has more to do, threads that spin while they wait make an
# answer take eight times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
MODEL_VARIABLE = "DUSHA_MODEL"
DEFAULT_MODEL = HERE / "model"
LOOPBACK = "127.0.0.1"
PORT = 7860
# The pages that are remembered; whoever comes back later begins anew.
VISITORS = 1000


def free_port(host: str) -> int:
    """A port that nobody listens on."""
    with socket.create_server((host, 0)) as server:
        return server.getsockname()[1]


def wait_until_stopped() -> None:
    """Wait for Ctrl-C, or for the signal that service managers send."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()
