import json

import pytest

from benchmarks.answers_to_labels import PARTS, measure, write_corpus


def rows(folder):
    for part in PARTS:
        with (folder / part / f"raw_{part}.jsonl").open(encoding="utf-8") as file:
            yield from map(json.loads, file)


@pytest.mark.parametrize("shuffled", [False, True])
def test_write_corpus_when_shuffled_or_not_has_the_size_asked_for(tmp_path, shuffled):
    write_corpus(tmp_path, 4000, 700, 60, shuffled)
    answers = list(rows(tmp_path))
    assert len(answers) == 4000
    assert len({row["hash_id"] for row in answers}) == 700
    assert len({row["annotator_id"] for row in answers}) == 60
    following = [
        first["hash_id"] == second["hash_id"]
        for first, second in zip(answers, answers[1:], strict=False)
    ]
    assert sum(following) == 3300 if not shuffled else sum(following) < 300


def test_measure_when_both_sides_ran_finds_the_same_labels(tmp_path):
    write_corpus(tmp_path, 2000, 300, 40, shuffled=True)
    found = measure(tmp_path, rounds=1)
    assert found["same_clips"] and found["same_labels"] == 1
    assert found["largest_difference"] < 1e-6
    pairs = found["pairs"]
    assert all(one["times_as_fast"] > 0 and one["rounds"] == 1 for one in pairs.values())
    assert {one["peer"] for one in pairs.values()} == found["peak_memory"].keys() - {"ours"}
    assert 0 < found["share_of_memory_as_people_do"] < 1
