"""dusha report corpus: the paper's tables and figures from a prepared corpus."""

import csv
import subprocess
import sys

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from small_corpus import COUNTS, make_clips, write_corpus

import dusha
from dusha_ser.cli.main import GROUPS, main
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.reports.corpus import (
    PAPER_CLASSES,
    PAPER_PARTS,
    Clips,
    class_table,
    draw_classes,
    draw_lengths,
    part_table,
    read_clips,
    shorten,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Clips, one of them `other`, and dataset folders by name."""
    clips = make_clips()
    clips[0]["answers"] = [(annotator, "other") for annotator, _ in clips[0]["answers"]]
    clips[0]["emotion"] = "other"
    archives = write_corpus(
        tmp_path_factory.mktemp("archives"),
        [clip | {"emotion": clip["emotion"].replace("other", "sad")} for clip in clips],
    )
    folder = tmp_path_factory.mktemp("user")
    options = {"data_dir": str(archives), "quiet": True, "keep_other": True}
    dusha.write_folder(["all", "raw"], str(folder / "all"), validation=0.2, **options)
    dusha.write_folder(["crowd", "podcast"], str(folder / "pair"), **options)
    dusha.write_folder(["raw"], str(folder / "raw"), data_dir=str(archives), quiet=True)
    return clips, folder


@pytest.fixture
def published():
    """As many clips as were published, of lengths that add up to the published hours."""
    domains, splits, labels, durations = [], [], [], []
    for domain, classes in PAPER_CLASSES.items():
        labels += [name for name, count in classes.items() for _ in range(count)]
        for split, (count, hours, minutes) in PAPER_PARTS[domain].items():
            domains += [domain] * count
            splits += [split] * count
            durations += [(3600 * hours + 60 * minutes) / count] * count
    columns = {"domain": domains, "split": splits, "label": labels, "duration": durations}
    return Clips(
        pd.DataFrame(columns),
        classes=list(PAPER_CLASSES["crowd"]),
        configurations=["all"],
        options={"keep_control": True, "keep_other": True, "method": "m", "threshold": 0.9},
    )


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_report_when_written(corpus, tmp_path, capsys):
    clips, folder = corpus
    main(["report", "corpus", str(folder / "all"), "--output_dir", str(tmp_path)])
    assert f"{len(clips)} clips" in capsys.readouterr().out
    rows = {(row["domain"], row["whose"]): row for row in read_csv(tmp_path / "table_1.csv")}
    for domain in ("crowd", "podcast"):
        own = [clip["emotion"] for clip in clips if clip["part"].startswith(domain)]
        for emotion in ("positive", "sad", "angry", "neutral", "other"):
            assert int(rows[domain, "ours"][emotion]) == own.count(emotion)
        assert int(rows[domain, "ours"]["total"]) == len(own)
        assert int(rows[domain, "paper"]["total"]) == sum(PAPER_CLASSES[domain].values())
    assert ("crowd", "difference") not in rows, "this is not the full corpus"
    rows = {(row["domain"], row["whose"]): row for row in read_csv(tmp_path / "table_2.csv")}
    assert int(rows["crowd", "ours"]["training clips"]) == COUNTS["crowd_train"]
    assert int(rows["podcast", "ours"]["test clips"]) == COUNTS["podcast_test"]
    seconds = sum(len(clip["samples"]) for clip in clips if "_test" in clip["part"]) / 16000
    assert int(rows["total", "ours"]["test seconds"]) == round(seconds)
    page = (tmp_path / "corpus.md").read_text()
    assert 'without control tasks and with "other"' in page
    assert "![lengths of clips by domain](figure_1.png)" in page
    for name in ("figure_1.png", "figure_2.png"):
        picture = matplotlib.image.imread(tmp_path / name)
        assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 20


def test_read_clips_when_crowd_and_podcast_stand_apart(corpus):
    _, folder = corpus
    together, apart = read_clips(folder / "all"), read_clips(folder / "pair")
    assert apart.configurations == ["crowd", "podcast"]
    assert class_table(apart) == class_table(together)
    assert part_table(apart) == part_table(together)
    one = read_clips(folder / "pair", "podcast")
    assert sorted(one.table.domain.unique()) == ["podcast"]


def test_read_clips_when_there_is_nothing_to_read(corpus, tmp_path):
    _, folder = corpus
    with pytest.raises(MissingInputError, match="holds no prepared corpus"):
        read_clips(tmp_path)
    with pytest.raises(MissingInputError, match="no configuration 'crowd': .* all, raw"):
        read_clips(folder / "all", "crowd")
    with pytest.raises(WrongUseError, match="has answers and no labels"):
        read_clips(folder / "raw")


def test_tables_when_the_corpus_is_the_full_one(published):
    for table in (class_table(published), part_table(published, round)):
        rows = {tuple(row[:2]): row[2:] for row in table[1:]}
        for domain in ("crowd", "podcast"):
            assert rows[domain, "ours"] == rows[domain, "paper"]
            assert set(rows[domain, "difference"]) == {"+0"}
    total = part_table(published)[-2:]
    # The paper's own last row of Table 2.
    assert total[0][2:] == total[1][2:] == [230177, "260 h 07 min", 24672, "27 h 54 min"]


def test_tables_when_the_full_corpus_was_prepared_otherwise(published):
    table = published.table
    stays = (table.label != "other") & ~((table.domain == "crowd") & (table.split == "test"))
    classes = ["positive", "sad", "angry", "neutral"]
    fewer = Clips(table[stays], classes, ["all"], published.options)
    rows = {tuple(row[:2]): row[2:] for row in class_table(fewer)[1:]}
    assert rows["podcast", "difference"][-2:] == ["-222", "-222"]
    rows = {tuple(row[:2]): row[2:] for row in part_table(fewer)[1:]}
    assert rows["crowd", "difference"][2:] == ["-14035", "-18 h 29 min"]


def test_class_table_of_a_small_corpus_shows_all_classes_that_the_papers_total_counts(published):
    few = published.table[published.table.label == "sad"].head(9).assign(domain="crowd")
    head, ours, paper = class_table(Clips(few, ["sad"], ["crowd"], published.options))
    assert head == ["domain", "whose", "sad", "positive", "angry", "neutral", "other", "total"]
    assert ours == ["crowd", "ours", 9, 0, 0, 0, 0, 9]
    assert paper[-1] == sum(paper[2:-1]) == 164387


def test_class_table_of_ones_own_domain_has_no_row_of_the_paper(published):
    few = published.table.head(9).assign(domain="own", label="calm")
    head, *rows = class_table(Clips(few, ["calm"], ["own"], published.options))
    assert (head, rows) == (["domain", "whose", "calm", "total"], [["own", "ours", 9, 9]])


def test_draw_lengths_when_a_clip_is_very_long(published):
    published.table.loc[0, "duration"] = 3600
    axis = draw_lengths(published).axes[0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["Crowd", "Podcast"]
    assert axis.get_xlim()[1] < 10
    heights = sum(patch.get_height() for patch in axis.patches)
    assert heights == len(published.table)


def test_draw_classes_when_bars_are_read(published):
    axis = draw_classes(published).axes[0]
    order = [text.get_text().lower() for text in axis.get_legend().get_texts()]
    assert order[:4] == ["neutral", "sad", "positive", "angry"]
    for bars, name in zip(axis.containers, order, strict=True):
        for bar, domain in zip(bars, ("crowd", "podcast"), strict=True):
            table = published.table
            chosen = (table.domain == domain) & (table.label == name)
            assert bar.get_height() == pytest.approx(table.duration[chosen].sum())


def test_shorten_when_at_a_unit():
    assert [shorten(value) for value in (59, 60, 3600, 36000)] == [
        "59 s",
        "1.0 min",
        "1.0 h",
        "10 h",
    ]


def test_report_when_named_wrongly():
    with pytest.raises(WrongUseError, match=r"unknown command 'corpora'; did you mean corpus\?"):
        main(["report", "corpora"])
    with pytest.raises(WrongUseError, match="take one of corpus, annotators, labels, results"):
        main(["report", "x"])
    with pytest.raises(WrongUseError, match="missing; take one of corpus, annotators, labels"):
        main(["report"])


def test_report_when_help_is_asked_for(capsys):
    main(["report", "--help"])
    lines = capsys.readouterr().out.splitlines()
    for name, meaning in GROUPS["report"].items():
        assert any(line.split(maxsplit=1) == [name, meaning] for line in lines)
        with pytest.raises(SystemExit) as ended:
            main(["report", name, "--help"])
        assert not ended.value.code
        shown = capsys.readouterr().out
        assert f"usage: dusha report {name}" in shown and "--output_dir" in shown


def test_report_when_only_what_it_needs_is_imported(corpus, tmp_path, monkeypatch):
    _, folder = corpus
    for name in ("annotators", "results"):
        monkeypatch.setitem(sys.modules, f"dusha_ser.cli.report_{name}", None)
        monkeypatch.setitem(sys.modules, f"dusha_ser.reports.{name}", None)
    main(["report", "corpus", str(folder / "pair"), "--output_dir", str(tmp_path), "--quiet"])
    assert (tmp_path / "corpus.md").exists()


@pytest.mark.parametrize("report", GROUPS["report"])
@pytest.mark.parametrize("word", ["--help", "--nowhere"])
def test_report_when_asked_for_help_or_wrongly_imports_nothing_heavy(report, word):
    code = f"""
import sys
from dusha_ser.cli.main import run
sys.argv = ["dusha", "report", "{report}", "{word}"]
try:
    run()
except SystemExit as end:
    heavy = "torch transformers datasets pyarrow numpy scipy sklearn matplotlib jinja2".split()
    print("status", end.code, *(name for name in heavy if name in sys.modules))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout.splitlines()[-1] == f"status {0 if word == '--help' else 2}"
