"""dusha collect: what its steps print, how they end, and that each says how it is used."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_corpora
import pytest
from long_recordings import write_podcast
from small_models import save_model

from dusha_ser.cli.main import main as dusha
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError
from dusha_ser.storage import write_csv

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = ("slice", "pseudo-label", "tasks", "answers", "prompts", "podcast")


def main(arguments):
    return dusha(["collect", *arguments])


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("step", STEPS)
def test_help_of_each_step_has_an_example_and_says_what_each_option_is(step, capsys):
    with pytest.raises(SystemExit) as end:
        main([step, "--help"])
    assert not end.value.code
    text = capsys.readouterr().out
    assert re.search(rf"examples?: dusha collect {step}", " ".join(text.split()))
    assert "--quiet" in text


def test_steps_tell_in_one_line_what_they_did_and_nothing_when_quiet(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("silero_vad")
    write_podcast(tmp_path / "recordings" / "a.wav", 1, phrases=3)
    model = save_model(tmp_path / "model")
    known = []
    for number in range(10):
        label = ("angry", "sad", "neutral", "positive", "other")[number % 5]
        fake_corpora.write(tmp_path / f"k/{number}.wav", fake_corpora.tone(300 + number, 0.2))
        known.append({"path": f"k/{number}.wav", "label": label})
    write_csv(tmp_path / "known.csv", ["path", "label"], known)
    lines = [
        "slice recordings --output_dir clips",
        f"pseudo-label clips --model {model} --number 2 --output_file picked.csv --device cpu",
        "tasks picked.csv --known known.csv --exam_size 5 --output_dir round1",
    ]
    for line in lines:
        main(line.split())
        assert capsys.readouterr().out.count("\n") == 1
    answers = [
        {"task": row["task"], "annotator": name, "answer": row["label"] or "sad"}
        for row in rows_of(tmp_path / "round1" / "key.csv")
        for name in ("one", "two")
    ]
    write_csv(tmp_path / "answers.csv", ["task", "annotator", "answer"], answers)
    main(["answers", "round1", "answers.csv", "--test_share", "0"])
    printed = capsys.readouterr().out
    assert "6 answers to 3 clips" in printed
    assert printed.endswith("\nNext: dusha corpus crowd --data_dir collected --parts crowd_train\n")
    with pytest.raises(WrongUseError, match="--overwrite"):
        main(lines[2].split())
    answers = "answers round1 answers.csv --test_share 0"
    with pytest.raises(WrongUseError, match="--overwrite"):
        main(answers.split())
    for line in [*lines[:2], f"{lines[2]} --overwrite", f"{answers} --overwrite"]:
        main([*line.split(), "--quiet"])
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert (tmp_path / "collected" / "crowd_train" / "raw_crowd_train.jsonl").is_file()


def test_slice_and_podcast_when_something_fails_end_as_failed_work(tmp_path):
    pytest.importorskip("silero_vad")
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "broken.wav").write_bytes(b"This is no sound")
    out = ["--quiet", "--output_dir"]
    with pytest.raises(WorkFailedError, match="1 of 1 recordings failed: .*; see the error column"):
        main(["slice", str(tmp_path / "recordings"), *out, str(tmp_path / "clips")])
    (tmp_path / "timings.csv").write_text("hash_id,link,start,end\nabc,lost.mp3,1,2\n")
    with pytest.raises(WorkFailedError, match="1 clips are missing; see"):
        sources = [str(tmp_path / "timings.csv"), str(tmp_path / "recordings")]
        main(["podcast", *sources, *out, str(tmp_path / "podcasts")])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("slice -", "standard input"),
        ("slice nowhere", "no such file or folder: nowhere"),
        ("pseudo-label clips --model a/m --number 0", "--number is 0"),
        ("pseudo-label clips --model a/m --number 1 --output_file a.txt", "does not end in .csv"),
        ("tasks nowhere.csv", "no file nowhere.csv"),
        ("answers nowhere answers.csv", "no file nowhere/key.csv"),
        ("prompts nowhere.csv", "no file nowhere.csv"),
        ("prompts texts.csv --model m --label_map joy", "has .joy.; give CODE=LABEL"),
        ("prompts texts.csv --seed -1", "--seed is -1"),
        ("podcast nowhere.tsv .", "no file nowhere.tsv"),
    ],
)
def test_steps_when_used_wrongly_say_so_and_write_nothing(line, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((WrongUseError, MissingInputError), match=said):
        main(line.split())
    assert not list(tmp_path.iterdir())


def test_prompts_of_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    header = "text,probability_angry,probability_sad,probability_neutral,probability_positive"
    Path("texts.csv").write_text(f"{header}\nда,0,0,0,1\nнет,1,0,0,0\n", encoding="utf-8")
    main(["prompts", "texts.csv", "--number", "1"])
    assert capsys.readouterr().out == "1 recording tasks written to prompts.csv\n"
    assert len(rows_of(Path("prompts.csv"))) == 1


def test_program_when_interrupted_ends_in_one_line_and_goes_on(tmp_path):
    pytest.importorskip("silero_vad")
    # Long enough that there is time to interrupt between the first and the last.
    for number in range(12):
        write_podcast(tmp_path / "recordings" / f"{number}.wav", number, phrases=40)
    command = [sys.executable, "-m", "dusha_ser", "collect", "slice", "recordings"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--quiet"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # Tests may run in the background, where the shell lets programs ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    notes = tmp_path / "clips" / ".slices"
    while process.poll() is None and not (notes.is_dir() and list(notes.glob("[!.]*.json"))):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130, error
    assert error == "dusha collect slice: interrupted; the same command resumes\n"
    done = sorted(notes.glob("*.json"))
    assert 0 < len(done) < 12
    assert not list((tmp_path / "clips").glob("*.csv"))
    # Whatever is there is whole: no hidden halves, and each clip that is noted has its file.
    assert not [path for path in (tmp_path / "clips").rglob(".*") if path != notes]
    for note in done:
        for clip in json.loads(note.read_text())["clips"]:
            assert (tmp_path / "clips" / "wavs" / f"{clip['id']}.wav").is_file()
