"""dusha evaluate: from models and test sets to the table, and what is not done twice."""

import csv
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import fake_corpora
import matplotlib.image
import numpy as np
import pytest
import soundfile
import torch
from small_models import replace_audio, save_model, write_corpus, write_recordings
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from dusha_ser.cli.main import main as dusha
from dusha_ser.corpus.named import named_rows
from dusha_ser.corpus.published import PAPER_PARTS
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.evaluation.predict_rows import match_labels, predict_rows
from dusha_ser.evaluation.predictions import (
    Predictions,
    compare_predictions,
    read_predictions,
    write_predictions,
)
from dusha_ser.evaluation.ser.ser import LABELS, ser_metrics
from dusha_ser.experiments import evaluation
from dusha_ser.experiments.evaluation import compare_pair
from dusha_ser.inference.loading import load_model

REPOSITORY = Path(__file__).resolve().parents[2]


def main(arguments):
    return dusha(["evaluate", *arguments])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [save_model(folder / name, seed) for seed, name in enumerate(("first", "second"))]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return str(write_recordings(tmp_path_factory.mktemp("own")))


@pytest.fixture(scope="module")
def evaluated(models, table, tmp_path_factory):
    """Two models on a table and another corpus; the folder of results is only read."""
    folder = tmp_path_factory.mktemp("evaluated")
    actors = folder / "ravdess"
    for actor in range(1, 5):
        for emotion in ("01", "03", "04", "05"):
            name = f"Actor_{actor:02d}/03-01-{emotion}-01-01-01-{actor:02d}.wav"
            fake_corpora.write(actors / name, fake_corpora.tone(100 * actor + int(emotion), 0.1))
    output = folder / "results"
    arguments = ["--models", *models, "--test_sets", table, f"ravdess={actors}"]
    options = ["--output_dir", str(output), "--allow_other_counts", "--compare", "first", "second"]
    main([*arguments, *options])
    return output


def test_predict_rows_gives_what_the_model_gives_each_clip_alone(models, table):
    model, extractor = load_model(models[0], "cpu")
    test_set = named_rows(table)
    predictions = predict_rows(model, extractor, test_set, batch_size=5, quiet=True)
    for i in (0, 7, 15):
        samples, rate = soundfile.read(test_set.rows[i]["audio"]["path"], dtype="float32")
        inputs = extractor(samples, rate, return_tensors="pt")
        with torch.no_grad():
            alone = model(**inputs).logits.softmax(-1)[0]
        np.testing.assert_allclose(predictions.probabilities[i], alone, atol=1e-5)
        assert predictions.ids[i] == test_set.rows[i]["id"]


def test_evaluate_of_a_table_as_excel_saves_it_gives_the_same(models, table, tmp_path):
    text = Path(table).read_text().replace("path,label,speaker", "Файл,Эмоция,Диктор")
    for emotion, code in {"angry": "1", "sad": "2"}.items():
        text = text.replace(f",{emotion},", f",{code},")
    other = Path(table).with_name("other.csv")
    other.write_bytes(text.replace(",", ";").replace("\n", "\r\n").encode("cp1251"))
    columns = ["--path_column", "Файл", "--label_column", "Эмоция", "--speaker_column", "Диктор"]
    results = []
    for path, more in ((table, []), (other, [*columns, "--label_map", "1=angry,2=sad"])):
        output = tmp_path / Path(path).stem
        arguments = ["--models", models[0], "--test_sets", str(path), "--output_dir", str(output)]
        main([*arguments, "--quiet", *more])
        (file,) = (output / "metrics").iterdir()
        results.append(json.loads(file.read_text())["metrics"])
    assert results[0] == results[1]


