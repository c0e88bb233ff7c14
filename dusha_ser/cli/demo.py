"""The command `dusha demo`."""

import os

from dusha_ser.cli.program import command
from dusha_ser.demo.options import DemoOptions
from dusha_ser.errors import WrongUseError


@command("dusha demo", "dusha demo --model runs/crowd_large --longest 10", DemoOptions)
def main(options: DemoOptions) -> None:
    """Serve a page that predicts emotions of recordings and of the microphone, over time."""
    # Before Gradio and the Hub's client are imported: nothing is reported to anybody.
    private = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
    os.environ.update(private | {"DO_NOT_TRACK": "1"})
    try:
        from dusha_ser.demo.app import serve
    except ImportError as error:
        raise WrongUseError(f'{error}; the demo needs: pip install "dusha-ser[demo]"') from error
    serve(options)
