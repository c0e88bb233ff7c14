"""Too little or wrong input, asked of every program: one line, exit status 2, no traceback."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_models import write_recordings

from dusha_ser.cli.main import find_command, list_commands, run
from dusha_ser.cli.program import on_interrupt, run_program

CASES = {
    "predict, no file": ("predict", "model", "nowhere.wav"),
    "predict, no input": ("predict", "model"),
    "evaluate, no model": ("evaluate", "--models", "nowhere", "--test_sets", "nowhere"),
    "evaluate, no test set": ("evaluate", "--models", "model"),
    "cross_validate, no table": ("cross-validate", "nowhere.csv", "--output_dir", "out"),
    "convert, no file": ("convert", "nowhere.pt", "out"),
    "export, no model": ("export", "nowhere", "out.onnx"),
    "export, nothing to calibrate with": ("export", "model", "out.onnx", "--int8"),
    "export page, no model": ("export", "page", "nowhere", "out"),
    "export page, no runtime": ("export", "page", "some/model", "out", "--runtime", "nowhere.tgz"),
    "export, no clips": ("export", "model", "out.onnx", "--clips", "nowhere"),
    "report, no report": ("report",),
    "report, no answers": ("report", "annotators", "nowhere"),
    "report, no corpus": ("report", "corpus", "nowhere"),
    "report, no results": ("report", "results", "nowhere"),
    "train, no setup": ("train", "nowhere"),
    "train, no table": ("train", "--train_file", "nowhere.csv"),
    "train, no data set": ("train", "--dataset", "nowhere"),
    "train, no archives": ("train", "--dataset", "crowd", "--data_dir", "nowhere"),
    "train, no such option": ("train", "--nowhere", "1"),
    "dusha, no archives": ("corpus", "--data_dir", "nowhere"),
    "dusha, no such configuration": ("corpus", "nowhere", "--data_dir", "."),
    "sample, no such option": ("sample", "out", "--nowhere", "1"),
}


# What takes a model, and what takes a data set, by the place of its name.
TAKE_MODELS = {
    "train": ("train", "--model_name_or_path", "NAME"),
    "predict": ("predict", "NAME", "clip.wav"),
    "evaluate": ("evaluate", "--models", "NAME", "--test_sets", "clips.csv"),
    "cross_validate": ("cross-validate", "clips.csv", "--model_name_or_path", "NAME"),
    "export": ("export", "NAME", "out.onnx"),
    "export page": ("export", "page", "NAME", "out"),
    "demo": ("demo", "--model", "NAME"),
    "pseudo-label": ("collect", "pseudo-label", "clips.csv", "--model", "NAME", "--number", "1"),
    "prompts": ("collect", "prompts", "clips.csv", "--model", "NAME"),
}
TAKE_DATA = {
    "train": ("train", "--dataset", "NAME"),
    "evaluate": ("evaluate", "--models", "model", "--test_sets", "NAME"),
    "evaluate, to train on": ("evaluate", "--train_on", "NAME", "--test_sets", "clips.csv"),
    "cross_validate": ("cross-validate", "NAME"),
}


def last_line(command, monkeypatch):
    """Run a command that is used wrongly; return what it says last."""
    monkeypatch.setattr(sys, "argv", ["dusha", *command])
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as end:
        run()
    assert end.value.code == 2, said.getvalue()
    assert "Traceback" not in said.getvalue()
    return said.getvalue().splitlines()[-1]


@pytest.mark.parametrize("name", ["./runs/mine", "runs/mine", "../mine", "a/b/c", "~/mine"])
@pytest.mark.parametrize(
    ("command", "missing"),
    [(command, "no (model|text classifier)") for command in TAKE_MODELS.values()]
    + [(command, "no data set") for command in TAKE_DATA.values()],
)
def test_name_when_it_looks_local_is_not_looked_for_on_the_hub(
    command, missing, name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "model").mkdir()
    write_recordings(tmp_path, speakers=2)
    # Whoever asks the Hub gets another error.
    monkeypatch.setattr("httpx2.Client.send", None)
    line = last_line([name if word == "NAME" else word for word in command], monkeypatch)
    assert re.search(f"{missing} '{name}'", line), line


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin"])
@pytest.mark.parametrize("command", [name for name in TAKE_MODELS if name != "prompts"])
def test_weights_alone_where_a_model_is_taken_are_told_how_to_convert(
    command, suffix, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_recordings(tmp_path, speakers=2)
    name = f"weights{suffix}"
    (tmp_path / name).write_bytes(b"weights")
    command = [name if word == "NAME" else word for word in TAKE_MODELS[command]]
    assert f"dusha convert {name} MODEL" in last_line(command, monkeypatch)


@pytest.mark.parametrize("case", list(CASES))
def test_program_when_used_wrongly_ends_with_one_line(case, tmp_path, monkeypatch):
    command, *arguments = CASES[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dusha", command, *arguments])
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as end:
        run()
    assert end.value.code == 2
    lines = [line for line in said.getvalue().splitlines() if f"dusha {command}" in line]
    # argparse writes its usage before the one line.
    (line,) = [line for line in lines if not line.startswith("usage: ")]
    assert line.startswith(f"dusha {command}")
    if "nowhere" in arguments or "nowhere.csv" in arguments:
        assert "nowhere" in line
    assert "Traceback" not in said.getvalue()
    assert not list(tmp_path.rglob("*.onnx")) and not (tmp_path / "dusha").exists()


def test_command_when_unknown_or_misspelled_says_what_may_be_meant(monkeypatch, capsys):
    for arguments, words in (
        (["trian"], "dusha: unknown command 'trian'; did you mean train?\n"),
        (["sample", "x", "--clip", "9"], "dusha sample: unknown option --clip; did you mean"),
    ):
        monkeypatch.setattr(sys, "argv", ["dusha", *arguments])
        with pytest.raises(SystemExit) as end:
            run()
        assert end.value.code == 2
        assert capsys.readouterr().err.startswith(words)


def test_program_when_interrupted_ends_with_130_and_how_to_resume(capsys):
    def main():
        on_interrupt("the same command resumes")
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        run_program(main)
    assert end.value.code == 130
    assert capsys.readouterr().err.endswith(": interrupted; the same command resumes\n")
    on_interrupt("")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks the system what is loaded")
@pytest.mark.parametrize("library", ["numpy", "libtorch"])
@pytest.mark.parametrize(
    "words",
    [
        ("predict", "somebody/model", "a.wav", "--output_file", "predictions.csv"),
        ("collect", "slice", "a.wav"),
    ],
    ids=["predict", "collect slice"],
)
def test_program_when_interrupted_during_imports_ends_in_one_line(words, library, tmp_path):
    (tmp_path / "a.wav").touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "dusha_ser", *words],
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        stderr=subprocess.PIPE,
        text=True,
        # Tests may run in the background, where the shell lets programs ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    maps = Path(f"/proc/{process.pid}/maps")
    while process.poll() is None and library not in maps.read_text():
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130, error
    command = " ".join(words[: 2 if words[0] == "collect" else 1])
    assert error == f"dusha {command}: interrupted; the same command resumes\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def parsers():
    """The parser of each program by its words."""
    for command in list_commands():
        words = " ".join(("dusha", *command))
        module = sys.modules[find_command(words).__module__]
        maker = getattr(find_command(words), "make_parser", None) or module.make_parser
        yield words, maker()


# Options that take several values: with commas, or as words.
WITH_COMMAS = {
    "dusha corpus": {"base_url", "checksum", "export", "labels", "parts"},
    "dusha train": {"base_url", "label_map", "report_to", "teacher", "waveform_augmentation"},
    "dusha predict": {"export"},
    "dusha evaluate": {"label_map", "scores_by"},
    "dusha cross-validate": {"folds_only", "label_map", "scores_by", "seeds"},
    "dusha collect tasks": {"label_map"},
    "dusha collect answers": {"label_map"},
    "dusha collect prompts": {"label_map"},
    "dusha report annotators": {"parts", "labels"},
}
AS_WORDS = {
    "dusha corpus": {"names"},
    "dusha train": {"include_for_metrics", "label_names"},
    "dusha predict": {"inputs"},
    "dusha evaluate": {"models", "test_sets"},
    "dusha collect slice": {"inputs"},
    "dusha collect tasks": {"more"},
    "dusha collect answers": {"files"},
    "dusha report annotators": {"source"},
    "dusha report results": {"results", "training"},
    "dusha export": {"clips"},
}
# Two values of each, where not everything is taken.
TWO = {"export": ("csv", "lhotse"), "checksum": ("a.tar=md5:1", "b.tar=md5:2")}


def values_of(parser, action, *words):
    """What a parser makes of words, none of which belongs to an option that must be given."""
    for one in parser._actions:
        one.required = False
    found = vars(parser.parse_known_args(words)[0])[action.dest]
    return [str(one) for one in found]


def test_options_that_take_several_values_take_two_and_their_help_says_how(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dusha", "--help_all"])
    with_commas, as_words = {}, {}
    for words, parser in parsers():
        for action in parser._actions:
            help_text = (action.help or "").rpartition("; several ")[2]
            name = f"--{action.dest}"
            if help_text == "with commas, or by the option again":
                with_commas.setdefault(words, set()).add(action.dest)
                first, second = TWO.get(action.dest, ("a", "b"))
                both = [f"{first},{second}"], [first, name, second], [f"{first}, {second}"]
                expected = values_of(parser, action, name, first)
                expected += values_of(parser, action, name, second)
                for given in both:
                    assert values_of(parser, action, name, *given) == expected, (words, name)
                assert len(expected) == 2
            elif help_text == "as words, or by the option again":
                as_words.setdefault(words, set()).add(action.dest)
                for given in (["a", "b"], ["a", name, "b"]):
                    assert values_of(parser, action, name, *given) == ["a", "b"], (words, name)
            elif help_text == "as words":
                as_words.setdefault(words, set()).add(action.dest)
                assert not action.option_strings and action.nargs in ("*", "+"), (words, name)
                before = [""] * sum(one.nargs is None for one in parser._get_positional_actions())
                assert values_of(parser, action, *before, "a", "b") == ["a", "b"], (words, name)
            else:
                # Two values that are a pair, or one.
                assert action.nargs in (None, 0, "?") or action.dest == "compare", (words, name)
    assert (with_commas, as_words) == (WITH_COMMAS, AS_WORDS)
