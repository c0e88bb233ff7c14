"""The model where the project is not installed, in an environment of its own: only transformers,
NumPy and a newer PyTorch than the one that training needs."""

import json
import subprocess
import textwrap

import numpy as np
import pytest
import torch
import transformers
from hub_server import HubServer

from configuration_dusha import DushaConfig
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

pytestmark = pytest.mark.timeout(900)

MODEL = "newcomer/dusha"
# A torch that no torchaudio fits, and the transformers that the tests run with.
NEEDED = ("torch>=2.12,<2.14", f"transformers=={transformers.__version__}", "numpy")
ABSENT = ("torchaudio", "librosa", "soundfile", "soxr", "datasets", "scipy", "modeling_dusha")

# Prints what the model answers, as JSON, on its last line.
ANSWER = """
    import importlib.util, json, sys
    for name in sys.argv[3].split(","):
        assert importlib.util.find_spec(name) is None, f"{name} can be imported"
    import numpy as np
    import torch
    from transformers import (
        AutoConfig,
        AutoFeatureExtractor,
        AutoModel,
        AutoModelForAudioClassification,
        pipeline,
    )

    name, folder = sys.argv[1:3]
    remote = {"trust_remote_code": True}
    config = AutoConfig.from_pretrained(name, **remote)
    extractor = AutoFeatureExtractor.from_pretrained(name, **remote)
    base = AutoModel.from_pretrained(name, **remote).eval()
    model = AutoModelForAudioClassification.from_pretrained(name, **remote).eval()
    assert type(model).__module__.startswith("transformers_modules."), type(model)

    sounds = [np.load(f"{folder}/{number}.npy") for number in range(3)]
    batch = extractor(sounds, 16000, return_tensors="pt")
    with torch.no_grad():
        together = model(**batch).logits
        embeddings = base(**batch).pooler_output
        alone = [model(**extractor(sound, 16000, return_tensors="pt")).logits for sound in sounds]
    shape = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim("frames", min=9)}
    example = (batch["input_features"], batch["attention_mask"])
    program = torch.export.export(
        model, example, dynamic_shapes={"input_features": shape, "attention_mask": shape}
    )
    shorter = extractor(sounds[:2], 16000, return_tensors="pt", max_length=50, truncation=True)
    exported = program.module()(*shorter.values()).logits
    with torch.no_grad():
        torch.testing.assert_close(exported, model(**shorter).logits, atol=1e-4, rtol=0)

    classify = pipeline("audio-classification", model=name, **remote)
    model.save_pretrained(f"{folder}/again")
    again = AutoModelForAudioClassification.from_pretrained(f"{folder}/again", **remote)
    print(json.dumps({
        "torch": torch.__version__,
        "labels": config.id2label,
        "together": together.tolist(),
        "alone": torch.cat(alone).tolist(),
        "again": again(**batch).logits.tolist(),
        "embeddings": embeddings.tolist(),
        "answers": [
            classify({key: sound, "sampling_rate": 16000}, top_k=4)
            for key, sound in zip(("raw", "array", "raw"), sounds)
        ],
    }))
"""


@pytest.fixture(scope="module")
def other_python(python_with):
    """The interpreter of an environment that has what the model's modules import, and no more."""
    return python_with(*NEEDED)


@pytest.fixture(scope="module")
def model():
    """A model whose attention is on and whose answers differ from clip to clip."""
    torch.manual_seed(0)
    model = DushaForAudioClassification(DushaConfig()).eval()
    with torch.no_grad():
        model.dusha.attention.gamma.fill_(1.0)
        model.classifier.weight.mul_(40)
    return model


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Hub to pull from."""
    with HubServer(tmp_path_factory.mktemp("hub")) as server:
        yield server


@pytest.fixture(scope="module")
def pushed(model, hub, shell, repository, tmp_path_factory):
    """The model pushed as Transformers pushes."""
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    DushaFeatureExtractor().save_pretrained(folder)
    code = f"""
        from feature_extraction_dusha import DushaFeatureExtractor
        from modeling_dusha import DushaForAudioClassification

        for part in (DushaForAudioClassification, DushaFeatureExtractor):
            part.from_pretrained(".").push_to_hub({MODEL!r})
    """
    environment = hub.environment(tmp_path_factory.mktemp("home"))
    shell(code=code, cwd=folder, env=environment | {"PYTHONPATH": str(repository)})
    return MODEL


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Three sounds of different lengths, as files."""
    folder = tmp_path_factory.mktemp("sounds")
    generator = np.random.default_rng(0)
    for number, samples in enumerate((16001, 40000, 9000)):
        pitch = np.sin(np.arange(samples) / (5 + 4 * number))
        sound = 0.4 * pitch + 0.05 * generator.standard_normal(samples)
        np.save(folder / f"{number}.npy", sound.astype(np.float32))
    return folder


def test_model_when_pulled_by_name_beside_a_newer_torch(
    pushed, model, hub, sounds, other_python, tmp_path
):
    process = subprocess.run(
        [other_python, "-c", textwrap.dedent(ANSWER), pushed, sounds, ",".join(ABSENT)],
        cwd=tmp_path,
        env=hub.environment(tmp_path / "home", token=False) | {"PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    told = json.loads(process.stdout.splitlines()[-1])
    assert told["torch"].split("+")[0] != torch.__version__.split("+")[0]
    assert list(told["labels"].values()) == ["angry", "sad", "neutral", "positive"]

    waveforms = [np.load(sounds / f"{number}.npy") for number in range(3)]
    batch = DushaFeatureExtractor()(waveforms, 16000, return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits
        embeddings = model.dusha(**batch).pooler_output
    for name in ("together", "alone", "again"):
        torch.testing.assert_close(torch.tensor(told[name]), logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.tensor(told["embeddings"]), embeddings, atol=1e-4, rtol=0)
    for answer, chances in zip(told["answers"], logits.softmax(-1), strict=True):
        scores = {row["label"]: row["score"] for row in answer}
        for number, label in model.config.id2label.items():
            assert scores[label] == pytest.approx(chances[number].item(), abs=1e-4)
