"""The page: what a visitor sees, and what happens when they do something."""

import base64
import html
import secrets
from pathlib import Path
from typing import Any

import gradio
import numpy as np
import soundfile

from dusha_ser.audio.reading import SAMPLING_RATE
from dusha_ser.corpus.sample_voice import MANNERS, draw_voice, speak
from dusha_ser.demo.answering import Answer, Answerer, LiveSession
from dusha_ser.demo.options import DemoOptions
from dusha_ser.demo.waveform import HTML, draw_timeline

STYLE = Path(__file__).with_name("page.css")
MICROPHONE = Path(__file__).with_name("microphone.js")
# Files, and pieces from microphones, that are classified at the same time.
FILES_AT_ONCE = 2
PIECES_AT_ONCE = 4
# A browser's rates in Hz, and the longest piece of audio that it sends at once, in seconds.
RATES = (8000, 192000)
LONGEST_PIECE = 90
# How often old files of visitors are removed, and from which age on, in seconds.
CLEANING = 300
KEPT = 3600
# Phrases of an example recording, and of each emotion in the long one.
PHRASES = 2
LONG_PHRASES = 6
PAUSE = 0.25  # seconds
LONG = "all in turn"
TITLE = "Emotion in speech"
ABOUT = """# Emotion in speech · <span lang="ru">Эмоции в речи</span>

Choose a recording or speak: the model says which emotion a listener would hear."""
LIMITS = """The model predicts what listeners from one crowd would most likely hear in such speech.
That is not what somebody feels, and not fit to decide anything about a person. Recordings stay on
the machine that runs this page and are deleted within about an hour."""
EMPTY = "Nothing to show yet: choose a recording, an example, or speak."
SPEAK = "Nothing to show yet: press Start and speak."
LISTENING = "Listening. The first prediction comes after three seconds of audio."
NO_SPEECH = "No speech was found in this recording."


def build_page(answerer: Answerer, options: DemoOptions, folder: str | Path) -> gradio.Blocks:
    """Build the page; `folder`, for examples and recordings, lives as long as it."""
    folder = Path(folder)
    with gradio.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(CLEANING, KEPT)) as page:
        gradio.Markdown(ABOUT)
        with gradio.Tabs():
            with gradio.Tab("Recording"):
                build_recording(answerer, options.max_upload, write_examples(folder / "examples"))
            with gradio.Tab("Live"):
                build_live(answerer, folder)
        model = html.escape(Path(str(options.model)).name)
        gradio.Markdown(f"{LIMITS} Model: {model}.", elem_id="limits")

    page.queue(max_size=options.queue_size, default_concurrency_limit=1, api_open=False)
    return page


