"""Tables of results: what stands in them, and in which order."""

import pytest

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.evaluation.results import (
    PUBLISHED,
    all_rows,
    class_table,
    comparison_notes,
    comparison_table,
    confusion_table,
    metrics_row,
    pair_name,
    published_rows,
    read_results,
    results_table,
)
from dusha_ser.evaluation.ser.ser import compare_models, ser_metrics
from dusha_ser.storage import read_json, write_json
from dusha_ser.tables import markdown_table, screen_table


def result(model, predictions, published_as="crowd", references=(0, 1, 2, 2)):
    groups = ["anna", "boris", "clara", "dora"]
    return {
        "model": model,
        "test_set": "dusha:crowd:test",
        "published_as": published_as,
        "metrics": ser_metrics(predictions, references, groups=groups),
        "majority": {"label": "neutral", **ser_metrics([2] * 4, references)},
    }


def test_published_rows_are_the_ones_of_the_test_set():
    rows = published_rows("ours", "crowd", 14035)
    assert {row.model: row.scores["f1_macro"] for row in rows} == {
        "MobileNetV2 + attention (the paper)": 0.77,
        "GigaAM-Emo": 0.84,
        "TIM-Net": 0.78,
    }
    assert all(row.test_set == "ours" for row in rows)
    assert published_rows("ours", None, 100) == []


def test_published_rows_say_when_our_clips_are_others():
    assert "other clips than ours" not in published_rows("ours", "podcast", 10637)[0].source
    assert "other clips than ours" in published_rows("ours", "podcast", 100)[0].source


def test_published_results_are_balanced_accuracy_where_the_paper_says_wa():
    # On podcasts neutral speech dominates, so accuracy must be far above balanced accuracy.
    for published in PUBLISHED:
        if published.test_set == "podcast":
            assert published.scores["accuracy"] > published.scores["balanced_accuracy"] + 0.1


def test_all_rows_are_sorted_by_f1_with_baseline_and_published_once():
    rows = all_rows([result("worse", [0, 0, 0, 0]), result("better", [0, 1, 2, 2])])
    f1 = [row.scores["f1_macro"] for row in rows]
    assert f1 == sorted(f1, reverse=True)
    assert [row.model for row in rows].count("always neutral") == 1
    assert len(rows) == 2 + 1 + 3
    assert rows[0].model == "better"


def test_all_rows_of_other_clips_under_one_name_have_their_own_baseline():
    other = result("second", [0, 1, 1, 2], references=(0, 1, 1, 2))
    other["majority"]["label"] = "sad"
    rows = all_rows([result("first", [0, 1, 2, 2]), other])
    assert {"always neutral", "always sad"} <= {row.model for row in rows}


def test_results_table_shows_intervals_and_absent_classes():
    table = results_table(all_rows([result("mine", [0, 1, 2, 0], published_as=None)]))
    head, ours, constant = table
    assert head == [
        "model",
        "test set",
        "accuracy",
        "balanced_accuracy",
        "f1_macro",
        "clips",
        "speakers",
        "source",
    ]
    assert ours[:3] == ["mine", "dusha:crowd:test", "0.750 [0.250, 1.000]"]
    assert ours[-1] == (
        "this evaluation; no positive clips; intervals over only 4 speakers are too narrow"
    )
    assert constant[0] == "always neutral" and constant[2] == "0.500"


def test_results_table_leaves_out_columns_that_are_empty():
    one = result("mine", [0, 1, 2, 0], published_as=None)
    one["metrics"] = ser_metrics([0, 1, 2, 0], [0, 1, 2, 2])
    assert "speakers" not in results_table(all_rows([one]))[0]


def test_class_table_and_confusion_table_have_a_row_a_class():
    metrics = ser_metrics([0, 1, 2, 0], [0, 1, 2, 2])
    assert class_table(metrics)[3] == ["neutral", "2", "0.500", "1.000", "0.667"]
    assert class_table(metrics)[4] == ["positive", "0", "–", "–", "–"]
    assert confusion_table(metrics)[3] == ["neutral", "1", "0", "1", "0"]


def test_comparison_table_has_signs_and_small_p_values():
    speakers = [str(i // 2) for i in range(40)]
    table = comparison_table(compare_models([1] * 40, [0] * 40, [0] * 40, speakers))
    assert table[1] == ["accuracy", "0.000", "1.000", "+1.000", "[+1.000, +1.000]", "< 0.001"]
    assert comparison_notes(compare_models([1] * 40, [0] * 40, [0] * 40, speakers)) == []


def test_comparison_of_few_speakers_has_no_p_and_says_why():
    result = compare_models([1] * 6, [0] * 6, [0] * 6, ["anna", "boris", "clara"] * 2)
    assert comparison_table(result)[1][-1] == "–"
    assert comparison_notes(result) == [
        "No p: 3 speakers cannot give one below 0.25, however much the models differ; 6 speakers "
        "can reach 0.05.",
        "Intervals over only 3 speakers are too narrow.",
    ]


def test_comparison_of_six_to_nine_speakers_has_a_p_and_a_warning():
    result = compare_models([1] * 6, [0] * 6, [0] * 6, list("abcdef"))
    assert comparison_table(result)[1][-1] == "0.031"
    assert comparison_notes(result) == ["Intervals over only 6 speakers are too narrow."]


def test_comparison_of_an_earlier_version_shows_no_p():
    old = {
        "accuracy": {"first": 0, "second": 1, "difference": 1, "interval": [1, 1], "p_value": 0.001}
    }
    assert comparison_table(old)[1][-1] == "–"
    assert "compare them again" in comparison_notes(old)[0]


def test_metrics_row_of_folds_does_not_call_them_speakers():
    metrics = ser_metrics([0, 1, 2, 0], [0, 1, 2, 2], groups=[1, 1, 2, 2])
    row = metrics_row("mine", "own, 2 folds", metrics, "pooled over 2 folds", "folds")
    assert row.speakers is None
    assert row.source == "pooled over 2 folds; intervals over only 2 folds are too narrow"


def test_markdown_table_keeps_a_bar_inside_its_cell():
    assert markdown_table([["a|b"], ["c"]]) == "| a\\|b   |\n|:-------|\n| c      |\n"


def test_screen_table_is_aligned():
    assert screen_table([["a", "bb"], ["ccc", "d"]]) == "a    bb\n---  ----\nccc  d\n"


@pytest.mark.parametrize(
    ("model", "expected"),
    [("a/b", "a_b--t"), ("../../etc", "etc--t"), ("", "_--t"), ("модель 1", "модель_1--t")],
)
def test_pair_name_stays_in_its_folder(model, expected):
    assert pair_name(model, "t") == expected


def test_read_results_gives_what_was_written(tmp_path):
    write_json(tmp_path / "metrics" / "b.json", {"model": "b"})
    write_json(tmp_path / "metrics" / "a.json", {"model": "a"})
    assert [one["model"] for one in read_results(tmp_path)] == ["a", "b"]
    with pytest.raises(MissingInputError, match="no results in"):
        read_results(tmp_path / "other")


def test_write_json_refuses_nan_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_read_json_of_something_else_says_so(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(WrongUseError, match="is not JSON"):
        read_json(tmp_path / "a.json")
