"""The page: what a visitor sees, and what happens when they do something."""

import base64
import html
import json
import secrets
import shutil
from pathlib import Path
from typing import Any

import gradio
import numpy as np
import soundfile
from gradio.i18n import I18nData

from dusha_ser.audio.finding import find_audio_files
from dusha_ser.audio.reading import SAMPLING_RATE
from dusha_ser.corpus.sample_voice import MANNERS, draw_voice, speak
from dusha_ser.demo.answering import Answerer, LiveSession
from dusha_ser.demo.drawing import show_bars, show_timeline
from dusha_ser.demo.options import MOST_EXAMPLES, DemoOptions
from dusha_ser.demo.texts import MICROPHONE, TEXTS, Words
from dusha_ser.options import check_range

FOLDER = Path(__file__).parent
STYLE = FOLDER / "page.css"
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
# The browser's own player: the page has a waveform already, on which a click plays.
PLAIN_PLAYER = gradio.WaveformOptions(show_recording_waveform=False)
# Texts that the browser shows by itself.
STATIC = (
    *("title", "about", "limits", "recording", "live", "choose", "speech_only", "examples"),
    *("synthetic", "all_in_turn", "heard"),
)
LONG = "all_in_turn"


def translated(key: str) -> I18nData:
    """Name a text, which the browser shows in its language."""
    return I18nData(key)


def static_texts(options: DemoOptions) -> dict[str, dict[str, str]]:
    """All texts that the browser shows by itself, by language and key, with names of emotions."""
    values = {
        "megabytes": f"{options.max_upload:g}",
        "minutes": f"{options.longest:g}",
        "model": html.escape(Path(str(options.model)).name),
    }
    texts = {}
    for language in TEXTS:
        words = Words(language)
        texts[language] = {key: words(key, **values) for key in STATIC}
        texts[language] |= {name: words.name(name) for name in MANNERS}
        texts[language] |= {key: show_bars(None, words, key) for key in ("empty", "speak")}
        limit = words("limit_live", minutes=f"{options.longest_live:g}")
        texts[language]["limit_live"] = limit
    return texts


def find_examples(folder: Path | None) -> dict[str, Path] | None:
    """List the recordings of a folder by their names; None where there is no folder.

    Raises:
        MissingInputError: if there are none.
        WrongUseError: if there are more than the page has room for.
    """
    if folder is None:
        return None
    found = find_audio_files([folder])
    check_range("examples", len(found), len(found) <= MOST_EXAMPLES, f"up to {MOST_EXAMPLES} files")
    return {path.name: path for path in found}


def build_page(
    answerer: Answerer,
    options: DemoOptions,
    folder: str | Path,
    examples: dict[str, Path] | None = None,
) -> gradio.Blocks:
    """Build the page.

    Args:
        answerer: predicts.
        options: the limits.
        folder: for examples and recordings; it lives as long as the page.
        examples: recordings by their names; None: synthetic ones are written.
    """
    folder = Path(folder)
    title = Words()("title")
    with gradio.Blocks(title=title, analytics_enabled=False, delete_cache=(CLEANING, KEPT)) as page:
        gradio.HTML(translated("title"), html_template="<h1>${value}</h1>")
        gradio.Markdown(translated("about"))
        with gradio.Tabs():
            with gradio.Tab(translated("recording")):
                build_recording(answerer, folder / "examples", examples)
            with gradio.Tab(translated("live")):
                build_live(answerer, folder)
        gradio.Markdown(translated("limits"), elem_id="limits")
        page.load(None, js=f"() => {{ {script('upload.js')} }}")

    page.queue(max_size=options.queue_size, default_concurrency_limit=1, api_open=False)
    return page


def words_for(request: gradio.Request | None) -> Words:
    """The texts in the language of the browser that asks."""
    return Words(request.headers.get("accept-language", "") if request else "")


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


def copy_examples(examples: dict[str, Path], folder: Path) -> list[Path]:
    """Copy recordings to a folder, from which the page may hand them out."""
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy(path, folder / name)) for name, path in examples.items()]


def _say(emotions: list[str], phrases: int, seed: int) -> np.ndarray:
    """Phrases of one voice with pauses between them, (samples,) in [-1, 1]."""
    rng = np.random.default_rng(seed)
    voice = draw_voice(rng)
    pause = np.zeros(round(PAUSE * SAMPLING_RATE))
    said = [speak(rng, voice, emotion)[0] for emotion in emotions for _ in range(phrases)]
    return np.concatenate([part for phrase in said for part in (phrase, pause)])