def test_predict_rows_of_other_networks_are_not_changed_by_padding(tmp_path):
    folder = tmp_path / "wav2vec2"
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    lines = ["path,label"]
    for i in range(4):
        fake_corpora.write(tmp_path / f"{i}.wav", fake_corpora.tone(200 + 50 * i, 0.1 + 0.2 * i))
        lines.append(f"{i}.wav,sad")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    model, extractor = load_model(str(folder), "cpu")
    rows = named_rows(str(tmp_path / "clips.csv"))
    predictions = predict_rows(model, extractor, rows, quiet=True)
    padded = predict_rows(model, extractor, rows, batch_size=4, quiet=True)
    samples, _ = soundfile.read(tmp_path / "0.wav", dtype="float32")
    with torch.no_grad():
        alone = model(**extractor(samples, sampling_rate=16000, return_tensors="pt")).logits
    np.testing.assert_allclose(predictions.probabilities[0], alone.softmax(-1)[0], atol=1e-5)
    # What the test is for: in a batch this network's answers do change.
    assert np.abs(padded.probabilities[0] - predictions.probabilities[0]).max() > 1e-4


def test_predict_rows_uses_features_where_there_is_no_audio(models, tmp_path):
    folder = write_corpus(tmp_path / "dusha", "podcast", audio=False, features=True)
    test_set = named_rows(str(folder), "test")
    model, extractor = load_model(models[0], "cpu")
    predictions = predict_rows(model, extractor, test_set, quiet=True)
    features = torch.tensor(test_set.rows[3]["input_features"])[None]
    with torch.no_grad():
        alone = model(input_features=features).logits.softmax(-1)[0]
    np.testing.assert_allclose(predictions.probabilities[3], alone, atol=1e-5)


def test_predict_rows_without_audio_and_features_says_how_to_get_them(models, tmp_path):
    folder = write_corpus(tmp_path / "dusha", "podcast", audio=False)
    with pytest.raises(WrongUseError, match="`input_features=True`"):
        predict_rows(*load_model(models[0], "cpu"), named_rows(str(folder), "test"), quiet=True)


def test_match_labels_goes_by_name_and_not_by_number(models, table, tmp_path):
    test_set = named_rows(table)
    assert match_labels({0: "positive", 1: "sad", 2: "angry", 3: "neutral"}, test_set) == [
        2,
        1,
        3,
        0,
    ]
    turned = save_model(tmp_path / "turned", labels=LABELS[::-1])
    straight = predict_rows(*load_model(models[0], "cpu"), test_set, quiet=True)
    reverse = predict_rows(*load_model(turned, "cpu"), test_set, quiet=True)
    # One seed, so the same weights: only the names of the outputs are turned round.
    np.testing.assert_allclose(reverse.probabilities, straight.probabilities[:, ::-1], atol=1e-6)


def test_match_labels_when_the_model_lacks_one_names_it(table):
    with pytest.raises(WrongUseError, match="knows angry, sad, calm and not neutral, positive"):
        match_labels({0: "angry", 1: "sad", 2: "calm"}, named_rows(table))


def test_predict_rows_shares_out_a_label_that_the_test_set_lacks(table, tmp_path):
    wider = save_model(tmp_path / "wider", labels=(*LABELS, "other"))
    predictions = predict_rows(*load_model(wider, "cpu"), named_rows(table), quiet=True)
    assert predictions.probabilities.shape == (16, 4)
    np.testing.assert_allclose(predictions.probabilities.sum(1), 1)


