"""The released weights become a model folder, whole or not at all."""

import io
import json
import pickle
import subprocess
import sys

import pytest
import soundfile
import torch
from huggingface_hub.repocard import metadata_load
from small_network import released_names
from subnormal_numbers import count_subnormals
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from configuration_dusha import DushaConfig
from dusha_ser.cli.convert import main
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.inference.released_weights import convert_checkpoint, read_checkpoint, write_model
from dusha_ser.inference.subnormals import flush_subnormals
from modeling_dusha import DushaForAudioClassification


@pytest.fixture(scope="module")
def released():
    """Random weights under the released names."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, shape in released_names().items():
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(7)
        else:
            weights[name] = torch.rand(shape, generator=generator)
    return weights


@pytest.fixture
def checkpoint(released, tmp_path):
    path = tmp_path / "released.pt"
    torch.save(released, path)
    return path


def test_weights_when_converted_keep_their_values_under_our_names(released):
    converted = convert_checkpoint(released)
    assert sum(w.numel() for w in converted.values()) == sum(w.numel() for w in released.values())
    assert set(converted) == set(DushaForAudioClassification(DushaConfig()).state_dict())
    for ours, theirs in {
        "dusha.stem.convolution.weight": "features.0.0.weight",
        "dusha.blocks.0.depthwise_3x3.convolution.weight": "features.1.conv.0.0.weight",
        "dusha.blocks.0.project_1x1.normalization.bias": "features.1.conv.2.bias",
        "dusha.blocks.1.expand_1x1.convolution.weight": "features.2.conv.0.0.weight",
        "dusha.blocks.14.depthwise_3x3.normalization.bias": "features.15.conv.1.1.bias",
        "dusha.blocks.14.project_1x1.convolution.weight": "features.15.conv.2.weight",
        "dusha.last_1x1.normalization.weight": "features.16.1.weight",
        "classifier.bias": "classifier.bias",
    }.items():
        assert torch.equal(converted[ours], released[theirs])
    # Who asks and who is asked bear each other's names there.
    for ours, theirs in {"query": "key", "key": "query", "value": "value"}.items():
        weight = released[f"pooling.0.{theirs}.weight"].squeeze(2)
        assert torch.equal(converted[f"dusha.attention.{ours}.weight"], weight)


def test_released_weights_have_the_names_that_tests_use(shared):
    released = read_checkpoint(shared / "data" / "reference" / "released_checkpoint.pt")
    assert {name: tuple(w.shape) for name, w in released.items()} == released_names()


def test_folder_when_released_weights_hold_subnormals_has_none_and_the_same_logits(
    shared, tmp_path, capsys
):
    file = shared / "data" / "reference" / "released_checkpoint.pt"
    main([str(file), str(tmp_path / "model")])
    assert "110 channels are dead" in capsys.readouterr().out
    before = DushaForAudioClassification(DushaConfig()).eval()
    before.load_state_dict(convert_checkpoint(read_checkpoint(file)))
    assert sum(map(count_subnormals, before.state_dict().values())) == 28_178
    after = AutoModelForAudioClassification.from_pretrained(tmp_path / "model")
    assert not sum(map(count_subnormals, after.state_dict().values()))
    features = -80 * torch.rand(3, 200, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = before(features).logits
        assert (after(features).logits - expected).abs().max() == 0.0
        flush_subnormals()
        assert (after(features).logits - expected).abs().max() == 0.0
        assert (before(features).logits - expected).abs().max() == 0.0


def test_folder_when_released_weights_are_converted_classifies_as_published(shared, tmp_path):
    reference = shared / "data" / "reference"
    write_model(read_checkpoint(reference / "released_checkpoint.pt"), tmp_path / "model")
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "model")
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "model")
    logits = json.loads((reference / "logits.json").read_text())
    for name, expected in list(logits.items())[::6]:
        waveform, rate = soundfile.read(shared / "data" / "ravdess" / name)
        with torch.no_grad():
            answer = model(**extractor(waveform, rate, return_tensors="pt")).logits[0]
        torch.testing.assert_close(answer, torch.tensor(expected), atol=1e-4, rtol=0)


def test_program_when_run_writes_the_folder(checkpoint, released, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dusha_ser", "convert", "released.pt", "new/model"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "wrote new/model\n"
    assert done.stderr == ""
    folder = tmp_path / "new" / "model"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= {
        path.name for path in folder.iterdir()
    }
    model = DushaForAudioClassification.from_pretrained(folder)
    assert torch.equal(model.classifier.weight, released["classifier.weight"])
    card = metadata_load(folder / "README.md")
    assert card["license_name"] == "dusha-public-license-with-attribution"


def test_weights_when_something_is_missing_or_odd_are_refused(released, tmp_path):
    fewer = {name: w for name, w in released.items() if name != "features.16.0.weight"}
    more = released | {"features.3.conv.7.weight": torch.zeros(1)}
    other = released | {"head.weight": torch.zeros(1)}
    larger = released | {"classifier.weight": torch.zeros(9, 128)}
    for weights, words in (
        (fewer, "last_1x1.convolution.weight"),
        (more, "features.3.conv.7.weight is not a weight"),
        (other, "head.weight is not a weight"),
        (larger, "classifier.weight"),
    ):
        with pytest.raises(WrongUseError, match=words):
            write_model(weights, tmp_path / "model")
        assert not list(tmp_path.iterdir())


def test_file_when_missing_or_no_state_dict_is_refused(tmp_path):
    with pytest.raises(MissingInputError, match="no such file"):
        read_checkpoint(tmp_path / "none.pt")
    files = {
        "empty.pt": b"",
        "text.pt": b"not a checkpoint",
        "code.pt": pickle.dumps(print),
    }
    for name, content in {"list": [torch.zeros(1)], "numbers": {"a": 1}}.items():
        buffer = io.BytesIO()
        torch.save(content, buffer)
        files[f"{name}.pt"] = buffer.getvalue()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WrongUseError, match="state dict"):
            read_checkpoint(tmp_path / name)


def test_folder_when_not_empty_is_left_alone(released, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(WrongUseError, match="holds notes.txt, which this program did not write"):
        write_model(released, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(WrongUseError, match="is a file; name a folder"):
        write_model(released, tmp_path / "notes.txt")


def test_folder_when_writing_fails_leaves_nothing(released, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        "dusha_ser.inference.released_weights.DushaFeatureExtractor.save_pretrained", fail
    )
    with pytest.raises(OSError, match="No space left"):
        write_model(released, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_program_when_used_wrongly_ends_with_one_line(monkeypatch, tmp_path, capsys):
    from dusha_ser.cli.program import run_program

    monkeypatch.setattr(sys, "argv", ["dusha convert", "none.pt", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        run_program(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
