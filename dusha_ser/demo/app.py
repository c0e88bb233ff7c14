"""The page as a server."""

import signal
import socket
import tempfile
import threading

import gradio
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dusha_ser.demo.answering import Answerer
from dusha_ser.demo.options import DemoOptions
from dusha_ser.demo.page import STYLE, build_page, find_examples, static_texts
from dusha_ser.errors import WrongUseError

# The pages that are remembered; anyone who comes back later starts from scratch.
VISITORS = 1000
# The largest request without a file, in bytes: a minute of speech that waited for a slow server is
# the largest that the page sends.
MOST = 16_000_000
# What a form adds to the file in it, in bytes.
FORM = 100_000


def serve(options: DemoOptions) -> None:
    """Serve the page until Ctrl-C, or the signal that service managers send.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is not such a model, or the port is taken.
    """
    host = str(options.host)
    port = options.port
    if not port:
        with socket.create_server((host, 0)) as free:
            port = free.getsockname()[1]
    upload = round(options.max_upload * 1e6)
    texts = static_texts(options)
    examples = find_examples(options.examples)
    answerer = Answerer(options)
    system_font = [gradio.themes.Font("system-ui"), gradio.themes.Font("sans-serif")]
    theme = gradio.themes.Default(primary_hue="blue", font=system_font, font_mono="monospace")
    with tempfile.TemporaryDirectory(prefix="dusha-demo-") as folder:
        page = build_page(answerer, options, folder, examples)
        try:
            page.launch(
                server_name=host,
                server_port=port,
                max_file_size=upload,
                app_kwargs={"middleware": [Middleware(BodyLimit, upload=upload)]},
                state_session_capacity=VISITORS,
                theme=theme,
                i18n=gradio.I18n(**texts),
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
            stopped = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stopped.set())
            stopped.wait()
        finally:
            page.close(verbose=False)


class BodyLimit:
    """Refuses requests whose body is too large, before it is in memory.

    Gradio limits each uploaded file, here to `upload` bytes, and nothing else.
    """

    def __init__(self, app: ASGIApp, upload: int):
        self.app = app
        self.upload = upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self.upload + FORM if scope["path"].rstrip("/").endswith("/upload") else MOST
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > most:
            refusal = PlainTextResponse(f"a request may have {most} bytes here", 413)
            await refusal(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            # A request that announces no length is cut off.
            return {"type": "http.disconnect"} if received > most else message

        await self.app(scope, receive_counted, send)
