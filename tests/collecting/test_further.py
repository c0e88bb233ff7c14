"""Further answers: which clips they are ordered for, and how they join those of the first round."""

import csv

import numpy as np
import pytest
import soundfile

from dusha_ser.cli.main import main as dusha
from dusha_ser.collecting.answers import collect_answers
from dusha_ser.collecting.further import find_doubts
from dusha_ser.collecting.options import AnswerOptions, MoreOptions, TaskOptions
from dusha_ser.collecting.tasks import read_key, write_tasks
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.storage import write_csv

PEOPLE = tuple(f"person {number}" for number in range(6))
CLIPS = 20
# Of the clips by number: what the six say of those that they do not agree about.
SPLIT = {
    3: ("sad", "sad", "sad", "angry", "angry", "angry"),
    7: ("neutral", "neutral", "positive", "positive", "sad", "sad"),
    11: ("angry", "neutral", "sad", "positive", "other", "angry"),
}


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A table of clips, and one of clips whose answer is known."""
    folder = tmp_path_factory.mktemp("material")
    for name, count, seed in (("clips", CLIPS, 0), ("known", 14, 1000)):
        rows = []
        for number in range(count):
            path = folder / f"{name}{number}.wav"
            samples = np.random.default_rng(seed + number).uniform(-0.5, 0.5, 800)
            soundfile.write(path, samples, 16000)
            label = ("angry", "sad", "neutral", "positive")[number % 4]
            rows.append({"path": path.name, "label": label, "text": f"text {number}"})
        write_csv(folder / f"{name}.csv", list(rows[0]), rows)
    return folder


def answer(key, people=PEOPLE, split=SPLIT):
    """Answers of all people to all tasks: one for all, but for those clips that split them."""
    rows = []
    for task, row in key.items():
        number = int(row["text"].removeprefix("text "))
        agreed = row["label"] or ("angry", "sad", "neutral", "positive")[number % 4]
        for place, name in enumerate(people):
            given = split[number][place] if row["kind"] == "clip" and number in split else agreed
            rows.append({"task": task, "annotator": name, "answer": given})
    return rows


@pytest.fixture(scope="module")
def first(material, tmp_path_factory):
    """The first round's folder, and the table of its answers."""
    folder = tmp_path_factory.mktemp("first")
    options = TaskOptions(
        material / "clips.csv", material / "known.csv", folder / "round1", exam_size=5, quiet=True
    )
    write_tasks(options)
    rows = answer(read_key(folder / "round1"))
    write_csv(folder / "answers.csv", list(rows[0]), rows)
    return folder / "round1", folder / "answers.csv"


def doubts_of(first, **named):
    return find_doubts(TaskOptions(first[0]), MoreOptions(more=[first[1]], **named))


def numbers_of(doubts):
    return {int(item.text.removeprefix("text ")) for item in doubts.again.items}


def test_find_doubts_takes_the_clips_that_people_do_not_agree_about(first):
    doubts = doubts_of(first)
    assert numbers_of(doubts) == set(SPLIT)
    assert (doubts.clips, doubts.given_up) == (CLIPS, 0)
    assert all(item.path.is_file() for item in doubts.again.items)
    key = read_key(first[0])
    assert doubts.again.known == {row["id"] for row in key.values() if row["kind"] != "clip"}


@pytest.mark.parametrize(
    ("named", "asked", "given_up"),
    [
        # Six answers are there.
        ({"budget": 8, "further": 2}, 3, 0),
        ({"budget": 7, "further": 2}, 0, 3),
        ({"method": "majority_vote", "threshold": 0.5}, 2, 0),
        ({"method": "majority_vote", "threshold": 0.3}, 0, 0),
        # Nobody passes, so no answer is there.
        ({"mark": 1.0}, 3, 0),
    ],
)
def test_find_doubts_when_numbers_are_others(first, named, asked, given_up):
    doubts = doubts_of(first, **named)
    assert (len(doubts.again.items), doubts.given_up) == (asked, given_up)


def test_find_doubts_when_everybody_fails_asks_about_all(first, tmp_path):
    rows = [row | {"answer": "other"} for row in rows_of(first[1])]
    write_csv(tmp_path / "answers.csv", list(rows[0]), rows)
    assert len(doubts_of((first[0], tmp_path / "answers.csv")).again.items) == CLIPS


