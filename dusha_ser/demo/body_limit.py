"""No request is larger than it may be: Gradio limits each uploaded file, and nothing else."""

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Of a request without a file, in bytes: a minute of speech that waited for a slow server is the
# largest that the page sends.
MOST = 16_000_000
# What a form adds to the file in it, in bytes.
FORM = 100_000


class BodyLimit:
    """Refuses requests whose body is too large, before it is in memory.

    Args:
        app: what answers the others.
        upload: the largest file that may be uploaded, in bytes.
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
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or int(said) > most:
            refusal = PlainTextResponse(f"a request may have {most} bytes here", 413)
            await refusal(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            # Who does not say how much comes is cut off.
            return {"type": "http.disconnect"} if received > most else message

        await self.app(scope, receive_counted, send)