def write_examples(folder: str | Path, seed: int = 5) -> dict[str, Path]:
    """Write a recording in a synthetic voice for each emotion, and a longer one of all in turn."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    recordings = {name: _say([name], PHRASES, seed) for name in MANNERS}
    recordings[LONG] = _say(list(MANNERS), LONG_PHRASES, seed)
    written = {}
    for name, samples in recordings.items():
        written[name] = folder / f"{name.replace(' ', '_')}.wav"
        soundfile.write(written[name], samples, SAMPLING_RATE, "PCM_16")
    return written


def _say(emotions: list[str], phrases: int, seed: int) -> np.ndarray:
    """Phrases of one voice with pauses between them, (samples,) in [-1, 1]."""
    rng = np.random.default_rng(seed)
    voice = draw_voice(rng)
    pause = np.zeros(round(PAUSE * SAMPLING_RATE))
    said = [speak(rng, voice, emotion)[0] for emotion in emotions for _ in range(phrases)]
    return np.concatenate([part for phrase in said for part in (phrase, pause)])


def build_recording(answerer: Answerer, max_upload: float, examples: dict[str, Path]) -> None:
    """Build the part of the page that takes whole recordings, of up to `max_upload` MB."""
    with gradio.Row():
        with gradio.Column(scale=1, min_width=320):
            audio = gradio.Audio(
                sources=["upload", "microphone"],
                type="filepath",
                label=f"Recording, up to {max_upload:g} MB and {answerer.longest / 60:g} min",
                editable=False,
                buttons=[],
                elem_id="recording",
            )
            take_uploads_only(audio)
            vad = gradio.Checkbox(
                label="Speech only: leave out silence and noise",
                visible=answerer.can_find_speech,
                elem_id="speech-only",
            )
            gradio.HTML('<h2 class="small">Examples, in a synthetic voice</h2>')
            with gradio.Row(elem_id="examples"):
                for name, path in examples.items():
                    gradio.Button(name, size="sm", min_width=60).click(
                        lambda path=path: str(path),
                        None,
                        audio,
                        api_visibility="private",
                        queue=False,
                    )
        with gradio.Column(scale=1, min_width=320):
            bars = gradio.HTML(show_bars(None), elem_id="answer", elem_classes="answer")
    timeline = gradio.HTML("", elem_id="timeline")

    def classify(path: str | None, speech_only: bool = False):
        if path is None:
            return show_bars(None), ""
        answer = answerer.answer_file(path, speech_only)
        return show_bars(answer), show_timeline(answer)

    gradio.on(
        [audio.change, vad.change],
        classify,
        [audio, vad],
        [bars, timeline],
        api_name="classify",
        concurrency_limit=FILES_AT_ONCE,
        trigger_mode="always_last",
        show_progress_on=bars,
    )


def take_uploads_only(audio: gradio.Audio) -> None:
    """Let an input take uploaded files only: Gradio would also fetch any address, however large."""
    move = audio.async_move_resource_to_block_cache

    async def move_upload(place: str | None) -> str | None:
        if "://" in str(place):
            raise gradio.Error("addresses are not fetched here; upload the file")
        return await move(place)

    # Gradio has no other way to refuse addresses.
    audio.async_move_resource_to_block_cache = move_upload  # type: ignore[method-assign,assignment]


def build_live(answerer: Answerer, folder: Path) -> None:
    """Build the part of the page that predicts while somebody speaks."""
    with gradio.Row():
        with gradio.Column(scale=1, min_width=320):
            microphone = gradio.HTML(
                "",
                html_template='<button type="button">Start</button> <span role="status"></span>'
                f'<p class="hint">Up to {answerer.longest_live / 60:g} min at a time.</p>',
                js_on_load=MICROPHONE.read_text(encoding="utf-8"),
                elem_id="microphone",
            )
            recording = gradio.Audio(
                label="What was heard",
                type="filepath",
                interactive=False,
                visible=False,
                buttons=["download"],
                elem_id="heard",
            )
        with gradio.Column(scale=1, min_width=320):
            bars = gradio.HTML(show_bars(None, SPEAK), elem_id="live-answer", elem_classes="answer")
    timeline = gradio.HTML("", elem_id="live-timeline")
    session = gradio.State(None, time_to_live=KEPT, delete_callback=lambda one: one and one.close())

    def listen(live: LiveSession | None, event: gradio.EventData):
        samples, rate, is_first, is_last = read_piece(event._data)
        # A new value lets the browser send the next piece; words behind it are shown, and end it.
        taken = secrets.token_hex(4)
        if is_first:
            if live is not None:
                live.close()
            live = answerer.open_session(folder)
            if live is None:
                full = f"All {answerer.speakers} places at microphones are taken; try again later."
                return f"{taken}:{full}", None, show_bars(None, SPEAK), "", gradio.skip()
        if live is None or live.finished:
            return f"{taken}:This recording has ended.", live, *[gradio.skip()] * 3
        try:
            answer = live.push(samples, rate)
        except ValueError as error:
            is_last, taken = True, f"{taken}:The microphone was changed: {error}."
        if not (is_last or live.is_full):
            now = show_bars(answer, LISTENING, "Now: the last three seconds")
            heard = gradio.Audio(value=None, visible=False) if is_first else gradio.skip()
            return taken, live, now, show_timeline(answer, table=False), heard
        if not is_last:
            taken += ":The time is up."
        answer = live.finish()
        heard = answer.envelope.duration > 0
        return (
            taken,
            live,
            show_bars(answer, "Nothing was heard.", "All that was heard"),
            show_timeline(answer),
            gradio.Audio(value=str(live.recording) if heard else None, visible=heard),
        )

    def forget(live: LiveSession | None) -> None:
        if live is not None and live.finished:
            live.close()

    microphone.piece(
        listen,
        session,
        [microphone, session, bars, timeline, recording],
        api_visibility="private",
        concurrency_limit=PIECES_AT_ONCE,
        trigger_mode="multiple",
        show_progress="hidden",
    )
    # Gradio has a copy of the recording by then, which it removes in time.
    recording.change(forget, session, None, api_visibility="private", queue=False)


def read_piece(piece: Any) -> tuple[np.ndarray, int, bool, bool]:
    """Check what a browser sent of its microphone, and decode it.

    A piece has samples (int16, little-endian, in base 64), their rate in Hz, and whether they are
    the first or the last; the samples come back as (samples,) int16, the rest in this order.
    """
    try:
        rate = round(piece["rate"])
        data = base64.b64decode(piece["samples"], validate=True)
        if not RATES[0] <= rate <= RATES[1] or len(data) > 2 * rate * LONGEST_PIECE:
            raise ValueError(f"{len(data)} bytes at {rate} Hz")
        samples = np.frombuffer(data, dtype="<i2")
        return samples, rate, piece["first"] is True, piece["last"] is True
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise gradio.Error(
            f"a piece of audio has samples, rate, first and last: {error}", print_exception=False
        ) from error


def show_bars(answer: Answer | None, empty: str = EMPTY, title: str = "The whole recording") -> str:
    """The probabilities as bars below a title, or the text `empty` where there are none yet."""
    if answer is not None and empty == EMPTY:
        empty = NO_SPEECH
    return str(HTML.bars(answer or Answer([]), empty, title))


def show_timeline(answer: Answer, table: bool = True) -> str:
    """The drawing of a recording, as HTML; empty where there is an error."""
    if answer.error is not None or not answer.envelope.duration:
        return ""
    return draw_timeline(answer.envelope, answer.segments, answer.labels, table)