def build_recording(
    answerer: Answerer, folder: Path, examples: dict[str, Path] | None = None
) -> None:
    """Build the part of the page that takes whole recordings; see `build_page`."""
    with gradio.Row():
        with gradio.Column(scale=1, min_width=320):
            audio = gradio.Audio(
                sources=["upload", "microphone"],
                type="filepath",
                label=translated("choose"),
                editable=False,
                buttons=[],
                elem_id="recording",
                waveform_options=PLAIN_PLAYER,
            )
            take_uploads_only(audio)
            vad = gradio.Checkbox(
                label=translated("speech_only"),
                visible=answerer.can_find_speech,
                elem_id="speech-only",
            )
            heading = translated("synthetic" if examples is None else "examples")
            gradio.HTML(heading, html_template='<h2 class="small">${value}</h2>')
            with gradio.Row(elem_id="examples"):
                buttons: list[tuple[str | I18nData, Path]]
                if examples is None:
                    written = write_examples(folder)
                    buttons = [(translated(name), path) for name, path in written.items()]
                else:
                    buttons = [(path.stem, path) for path in copy_examples(examples, folder)]
                for name, path in buttons:
                    gradio.Button(name, size="sm", min_width=60).click(
                        lambda path=path: str(path),
                        None,
                        audio,
                        api_visibility="private",
                        queue=False,
                    )
        with gradio.Column(scale=1, min_width=320):
            bars = gradio.HTML(translated("empty"), elem_id="answer", elem_classes="answer")
    timeline = build_timeline("timeline", audio)

    def classify(
        path: str | None, speech_only: bool = False, request: gradio.Request | None = None
    ):
        words = words_for(request)
        if path is None:
            return show_bars(None, words), ""
        answer = answerer.answer_file(path, speech_only)
        return show_bars(answer, words, "no_speech"), show_timeline(answer, words)

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


def build_timeline(name: str, player: gradio.Audio) -> gradio.HTML:
    """Build the place of a timeline, a click on which plays from there."""
    return gradio.HTML(
        "", js_on_load=script("timeline.js", PLAYER=f"#{player.elem_id}"), elem_id=name
    )


def script(name: str, **values: Any) -> str:
    """Read a script of the page, with values as constants before it."""
    constants = "".join(f"const {key} = {json.dumps(value)};\n" for key, value in values.items())
    return constants + (FOLDER / name).read_text(encoding="utf-8")


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
                html_template='<button type="button"></button> <span role="status"></span>',
                js_on_load=script(
                    "microphone.js", TEXTS=MICROPHONE, CAPTURE=script("static/capture.js")
                ),
                elem_id="microphone",
            )
            gradio.Markdown(translated("limit_live"), elem_classes="hint")
            recording = gradio.Audio(
                label=translated("heard"),
                type="filepath",
                interactive=False,
                visible=False,
                buttons=["download"],
                elem_id="heard",
                waveform_options=PLAIN_PLAYER,
            )
        with gradio.Column(scale=1, min_width=320):
            bars = gradio.HTML(translated("speak"), elem_id="live-answer", elem_classes="answer")
    timeline = build_timeline("live-timeline", recording)
    session = gradio.State(None, time_to_live=KEPT, delete_callback=lambda one: one and one.close())

    def listen(
        live: LiveSession | None, event: gradio.EventData, request: gradio.Request | None = None
    ):
        words = words_for(request)
        samples, rate, is_first, is_last = read_piece(event._data)
        # A new value lets the browser send the next piece; words behind it are shown, and end it.
        taken = secrets.token_hex(4)
        if is_first:
            if live is not None:
                live.close()
            live = answerer.open_session(folder)
            if live is None:
                full = words("taken", speakers=answerer.speakers)
                return f"{taken}:{full}", None, show_bars(None, words, "speak"), "", gradio.skip()
        if live is None or live.finished:
            return f"{taken}:{words('ended')}", live, *[gradio.skip()] * 3
        try:
            answer = live.push(samples, rate)
        except ValueError:
            is_last, taken = True, f"{taken}:{words('changed')}"
        if not (is_last or live.is_full):
            now = show_bars(answer, words, "listening", words("now"))
            heard = gradio.Audio(value=None, visible=False) if is_first else gradio.skip()
            return taken, live, now, show_timeline(answer, words, is_whole=False), heard
        if not is_last:
            taken += f":{words('time_up')}"
        answer = live.finish()
        heard = answer.envelope.duration > 0
        return (
            taken,
            live,
            show_bars(answer, words, "nothing"),
            show_timeline(answer, words),
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