def test_main_writes_a_file_of_predictions_a_pair(evaluated):
    names = sorted(path.name for path in (evaluated / "predictions").iterdir())
    assert names == [
        "first--clips.csv.csv",
        "first--ravdess.csv",
        "second--clips.csv.csv",
        "second--ravdess.csv",
    ]
    with (evaluated / "predictions" / "first--ravdess.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert rows[0]["id"] == "03-01-01-01-01-01-01" and rows[0]["label"] == "neutral"
    assert {row["speaker"] for row in rows} == {"01", "02", "03", "04"}


def test_main_writes_metrics_that_the_predictions_give(evaluated):
    result = json.loads((evaluated / "metrics" / "second--ravdess.json").read_text())
    predictions = read_predictions(evaluated / result["predictions"])
    assert result["metrics"] == ser_metrics(
        predictions.predicted,
        predictions.references,
        predictions.probabilities,
        predictions.speakers,
    )
    assert result["metrics"]["group_count"] == 4
    assert result["command"].startswith("dusha evaluate")


def test_main_writes_a_table_of_all_pairs_the_best_first(evaluated):
    lines = [line for line in (evaluated / "results.md").read_text().splitlines() if "|" in line]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    f1 = [float(row[4].split()[0]) for row in rows]
    assert f1 == sorted(f1, reverse=True)
    assert sum(row[0] in ("first", "second") for row in rows) == 4
    # Whichever label is the most frequent: all are as frequent in both.
    assert sum(row[0].startswith("always") for row in rows) == 2


def test_main_draws_a_confusion_matrix_a_model_and_a_calibration_a_test_set(evaluated):
    names = ("confusion_first", "confusion_second", "calibration_ravdess", "risk_coverage_ravdess")
    for name in names:
        assert matplotlib.image.imread(evaluated / f"{name}.png").std() > 0.05
    confusion = matplotlib.image.imread(evaluated / "confusion_first.png")
    # Two test sets side by side.
    assert confusion.shape[1] > 1.8 * confusion.shape[0]


def test_main_compares_two_models_on_the_same_speakers(evaluated):
    path = evaluated / "comparisons" / "first--second--ravdess.json"
    scores = json.loads(path.read_text())["scores"]
    first, second = (
        json.loads((evaluated / "metrics" / f"{name}--ravdess.json").read_text())["metrics"]
        for name in ("first", "second")
    )
    assert scores["f1_macro"]["first"] == pytest.approx(first["f1_macro"])
    assert scores["f1_macro"]["difference"] == pytest.approx(second["f1_macro"] - first["f1_macro"])


def test_compare_pair_of_few_speakers_prints_why_there_is_no_p(evaluated):
    texts = list(compare_pair("first", "second", evaluated))
    assert len(texts) == 2
    for text in texts:
        assert "speakers cannot give one below" in text
        assert "speakers are too narrow." in text


def test_main_warns_beside_intervals_of_few_speakers(evaluated):
    page = (evaluated / "results.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith(("| first", "| second"))]
    assert len(rows) == 4
    assert all("intervals over only 4 speakers are too narrow" in row for row in rows)


def test_main_scores_a_calibrated_model_with_and_without_its_temperature(table, tmp_path):
    folders = {name: tmp_path / name for name in ("plain", "calibrated")}
    for name, folder in folders.items():
        save_model(folder)
        config = json.loads((folder / "config.json").read_text())
        assert config["temperature"] == 1
        config["temperature"] = 2.5 if name == "calibrated" else 1
        (folder / "config.json").write_text(json.dumps(config))
    output = tmp_path / "results"
    main(["--models", *map(str, folders.values()), "--test_sets", table,
          "--output_dir", str(output), "--quiet"])  # fmt: skip
    plain, calibrated = (
        json.loads((output / "metrics" / f"{name}--clips.csv.json").read_text()) for name in folders
    )
    assert calibrated["temperature"] == 2.5
    assert "uncalibrated" not in plain
    for name in ("log_loss", "brier_score", "expected_calibration_error"):
        found = calibrated["uncalibrated"][name]
        assert found == pytest.approx(plain["metrics"][name], rel=1e-4)
        assert found != pytest.approx(calibrated["metrics"][name], rel=1e-4)


def test_main_scores_where_a_model_is_confident(models, table, tmp_path, capsys):
    output = tmp_path / "results"
    arguments = ["--models", models[0], "--test_sets", table, "--output_dir", str(output)]
    main([*arguments, "--least_confidence", "0.26"])
    result = json.loads((output / "metrics" / "first--clips.csv.json").read_text())
    predictions = read_predictions(output / result["predictions"])
    kept = predictions.probabilities.max(axis=1) >= 0.26
    abstaining = result["abstaining"]
    assert abstaining["least_confidence"] == 0.26
    assert abstaining["coverage"] == kept.mean() > 0
    right = predictions.predicted == predictions.references
    assert abstaining["metrics"]["accuracy"] == pytest.approx(right[kept].mean())
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "at least 0.26 sure" in line]
    assert f"{100 * kept.mean():.1f} % of the clips" in row
    with pytest.raises(WrongUseError, match="not made with these options"):
        main([*arguments, "--least_confidence", "0.5"])
    with pytest.raises(WrongUseError, match="--least_confidence is 2"):
        main([*arguments, "--least_confidence", "2"])
    # Nothing is left where nobody is that sure.
    main([*arguments, "--least_confidence", "1", "--overwrite", "--quiet"])
    result = json.loads((output / "metrics" / "first--clips.csv.json").read_text())
    assert result["abstaining"]["coverage"] == 0


def test_main_scores_by_columns_of_a_corpus_and_of_a_table(models, tmp_path, capsys):
    actors = tmp_path / "ravdess"
    for actor, emotion in itertools.product((1, 2, 3, 4), ("01", "03", "04", "05")):
        name = f"03-01-{emotion}-01-0{1 + actor // 3}-01-{actor:02d}.wav"
        fake_corpora.write(actors / name, fake_corpora.tone(100 * actor + int(emotion), 0.1))
    output, written = tmp_path / "results", tmp_path / "groups.json"
    arguments = ["--models", models[0], "--test_sets", f"ravdess={actors}", "--quiet"]
    arguments += ["--output_dir", str(output), "--allow_other_counts"]
    options = ["--scores_by", "sex,statement", "--scores_by_table", str(written)]
    main([*arguments, *options])
    result = json.loads((output / "metrics" / "first--ravdess.json").read_text())
    predictions = read_predictions(output / result["predictions"])
    right = predictions.predicted == predictions.references
    women = np.array([int(speaker) % 2 == 0 for speaker in predictions.speakers])
    sex = result["scores_by"]["sex"]
    assert sex["female"]["accuracy"] == pytest.approx(right[women].mean())
    assert sex["male"]["accuracy"] == pytest.approx(right[~women].mean())
    table = json.loads(written.read_text())
    assert [row[:4] for row in table["rows"]] == [
        ["sex", "female", "8", "2"],
        ["sex", "male", "8", "2"],
        ["statement", "Dogs are sitting", "8", "2"],
        ["statement", "Kids are talking", "8", "2"],
    ]
    assert "first on ravdess, by sex, statement" in (output / "results.md").read_text()
    main([one for one in arguments if one != "--quiet"] + ["--scores_by", "sex,statement"])
    assert "Dogs are sitting" in capsys.readouterr().out
    with pytest.raises(WrongUseError, match="not made with these options"):
        main([*arguments, "--scores_by", "sex"])
    with pytest.raises(WrongUseError, match="no column 'age'.*sex, intensity, statement"):
        main([*arguments, "--scores_by", "age"])
    with pytest.raises(WrongUseError, match="--scores_by_table has nothing to hold"):
        main([*arguments, "--scores_by_table", str(written)])
    # A column of one's own table, which another name of the model's folder keeps apart.
    own = write_recordings(tmp_path)
    lines = own.read_text().splitlines()
    rooms = [f"{line},{'ab'[number % 2]}" for number, line in enumerate(lines[1:])]
    own.write_text("\n".join([f"{lines[0]},room", *rooms]))
    main(["--models", models[0], "--test_sets", str(own), "--output_dir", str(tmp_path / "own"),
          "--scores_by", "room", "--quiet"])  # fmt: skip
    (path,) = (tmp_path / "own" / "metrics").iterdir()
    rooms = json.loads(path.read_text())["scores_by"]["room"]
    assert rooms["a"]["count"] == rooms["b"]["count"] == len(lines[1:]) / 2


def test_main_does_not_do_again_what_is_done(models, table, tmp_path, capsys):
    model = save_model(tmp_path / "model")
    output = tmp_path / "results"
    arguments = ["--models", model, "--test_sets", table, "--output_dir", str(output)]
    main(arguments)
    path = output / "predictions" / "model--clips.csv.csv"
    os.utime(path, (0, 0))
    capsys.readouterr()
    main(arguments)
    assert "done before" in capsys.readouterr().out
    assert path.stat().st_mtime == 0
    main([*arguments, "--overwrite", "--quiet"])
    assert path.stat().st_mtime > 0
    assert capsys.readouterr().out == ""


def test_main_does_again_what_another_model_of_the_same_name_did_when_told(table, tmp_path):
    model = save_model(tmp_path / "model")
    output = tmp_path / "results"
    arguments = ["--models", model, "--test_sets", table, "--output_dir", str(output), "--quiet"]
    main(arguments)
    path = output / "metrics" / "model--clips.csv.json"
    before = json.loads(path.read_text())
    save_model(tmp_path / "model", seed=5)
    with pytest.raises(WrongUseError, match=r"csv\.json was not made with this model; .*overwrite"):
        main(arguments)
    assert json.loads(path.read_text()) == before
    main([*arguments, "--overwrite"])
    after = json.loads(path.read_text())
    assert after["fingerprint"]["model"] != before["fingerprint"]["model"]
    assert after["metrics"] != before["metrics"]


def test_main_shows_no_published_rows_beside_ones_own_corpus(models, tmp_path, capsys):
    folder = write_corpus(tmp_path / "dusha")
    test_set, output = f"{folder}:crowd", str(tmp_path / "results")
    main(["--models", models[0], "--test_sets", test_set, "--output_dir", output])
    shown = capsys.readouterr().out
    assert "dusha:crowd:test" in shown
    assert not any(words in shown for words in ("GigaAM", "the paper", "14,035"))


def test_main_does_again_what_other_audio_speakers_options_or_code_did_when_told(
    models, tmp_path, monkeypatch
):
    table = write_recordings(tmp_path / "own", speakers=2)
    arguments = ["--models", models[0], "--test_sets", str(table), "--quiet"]
    arguments += ["--output_dir", str(tmp_path / "results")]

    def evaluated(other=""):
        if other:
            with pytest.raises(WrongUseError, match=f"was not made with {other}; name another"):
                main(arguments)
        main([*arguments, "--overwrite"] if other else arguments)
        (path,) = (tmp_path / "results" / "metrics").iterdir()
        return json.loads(path.read_text()), path.stat().st_ino

    result, place = evaluated()
    assert evaluated() == (result, place)
    replace_audio(table.parent / "wavs" / "0_sad_0.wav")
    before, (result, place) = place, evaluated("these clips")
    assert place != before and result["metrics"]["group_count"] == 2
    table.write_text(table.read_text().replace("speaker 1", "speaker 0"))
    result, place = evaluated("these clips")
    assert result["metrics"]["group_count"] == 1
    arguments += ["--batch_size", "2"]
    assert evaluated("these options")[1] != place
    place = evaluated()[1]
    monkeypatch.setattr(evaluation, "CODE", ("dusha_ser.errors",))
    assert evaluated("this version of the software")[1] != place


def test_main_does_not_take_a_model_that_another_one_became(table, tmp_path):
    write_recordings(tmp_path, speakers=2).rename(tmp_path / "train.csv")
    start = save_model(tmp_path / "start")
    arguments = ["--train_on", str(tmp_path / "train.csv"), "--test_sets", table]
    arguments += ["--output_dir", str(tmp_path / "results"), "--quiet", "--max_steps", "1"]
    arguments += ["--validation", "0", "--model_name_or_path", start]
    main(arguments)
    save_model(tmp_path / "start", seed=1)
    with pytest.raises(WrongUseError, match="not made with this starting model;"):
        main(arguments)
    save_model(tmp_path / "start")
    replace_audio(tmp_path / "wavs" / "0_sad_0.wav")
    with pytest.raises(WrongUseError, match="not made with these clips;"):
        main(arguments)


def test_main_shows_published_rows_beside_dushas_test_sets(models, tmp_path, capsys, monkeypatch):
    # Twelve clips of 0.12 s stand for the published ones.
    monkeypatch.setitem(PAPER_PARTS["crowd"], "test", (12, 0, 0.024))
    folder = write_corpus(tmp_path / "dusha")
    main(
        [
            *["--models", models[0], "--test_sets", f"{folder}:crowd"],
            *["--output_dir", str(tmp_path / "results"), "--form", "jsonl"],
        ]
    )
    shown = capsys.readouterr().out
    line = next(line for line in shown.splitlines() if "GigaAM-Emo" in line)
    assert "0.90" in line and "0.87" in line and "0.84" in line and "14,035" in line
    assert "other clips than ours" in line
    assert "no positive clips" in shown
    assert (tmp_path / "results" / "predictions" / "first--dusha_crowd_test.jsonl").is_file()


def test_main_tells_what_it_lacks(models, table, tmp_path):
    output = ["--output_dir", str(tmp_path / "results")]
    with pytest.raises(MissingInputError, match="no model"):
        main(["--models", str(tmp_path / "none"), "--test_sets", table, *output])
    (tmp_path / "empty").mkdir()
    with pytest.raises(WrongUseError, match="empty is not an audio classification model"):
        main(["--models", str(tmp_path / "empty"), "--test_sets", table, *output])
    with pytest.raises(WrongUseError, match="a name of its own"):
        main(["--models", models[0], "--test_sets", table, table, *output])
    with pytest.raises(WrongUseError, match="has results of first"):
        arguments = ["--models", models[0], "--test_sets", table, *output]
        main([*arguments, "--compare", "first", "third"])


def test_main_counts_speakers_of_the_test_set_that_are_trained_on(table, tmp_path, caplog):
    write_recordings(tmp_path, speakers=2).rename(tmp_path / "train.csv")
    options = ["--max_steps", "1", "--validation", "0", "--quiet"]
    main(
        ["--train_on", str(tmp_path / "train.csv"), "--test_sets", table, *options]
        + ["--output_dir", str(tmp_path / "results")]
    )
    expected = "2 speakers are in both train.csv and clips.csv, with 8 of clips.csv's 16 clips"
    assert expected in caplog.text


def test_main_trains_on_one_corpus_and_tests_on_another(table, tmp_path):
    # The same names in another folder are other clips.
    write_recordings(tmp_path, speakers=2).rename(tmp_path / "train.csv")
    arguments = ["--train_on", str(tmp_path / "train.csv"), "--test_sets", table]
    arguments += ["--output_dir", str(tmp_path / "results"), "--quiet"]
    options = ["--max_steps", "1", "--validation", "0"]
    main([*arguments, *options])
    results = json.loads(
        (tmp_path / "results" / "metrics" / "trained_on_train.csv--clips.csv.json").read_text()
    )
    assert results["metrics"]["count"] == 16
    model = tmp_path / "results" / "models" / "trained_on_train.csv" / "model.safetensors"
    os.utime(model, (0, 0))
    main([*arguments, *options])
    assert model.stat().st_mtime == 0
    with pytest.raises(WrongUseError, match="not made with these options"):
        main([*arguments, *options, "--learning_rate", "0.5"])
    with pytest.raises(WrongUseError, match="16 clips of clips.csv are in clips.csv"):
        main(["--train_on", table, "--test_sets", table, *options])
    with pytest.raises(WrongUseError, match="--max_steps is unknown without --train_on"):
        main(["--models", "a/none", "--test_sets", table, *options])
    with pytest.raises(WrongUseError, match="no model to evaluate"):
        main(["--test_sets", table])


def test_compare_predictions_pairs_clips_by_their_ids(tmp_path):
    generator = np.random.default_rng(0)
    ids, references = [f"c{i}" for i in range(40)], generator.integers(0, 4, 40)
    probabilities = generator.dirichlet(np.ones(4), 40)
    speakers = [f"s{i % 5}" for i in range(40)]
    first = Predictions(LABELS, ids, references, probabilities, speakers)
    turn = generator.permutation(40)
    second = Predictions(
        LABELS,
        [ids[i] for i in turn],
        references[turn],
        probabilities[turn],
        [speakers[i] for i in turn],
    )
    write_predictions(tmp_path / "second.csv", second)
    second = read_predictions(tmp_path / "second.csv")
    assert compare_predictions(first, second, "own")["accuracy"]["interval"] == [0, 0]
    fewer = Predictions(LABELS, ids[1:], references[1:], probabilities[1:], speakers[1:])
    with pytest.raises(WrongUseError, match="different clips"):
        compare_predictions(first, fewer, "own")
    nameless = Predictions(LABELS, ids, references, probabilities)
    with pytest.raises(WrongUseError, match="speaker column"):
        compare_predictions(nameless, nameless, "own")


def test_program_from_the_shell_finds_the_library_that_bears_its_name(tmp_path):
    command = [sys.executable, "-m", "dusha_ser", "evaluate"]
    arguments = ["--models", "none", "--test_sets", "nowhere.csv"]
    done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "nowhere.csv" in done.stderr
