"""One answer per model: however it is served, it gives the probabilities of Transformers' pipeline.

Training's own report is compared with the pipeline in tests/cli/test_train.py.
"""

import csv
import json

import fake_corpora
import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from small_network import small_classifier
from transformers import pipeline

from dusha_ser import EmotionClassifier
from dusha_ser.audio.reading import read_audio
from dusha_ser.cli.main import main as dusha
from dusha_ser.demo.answering import Answerer
from dusha_ser.demo.options import DemoOptions
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predictions import read_predictions
from dusha_ser.inference.audio_files import load_classifier
from dusha_ser.inference.loading import load_model
from dusha_ser.inference.onnx_export import quantise
from dusha_ser.inference.onnx_runtime import OnnxClassifier
from dusha_ser.inference.settings import Settings
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import class_probabilities

CLOSE = 1e-5
SEVERAL = "multi_label_classification"
LABELS = ["angry", "sad", "neutral", "positive"]


# Calibrated models have a temperature that is not 1.
# Those of skewed classes have a bias, too.
PRIOR = [0.2, 0.1, 0.6, 0.1]
BIAS = [-1.6, 0.5, 1.5, 0.5]


@pytest.fixture(
    scope="module",
    params=[(SEVERAL, 0.7, None), (None, 1.0, None), (None, 1.6, None), (None, 1.6, BIAS)],
    ids=str,
)
def served(request):
    return request.param


@pytest.fixture(scope="module")
def problem_type(served):
    return served[0]


@pytest.fixture(scope="module")
def model(served, tmp_path_factory):
    """A saved model that gives each clip other probabilities, some of them of several labels."""
    folder = tmp_path_factory.mktemp("served") / "model"
    problem_type, temperature, bias = served
    model = small_classifier(
        num_mel_bins=64,
        problem_type=problem_type,
        temperature=temperature,
        logit_bias=bias,
        class_prior=None if bias is None else PRIOR,
    )
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([1.5, 1.0, -1.0, 0.5]))
    model.save_pretrained(folder)
    DushaFeatureExtractor().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A table of four recordings of 0.3 to 1.2 s."""
    folder = tmp_path_factory.mktemp("recordings")
    lines = ["path,label"]
    for number in range(4):
        tone = fake_corpora.tone(200 + 150 * number, 0.3 * (number + 1))
        fake_corpora.write(folder / f"{number}.wav", tone)
        lines.append(f"{number}.wav,{LABELS[number]}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def classify(model):
    """From samples to probabilities (labels,), as Transformers' own pipeline gives them."""
    pipe = pipeline("audio-classification", model, top_k=None, device="cpu")

    def scores(samples):
        found = {one["label"]: one["score"] for one in pipe(samples)}
        return [found[label] for label in LABELS]

    return scores


@pytest.fixture(scope="module")
def expected(classify, recordings):
    """What the pipeline gives the recordings, (clips, labels)."""
    return np.array([classify(read_audio(recordings / f"{i}.wav", 16000)) for i in range(4)])


@pytest.fixture(scope="module")
def onnx_file(model, tmp_path_factory):
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    dusha(["export", model, str(file), "--waveform", "--quiet"])
    return file


def predicted(*arguments, output):
    """The rows and probabilities that dusha predict writes."""
    dusha(["predict", *map(str, arguments), "--output_file", str(output), "--quiet"])
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, np.array(
        [[float(row[f"probability_{label}"]) for label in LABELS] for row in rows]
    )


def test_the_pipeline_gives_several_labels_only_where_the_model_does(expected, problem_type):
    sums = expected.sum(axis=1)
    if problem_type == SEVERAL:
        assert (np.abs(sums - 1) > 0.1).all()
    else:
        np.testing.assert_allclose(sums, 1, atol=CLOSE)
    assert np.ptp(expected, axis=0).max() > 0.02