def test_second_round_joins_the_first(first, material, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    round1, answers = map(str, first)
    more = ["--more", answers, "--known", str(material / "known.csv"), "--exam_size", "2"]
    dusha(["collect", "tasks", round1, *more, "--output_dir", "round2"])
    printed = capsys.readouterr().out
    assert "3 clips, 1 control tasks and an exam of 2 in round2/upload" in printed
    assert printed.endswith(
        "3 of 20 clips are unsure (below 0.9); order 2 answers to each task: 6 in place of 40 to "
        "all clips, 34 saved\n"
    )
    old, new = read_key(first[0]), read_key(tmp_path / "round2")
    assert not old.keys() & new.keys()
    by_kind = {
        kind: {r["id"] for r in new.values() if r["kind"] == kind}
        for kind in ("clip", "control", "exam")
    }
    assert by_kind["clip"] < {row["id"] for row in old.values() if row["kind"] == "clip"}
    used = {row["id"] for row in old.values() if row["kind"] != "clip"}
    assert not used & (by_kind["control"] | by_kind["exam"])

    # One who answered before, whose second answer to a clip does not count, and two new ones.
    agreed = dict.fromkeys(SPLIT, ("sad", "sad", "sad"))
    rows = answer(new, ("person 0", "new 1", "new 2"), agreed)
    write_csv(tmp_path / "more.csv", list(rows[0]), rows)
    options = AnswerOptions(
        first[0],
        [tmp_path / "round2", first[1], tmp_path / "more.csv"],
        tmp_path / "collected",
        test_share=0,
        quiet=True,
    )
    counts = collect_answers(options)
    assert (counts["clips"], counts["failed"]) == (CLIPS + 3 + 1, 0)
    # All but the exam in the first round; in the second three clips and a control task, of which
    # `person 0` counts for the control task alone.
    assert counts["answers"] == 6 * (CLIPS + 3) + 2 * 4 + 1
    listed = {row["name"]: row for row in rows_of(tmp_path / "collected" / "annotators.csv")}
    assert listed["new 1"]["exam_score"] == "1.000"
    assert (listed["new 1"]["exam_answers"], listed["person 0"]["exam_answers"]) == ("2", "5")

    dusha(
        [
            "collect",
            "tasks",
            round1,
            "--more",
            "round2",
            answers,
            "more.csv",
            "--threshold",
            "0.6",
            "--method",
            "majority_vote",
            "--output_dir",
            "round3",
        ]
    )
    printed = capsys.readouterr().out
    # Of 8 answers: 5 sad to the first, 4 to the second, 3 to the third.
    assert "2 clips, 0 control tasks" in printed
    tasks = read_key(tmp_path / "round3")
    assert {row["text"] for row in tasks.values()} == {"text 7", "text 11"}


def test_program_when_all_labels_are_sure_writes_nothing(first, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--threshold", "0.2", "--method", "majority_vote", "--output_dir", "round2"]
    assert not dusha(["collect", "tasks", str(first[0]), "--more", str(first[1]), *words])
    assert capsys.readouterr().out == ("no tasks written: 0 of 20 clips are unsure (below 0.2)\n")
    assert not (tmp_path / "round2").exists()


def test_program_when_the_budget_is_spent_says_so(first, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--budget", "7", "--output_dir", "round2"]
    dusha(["collect", "tasks", str(first[0]), "--more", str(first[1]), *words])
    assert capsys.readouterr().out == (
        "no tasks written: 3 of 20 clips are unsure (below 0.9), 3 of them with too many answers "
        "for 2 more within --budget 7\n"
    )


@pytest.mark.parametrize(
    ("files", "named", "error", "said"),
    [
        (["{round1}"], {}, WrongUseError, "holds tasks of another folder; give each round once"),
        ([], {}, WrongUseError, "no answers are given; add files"),
        (["nowhere.csv"], {}, MissingInputError, "no file nowhere.csv"),
        (["{answers}"], {"further": 0}, WrongUseError, "`further` is 0; it must be at least 1"),
        (["{answers}"], {"budget": 2}, WrongUseError, "`budget` is 2; .* more than `further`, 2"),
        (["{answers}"], {"threshold": 0}, WrongUseError, "`threshold` is 0"),
    ],
)
def test_find_doubts_when_used_wrongly(first, files, named, error, said):
    names = {"round1": first[0], "answers": first[1]}
    paths = [type(first[0])(name.format(**names)) for name in files]
    with pytest.raises(error, match=said):
        find_doubts(TaskOptions(first[0]), MoreOptions(more=paths, **named))
