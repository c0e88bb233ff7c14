"""The report on annotators, from archives to a page, as a user calls it."""

import csv
import json
import subprocess
import sys
import tarfile
from dataclasses import fields

import numpy as np
import pytest
from pages import table_rows

from dusha_ser.cli.report import AnnotatorReportOptions
from dusha_ser.cli.report import report_annotators as main
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.reports.annotators import METHODS
from tests.conftest import REPOSITORY
from tests.crowds import LABELS, random_crowd

GUESSERS = ("annotator 04", "annotator 11")


def write_answers(folder, rows):
    for part in ("crowd_train", "podcast_test"):
        own = [row for row in rows if row["source_id"] == part]
        path = folder / part / f"raw_{part}.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in own))


def make_rows():
    """Answers of 25 annotators, two of whom guess, to clips in two parts, and who they are."""
    (task, annotator, label), _, truth = random_crowd(
        0, tasks=300, annotators=25, answers=6, care=0.85
    )
    names = [f"annotator {i:02d}" for i in range(25)]
    guessing = np.isin(annotator, [names.index(name) for name in GUESSERS])
    label = np.where(guessing, np.random.default_rng(1).integers(0, 5, len(label)), label)
    return [
        {
            "hash_id": f"clip{t}",
            "audio_path": f"wavs/clip{t}.wav",
            "duration": 1.5,
            "annotator_emo": LABELS[given],
            "golden_emo": LABELS[truth[t]] if t % 5 == 0 else float("nan"),
            "source_id": "crowd_train" if t < 200 else "podcast_test",
            "annotator_id": names[a],
        }
        for t, a, given in zip(task, annotator, label, strict=True)
    ]


@pytest.fixture(scope="module")
def rows():
    return make_rows()


@pytest.fixture(scope="module")
def corpus(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_answers(folder, rows)
    return folder


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def report(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    command = [
        sys.executable,
        "-m",
        "dusha_ser",
        "report",
        "annotators",
        corpus,
        "--output_dir",
        folder,
    ]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout == f"wrote annotators.html, annotators.md, annotators.csv to {folder}\n"
    return folder


def test_report_when_two_annotators_guess(report, rows):
    table = read_csv(report / "annotators.csv")
    assert [row["rank"] for row in table] == [str(i) for i in range(1, 26)]
    assert {row["annotator_id"] for row in table[-2:]} == set(GUESSERS)
    for row in (table[0], table[-1]):
        own = [one for one in rows if one["annotator_id"] == row["annotator_id"]]
        control = [one for one in own if isinstance(one["golden_emo"], str)]
        right = sum(one["golden_emo"] == one["annotator_emo"] for one in control)
        assert int(row["answers"]) == len(own)
        assert (int(row["control_answers"]), int(row["control_right"])) == (len(control), right)
        assert float(row["control_accuracy"]) == pytest.approx(right / len(control), abs=1e-4)
        assert float(row["control_low"]) <= right / len(control) <= float(row["control_high"])
        for whom, knowing in {"others": 0.6, "consensus": 0.8}.items():
            agreement = float(row[f"agreement_with_{whom}"])
            assert agreement > knowing if row is table[0] else agreement < 0.4
        for true in LABELS:
            shares = [float(row[f"{true}_as_{given}"]) for given in LABELS]
            assert sum(shares) == pytest.approx(1, abs=1e-3)


def test_page_says_what_the_crowd_is(report):
    page = (report / "annotators.md").read_text()
    rows = table_rows(page)
    assert ["answers", "1,800"] in rows
    assert ["clips", "300"] in rows
    assert ["control tasks", "60"] in rows
    assert dict(row for row in rows if len(row) == 2)["Krippendorff's alpha, nominal"][:2] == "0."
    assert sum(row[1].startswith("annotator") for row in rows) == 25 + 2
    picture = page.split("](")[1].split(")")[0]
    assert (report / picture).stat().st_size > 10_000
    html = (report / "annotators.html").read_text()
    assert "annotator 04" in html
    assert 'src="data:image' in html
    assert "http" not in html.replace("http://www.w3.org", "")


def run(*arguments):
    main([*map(str, arguments), "--quiet"])


def test_options_offer_the_methods_that_the_report_knows():
    method = next(one for one in fields(AnnotatorReportOptions) if one.name == "method")
    assert method.metadata["choices"] == tuple(METHODS)
    assert method.default in METHODS


def test_report_when_the_method_and_the_parts_are_chosen(corpus, tmp_path, capsys):
    options = ("--method", "dawid_skene", "--parts", "podcast_test")
    run(corpus, "--output_dir", tmp_path, *options)
    assert capsys.readouterr() == ("", "")
    assert sum(int(row["answers"]) for row in read_csv(tmp_path / "annotators.csv")) == 600
    page = (tmp_path / "annotators.md").read_text()
    assert "that dawid skene found" in page


def test_report_when_there_are_no_control_tasks_and_one_bad_row(rows, tmp_path):
    kept = [{**row, "golden_emo": None} for row in rows]
    kept[5]["annotator_emo"] = "bored"
    write_answers(tmp_path / "corpus", kept)
    options = (tmp_path / "corpus", "--output_dir", tmp_path / "report")
    with pytest.raises(WorkFailedError, match="bored"):
        run(*options)
    run(*options, "--bad_rows", "skip")
    table = read_csv(tmp_path / "report" / "annotators.csv")
    assert {row["control_accuracy"] for row in table} == {""}
    page = (tmp_path / "report/annotators.md").read_text()
    assert ["rows that could not be read", "1"] in table_rows(page)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (["nowhere"], "there is no file or folder nowhere"),
        (["."], "holds no answers: give crowd.tar or podcast.tar, or a folder"),
        ([".", "http://127.0.0.1:9/"], "mixes paths and addresses"),
    ],
)
def test_report_when_there_is_too_little_input(source, message, tmp_path):
    (tmp_path / "empty").mkdir()
    source = [str(tmp_path / "empty") if one == "." else one for one in source]
    with pytest.raises(WrongUseError, match=message):
        run(*source, "--output_dir", tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_report_when_it_comes_from_addresses(corpus, tmp_path):
    for name in ("crowd", "podcast"):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            for part in corpus.glob(f"{name}_*"):
                archive.add(part, part.name)
    options = ("--output_dir", tmp_path / "report", "--cache_dir", tmp_path / "cache")
    run(tmp_path.as_uri(), *options)
    assert sum(int(r["answers"]) for r in read_csv(tmp_path / "report/annotators.csv")) == 1800