def test_the_pipeline_divides_logits_by_the_temperature_and_adds_the_bias(
    model, served, recordings, expected
):
    network, extractor = load_model(model, "cpu")
    network.config.temperature, network.config.logit_bias = 1.0, None
    clips = [read_audio(recordings / f"{number}.wav", 16000) for number in range(4)]
    inputs = extractor(clips, sampling_rate=16000, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = network(**inputs).logits
    found = class_probabilities(logits / served[1] + torch.tensor(served[2] or [0.0]), served[0])
    np.testing.assert_allclose(found, expected, atol=CLOSE)


def test_predict_agrees_and_its_label_is_the_most_probable(model, recordings, expected, tmp_path):
    rows, found = predicted(model, recordings / "clips.csv", output=tmp_path / "out.csv")
    np.testing.assert_allclose(found, expected, atol=CLOSE)
    assert [row["prediction"] for row in rows] == [LABELS[i] for i in expected.argmax(axis=1)]


def test_predict_in_worker_processes_agrees(model, recordings, expected, tmp_path):
    options = ("--num_proc", "2", "--device", "cpu")
    _, found = predicted(model, recordings / "clips.csv", *options, output=tmp_path / "out.csv")
    np.testing.assert_allclose(found, expected, atol=CLOSE)


def test_timeline_agrees_window_by_window(model, recordings, classify, tmp_path):
    options = ("--timeline", "--window", "0.5", "--hop", "0.5")
    rows, found = predicted(model, recordings / "3.wav", *options, output=tmp_path / "out.csv")
    samples = read_audio(recordings / "3.wav", 16000)
    places = [
        (round(float(row["start"]) * 16000), round(float(row["end"]) * 16000)) for row in rows
    ]
    assert len(places) == 3
    windows = np.array([classify(samples[start:end]) for start, end in places])
    np.testing.assert_allclose(found, windows, atol=CLOSE)
    # A recording longer than one piece gets the mean, weighted by the windows' lengths.
    options = ("--whole", "1", "--window", "0.5", "--hop", "0.5")
    _, whole = predicted(model, recordings / "3.wav", *options, output=tmp_path / "whole.csv")
    weights = [end - start for start, end in places]
    np.testing.assert_allclose(whole[0], np.average(windows, axis=0, weights=weights), atol=CLOSE)


def test_predict_of_an_exported_model_agrees(onnx_file, recordings, expected, tmp_path):
    _, found = predicted(onnx_file, recordings / "clips.csv", output=tmp_path / "out.csv")
    np.testing.assert_allclose(found, expected, atol=CLOSE)


def test_exported_graph_in_plain_onnx_runtime_agrees(onnx_file, recordings, expected, problem_type):
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    for number in range(4):
        samples, _ = soundfile.read(recordings / f"{number}.wav", dtype="float32")
        inputs = {"waveform": samples[None], "lengths": np.array([len(samples)])}
        (found,) = session.run(["probabilities"], inputs)
        np.testing.assert_allclose(found[0], expected[number], atol=CLOSE)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["problem_type"]) == problem_type


def test_int8_model_turns_its_logits_into_probabilities_alike(
    onnx_file, recordings, expected, problem_type, tmp_path
):
    samples = [read_audio(recordings / f"{number}.wav", 16000) for number in range(4)]
    quantise(onnx_file, tmp_path / "int8.onnx", samples)
    onnx = OnnxClassifier(tmp_path / "int8.onnx")
    logits, found = onnx.session.run(["logits", "probabilities"], onnx.inputs(samples))
    alike = class_probabilities(torch.from_numpy(logits), problem_type)
    np.testing.assert_allclose(found, alike, atol=CLOSE)
    assert np.abs(found - expected).max() < 0.2


def test_evaluate_agrees_and_scores_one_label_per_clip(
    model, recordings, expected, problem_type, tmp_path
):
    output = tmp_path / "results"
    dusha(["evaluate", "--models", model, "--test_sets", str(recordings / "clips.csv"),
           "--output_dir", str(output), "--quiet"])  # fmt: skip
    (file,) = (output / "predictions").iterdir()
    predictions = read_predictions(file)
    np.testing.assert_allclose(predictions.probabilities, expected, atol=CLOSE)
    assert predictions.multi_label == (problem_type == SEVERAL)
    (file,) = (output / "metrics").iterdir()
    result = json.loads(file.read_text())
    truth = np.arange(4)
    assert result["metrics"]["accuracy"] == (expected.argmax(axis=1) == truth).mean()
    # One distribution per clip has a log loss and a calibration, several labels have not.
    assert ("log_loss" in result["metrics"]) == (problem_type != SEVERAL)
    assert bool(result["reliability"]) == (problem_type != SEVERAL)
    assert bool(list(output.glob("calibration_*.png"))) == (problem_type != SEVERAL)
    dusha(["report", "results", str(output), "--output_dir", str(tmp_path / "page"), "--quiet"])


