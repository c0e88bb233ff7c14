"""What people who mean harm may try: names that lead elsewhere, code in data, secrets in files."""

import ast
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from archive_server import ArchiveServer
from small_corpus import make_clips, wav_bytes, write_corpus
from small_network import small_classifier

from benchmarks import demo_load
from dusha_ser.cli import corpus as corpus_command
from dusha_ser.cli import predict
from dusha_ser.files import printable_name
from feature_extraction_dusha import DushaFeatureExtractor

pytestmark = pytest.mark.timeout(900)
REPOSITORY = Path(__file__).resolve().parent.parent.parent
SECRET = "hf_secretsecretsecretsecretsecretse"
PASSWORD, QUERY = "password-of-the-mirror", "signature-of-the-address"

# Code that runs what it is given.

SOURCES = [
    *REPOSITORY.glob("*.py"),
    *(path for name in ("dusha_ser", "demo", "benchmarks") for path in
      sorted((REPOSITORY / name).rglob("*.py"))),
]  # fmt: skip
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.spawnl", "os.execv"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "shelve.open"),
    *("joblib.load", "dill.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "tempfile.mktemp"),
}
# What must, or must not, be said where these are called.
NEEDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}


def dangers(source):
    """The calls of a source that may run what came from elsewhere."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        said = {
            one.arg: one.value.value for one in node.keywords if isinstance(one.value, ast.Constant)
        }
        needed, value = NEEDED.get(name, (None, None))
        if (
            name in FORBIDDEN
            or said.get("shell")
            or said.get("allow_pickle")
            or said.get("trust_remote_code") is True
            or (needed and said.get(needed) is not value)
        ):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "exec(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "pickle.load(file)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_source_scan_finds_what_it_looks_for(source):
    assert dangers(source)


def test_source_has_no_eval_no_pickle_and_no_shell():
    assert len(SOURCES) > 60
    found = {path.name: dangers(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert not {name: calls for name, calls in found.items() if calls}


def test_bandit_finds_nothing_that_is_not_argued():
    pytest.importorskip("bandit", reason='bandit is in the extra dev: pip install -e ".[dev]"')
    command = [sys.executable, "-m", "bandit", "--quiet", "--recursive", "--ini", "setup.cfg", "."]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# Names that come with data.

PATHS = ["../../over", "..\\..\\over", "/tmp/dusha-over", "C:\\over", "a/b", "a\0b"]
STRANGE = [
    "two\nlines",
    "$(touch over)",
    "; touch over",
    "`touch over`",
    "-rf",
    "*",
    "..",
    "\x1b[2J",
]


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture
def hostile(tmp_path):
    """Write archives whose first clip has an id of the test's choice; returns their folder."""

    def hostile(name):
        counts = {"crowd_train": 8, "crowd_test": 4, "podcast_train": 4, "podcast_test": 4}
        clips = make_clips(counts)
        if not any(letter in name for letter in "/\\\0"):
            clips[0]["id"] = name
            return write_corpus(tmp_path / "archives", clips)
        # No archive can hold a file of that name: its rows name the file of another clip.
        stolen = clips[0]["id"]
        folder = write_corpus(tmp_path / "archives", clips)
        (folder / "crowd_train").mkdir()
        (folder / "crowd_train" / "wavs").mkdir()
        (folder / "crowd_train" / "wavs" / "a.wav").write_bytes(wav_bytes(np.ones(800) / 9))
        archive = (folder / "crowd.tar").read_bytes()
        rows = archive[archive.index(b'{"hash_id"') :].split(b"\0", 1)[0].decode()
        escaped = name.replace("\\", "\\\\").replace("\0", "\\u0000")
        rows = rows.replace(f'"{stolen}"', f'"{escaped}"').replace(
            f"wavs/{stolen}.wav", "wavs/a.wav"
        )
        (folder / "crowd_train" / "raw_crowd_train.jsonl").write_text(rows)
        return folder

    return hostile


@pytest.mark.parametrize("name", PATHS, ids=ascii)
def test_export_when_an_id_leads_elsewhere_writes_nothing(name, hostile, program, tmp_path):
    archives = hostile(name)
    work = tmp_path / "a" / "b" / "dusha"
    ended = program(
        *(
            corpus_command.main,
            "crowd",
            "--data_dir",
            archives,
            "--output_dir",
            work,
            "--export",
            "emobox",
        ),
        *("--export_audio", "--cache_dir", tmp_path / "cache", "--quiet"),
    )
    assert ended.status == 1
    assert repr(name) in ended.complaint or ascii(name) in ended.complaint
    outside = {path for path in files_below(tmp_path) if "over" in path}
    assert not outside and not Path("/tmp/dusha-over.wav").exists()
    assert not (work / "exports" / "crowd").exists()


@pytest.mark.parametrize("name", STRANGE, ids=ascii)
def test_export_when_an_id_is_strange_stays_in_its_folder(name, hostile, program, tmp_path):
    archives = hostile(name)
    before = files_below(tmp_path)
    program(
        *(corpus_command.main, "crowd", "--data_dir", archives, "--output_dir", tmp_path / "dusha"),
        *("--export", "csv", "--export", "emobox", "--export", "lhotse", "--export_audio"),
        *("--cache_dir", tmp_path / "cache", "--quiet"),
    )
    new = files_below(tmp_path) - before
    assert all(path.split("/")[0] in ("dusha", "cache") for path in new)
    # Its file "...wav" is hidden, and hidden files are not clips.
    is_hidden = name == ".."
    assert (f"dusha/exports/crowd/wavs/{name}.wav" in new) is not is_hidden
    table = "crowd/missing_audio.csv" if is_hidden else "exports/crowd/train.csv"
    with (tmp_path / "dusha" / table).open(newline="") as file:
        assert name in {row["id"] for row in csv.DictReader(file)}


