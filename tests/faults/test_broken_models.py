"""Broken and hostile models, weights and features, given to the programs that load them."""

import io
import json
import os
import pickle
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from small_corpus import make_clips, npy_bytes, write_corpus
from transformers import AutoModelForAudioClassification

from dusha_ser.cli import convert, predict
from dusha_ser.cli import corpus as corpus_command

WEIGHTS, CONFIG, EXTRACTOR = "model.safetensors", "config.json", "preprocessor_config.json"
HEAD = "classifier.weight"


class Evil:
    """What a pickle can hold: unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def broken(small_model, tmp_path):
    """A copy of a sound model to break."""
    return Path(shutil.copytree(small_model, tmp_path / "model"))


@pytest.fixture
def answer(program, tmp_path):
    """Classify a sound with a model; how that ended, and the row."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000)
    soundfile.write(tmp_path / "sound.wav", noise, 16000)

    def answer(model):
        output = tmp_path / "answers.jsonl"
        options = ("--output_file", output, "--overwrite", "--quiet")
        ended = program(predict.main, model, tmp_path / "sound.wav", *options)
        rows = output.read_text().splitlines() if output.exists() else []
        return ended, json.loads(rows[0]) if rows else None

    return answer


def change_weights(change):
    """Change the tensors by name."""

    def apply(folder):
        weights = load_file(folder / WEIGHTS)
        change(weights)
        save_file(weights, folder / WEIGHTS, {"format": "pt"})

    return apply


def change_json(name, **changes):
    """Change fields of a JSON file; None takes one out."""

    def apply(folder):
        fields = json.loads((folder / name).read_text()) | changes
        kept = {key: value for key, value in fields.items() if value is not None}
        (folder / name).write_text(json.dumps(kept))

    return apply


def write(name, content):
    """Replace a file."""
    return lambda folder: (folder / name).write_bytes(content)


def cut(name):
    """Keep half of a file."""
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def stretch_header(folder):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", 2**62) + content[8:])


