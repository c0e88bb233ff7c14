"""The page as a server."""

import signal
import socket
import tempfile
import threading
from pathlib import Path

import gradio
from starlette.middleware import Middleware

from dusha_ser.demo.answering import Answerer
from dusha_ser.demo.body_limit import BodyLimit
from dusha_ser.demo.options import DemoOptions
from dusha_ser.demo.page import STYLE, Limits, build_page
from dusha_ser.errors import WrongUseError

# The pages that are remembered; anyone who comes back later starts again.
VISITORS = 1000


def serve(options: DemoOptions) -> None:
    """Serve the page until Ctrl-C, or the signal that service managers send.

    Args:
        options: which model answers, and what the page takes.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is not such a model, or the port is taken.
    """
    host = str(options.host)
    port = options.port or free_port(host)
    upload = round(options.max_upload * 1e6)
    answerer = Answerer(options)
    system_font = [gradio.themes.Font("system-ui"), gradio.themes.Font("sans-serif")]
    theme = gradio.themes.Default(primary_hue="blue", font=system_font, font_mono="monospace")
    with tempfile.TemporaryDirectory(prefix="dusha-demo-") as folder:
        limits = Limits(options.max_upload, options.queue_size)
        page = build_page(answerer, limits, folder, Path(str(options.model)).name)
        try:
            page.launch(
                server_name=host,
                server_port=port,
                max_file_size=upload,
                app_kwargs={"middleware": [Middleware(BodyLimit, upload=upload)]},
                state_session_capacity=VISITORS,
                theme=theme,
                css_paths=[STYLE],
                footer_links=[],
                share=False,
                pwa=False,
                ssr_mode=False,
                mcp_server=False,
                run_history=False,
                enable_monitoring=False,
                quiet=True,
                prevent_thread_lock=True,
            )
        except OSError as error:
            raise WrongUseError(
                f"cannot listen on {host} port {port} ({error}); choose another `port`, or 0 for "
                "any free one"
            ) from error
        try:
            if not options.quiet:
                print(f"listening on http://{host}:{port}", flush=True)
            wait_until_stopped()
        finally:
            page.close(verbose=False)


def free_port(host: str) -> int:
    """Find a port of a host that nobody listens on."""
    with socket.create_server((host, 0)) as server:
        return server.getsockname()[1]


def wait_until_stopped() -> None:
    """Wait for Ctrl-C, or for the signal that service managers send."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()
