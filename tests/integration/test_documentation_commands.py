"""The commands of README.md and docs/ run, as they stand, on small files of the names they use.

Trainings end after two steps (LESS), and USER is logged in to a stand-in of the Hub on the loopback
address. What is not run here stands in NOT_RUN with the reason; a command that neither runs nor
has a reason, and a reason without a command, fail.
"""

import csv
import os
import shutil
from pathlib import Path

import fake_corpora
import numpy as np
import pytest
import soundfile
import torch
from archive_files import write_tar
from documentation import PAGES, SHOWN, commands
from hub_server import HubServer
from long_recordings import write_podcast
from small_models import PITCHES, save_model, save_text_classifier, write_recordings
from small_network import released_names
from warm_programs import WarmPrograms

from dusha_ser.corpus.sample import write_sample
from dusha_ser.storage import write_csv

REPOSITORY = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.timeout(1200)

# What stands at the beginning of a command that is not run, and why.
NOT_RUN = {
    "pip install": "changes the environment; the README's two lines are what .ci/run does",
    "pytest": "is the tests themselves",
    "python -m ": "measures for minutes, or checks the code, as .ci/run does",
    "python train.py": "for two minutes; tests/integration/test_default_run.py does",
    "dusha train crowd_large --base_url": "an address that is not there",
    "dusha train crowd_soft": "tests/cli/test_train.py trains by this setup and the next",
    "dusha train crowd_answers": "as above",
    "dusha evaluate --models runs/released": "released weights and real speech are not "
    "ours to ship",
    "dusha evaluate --models runs/crowd_large runs/podcast_tune": "a complete RAVDESS; "
    "tests/cli/test_evaluate.py compares two models",
    "dusha train own_recordings --train_file clips --model_name_or_path released "
    "--teacher_backbone": "as below; tests/experiments/test_backbone_teachers.py has another",
    "dusha train backbone": "an encoder on the Hub; tests/training/test_backbones.py has others",
    "dusha evaluate --train_on": "complete CREMA-D, RAVDESS and EmoDB; "
    "tests/cli/test_evaluate.py trains on one corpus and tests on another",
    "dusha cross-validate iemocap": "a complete IEMOCAP; tests/cli/test_cross_validate.py "
    "does it with one of silence",
    "dusha cross-validate ravdess": "released weights and real speech, as above",
    "dusha cross-validate clips.csv": "trains a model a fold; "
    "tests/integration/test_cross_validation.py does",
    "dusha cross-validate dusha:crowd:train": "trains a model a fold, as above",
    "dusha report labels dusha:crowd:train": "predictions of the line above it; "
    "tests/reports/test_labels.py does",
    "dusha report results results runs/iemocap": "what the line above it would write; "
    "tests/reports/test_results.py does",
    "find": "a pipe; tests/cli/test_predict.py reads lists from standard input",
    "dusha predict runs/crowd_large -": "a pipe, as above",
    "dusha predict model.onnx s3://calls/2026": "a bucket of its own; "
    "tests/integration/test_object_store.py has a server of one",
    "dusha demo": "serves until it is stopped; tests/integration/test_demo.py starts it",
    "dusha export page": "npm fetches what runs the model; "
    "tests/integration/test_browser_page.py does",
}
# These come in the first block of README.md and docs/training.md.
WHOLE_ONLY = ("python train.py", "dusha train", "pytest")
# Enough to go through every step of a training.
LESS = {"train": ("--max_steps", "2", "--per_device_train_batch_size", "4")}
# Where the readers of a page stand, by the name of a fixture; those of all others: in `reader`.
STANDPOINTS = {
    "README.md": "newcomer",
    "docs/index.md": "newcomer",
    "docs/collecting.md": "collector",
    "docs/shards.md": "collector",
    "docs/publish.md": "collector",
}
DOCUMENTED = [page for page in PAGES if page == "README.md" or page.startswith("docs/")]
EMOTIONS = ("angry", "sad", "neutral", "positive")


def reason_not_to_run(words: list[str]) -> str | None:
    """The beginning in NOT_RUN of a command; the longest of several."""
    text = " ".join(words)
    found = [
        start
        for start in NOT_RUN
        if text == start or (start not in WHOLE_ONLY and text.startswith(start))
    ]
    return max(found, key=len, default=None)