LABELS = ("angry", "sad", "neutral", "positive")
BROKEN = {
    "a weight lacks": (
        change_weights(lambda own: own.pop(HEAD)),
        f"1 weights of .* are missing.*{HEAD}",
    ),
    "all weights but the head's lack": (
        change_weights(lambda own: [own.pop(name) for name in list(own) if name != HEAD]),
        "weights of .* are missing",
    ),
    "a weight of another shape": (
        change_weights(lambda own: own.update({HEAD: torch.zeros(4, 99)})),
        "damaged, or those of another network",
    ),
    "more labels than said": (
        change_weights(lambda own: own.update({HEAD: torch.zeros(9, 10)})),
        "damaged, or those of another network",
    ),
    "weights cut short": (cut(WEIGHTS), "damaged"),
    "empty weights": (write(WEIGHTS, b""), "damaged"),
    "a web page as weights": (write(WEIGHTS, b"<html>" * 999), "damaged"),
    "a Git LFS pointer": (write(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\n"), "damag"),
    "a header of 2**62 bytes": (stretch_header, "damaged"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "no model"),
    "no configuration": (lambda folder: (folder / CONFIG).unlink(), "not an audio classification"),
    "half a configuration": (cut(CONFIG), "not a valid JSON"),
    "a configuration that is no text": (write(CONFIG, b"\xff\xfe\0"), "not a valid JSON"),
    "a configuration that is a list": (write(CONFIG, b"[]"), "not an audio classification"),
    "a dimension that is text": (change_json(CONFIG, hidden_size="big"), "hidden_size"),
    "a negative dimension": (change_json(CONFIG, hidden_size=-1), "hidden_size"),
    "a dimension that fills all memory": (change_json(CONFIG, hidden_size=10**12), "damaged"),
    "a network of another kind": (change_json(CONFIG, model_type="llama"), "not an audio class"),
    "no feature extractor": (lambda folder: (folder / EXTRACTOR).unlink(), "no model"),
    "half a feature extractor": (cut(EXTRACTOR), "not a valid JSON"),
    "a gap in the labels": (
        change_json(CONFIG, id2label=dict(zip((0, 1, 2, 7), LABELS, strict=True)), label2id=None),
        "without a gap",
    ),
    "a label twice": (
        change_json(CONFIG, id2label=dict(enumerate(("sad", *LABELS[1:]))), label2id=None),
        "must be different",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_model_when_broken_is_refused(kind, broken, answer):
    change, words = BROKEN[kind]
    change(broken)
    ended, row = answer(broken)
    assert ended.status == 2 and row is None
    assert re.search(words, ended.complaint), ended.complaint


@pytest.mark.parametrize(
    "change",
    [
        change_weights(lambda own: own[HEAD].fill_(float("nan"))),
        change_json(EXTRACTOR, feature_size=80),
    ],
    ids=["NaN in the weights", "features of another size"],
)
def test_model_when_it_cannot_answer_gives_rows_with_the_reason(change, broken, answer):
    change(broken)
    ended, row = answer(broken)
    assert ended.status == 1
    assert row["prediction"] is None and row["error"]


def test_model_when_it_has_more_weights_than_needed_answers_the_same(broken, answer):
    _, plain = answer(broken)
    change_weights(lambda own: own.update(other=torch.ones(3)))(broken)
    ended, row = answer(broken)
    assert ended.status == 0 and row == plain


def test_model_when_labels_have_another_order_answers_the_same(broken, answer):
    _, plain = answer(broken)
    order = [2, 0, 3, 1]
    names = {str(number): LABELS[old] for number, old in enumerate(order)}
    change_json(
        CONFIG, id2label=names, label2id={label: int(number) for number, label in names.items()}
    )(broken)

    def reorder(weights):
        for name in (HEAD, "classifier.bias"):
            weights[name] = weights[name][order].clone()

    change_weights(reorder)(broken)
    ended, row = answer(broken)
    assert ended.status == 0
    assert row["prediction"] == plain["prediction"]
    assert row["probabilities"] == pytest.approx(plain["probabilities"], abs=1e-5)


@pytest.mark.parametrize("form", ["torch", "pickle", "safetensors"])
def test_weights_when_they_would_run_code_are_refused(form, broken, answer, tmp_path):
    mark = tmp_path / "ran"
    (broken / WEIGHTS).unlink()
    if form == "torch":
        torch.save({HEAD: Evil(mark)}, broken / "pytorch_model.bin")
    else:
        name = WEIGHTS if form == "safetensors" else "pytorch_model.bin"
        (broken / name).write_bytes(pickle.dumps(Evil(mark)))
    ended, row = answer(broken)
    assert ended.status == 2 and row is None
    assert "weights_only" not in ended.complaint
    with pytest.raises(Exception, match=r"[Ww]eights only|header"):
        AutoModelForAudioClassification.from_pretrained(broken)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Evil(mark)))
    assert mark.exists()  # so it would have run


def test_model_when_it_brings_code_is_refused_unless_trusted(broken, answer, tmp_path):
    mark = tmp_path / "ran"
    names = {"AutoConfig": "evil.Config", "AutoModelForAudioClassification": "evil.Model"}
    change_json(CONFIG, model_type="evil", auto_map=names)(broken)
    (broken / "evil.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    ended, row = answer(broken)
    assert ended.status == 2 and row is None
    assert "--trust_remote_code" in ended.complaint and not mark.exists()


@pytest.mark.parametrize("form", ["torch", "pickle", "cut", "text", "safetensors"])
def test_checkpoint_when_it_would_run_code_or_is_broken_is_refused(form, program, tmp_path):
    mark, path = tmp_path / "ran", tmp_path / "released.pt"
    if form == "torch":
        torch.save({"classifier.weight": Evil(mark)}, path)
    elif form == "pickle":
        path.write_bytes(pickle.dumps(Evil(mark)))
    elif form == "cut":
        torch.save({"classifier.weight": torch.zeros(9999)}, path)
        os.truncate(path, path.stat().st_size // 2)
    elif form == "text":
        path.write_text("weights\n" * 99)
    else:
        save_file({"classifier.weight": torch.zeros(4, 128)}, path)
    ended = program(convert.main, path, tmp_path / "model", "--quiet")
    assert ended.status == 2
    assert "not a PyTorch state dict" in ended.complaint
    assert "weights_only" not in ended.complaint
    assert {one.name for one in tmp_path.iterdir()} == {"released.pt"}


@pytest.mark.parametrize("content", [b"", b"no network", b"\x08\x07" * 200])
def test_onnx_model_when_it_is_none_is_refused(content, answer, tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "model.onnx").write_bytes(content)
    ended, row = answer(tmp_path / "model.onnx")
    assert ended.status == 2 and row is None
    assert "model.onnx" in ended.complaint


def test_features_when_pickled_or_of_other_shapes_are_listed_and_run_nothing(program, tmp_path):
    mark = tmp_path / "ran"
    clips = make_clips({"crowd_train": 4, "crowd_test": 4, "podcast_train": 12, "podcast_test": 4})
    good = np.zeros((1, 64, 9), np.float32)
    for clip in clips:
        clip["features"] = good
    evil = np.empty(1, object)
    evil[0] = Evil(mark)
    bad = [evil, good[0], good[:, :32], good.astype(np.float64), good[..., :0], good * np.nan]
    hurt = [clip for clip in clips if clip["part"] == "podcast_train"][: len(bad)]
    for clip, array in zip(hurt, bad, strict=True):
        clip["features"] = array
    data = write_corpus(tmp_path / "archives", clips)
    output = tmp_path / "output"
    ended = program(
        *(
            corpus_command.main,
            "podcast",
            "--input_features",
            "--data_dir",
            data,
            "--output_dir",
            output,
        ),
        *("--cache_dir", tmp_path / "cache", "--quiet"),
    )
    assert ended.status == 0 and not mark.exists()
    listed = next(output.rglob("missing_audio.csv")).read_text()
    assert all(clip["id"] in listed for clip in hurt)
    assert listed.count("\n") == len(hurt) + 1
    np.load(io.BytesIO(npy_bytes(evil)), allow_pickle=True)
    assert mark.exists()  # so it would have run
