"""dusha report results: one page with all numbers, that needs no other file."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from pages import HISTORY, Page, table_rows

from dusha_ser.cli.report import report_results as main
from dusha_ser.errors import MissingInputError
from dusha_ser.evaluation.group_scores import score_groups
from dusha_ser.evaluation.predictions import Predictions, score_confident, score_predictions
from dusha_ser.evaluation.ser.ser import LABELS, compare_models
from dusha_ser.storage import write_json


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of two models on one test set, one of them cross-validated, with a comparison."""
    folder = tmp_path_factory.mktemp("results")
    generator = np.random.default_rng(0)
    references = np.concatenate([np.zeros(20, int), generator.integers(0, 3, 100)])
    answers, speakers = {}, [f"s{i % 8}" for i in range(120)]
    for number, name in enumerate(("<b>first</b>", "second")):
        probabilities = generator.dirichlet(np.ones(4), 120)
        probabilities[np.arange(120), references] += number
        probabilities /= probabilities.sum(1, keepdims=True)
        predictions = Predictions(LABELS, list(map(str, range(120))), references, probabilities)
        predictions = Predictions(
            LABELS, predictions.ids, references, probabilities, speakers, ["a"] * 120
        )
        if number:
            predictions = replace(predictions, temperature=1.5)
        answers[name] = predictions.predicted
        model = folder / f"model{number}"
        write_json(model / "trainer_state.json", {"log_history": HISTORY})
        content = {
            "model": name,
            "model_path": str(model),
            "test_set": "own | test",
            "published_as": "podcast",
            "command": "dusha evaluate --models 'a & b'",
            **score_predictions(predictions),
            "scores_by": score_groups(predictions, {"sex": ["male", "female"] * 60}),
            "abstaining": score_confident(predictions, 0.4),
        }
        if number:
            metrics = content["metrics"]
            values = {key: metrics[key] for key in ("accuracy", "balanced_accuracy", "f1_macro")}
            content |= {
                "folds": {"a": {"best_epoch": 2.0, "seconds": 1, "metrics": metrics}},
                "mean": values,
                "standard_deviation": dict.fromkeys(values, 0.125),
            }
        write_json(folder / "metrics" / f"{number}.json", content)
    scores = compare_models(answers["<b>first</b>"], answers["second"], references, speakers)
    comparison = {"first": "<b>first</b>", "second": "second", "test_set": "own", "scores": scores}
    write_json(folder / "comparisons" / "c.json", comparison)
    return folder


@pytest.fixture(scope="module")
def page(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    main([str(results), "--output_dir", str(folder), "--quiet"])
    return folder


def test_report_is_well_formed_and_needs_no_other_file(page):
    text = (page / "results.html").read_text()
    parsed = Page(text)
    assert parsed.open == []
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert "url(" not in text and "<script" not in text
    for image in parsed.images:
        head, content = image["src"].split(",", 1)
        assert head == "data:image/svg+xml;base64" and b"<svg" in base64.b64decode(content)
        assert image["alt"]


def test_report_shows_what_the_results_hold(page, results):
    text = " ".join(Page((page / "results.html").read_text()).texts)
    for number in (0, 1):
        metrics = json.loads((results / "metrics" / f"{number}.json").read_text())["metrics"]
        assert f"balanced_accuracy {metrics['balanced_accuracy']:.3f}" in text
        assert f"log loss {metrics['log_loss']:.3f} nats" in text
        low, high = metrics["intervals"]["f1_macro"]
        assert f"[{low:.3f}, {high:.3f}]" in text
        for row in metrics["confusion_matrix"]:
            for count in row:
                assert str(count) in text
    assert "GigaAM-Emo" in text and "always angry" in text
    assert "the test set has no positive clips" in text
    assert "± 0.125" in text
    assert "on 120 clips of 8 speakers; intervals over only 8 speakers are too narrow" in text
    assert "Intervals over only 8 speakers are too narrow." in text, "beside the comparison"
    assert "dusha evaluate --models 'a & b'" in text
    assert "Scores by sex" in text and "draws speakers, each with all of their clips" in text


def test_report_shows_calibration_before_and_after_and_what_abstaining_gains(page, results):
    markdown = (page / "results.md").read_text()
    rows = table_rows(markdown)
    first, second = (
        json.loads((results / "metrics" / f"{number}.json").read_text()) for number in (0, 1)
    )
    names = ("log_loss", "brier_score", "expected_calibration_error")
    for temperature, scores in (
        ("1.000", first["metrics"]),
        ("1.000", second["uncalibrated"]),
        ("1.500", second["metrics"]),
    ):
        assert [temperature, *(f"{scores[name]:.3f}" for name in names)] in rows
    for result in (first, second):
        measured = result["confidence"]
        assert f"Risk by coverage: area under the curve {measured['aurc']:.3f}" in markdown
        entry = measured["curve"][79]
        shown = ["80 %", f"{entry['accuracy']:.3f}", f"{entry['least_confidence']:.3f}"]
        assert shown in rows
        share = result["abstaining"]["coverage"]
        assert (
            f"at least 0.4 sure of {100 * share:.1f} % of the clips, on which accuracy" in markdown
        )


def test_report_of_results_of_earlier_versions_has_what_they_measured(results, tmp_path):
    old = json.loads((results / "metrics" / "0.json").read_text())
    for name in ("confidence", "temperature", "abstaining"):
        del old[name]
    del old["metrics"]["brier_score"]
    write_json(tmp_path / "old" / "metrics" / "0.json", old)
    main([str(tmp_path / "old"), "--output_dir", str(tmp_path / "report"), "--quiet"])
    text = (tmp_path / "report" / "results.md").read_text()
    assert f"{old['metrics']['log_loss']:.3f}" in text and "Risk by coverage" not in text


def test_report_escapes_names(page):
    text = (page / "results.html").read_text()
    assert "<b>first" not in text and "&lt;b&gt;first" in text
    markdown = (page / "results.md").read_text()
    assert "own \\| test" in markdown and "<b>" not in markdown.replace("\\<b>", "")


def test_report_has_confusion_calibration_and_curves_of_each_model(page):
    alternatives = [image["alt"] for image in Page((page / "results.html").read_text()).images]
    starts = (
        *("confusion matrix of", "share of right predictions of", "loss and scores over"),
        "share of wrong predictions of",
    )
    for start in starts:
        assert sum(one.startswith(start) for one in alternatives) == 2


def test_report_in_markdown_has_its_figures_beside_it(page):
    markdown = (page / "results.md").read_text()
    places = re.findall(r"\]\((figures/[^)]+)\)", markdown)
    assert len(places) == 8
    assert all((page / place).stat().st_size > 5000 for place in places)
    assert "mean ± sd" in [row[0] for row in table_rows(markdown)]


def test_report_takes_curves_of_other_runs_and_says_when_there_are_none(results, tmp_path):
    checkpoint = tmp_path / "run" / "checkpoint-7"
    write_json(checkpoint / "trainer_state.json", {"log_history": HISTORY})
    arguments = [str(results), "--output_dir", str(tmp_path / "report"), "--quiet"]
    main([*arguments, "--training", str(tmp_path / "run")])
    assert "Training of run" in (tmp_path / "report" / "results.html").read_text()
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingInputError, match="holds no log of a training run"):
        main([*arguments, "--overwrite", "--training", str(tmp_path / "empty")])
    with pytest.raises(MissingInputError, match="no results in"):
        main([str(tmp_path / "empty")])