def test_prediction_when_names_of_files_are_strange(program, tmp_path, monkeypatch):
    small_classifier(num_mel_bins=64).save_pretrained(tmp_path / "small")
    DushaFeatureExtractor().save_pretrained(tmp_path / "small")
    clips = tmp_path / "clips"
    clips.mkdir()
    names = [f"{name}.wav" for name in STRANGE]
    for name in names:
        soundfile.write(clips / name, np.sin(np.arange(1600)), 16000, format="WAV")
    with (clips / "table.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerows([["path"], *([name] for name in [*names, "no/such.wav"])])
    with (clips / "zero.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path"], ["a\0b.wav"]])
    before = files_below(tmp_path)
    monkeypatch.chdir(clips)
    ended = program(
        *(predict.main, tmp_path / "small", clips / "table.csv", "--quiet"),
        *("--output_file", tmp_path / "answers.csv"),
    )
    assert ended.status == 1 and "1 of 9 files failed" in ended.complaint
    with (tmp_path / "answers.csv").open(newline="") as file:
        rows = {row["id"]: row["error"] for row in csv.DictReader(file)}
    assert [name for name, error in rows.items() if not error] == list(map(printable_name, names))
    notes = {f".answers.csv.{note}" for note in ("settings.json", "inputs.json", "lock")}
    new = {"answers.csv", *notes}
    assert files_below(tmp_path) - before == new
    ended = program(predict.main, tmp_path / "small", clips / "zero.csv", "--quiet")
    assert ended.status == 2 and "zero byte" in ended.complaint
    ended = program(predict.main, tmp_path / "small", *clips.glob("*.wav"), "--quiet")
    assert "\x1b" not in ended.output, "a name of a file steers the terminal"


# The demo.


def test_demo_listens_to_this_machine_only(tmp_path, monkeypatch):
    pytest.importorskip("gradio", reason="the demo needs the extra demo")
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    demo, address = demo_load.start_demo(demo_load.save_random_model(tmp_path / "m"), tmp_path)
    try:
        sockets = psutil.Process(demo.pid).net_connections("inet")
        listening = {one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}
        assert address.startswith("http://127.0.0.1:")
    finally:
        demo.kill()
        demo.wait()


# Secrets.


def places_of(secret, folder):
    """Files that hold a secret."""
    return [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]


def run(arguments, folder, environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def corpus(tmp_path_factory):
    """The archives by their paths on a server."""
    folder = write_corpus(tmp_path_factory.mktemp("served"))
    return {f"/dusha/{path.name}": path.read_bytes() for path in folder.iterdir()}


def test_secrets_are_neither_printed_nor_stored_nor_pushed(corpus, hub, tmp_path):
    user = tmp_path / "user"
    user.mkdir()
    small_classifier(num_mel_bins=64).save_pretrained(user / "small")
    DushaFeatureExtractor().save_pretrained(user / "small")
    environment = hub.environment(tmp_path / "home", token=False)
    with ArchiveServer(corpus) as server:
        address = server.url.replace("//", f"//user:{PASSWORD}@")
        address = f"{address}dusha/?signature={QUERY}"
        written = run(
            ["-m", "dusha_ser", "corpus", "crowd", "--base_url", address, "--push_to_hub",
             "newcomer/d", "--cache_dir", "cache"],
            user, environment | {"HF_TOKEN": hub.token},
        )  # fmt: skip
        assert written.returncode == 0, written.stderr
        trained = run(
            ["-m", "dusha_ser", "train", "--dataset", "crowd", "--base_url", address,
             "--model_name_or_path", "small", "--num_train_epochs", "1", "--cache_dir", "cache",
             "--output_dir", "model", "--keep_checkpoints", "true", "--validation", "0",
             "--per_device_train_batch_size", "8", "--push_to_hub", "--hub_model_id",
             "newcomer/m", "--hub_token", hub.token],
            user, environment,
        )  # fmt: skip
        assert trained.returncode == 0, trained.stderr
        assert server.requests
    assert hub.repositories.visible("model", "newcomer/m", None)
    assert (user / "model" / "training_args.bin").is_file()
    said = written.stdout + written.stderr + trained.stdout + trained.stderr
    for secret in (hub.token, PASSWORD, QUERY):
        assert secret not in said
        assert places_of(secret, tmp_path) == []


def test_token_that_is_refused_is_not_printed(corpus, hub, tmp_path):
    environment = hub.environment(tmp_path / "home") | {"HF_TOKEN": SECRET}
    with ArchiveServer(corpus) as server:
        ended = run(
            ["-m", "dusha_ser", "corpus", "crowd", "--base_url", f"{server.url}dusha/",
             "--push_to_hub", "newcomer/d", "--cache_dir", "cache", "--quiet"],
            tmp_path, environment,
        )  # fmt: skip
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1 and "check token" in ended.stderr
    assert SECRET not in ended.stdout + ended.stderr
    assert places_of(SECRET, tmp_path) == []
    # A folder of the dataset is there all the same, and can be pushed later.
    assert list((tmp_path / "dusha" / "crowd").iterdir())
