"""The browser demo: recordings and the microphone, and the emotion in them over time."""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dusha_ser.demo.app import (
    DEFAULT_MODEL,
    LOOPBACK,
    MODEL_VARIABLE,
    PORT,
    VISITORS,
    free_port,
    wait_until_stopped,
)
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.inference.settings import HOP, WINDOW, Settings


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: dusha demo --model runs/crowd_large --longest 10",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--model",
        help="model folder, name on the Hub, or .onnx file (default: what the environment "
        f"variable {MODEL_VARIABLE} names, else the folder {DEFAULT_MODEL.name} beside this file)",
    )
    parser.add_argument(
        "--host",
        default=os.environ.get("GRADIO_SERVER_NAME", LOOPBACK),
        help="address to listen on; 0.0.0.0 lets other machines in (default: the environment "
        f"variable GRADIO_SERVER_NAME, as Spaces set it, else {LOOPBACK})",
    )
    parser.add_argument(
        "--port", type=int, default=PORT, help=f"port to listen on; 0: any free one ({PORT})"
    )
    parser.add_argument(
        "--max_upload", type=float, default=100, help="largest file that is taken, in MB (100)"
    )
    parser.add_argument(
        "--longest", type=float, default=60, help="longest recording that is taken, in minutes (60)"
    )
    parser.add_argument(
        "--longest_live",
        type=float,
        default=5,
        help="longest time at the microphone in one go, in minutes (5)",
    )
    parser.add_argument(
        "--queue_size",
        type=int,
        default=100,
        help="requests that may wait, first come, first served; more are told to come back (100)",
    )
    parser.add_argument(
        "--speakers",
        type=int,
        default=50,
        help="visitors who may be at their microphones at once; others are told to wait (50)",
    )
    parser.add_argument(
        "--window",
        type=float,
        default=WINDOW,
        help=f"length of a file's windows in seconds ({WINDOW})",
    )
    parser.add_argument(
        "--hop",
        type=float,
        default=HOP,
        help=f"from the start of a window to the start of the next, in seconds ({HOP})",
    )
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    parser.add_argument(
        "--trust_remote_code",
        action="store_true",
        help="let code that came with a model run; Dusha's models need none",
    )
    parser.add_argument("--quiet", action="store_true", help="do not say where the page is")
    return check_options(parser.parse_args(arguments))


def check_options(options: argparse.Namespace) -> argparse.Namespace:
    """Refuse what cannot be done before anything is loaded, and settle the model."""
    for name, unit in (("max_upload", "MB"), ("longest", "minutes"), ("longest_live", "minutes")):
        value = getattr(options, name)
        if not 0 < value < float("inf"):
            raise WrongUseError(f"--{name} is {value} {unit}; it must be a number over 0")
    for name in ("queue_size", "speakers"):
        if getattr(options, name) < 1:
            raise WrongUseError(f"--{name} is {getattr(options, name)}; it must be at least 1")
    if not 0 <= options.port <= 65535:
        raise WrongUseError(f"--port is {options.port}; it must be from 0 to 65535")
    options.model = options.model or os.environ.get(MODEL_VARIABLE)
    if not options.model:
        if not DEFAULT_MODEL.is_dir():
            raise MissingInputError(
                f"no model is named: give --model, or set {MODEL_VARIABLE}, or put the model's "
                f"files into {DEFAULT_MODEL}; `dusha train` trains one"
            )
        options.model = str(DEFAULT_MODEL)
    options.settings = Settings(options.model, window=options.window, hop=options.hop)
    options.settings.check()
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the page until it is stopped."""
    options = parse_options(arguments)
    try:
        import gradio
    except ImportError as error:
        raise WrongUseError(f'{error}; the demo needs: pip install "dusha-ser[demo]"') from error
    from starlette.middleware import Middleware

    from dusha_ser.demo.answering import Answerer
    from dusha_ser.demo.body_limit import BodyLimit
    from dusha_ser.demo.page import STYLE, Limits, build_page

    port = options.port or free_port(options.host)
    limits, upload = Limits(options.max_upload, options.queue_size), round(options.max_upload * 1e6)
    answerer = Answerer(
        options.settings,
        60 * options.longest,
        60 * options.longest_live,
        options.speakers,
        options.device,
        options.trust_remote_code,
    )
    system_font = [gradio.themes.Font("system-ui"), gradio.themes.Font("sans-serif")]
    with tempfile.TemporaryDirectory(prefix="dusha-demo-") as folder:
        page = build_page(answerer, limits, folder, Path(options.model).name)
        try:
            page.launch(
                server_name=options.host,
                server_port=port,
                max_file_size=upload,
                app_kwargs={"middleware": [Middleware(BodyLimit, upload=upload)]},
                state_session_capacity=VISITORS,
                theme=gradio.themes.Default(
                    primary_hue="blue", font=system_font, font_mono="monospace"
                ),
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
                f"cannot listen on {options.host} port {port} ({error}); choose another --port, or "
                "0 for any free one"
            ) from error
        try:
            if not options.quiet:
                print(f"listening on http://{options.host}:{port}", flush=True)
            wait_until_stopped()
        finally:
            page.close(verbose=False)
