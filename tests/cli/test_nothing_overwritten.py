"""Nothing of the user's is written over: the same rule, asked of every program that writes."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import fake_corpora
import pyarrow.parquet as pq
import pytest
import small_corpus
import torch
from long_recordings import write_podcast
from small_models import PITCHES, write_recordings
from small_network import released_names, save_small_classifier

from dusha_ser.cli.main import list_commands
from dusha_ser.cli.main import main as dusha
from dusha_ser.errors import WrongUseError
from dusha_ser.storage import write_csv

# Programs that write for the moment only.
WRITE_NOTHING = {"demo"}
OUT = "out"


@dataclass(frozen=True)
class Case:
    """A program and what it does when it is run again.

    Attributes:
        words: behind the command; names of inputs are in braces, and out, where it writes.
        other: options that make another result.
        resumes: whether the same command says that all is done, and otherwise refuses.
        alone: whether it refuses a folder that holds other things.
        needs: a library that must be installed.
        slow: whether a file stands for its result, because it takes long to make.
    """

    words: str
    other: str = ""
    resumes: bool = False
    alone: bool = True
    needs: str = "numpy"
    slow: bool = False


TRAINING = "--model_name_or_path {model} --max_steps 1 --validation 0 --cache_dir {cache} --use_cpu"
CASES = {
    "sample": Case("{out} --clips 48", "--seed 1", resumes=True),
    "corpus": Case(
        "crowd --data_dir {archives} --output_dir {out} --export csv --cache_dir {cache}",
        "--threshold 0.5",
        resumes=True,
    ),
    "train": Case(f"--train_file {{table}} --output_dir {{out}} {TRAINING}", "--seed 1"),
    "predict": Case(
        "{model} {wavs} --output_file {out}/rows.csv --device cpu",
        "--timeline --window 1 --hop 0.5",
        resumes=True,
        alone=False,
    ),
    "evaluate": Case(
        "--models {model} --test_sets {table} --output_dir {out} --device cpu",
        "--batch_size 2",
        resumes=True,
    ),
    "cross-validate": Case(
        f"{{table}} --folds 2 --output_dir {{out}} {TRAINING}", "--learning_rate 0.5", resumes=True
    ),
    "convert": Case("{released} {out}"),
    "export": Case("{model} {out}/model.onnx", alone=False, needs="onnx", slow=True),
    "export page": Case("{model} {out}", "--window 4", needs="onnx", slow=True),
    "collect slice": Case(
        "{recordings} --output_dir {out}", "--longest 2", resumes=True, needs="silero_vad"
    ),
    "collect pseudo-label": Case(
        "{clips} --model {model} --number 2 --output_file {out}/picked.csv --device cpu",
        "--number 1",
        resumes=True,
        alone=False,
    ),
    "collect tasks": Case("{clips} --output_dir {out}", "--seed 1"),
    "collect answers": Case("{tasks} {answers} --output_dir {out} --test_share 0"),
    "collect prompts": Case("{texts} --output_file {out}/prompts.csv", "--number 1", alone=False),
    "collect podcast": Case(
        "{timings} {recordings} --output_dir {out}",
        "--start_column begin --end_column finish",
        resumes=True,
    ),
    "report corpus": Case("{dataset} --output_dir {out}", alone=False),
    "report annotators": Case("{archives} --output_dir {out} --cache_dir {cache}", alone=False),
    "report labels": Case("{dataset} {predictions} --output_dir {out}", "--clips 1", alone=False),
    "report results": Case("{results} --output_dir {out}", "--title Other", alone=False),
}
# The same programs where they write shards, which only their user may remove.
SHARDS = {
    "predict": Case("{model} {wavs} --output_shards {out} --device cpu", "--timeline"),
    "collect slice": Case("{recordings} --output_shards {out}", "--longest 2", needs="silero_vad"),
    "collect pseudo-label": Case(
        "{wavs} --model {model} --number 2 --output_shards {out} --output_file picked/picked.csv "
        "--device cpu",
        "--shard_size 3",
    ),
}


def program(command, words, inputs, out=OUT):
    """Run a program quietly in this process."""
    arguments = [word.format(**inputs, out=out) for word in words.split()]
    return dusha([*command.split(), *arguments, "--quiet"])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """What the programs read, by name."""
    folder = tmp_path_factory.mktemp("inputs")
    rows = []
    for number, pitch in enumerate(PITCHES.values()):
        fake_corpora.write(folder / f"clips/wavs/{number}.wav", fake_corpora.tone(pitch, 0.2))
        rows.append({"id": f"clip{number}", "path": f"wavs/{number}.wav", "source_id": "a"})
    write_csv(folder / "clips" / "clips.csv", list(rows[0]), rows)
    write_podcast(folder / "recordings" / "talk.wav", 1, phrases=3)
    (folder / "timings.csv").write_text(
        "hash_id,link,start,end,begin,finish\nabc,talk.mp3,0.1,1,0.2,1.5\n"
    )
    labels = ("angry", "sad", "neutral", "positive")
    header = ",".join(["text", *(f"probability_{label}" for label in labels)])
    (folder / "texts.csv").write_text(f"{header}\nyes,0,0,0,1\nno,1,0,0,0\nso,0,1,0,0\n")
    released = {
        name: torch.zeros(shape, dtype=torch.int64) if not shape else torch.rand(shape)
        for name, shape in released_names().items()
    }
    torch.save(released, folder / "released.pt")
    found = {
        "archives": small_corpus.write_corpus(folder / "archives"),
        "table": write_recordings(folder / "own", speakers=2),
        "model": save_small_classifier(folder / "small"),
    }
    names = ("cache", "clips", "recordings", "timings.csv", "texts.csv", "released.pt")
    found |= {name.partition(".")[0]: folder / name for name in names}
    found |= {name: folder / name for name in ("tasks", "dataset", "results")}
    found |= {"answers": folder / "answers.csv", "wavs": folder / "clips" / "wavs"}
    for name in ("collect tasks", "corpus", "evaluate"):
        place = {"collect tasks": "tasks", "corpus": "dataset", "evaluate": "results"}[name]
        program(name, CASES[name].words, found, folder / place)
    key = (folder / "tasks" / "key.csv").read_text().splitlines()[1:]
    clips = pq.read_table(sorted((folder / "dataset" / "crowd").glob("*.parquet")))["id"]
    rows = [
        {"id": name, "probability_sad": 0.7, "probability_angry": 0.3} for name in clips.to_pylist()
    ]
    write_csv(folder / "predictions.csv", list(rows[0]), rows)
    found["predictions"] = folder / "predictions.csv"
    answers = [{"task": row.split(",")[0], "annotator": "one", "answer": "sad"} for row in key]
    write_csv(folder / "answers.csv", list(answers[0]), answers)
    return found


def files_of(folder):
    """All files of a folder, by name: their bytes."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def places_of(folder):
    """All files of a folder, by name: where they are on the disk, and since when."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def test_cases_are_of_all_programs_that_write():
    assert set(CASES) == {" ".join(words) for words in list_commands()} - WRITE_NOTHING


@pytest.mark.parametrize("command", CASES)
def test_program_when_run_again_replaces_nothing_unless_told(
    command, inputs, tmp_path, monkeypatch
):
    case = CASES[command]
    pytest.importorskip(case.needs)
    monkeypatch.chdir(tmp_path)
    run = partial(program, command, inputs=inputs)
    refused = pytest.raises(WrongUseError, match=r"(?s)name another .*--overwrite")
    if case.slow:
        fake_corpora.write(Path(OUT, "model.onnx"), b"a model")
    else:
        assert not run(case.words)
    before = files_of(Path(OUT))
    assert before
    if case.resumes:
        assert not run(case.words)
    else:
        with refused:
            run(case.words)
    assert files_of(Path(OUT)) == before
    if case.other:
        with refused:
            run(f"{case.words} {case.other}")
        assert files_of(Path(OUT)) == before
    if case.slow:
        return
    places = places_of(Path(OUT))
    assert not run(f"{case.words} {case.other} --overwrite")
    assert places_of(Path(OUT)) != places
    if case.other:
        assert files_of(Path(OUT)) != before
    assert not [path for path in tmp_path.rglob("*") if "unfinished" in path.name]


@pytest.mark.parametrize("command", SHARDS)
def test_program_in_shards_replaces_nothing(command, inputs, tmp_path, monkeypatch):
    case = SHARDS[command]
    pytest.importorskip(case.needs)
    monkeypatch.chdir(tmp_path)
    run = partial(program, command, inputs=inputs)
    assert not run(case.words)
    before, places = files_of(Path(OUT)), places_of(Path(OUT))
    assert {"_job.json", "part-00000.parquet"} <= set(before)
    assert not run(case.words)
    assert places_of(Path(OUT)) == places
    with pytest.raises(WrongUseError, match="name another --output_shards, or remove that one"):
        run(f"{case.words} {case.other}")
    assert files_of(Path(OUT)) == before
    Path("others").mkdir()
    Path("others", "thesis.txt").write_text("ten years")
    kinds = {
        "others": r"others holds thesis\.txt.*name another folder as --output_shards",
        "others/thesis.txt": r"thesis\.txt is a file; name a folder as --output_shards",
        "others/thesis.txt/new": "is a file, so .* cannot be made; name another --output_shards",
    }
    for place, message in kinds.items():
        for more in ("", " --overwrite"):
            with pytest.raises(WrongUseError, match=message):
                program(command, case.words + more, inputs, place)
    assert files_of(Path("others")) == {"thesis.txt": b"ten years"}


@pytest.mark.parametrize("command", CASES)
def test_program_when_the_output_cannot_be_written_says_so(command, inputs, tmp_path, monkeypatch):
    case = CASES[command]
    pytest.importorskip(case.needs)
    monkeypatch.chdir(tmp_path)
    Path("README.md").write_text("mine")
    kinds = {"README.md/new": r"README\.md is a file, so README\.md/new\S* cannot be made"}
    if case.words.endswith("{out}") or "{out} " in case.words:
        kinds["README.md"] = r"README\.md is a file; name a folder as "
    for place, message in kinds.items():
        for more in ("", " --overwrite"):
            with pytest.raises(WrongUseError, match=message):
                program(command, case.words + more, inputs, place)
    if case.alone:
        Path(OUT).mkdir()
        Path(OUT, "thesis.txt").write_text("ten years")
        for more in ("", " --overwrite"):
            with pytest.raises(WrongUseError, match=r"out (already )?holds thesis\.txt"):
                program(command, case.words + more, inputs)
        assert files_of(Path(OUT)) == {"thesis.txt": b"ten years"}
    assert Path("README.md").read_text() == "mine"


@pytest.mark.parametrize("command", CASES)
def test_program_that_writes_has_the_option(command, capsys):
    with pytest.raises(SystemExit):
        dusha([*command.split(), "--help"])
    assert "--overwrite" in capsys.readouterr().out
