"""Turns of other programs' files: what each format gives, and what is wrong with them."""

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dusha_ser.audio.turn_files import read_turns
from dusha_ser.audio.turns import Turn
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.options import TurnColumns

ANNA, BORIS = "SPEAKER_00", "SPEAKER_01"


def read(tmp_path, name, content, **columns):
    """The turns of a file of some content, by recording."""
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return read_turns(path, TurnColumns(**columns))


def test_rttm_of_several_recordings(tmp_path):
    content = (
        ";; a comment\n"
        "SPKR-INFO call 1 <NA> <NA> <NA> unknown Anna <NA> <NA>\n"
        "SPEAKER call 1 2.500 1.250 <NA> <NA> SPEAKER_01 <NA> <NA>\n"
        "SPEAKER call 1   0.500   3.000 <NA> <NA> SPEAKER_00 <NA> <NA>\n"
        "\n"
        "SPEAKER two words 1 1 1 <NA> <NA> <NA> 0.9 <NA>\n"
        "SPEAKER old 1 1 1 <NA> <NA> Anna\n"
    )
    assert read(tmp_path, "all.rttm", content) == {
        "call": [Turn(0.5, 3.5, ANNA), Turn(2.5, 3.75, BORIS)],
        "two words": [Turn(1, 2)],
        "old": [Turn(1, 2, "Anna")],
    }


def test_whisper_and_whisperx_json(tmp_path):
    segments = [
        {"id": 0, "start": 0.5, "end": 2.0, "text": " Привет.", "speaker": ANNA, "words": []},
        {"id": 1, "start": 2, "end": 3, "text": " Да."},
    ]
    turns = [Turn(0.5, 2.0, ANNA, "Привет."), Turn(2, 3, None, "Да.")]
    for content in (
        {"text": " Привет. Да.", "segments": segments, "language": "ru"},
        segments,
        {"speakers": [], "chunks": [{"timestamp": [0.5, 2.0], "text": "a"}], "segments": segments},
    ):
        assert read(tmp_path, "a.json", content) == {None: turns}


def test_words_of_several_speakers_are_turns_of_their_own(tmp_path):
    words = [
        {"word": "Где", "start": 1.0, "end": 1.2, "speaker": ANNA},
        {"word": "9?", "speaker": None},
        {"word": "Тут,", "start": 1.5, "end": 1.8, "speaker": BORIS},
        {"word": "тут.", "start": 1.8, "end": 2.1, "speaker": BORIS},
        {"word": "А!", "start": 2.2, "end": 2.3, "speaker": ANNA},
    ]
    row = {"start": 0.9, "end": 2.4, "text": " Где 9? Тут, тут. А!", "speaker": ANNA}
    assert read(tmp_path, "a.json", {"segments": [row | {"words": words}]}) == {
        None: [
            Turn(1.0, 1.2, ANNA, "Где 9?"),
            Turn(1.5, 2.1, BORIS, "Тут, тут."),
            Turn(2.2, 2.3, ANNA, "А!"),
        ]
    }
    assert read(tmp_path, "a.json", [row | {"words": words[2:4]}]) == {
        None: [Turn(0.9, 2.4, ANNA, "Где 9? Тут, тут. А!")]
    }


@pytest.mark.parametrize(
    ("content", "turn"),
    [
        # whisper.cpp, --output-json
        (
            {
                "params": {"model": "base"},
                "transcription": [
                    {
                        "timestamps": {"from": "00:00:00,500", "to": "00:00:02,000"},
                        "offsets": {"from": 500, "to": 2000},
                        "text": " Да.",
                        "speaker": "0",
                    }
                ],
            },
            Turn(0.5, 2.0, "0", "Да."),
        ),
        # Transformers, with return_timestamps
        (
            {"text": "Да.", "chunks": [{"timestamp": [0.5, None], "text": "Да."}]},
            Turn(0.5, math.inf, None, "Да."),
        ),
        # insanely-fast-whisper
        (
            {"speakers": [{"speaker": ANNA, "text": "Да.", "timestamp": [0.5, 2.0]}], "chunks": []},
            Turn(0.5, 2.0, ANNA, "Да."),
        ),
        # pyannote.audio 4
        ({"diarization": [{"start": 0.5, "end": 2.0, "speaker": ANNA}]}, Turn(0.5, 2.0, ANNA)),
    ],
)
def test_other_json(tmp_path, content, turn):
    assert read(tmp_path, "a.json", content) == {None: [turn]}