def test_demo_agrees_for_files_and_at_the_microphone(model, recordings, expected, tmp_path):
    answerer = Answerer(DemoOptions(model))
    for number in range(4):
        answer = answerer.answer_file(recordings / f"{number}.wav")
        np.testing.assert_allclose(answer.probabilities, expected[number], atol=CLOSE)
        assert answer.prediction == LABELS[expected[number].argmax()]
    session = answerer.open_session(tmp_path)
    samples, rate = soundfile.read(recordings / "2.wav", dtype="int16")
    session.push(samples, rate)
    answer = session.finish()
    session.close()
    np.testing.assert_allclose(answer.probabilities, expected[2], atol=CLOSE)


def test_another_prior_is_what_bayes_makes_of_the_probabilities_wherever_it_is_asked_for(
    model, served, recordings, expected, tmp_path
):
    clips, prior = recordings / "clips.csv", "angry=3,sad=2,neutral=4,positive=1"
    if served[2] is None:
        several = "gives several" if served[0] else "set `class_prior` there"
        with pytest.raises(WrongUseError, match=several):
            EmotionClassifier(model, "cpu", prior=prior)
        return
    products = expected * np.array([0.3, 0.2, 0.4, 0.1]) / PRIOR
    wanted = products / products.sum(axis=1, keepdims=True)
    assert np.abs(wanted - expected).max() > 0.05
    _, found = predicted(model, clips, "--prior", prior, output=tmp_path / "out.csv")
    np.testing.assert_allclose(found, wanted, atol=CLOSE)
    shares = {"neutral": 0.4, "angry": 0.3, "sad": 0.2, "positive": 0.1}
    emotions = EmotionClassifier(model, "cpu", prior=shares)
    answers = emotions.predict([recordings / f"{number}.wav" for number in range(4)])
    found = np.array([[one.probabilities[label] for label in LABELS] for one in answers])
    np.testing.assert_allclose(found, wanted, atol=CLOSE)
    exported = tmp_path / "model.onnx"
    dusha(["export", model, str(exported), "--waveform", "--prior", prior, "--quiet"])
    _, found = predicted(exported, clips, output=tmp_path / "onnx.csv")
    np.testing.assert_allclose(found, wanted, atol=CLOSE)
    dusha(["evaluate", "--models", model, "--test_sets", str(clips), "--prior", prior,
           "--output_dir", str(tmp_path / "results"), "--quiet"])  # fmt: skip
    (file,) = (tmp_path / "results" / "predictions").iterdir()
    np.testing.assert_allclose(read_predictions(file).probabilities, wanted, atol=CLOSE)
    page = (tmp_path / "results" / "results.md").read_text()
    assert "classes are taken to be angry 30.0 %, sad 20.0 %, neutral 40.0 %" in page
    # Saved with the model, it is the stock pipeline's, too.
    network, extractor = load_model(model, "cpu", prior=prior)
    for part in (network, extractor):
        part.save_pretrained(tmp_path / "saved")
    pipe = pipeline("audio-classification", str(tmp_path / "saved"), top_k=None, device="cpu")
    scores = {one["label"]: one["score"] for one in pipe(read_audio(recordings / "2.wav", 16000))}
    np.testing.assert_allclose([scores[label] for label in LABELS], wanted[2], atol=CLOSE)


def test_models_of_numbers_are_refused(tmp_path):
    model = small_classifier(num_mel_bins=64, problem_type="regression")
    model.save_pretrained(tmp_path)
    DushaFeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(WrongUseError, match="regression.*not a classification"):
        load_model(str(tmp_path), "cpu")
    with pytest.raises(WrongUseError, match="regression.*not a classification"):
        load_classifier(Settings(str(tmp_path)), "cpu")
