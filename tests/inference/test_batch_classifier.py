"""Batches of columns with audio: whole, in two halves, by `datasets`, and as `dusha predict`."""

import io
import pickle

import datasets
import fsspec
import numpy as np
import pyarrow
import pytest
import soundfile
from small_models import save_model

from dusha_ser.audio.finding import AudioFile
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.inference.batch_classifier import (
    ClassifyBatch,
    ClassifyPrepared,
    PrepareBatch,
)
from dusha_ser.inference.loading import load_model
from dusha_ser.inference.predict_files import predict_files
from dusha_ser.inference.prediction_rows import CsvForm
from dusha_ser.inference.settings import PredictOptions, Settings


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Recordings of two rates, a long one, and what cannot be read."""
    folder = tmp_path_factory.mktemp("recordings")
    generator = np.random.default_rng(0)
    for number in range(7):
        samples = 0.1 * generator.standard_normal(4000 + 1500 * (number * 3 % 7))
        soundfile.write(folder / f"{number}.wav", samples, (16000, 22050)[number % 2])
    soundfile.write(folder / "long.flac", 0.1 * generator.standard_normal(80000), 16000)
    (folder / "broken.wav").write_bytes(b"RIFF" + bytes(100))
    (folder / "empty.wav").write_bytes(b"")
    return folder


def paths_of(recordings):
    return [str(path) for path in sorted(recordings.iterdir())] + [str(recordings / "none.wav")]


def batch_of(recordings):
    return {"id": paths_of(recordings), "audio": paths_of(recordings)}


def csv_lines(columns, labels):
    """The rows of a batch as `dusha predict` writes them."""
    names = [name for name in columns if not name.startswith("probability_") and name != "error"]
    form = CsvForm(names, labels)
    lines = [form.header()]
    for cells in zip(*columns.values(), strict=True):
        row = dict(zip(columns, cells, strict=True))
        shares = {label: row[f"probability_{label}"] for label in labels}
        lines.append(form.line(row | {"probabilities": shares}))
    return "".join(lines)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"whole": 2.0, "window": 1.0, "hop": 0.5},
        {"timeline": True, "window": 1.0, "hop": 0.25, "merge": True},
        {"least_confidence": 0.9, "batch_size": 3},
    ],
    ids=lambda settings: " ".join(settings) or "plain",
)
def test_rows_are_those_of_predict_byte_for_byte(settings, model, recordings, tmp_path):
    output = tmp_path / "rows.csv"
    asked = PredictOptions(
        model=model,
        inputs=[str(recordings)],
        output_file=output,
        device="cpu",
        quiet=True,
        **settings,
    )
    asked.check()
    names = paths_of(recordings)
    predict_files(asked, [AudioFile(name, name) for name in names])
    expected = output.read_text(encoding="utf-8")
    assert expected.count("\n") > len(names)

    whole = ClassifyBatch(Settings(model, **settings), "cpu")
    labels = whole.classifier.labels
    assert csv_lines(whole(batch_of(recordings)), labels) == expected
    for features in (True, False):
        prepare = PrepareBatch(Settings(model, **settings), features)
        classify = ClassifyPrepared(Settings(model, **settings), features, "cpu")
        assert csv_lines(classify(prepare(batch_of(recordings))), labels) == expected


def test_halves_of_a_table_are_tables_with_types(model, recordings):
    settings = Settings(model)
    table = pyarrow.table(batch_of(recordings))
    rows = ClassifyBatch(settings, "cpu")(table)
    prepared = PrepareBatch(settings)(table)
    assert prepared.column_names == ["id", "recording", "values", "sizes"]
    again = ClassifyPrepared(settings, device="cpu")(prepared)
    assert again.equals(rows)
    assert rows.schema.names == [
        *("id", "duration", "prediction"),
        *(f"probability_{label}" for label in ("angry", "sad", "neutral", "positive")),
        "error",
    ]
    # A batch without anything to say has the same types.
    nothing = ClassifyBatch(settings, "cpu")(table.slice(0, 0))
    assert nothing.schema == rows.schema
    assert nothing.num_rows == 0


def test_errors_are_values(model, recordings):
    rows = ClassifyBatch(Settings(model), "cpu")(
        {
            "id": ["broken", "empty", "none", "nothing", "neither", 7],
            "audio": [
                str(recordings / "broken.wav"),
                b"",
                str(recordings / "none.wav"),
                None,
                {"bytes": None, "path": None},
                (recordings / "0.wav").read_bytes(),
            ],
        }
    )
    assert rows["id"] == ["broken", "empty", "none", "nothing", "neither", "7"]
    assert rows["error"][0].startswith("neither libsndfile (")
    assert rows["error"][1:] == [
        "is empty (0 bytes)",
        "there is no such file",
        *["has neither the bytes nor the path of a file"] * 2,
        None,
    ]
    assert rows["prediction"][:5] == [None] * 5
    assert rows["prediction"][5] in ("angry", "sad", "neutral", "positive")


@pytest.mark.parametrize("form", ["bytes", "struct", "url", "ids"])
def test_audio_comes_in_any_form(form, model, recordings):
    path = recordings / "1.wav"
    expected = ClassifyBatch(Settings(model), "cpu")({"id": ["a"], "audio": [str(path)]})
    content = path.read_bytes()
    batch, column = {"id": ["a"]}, "audio"
    if form == "bytes":
        batch["audio"] = [content]
    elif form == "struct":
        batch["audio"] = [{"bytes": content, "path": "no such.wav"}]
    elif form == "url":
        fsspec.filesystem("memory").pipe_file("/clips/1.wav", content)
        batch["audio"] = ["memory://clips/1.wav"]
    else:
        batch, column = {"id": [str(path)]}, None
    rows = ClassifyBatch(Settings(model), "cpu", audio_column=column)(batch)
    assert rows | {"id": ["a"]} == expected


def test_missing_object_is_a_row_with_an_error(model):
    rows = ClassifyBatch(Settings(model), "cpu")({"id": ["a"], "audio": ["memory://no/such.wav"]})
    assert rows["error"] == ["there is no such file"]


def test_datasets_map_gives_the_same_rows(model, recordings):
    classify = ClassifyBatch(Settings(model), "cpu")
    paths = [str(recordings / f"{number}.wav") for number in range(7)]
    rows = datasets.Dataset.from_dict({"id": paths, "audio": paths})
    rows = rows.cast_column("audio", datasets.Audio(decode=False))
    found = rows.map(classify, batched=True, batch_size=4, remove_columns=rows.column_names)
    parts = [classify({"id": own, "audio": own}) for own in (paths[:4], paths[4:])]
    assert found.to_dict() == {name: parts[0][name] + parts[1][name] for name in parts[0]}


@pytest.mark.parametrize("kind", [ClassifyBatch, PrepareBatch, ClassifyPrepared])
def test_classes_are_made_and_sent_without_a_model(kind):
    made = kind(Settings("no/such/model"))
    sent = pickle.dumps(made)
    assert len(sent) < 1000
    assert pickle.loads(sent) == made  # noqa: S301
    with pytest.raises(MissingInputError, match="no model 'no/such/model'"):
        made({"id": [], "recording": [], "audio": [], "values": [], "sizes": []})


def test_wrong_batches_and_settings_are_refused(model, recordings):
    with pytest.raises(MissingInputError, match="no column 'audio' among id; name yours with"):
        ClassifyBatch(Settings(model), "cpu")({"id": ["a"]})
    with pytest.raises(WrongUseError, match="batches come without turns"):
        ClassifyBatch(Settings(model, segments="turns"))


def test_onnx_halves_give_the_rows_of_the_whole(model, recordings, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    from dusha_ser.inference.onnx_export import export

    for name, waveform in (("features.onnx", False), ("waveform.onnx", True)):
        export(*load_model(model, "cpu"), tmp_path / name, waveform=waveform)
        settings = Settings(str(tmp_path / name))
        expected = ClassifyBatch(settings, threads=1)(batch_of(recordings))
        prepared = PrepareBatch(settings)(batch_of(recordings))
        assert ClassifyPrepared(settings, threads=1)(prepared) == expected


def test_what_the_extractor_refuses_is_an_error(model):
    loud = io.BytesIO()
    soundfile.write(loud, np.full(3000, 1e30), 16000, format="WAV", subtype="DOUBLE")
    batch = {"id": ["loud"], "audio": [loud.getvalue()]}
    expected = ClassifyBatch(Settings(model), "cpu")(batch)
    assert expected["error"][0].startswith("the model failed: clip 0 ")
    settings = Settings(model)
    assert ClassifyPrepared(settings, device="cpu")(PrepareBatch(settings)(batch)) == expected