def test_srt_with_speakers_as_whisperx_whisper_cpp_and_people_write_them(tmp_path):
    content = (
        "1\n00:00:00,500 --> 00:00:02,000\n[SPEAKER_00]: Привет,\nАнна.\n\n"
        "2\n00:00:02,000 --> 00:00:03,000\n(speaker 1)  Да.\n\n"
        "3\n00:01:03,000 --> 00:01:04,000\nАнна: <i>Нет.</i>\n\n"
        "4\n01:00:04,000 --> 01:00:05,250\nАнна: Note: so it is.\n\n"
        "5\n01:00:06,000 --> 01:00:07,000\nNote: nobody.\n\n"
        "6\n01:00:07,000 --> 01:00:08,000\nСпикер 2: кто-то.\n"
    )
    assert read(tmp_path, "a.srt", content)[None] == [
        Turn(0.5, 2, ANNA, "Привет, Анна."),
        Turn(2, 3, "speaker 1", "Да."),
        Turn(63, 64, "Анна", "Нет."),
        Turn(3604, 3605.25, "Анна", "Note: so it is."),
        Turn(3606, 3607, None, "Note: nobody."),
        Turn(3607, 3608, "Спикер 2", "кто-то."),
    ]


def test_webvtt_with_voices(tmp_path):
    content = (
        "\ufeffWEBVTT - a title\n\nNOTE\nnothing\n\nSTYLE\n::cue { color: red }\n\n"
        "intro\n00:00.500 --> 00:02.000 align:start\n<v.loud Анна П.>Tom &amp; <b>Jerry</b></v>\n\n"
        "00:01:00.000 --> 00:01:01.000\n<v A>Hi.\n<v B>Hello.\n"
    )
    assert read(tmp_path, "a.vtt", content)[None] == [
        Turn(0.5, 2, "Анна П.", "Tom & Jerry"),
        Turn(60, 61, "A", "Hi."),
        Turn(60, 61, "B", "Hello."),
    ]


def test_tables(tmp_path):
    content = "path;start;end;speaker;text\na.wav;0,5;2;Анна;Да; \nb.wav;0:01:02.5;62,75;;\n"
    assert read(tmp_path, "a.csv", content.replace("Да; ", "Да")) == {
        "a.wav": [Turn(0.5, 2, "Анна", "Да")],
        "b.wav": [Turn(62.5, 62.75)],
    }
    content = "who\tfrom\tto\nA\t1\t2\nB\t500\t900\n"
    columns = {"start": "from", "end": "to", "speaker": "who"}
    assert read(tmp_path, "a.tsv", content, **columns)[None][1] == Turn(500, 900, "B")


@pytest.mark.parametrize("separator", ["\t", ","])
def test_times_in_milliseconds_are_told_from_seconds(tmp_path, separator, caplog):
    def table(*rows):
        return "".join(separator.join(map(str, row)) + "\n" for row in rows)

    suffix = {"\t": ".tsv", ",": ".csv"}[separator]
    whisper = table(("start", "end", "text"), (500, 2000, "Да."), (2000, 2050, "Нет."))
    assert read(tmp_path, f"a{suffix}", whisper)[None][0] == Turn(0.5, 2, None, "Да.")
    assert "times are milliseconds" in caplog.text
    for seconds in (
        table(("start", "end", "text"), (5, 20, "Да."), (2000, 2050, "Нет.")),
        table(("start", "end", "speaker"), (500, 2000, "A")),
    ):
        assert read(tmp_path, f"a{suffix}", seconds)[None][0].end in (20, 2000)


