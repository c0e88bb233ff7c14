"""The report on annotators from archives of real speech, and labels of every method from them."""

import csv

import pytest

METHODS = ("regularised_dawid_skene", "dawid_skene")


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_report_when_the_archives_hold_random_annotators(
    ravdess_archives, repository, shell, tmp_path
):
    shell(
        "-m",
        "dusha_ser",
        "report",
        "annotators",
        ravdess_archives,
        "--output_dir",
        tmp_path / "report",
        cwd=repository,
    )
    kinds = {
        row["annotator_id"]: row["kind"] for row in read_csv(ravdess_archives / "annotators.csv")
    }
    ranked = [kinds[row["annotator_id"]] for row in read_csv(tmp_path / "report/annotators.csv")]
    assert len(ranked) == 120
    assert ranked.count("random") == 8
    assert set(ranked[-8:]) == {"random"}
    for suffix in ("html", "md"):
        assert "Krippendorff" in (tmp_path / "report" / f"annotators.{suffix}").read_text()


@pytest.mark.parametrize("method", METHODS)
def test_labels_when_prepared_by_a_method(method, ravdess_archives, repository, shell, tmp_path):
    options = ("--data_dir", ravdess_archives, "--output_dir", tmp_path / "dusha", "--quiet")
    kept = ("--keep_control", "--threshold", "0.5", "--cache_dir", tmp_path / "cache")
    shell("-m", "dusha_ser", "corpus", "all", *options, *kept, "--method", method, cwd=repository)
    code = f"""
    import csv, datasets
    with open({str(ravdess_archives / "truth.csv")!r}) as file:
        truth = {{row["hash_id"]: row["emotion"] for row in csv.DictReader(file)}}
    right = total = 0
    for rows in datasets.load_dataset({str(tmp_path / "dusha")!r}, "all").values():
        names = rows.features["label"].names
        for row in rows.select_columns(["id", "label"]):
            right += names[row["label"]] == truth[row["id"]]
            total += 1
    print(total, right / total)
    """
    total, right = shell(code=code, cwd=tmp_path).stdout.split()[-2:]
    # Of all clips, `other` included, 0.921 and 0.953 are right; those that came out as `other`
    # (they never are) or with less than 0.5 are not in the splits.
    low, high = {"dawid_skene": (0.93, 0.96), "regularised_dawid_skene": (0.95, 0.98)}[method]
    assert int(total) > 820
    assert low < float(right) < high