def show_project(folder: Path) -> None:
    """Let a folder show the programs of the project, as a clone would."""
    for path in REPOSITORY.iterdir():
        if path.suffix == ".py" or path.name in SHOWN:
            (folder / path.name).symlink_to(path)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Hub on which USER has an account."""
    with HubServer(tmp_path_factory.mktemp("hub"), user="USER") as server:
        yield server


@pytest.fixture(scope="module")
def python(hub, tmp_path_factory):
    """Runs commands with USER logged in: words and a folder to exit status and output."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patched:
        for name in set(os.environ) - set(environment := hub.environment(home)):
            patched.delenv(name)
        for name, value in environment.items():
            patched.setenv(name, value)
        programs = WarmPrograms(tmp_path_factory.mktemp("programs"))

    def run(words: list[str], folder: Path) -> tuple[int, str]:
        program, status = programs.run("dusha_ser.cli.main.main", *words[1:], cwd=folder)
        return status, program.output + program.errors

    yield run
    programs.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random model, which many folders are copies of."""
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def reader(tmp_path_factory, model):
    """Where a reader of most pages stands: archives, recordings, models under the pages' names."""
    folder = tmp_path_factory.mktemp("reader")
    show_project(folder)
    write_sample(folder / "archives", clips=48, quiet=True)
    for name in ("runs/crowd_large", "runs/podcast_tune", "model"):
        shutil.copytree(model, folder / name)
    torch.manual_seed(0)
    released = {
        name: torch.zeros(shape, dtype=torch.int64) if not shape else torch.rand(shape)
        for name, shape in released_names().items()
    }
    torch.save(released, folder / "released_checkpoint.pt")
    write_recordings(folder)
    header, *lines = write_recordings(folder / "other").read_text().splitlines()
    (folder / "test.csv").write_text("\n".join([header, *(f"other/{line}" for line in lines)]))
    for label, pitch in PITCHES.items():
        for number in range(6):
            name = f"clips/{label}/{number}.wav"
            fake_corpora.write(folder / name, fake_corpora.tone(pitch + 5 * number, 0.2))
    fake_corpora.write(folder / "a.wav", fake_corpora.tone(300, 0.4))
    for suffix in ("wav", "flac"):
        path = folder / "recordings" / "deep" / f"b.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.sin(np.arange(9000) / 20), 16000)
    (folder / "calls.csv").write_text("number,file\n1,a.wav\n2,recordings/deep/b.flac\n")
    write_podcast(folder / "podcast.wav", 3, phrases=2)
    samples, rate = soundfile.read(folder / "podcast.wav")
    soundfile.write(folder / "podcast.mp3", samples, rate)
    soundfile.write(folder / "meeting.wav", samples, rate)
    (folder / "meeting.rttm").write_text(
        "SPEAKER meeting 1 0.5 2 <NA> <NA> SPEAKER_00 <NA> <NA>\n"
        "SPEAKER meeting 1 2.25 1 <NA> <NA> SPEAKER_01 <NA> <NA>\n"
    )
    return folder


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory, model):
    """Where a reader of README.md stands after its first line, with a recording at hand."""
    folder = tmp_path_factory.mktemp("newcomer")
    show_project(folder)
    shutil.copytree(model, folder / "model")
    write_podcast(folder / "recording.wav", 3, phrases=2)
    return folder


@pytest.fixture(scope="module")
def collector(tmp_path_factory, model):
    """Where somebody stands who builds a corpus: recordings, texts, a few known answers."""
    folder = tmp_path_factory.mktemp("collector")
    show_project(folder)
    for name in ("runs/crowd_large", "model"):
        shutil.copytree(model, folder / name)
    for number in range(4):
        write_podcast(folder / "recordings" / f"{number}.wav", number, phrases=8, pause=0.6)
    write_podcast(folder / "podcasts" / "talk.wav", 9, phrases=3)
    fake_corpora.write(folder / "a.wav", fake_corpora.tone(300, 0.4))
    known = []
    for number in range(30):
        fake_corpora.write(folder / f"known/{number}.wav", fake_corpora.tone(200 + number, 0.2))
        known.append({"path": f"known/{number}.wav", "label": EMOTIONS[number % 4]})
    write_csv(folder / "known.csv", ["path", "label"], known)
    rng = np.random.default_rng(0)
    texts = [
        {"text": f"фраза {number}"}
        | {f"probability_{emotion}": value for emotion, value in zip(EMOTIONS, row, strict=True)}
        for number, row in enumerate(rng.dirichlet([1, 1, 1, 1], 40).round(3))
    ]
    write_csv(folder / "texts.csv", list(texts[0]), texts)
    save_text_classifier(folder / "text-classifier", ["joy", "anger", "sadness", "calm", "fear"])
    (folder / "podcast_metadata.tsv").write_text(
        "hash_id\tlink\tstart\tend\tbegin\tfinish\nabc\ttalk.mp3\t1\t2\t1000\t2000\n"
    )
    (folder / "files.csv").write_text("recording,path\ntalk.mp3,podcasts/talk.wav\n")
    return folder