def test_turns_of_no_length_are_left_out_and_counted(tmp_path, caplog):
    rows = [{"start": 1, "end": 1}, {"start": -0.5, "end": 0.5}, {"start": 2, "end": 3}]
    assert read(tmp_path, "a.json", rows) == {None: [Turn(0, 0.5), Turn(2, 3)]}
    assert "1 of 3 turns have no length and are left out" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.rttm", "SPEAKER a 1 0.5\n", "a.rttm, line 1 is 'SPEAKER a 1 0.5'; give SPEAKER, rec"),
        ("a.rttm", "\nSPEAKER a 1 x 1 <NA> <NA> A <NA> <NA>", "line 2: 'x' is not a number"),
        ("a.rttm", "SPEAKER a 1 1 -1 <NA> <NA> A <NA> <NA>", "line 1: ends at 0.0 s, before it"),
        ("a.rttm", "SPEAKER a 1 nan 1 <NA> <NA> A <NA> <NA>", "its start is nan; give a number"),
        ("a.json", '{\n"segments": [}', "a.json, line 2: it is not JSON"),
        ("a.json", '{"text": "Да"}', "a.json has text; give a list of turns, or an object with"),
        ("a.json", '[{"start": 1}]', "the list, item 1 has start; give start and end"),
        ("a.json", '[{"start": 1, "end": "x"}]', "item 1: its end is 'x'; give a number of sec"),
        ("a.json", '[{"start": null, "end": 1}]', "its start is None; give a number of seconds"),
        ("a.json", "[1]", "the list, item 1 is '1'; give an object with start and end"),
        ("a.srt", "1\n0:0 - 2\nДа", "a.srt has no line with -->; it does not hold subtitles"),
        ("a.vtt", "WEBVTT\n\nx --> 2\nДа", "a.vtt, line 3 is 'x --> 2'; give 00:00:01.000 -->"),
        ("a.srt", "1\n00:00:02,0 --> 00:00:01,0\nДа", "line 2: ends at 1.0 s, before it begins"),
        ("a.csv", "start,stop\n1,2\n", "has the columns start, stop and not 'end'; name them"),
        ("a.csv", "start,end\n1,x\n", "line 2: 'x' is not a time; give seconds, such as 62.5"),
        ("a.csv", "start,end\n1,\n", "a.csv, line 2 has no end; fill it in"),
        ("a.ass", "x", "a.ass ends in .ass; turns are read from .rttm, .json, .csv"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, name, content, message):
    with pytest.raises(WrongUseError) as error:
        read(tmp_path, name, content)
    assert message in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(MissingInputError, match="no such file of turns"):
        read_turns(tmp_path / "a.rttm")


# Times in milliseconds, and words that no format takes for something of its own.
TIMES = st.lists(st.integers(0, 10**8), min_size=2, max_size=2, unique=True).map(sorted)
WORDS = st.text("abcxyzАбв09", min_size=1, max_size=8)
EVENTS = st.lists(st.tuples(TIMES, WORDS, WORDS), min_size=1, max_size=8)
QUICK = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def in_order(turns):
    """Turns in an order of their own: those of the same times stand in any."""
    return sorted(turns, key=lambda turn: (turn.start, turn.end, turn.speaker or "", turn.text))


@QUICK
@given(EVENTS)
def test_what_pyannote_writes(tmp_path, events):
    core = pytest.importorskip("pyannote.core", reason="pyannote.core writes RTTM here")
    annotation = core.Annotation(uri="call")
    for number, ((start, end), speaker, _) in enumerate(events):
        annotation[core.Segment(start / 1000, end / 1000), number] = speaker
    with (tmp_path / "a.rttm").open("w") as file:
        annotation.write_rttm(file)
    wanted = [Turn(start / 1000, end / 1000, speaker, "") for (start, end), speaker, _ in events]
    (found,) = read_turns(tmp_path / "a.rttm").values()
    found = [Turn(turn.start, turn.end, turn.speaker, "") for turn in found]
    assert in_order(found) == in_order(wanted)


@QUICK
@given(EVENTS, st.sampled_from(["srt", "vtt"]))
def test_what_pysubs2_writes(tmp_path, events, form):
    pysubs2 = pytest.importorskip("pysubs2", reason="pysubs2 writes subtitles here")
    subtitles = pysubs2.SSAFile()
    for (start, end), _, text in events:
        subtitles.append(pysubs2.SSAEvent(start, end, text))
    path = tmp_path / f"a.{form}"
    subtitles.save(str(path))
    wanted = [Turn(start / 1000, end / 1000, None, text) for (start, end), _, text in events]
    assert in_order(read_turns(path)[None]) == in_order(wanted)


@QUICK
@given(EVENTS)
def test_what_webvtt_py_writes(tmp_path, events):
    webvtt = pytest.importorskip("webvtt", reason="webvtt-py writes WebVTT here")
    subtitles = webvtt.WebVTT()
    for (start, end), speaker, text in events:
        times = (str(webvtt.models.Timestamp.from_string(clock(ms))) for ms in (start, end))
        subtitles.captions.append(webvtt.Caption(*times, f"<v {speaker}>{text}</v>"))
    subtitles.save(str(tmp_path / "a.vtt"))
    wanted = [Turn(start / 1000, end / 1000, who, text) for (start, end), who, text in events]
    assert in_order(read_turns(tmp_path / "a.vtt")[None]) == in_order(wanted)


def clock(milliseconds):
    """Milliseconds as WebVTT has them."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"
