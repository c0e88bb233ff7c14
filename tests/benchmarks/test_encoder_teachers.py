"""Teachers of folds: a linear classifier on the layers of a frozen encoder."""

import sys
from functools import partial

import numpy as np
import pytest
import torch
from small_models import save_encoder, write_recordings

from benchmarks import encoder_teachers
from benchmarks.encoder_teachers import FrameStatistics, teach
from dusha_ser.audio.reading import read_audio
from dusha_ser.evaluation.predictions import read_predictions, read_probabilities
from dusha_ser.files import safe_name
from dusha_ser.training.backbones import load_backbone
from dusha_ser.training.options import RecipeOptions


def drawn_clips(speakers=6, each=8, values=5):
    """Values that tell labels, in one version, label numbers and speakers of seeded clips."""
    draw = np.random.default_rng(0)
    labels = np.tile(np.arange(each) % 4, speakers)
    vectors = draw.normal(size=(len(labels), values)) + np.eye(4, values)[labels]
    return vectors[:, None], labels, np.repeat([f"speaker {one}" for one in range(speakers)], each)


def test_teach_tells_of_clips_by_what_other_speakers_taught():
    values, labels, speakers = drawn_clips()
    taught = teach(values, labels, speakers, [0.1])
    own = speakers == "speaker 0"
    other_labels = np.where(own, (labels + 1) % 4, labels)
    again = teach(values, other_labels, speakers, [0.1])
    # Whatever its own labels are, nothing that is said of a speaker's clips comes from them.
    np.testing.assert_allclose(again.unheard[own], taught.unheard[own], atol=1e-6)
    assert np.abs(again.unheard[~own] - taught.unheard[~own]).max() > 0.01
    heard = again.classifier.predict_proba(values[:, 0])
    assert np.abs(heard - again.unheard[:, 0])[own].max() > 0.01


def test_teach_chooses_the_strength_by_the_loss_of_other_speakers():
    values, labels, speakers = drawn_clips()
    noise = np.random.default_rng(1).normal(size=values.shape)
    assert teach(values, labels, speakers, [1e-6, 0.1]).strength == 0.1
    # Where nothing is to be learned, all but nothing is best.
    assert teach(noise, labels, speakers, [1e-6, 0.1]).strength == 1e-6


def test_teach_learns_from_copies_and_tells_of_the_clips():
    values, labels, speakers = drawn_clips()
    # Copies that say what the clips' own values hide.
    draw = np.random.default_rng(2)
    hidden = np.concatenate([draw.normal(size=values.shape), values], axis=1)
    taught = [teach(one, labels, speakers, [0.1]) for one in (hidden[:, :1], hidden)]
    known = [(one.classifier.predict(values[:, 0]) == labels).mean() for one in taught]
    assert known[0] < 0.3 and known[1] > 0.5
    # The loss that chooses is that of the clips themselves.
    assert taught[1].unheard.shape == (48, 2, 4)
    known = (taught[1].unheard.argmax(2) == labels[:, None]).mean(0)
    assert known[0] < 0.2 and known[1] > 0.3


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2"])
def test_statistics_leave_out_the_silence_behind_a_clip(kind, tmp_path):
    table = write_recordings(tmp_path, speakers=1, duration=0.3)
    recipe = RecipeOptions(backbone=save_encoder(tmp_path / "encoder", kind), backbone_seconds=1)
    model, extractor = load_backbone(recipe, ["a", "b"])
    encoder = FrameStatistics(model, recipe, torch.device("cpu"))
    samples = read_audio(table.parent / "wavs/0_sad_0.wav", 16000)
    inputs = extractor(samples, sampling_rate=16000, return_tensors="np")
    layers = encoder.layers(inputs[extractor.model_input_names[0]][0])
    # 30 frames of 10 ms, two for a position, and one that reaches into the clip's end.
    heard = layers[:, : 16 if kind == "whisper" else None]
    found = encoder(inputs[extractor.model_input_names[0]][0])
    np.testing.assert_allclose(found, torch.cat([heard.mean(1), heard.std(1)]), atol=1e-6)
    assert (layers.shape[1] > heard.shape[1]) == (kind == "whisper")


@pytest.mark.parametrize("copies", ["0", "1"])
def test_main_writes_a_table_per_fold_of_what_it_trains_on(copies, tmp_path, monkeypatch, capsys):
    table = write_recordings(tmp_path / "clips", speakers=3)
    folder = tmp_path / "teachers"
    encoder = save_encoder(tmp_path / "encoder", "whisper")
    words = [str(table), "--backbone", encoder, "--output_dir", str(folder)]
    words += ["--waveform_copies", copies]
    monkeypatch.setattr(sys, "argv", ["teachers", *words, "--cache_dir", str(tmp_path / "cache")])
    monkeypatch.setattr(encoder_teachers, "teach", partial(teach, strengths=[0.01]))
    encoder_teachers.main()
    tested = read_predictions(folder / "tested.csv")
    assert len(tested.ids) == 12 and len(set(tested.folds)) == 3
    for fold in set(tested.folds):
        said = read_probabilities(folder / f"{safe_name(fold)}.csv")
        others = [one for one, own in zip(tested.ids, tested.folds, strict=True) if own != fold]
        # A teacher's table without folds: with them it would be refused.
        copied = [f"{one} of copy 1" for one in others] if copies == "1" else []
        assert said.ids == [*others, *copied] and said.folds is None
        np.testing.assert_allclose(said.probabilities.sum(1), 1, atol=1e-6)
    assert "linear classifier on encoder" in capsys.readouterr().out
    beside = [str(tmp_path / "again"), "--beside", str(folder / "tested.csv")]
    words[words.index(str(folder))] = beside[0]
    words += [*beside[1:], "--cache_dir", str(tmp_path / "cache")]
    monkeypatch.setattr(sys, "argv", ["teachers", *words])
    encoder_teachers.main()
    # No better than itself.
    assert "+0.000 [+0.000, +0.000]" in capsys.readouterr().out