def answer_tasks(folder: Path, python) -> None:
    """Let a crowd answer all tasks that there are, before its answers are read."""
    answers = []
    for path in folder.glob("*/key.csv"):
        with path.open(newline="") as file:
            for number, row in enumerate(csv.DictReader(file)):
                answer = row["label"] or EMOTIONS[number % 4]
                answers += [
                    {"task": row["task"], "annotator": name, "answer": answer}
                    for name in ("one", "two", "three")
                ]
    write_csv(folder / "answers.csv", list(answers[0]), answers)
    (folder / "export.json").write_text("[]")


def doubt_tasks(folder: Path, python) -> None:
    """Let three annotators guess about each second clip of the first round."""
    rng = np.random.default_rng(0)
    with (folder / "round1" / "key.csv").open(newline="") as file:
        key = list(csv.DictReader(file))
    answers = []
    for number, row in enumerate(key):
        agreed = row["label"] or EMOTIONS[number // 2 % 4]
        guessed = rng.choice(EMOTIONS, 3) if number % 2 and not row["label"] else [agreed] * 3
        for name, answer in zip(("one", "two", "three"), guessed, strict=True):
            answers.append({"task": row["task"], "annotator": name, "answer": answer})
    write_csv(folder / "answers.csv", list(answers[0]), answers)
    known = []
    for number in range(30):
        name = f"more_known/{number}.wav"
        fake_corpora.write(folder / name, fake_corpora.tone(300 + number, 0.2))
        known.append({"path": name, "label": EMOTIONS[number % 4]})
    write_csv(folder / "more_known.csv", ["path", "label"], known)


def answer_more_tasks(folder: Path, python) -> None:
    """Let the crowd answer the tasks of the second round, too."""
    answer_tasks(folder, python)
    shutil.copy(folder / "answers.csv", folder / "answers2.csv")
    doubt_tasks(folder, python)


def pack_podcasts(folder: Path, python) -> None:
    """Put links and timings where the published archive is said to have them."""
    text = "hash_id\tlink\tstart\tend\nabcd\thttps://feed.example/talk.mp3\t0:00:01\t0:00:02\n"
    write_tar(folder / "archives" / "podcast.tar", {"podcast_metadata.tsv": text.encode()})


def export_model(folder: Path, python) -> None:
    """Have an .onnx file under the name that the page uses."""
    status, output = python(["dusha", "export", "model", "dusha.onnx", "--overwrite"], folder)
    assert status == 0, output


def forget_models(*names: str):
    """Remove models of other pages under the same names; no program replaces them unasked."""

    def forget(folder: Path, python) -> None:
        for name in names:
            shutil.rmtree(folder / name, ignore_errors=True)

    return forget


# What somebody else does between two commands.
BEFORE = {
    "dusha convert released_checkpoint.pt released": forget_models("released"),
    "dusha train crowd_large": forget_models("runs/crowd_large"),
    "dusha train podcast_tune": forget_models("runs/podcast_tune"),
    "dusha collect answers round1 answers.csv": answer_tasks,
    "dusha collect tasks round1 --more": doubt_tasks,
    "dusha collect answers round1 round2": answer_more_tasks,
    "dusha collect podcast archives": pack_podcasts,
    "dusha predict dusha.onnx": export_model,
}


@pytest.mark.parametrize("page", DOCUMENTED)
def test_commands_of_a_page_run(page, python, request):
    runnable = [words for words in commands(page, inline=False) if not reason_not_to_run(words)]
    if not runnable:
        pytest.skip("no command of this page can be run here: see NOT_RUN")
    for words in runnable:
        text = " ".join(words)
        folder = request.getfixturevalue(STANDPOINTS.get(page, "reader"))
        assert words[0] == "dusha", f"neither run nor in NOT_RUN: {text}"
        for start, prepare in BEFORE.items():
            if text.startswith(start):
                prepare(folder, python)
        status, output = python([*words, *LESS.get(words[1], ())], folder)
        assert status == 0, f"{page}: {text}\n{output[-3000:]}"
    if page != "README.md":
        return
    # A reader who types all of it again loses nothing.
    for words in runnable:
        status, output = python([*words, *LESS.get(words[1], ())], folder)
        kept = status == 2 and "--overwrite" in output
        assert kept or not status, f"{words}\n{output[-3000:]}"


def test_each_reason_not_to_run_is_of_a_command():
    used = {
        reason_not_to_run(words) for page in DOCUMENTED for words in commands(page, inline=False)
    }
    assert set(NOT_RUN) == used - {None}
