"""From the crowd's answers to the raw layout of the corpus."""

import csv
import json

import numpy as np
import pytest
import soundfile

import dusha
from dusha_ser.archives.find import open_members
from dusha_ser.collecting.answers import (
    Annotator,
    apply_exam,
    choose_test,
    collect_answers,
    describe_uncounted,
    task_name,
)
from dusha_ser.collecting.options import AnswerOptions
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.labels.answers import read_answers
from dusha_ser.storage import write_csv

EMOTIONS = ("angry", "sad", "neutral", "positive")
EXAM = 10


def collect(*values, **named):
    return collect_answers(AnswerOptions(*values, **named))


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def tasks(tmp_path):
    """A folder of tasks as `write_tasks` leaves it: 24 clips of six sources, controls, an exam."""
    folder, rng, rows = tmp_path / "round1", np.random.default_rng(0), []
    (folder / "upload" / "wavs").mkdir(parents=True)
    kinds = [*["exam"] * EXAM, *["control"] * 4, *["clip"] * 24]
    for number, kind in enumerate(kinds):
        soundfile.write(
            folder / "upload" / "wavs" / f"task{number}.wav", rng.uniform(-1, 1, 800), 16000
        )
        clip = kind == "clip"
        rows.append(
            {
                "task": f"task{number}",
                "kind": kind,
                "label": "" if clip else EMOTIONS[number % 4],
                "id": f"hash{number}",
                "duration": 0.05,
                "source_id": f"podcast {number % 6}" if clip else "",
                "text": "да" if clip and number % 2 else "",
                "speaker_emotion": "sad" if clip and number % 2 else "",
            }
        )
    write_csv(folder / "key.csv", list(rows[0]), rows)
    return folder


def answers_of(tasks, people, wrong=()):
    """Everybody answers to all; those named in `wrong` err in so many tasks of the exam."""
    rows = []
    for name in people:
        for number, row in enumerate(rows_of(tasks / "key.csv")):
            truth = row["label"] or EMOTIONS[number % 4]
            errs = number < dict(wrong).get(name, 0)
            answer = EMOTIONS[(EMOTIONS.index(truth) + errs) % 4]
            rows.append({"task": row["task"], "annotator": name, "answer": answer})
    return rows


def write_answers(path, rows):
    write_csv(path, list(rows[0]), rows)
    return path


def test_collect_answers_writes_what_dusha_reads(tasks, tmp_path):
    people = [f"worker {number}" for number in range(5)]
    path = write_answers(tmp_path / "answers.csv", answers_of(tasks, people))
    counts = collect(tasks, [path], tmp_path / "archives", quiet=True)
    assert counts["answers"] == 5 * 28
    assert (counts["annotators"], counts["failed"], counts["clips"]) == (5, 0, 28)
    answers, bad = read_answers(
        open_members([tmp_path / "archives"], tmp_path / "cache", True),
        ["crowd_train", "crowd_test"],
        quiet=True,
    )
    assert len(answers) == 140
    assert not bad
    row = next(row for row in answers.to_pylist() if row["id"] == "hash15")
    assert row["text"] == "да"
    assert row["speaker_emotion"] == "sad"
    assert row["source_id"] == "podcast 3"
    assert row["duration"] == 0.05
    assert row["annotator_id"] == "annotator1"
    golden = {r["id"]: r["golden_emotion"] for r in answers.to_pylist() if r["golden_emotion"]}
    assert golden == {f"hash{number}": EMOTIONS[number % 4] for number in range(EXAM, EXAM + 4)}
    for part in ("crowd_train", "crowd_test"):
        for line in (tmp_path / "archives" / part / f"raw_{part}.jsonl").read_text().splitlines():
            own = json.loads(line)
            number = own["hash_id"].removeprefix("hash")
            content = (tmp_path / "archives" / part / own["audio_path"]).read_bytes()
            assert content == (tasks / "upload" / "wavs" / f"task{number}.wav").read_bytes()
    corpus = dusha.load_dataset(
        "crowd",
        data_dir=str(tmp_path / "archives"),
        parts="crowd_train,crowd_test",
        cache_dir=str(tmp_path / "cache"),
        quiet=True,
    )
    assert {split: len(rows) for split, rows in corpus.items()} == {
        "train": counts["train"] - 4,  # Control tasks are no clips of the splits.
        "test": counts["test"],
    }
    assert not set(corpus["train"]["source_id"]) & set(corpus["test"]["source_id"])
    names = corpus["train"].features["label"].names
    for clip in [*corpus["train"], *corpus["test"]]:
        assert names[clip["label"]] == EMOTIONS[int(clip["id"].removeprefix("hash")) % 4]


def test_collect_answers_leaves_out_those_below_the_mark(tasks, tmp_path):
    people = {"good": 0, "enough": 2, "failed": 3, "guesses": 8}
    rows = answers_of(tasks, people, people.items())
    rows += [{"task": "task20", "annotator": "never examined", "answer": "sad"}]
    path = write_answers(tmp_path / "answers.csv", rows)
    counts = collect(tasks, [path], tmp_path / "archives", quiet=True)
    assert (counts["annotators"], counts["failed"]) == (5, 3)
    assert counts["answers"] == 2 * 28
    assert counts["left_out"] == 2 * 28 + 1
    listed = {row["name"]: row for row in rows_of(tmp_path / "archives" / "annotators.csv")}
    assert {name: row["passed"] for name, row in listed.items()} == {
        "good": "yes",
        "enough": "yes",
        "failed": "no",
        "guesses": "no",
        "never examined": "no",
    }
    assert [listed[name]["exam_score"] for name in people] == ["1.000", "0.800", "0.700", "0.200"]
    assert listed["good"]["control_right"] == listed["good"]["control_answers"] == "4"
    raw = (tmp_path / "archives" / "crowd_train" / "raw_crowd_train.jsonl").read_text()
    used = {json.loads(line)["annotator_id"] for line in raw.splitlines()}
    assert used == {listed["good"]["annotator_id"], listed["enough"]["annotator_id"]}
    # No name of the platform, which may be an address, is in what is published.
    assert not any(name in raw for name in people)
    with pytest.raises(WrongUseError, match="5 of 5 annotators are below"):
        rows = [row for row in rows if row["annotator"] != "good" or row["task"] != "task0"]
        path = write_answers(tmp_path / "answers.csv", rows)
        collect(tasks, [path], tmp_path / "archives", mark=1.0, overwrite=True, quiet=True)
    with pytest.raises(WrongUseError, match=r"archives already holds annotators\.csv; .*overwrite"):
        collect(tasks, [path], tmp_path / "archives", mark=0.0, quiet=True)
    everybody = collect(tasks, [path], tmp_path / "archives", mark=0.0, overwrite=True, quiet=True)
    assert everybody["failed"] == 0


@pytest.mark.parametrize(
    ("right", "size", "mark", "passed"),
    [
        (12, 15, 0.8, True),
        (11, 15, 0.8, False),
        (7, 10, 0.7, True),
        (2, 3, 2 / 3, True),
        (0, 0, 0.8, True),
        (0, 9, 0.0, True),
    ],
)
def test_apply_exam_at_the_mark(right, size, mark, passed):
    key = {f"{n}": {"kind": "exam", "label": "sad", "folder": "a"} for n in range(size)}
    key["other"] = {"kind": "clip", "label": "", "folder": "a"}
    person = Annotator("a", {f"{n}": "sad" if n < right else "angry" for n in range(size)})
    apply_exam([person], key, mark)
    assert (person.passed, person.exam_right) == (passed, right)


@pytest.mark.parametrize(
    ("rights", "passed", "exam"),
    [((4, 0), True, (5, 5, 4)), ((1, 2), True, (2, 2, 2)), ((3, 1), False, (5, 5, 3))],
)
def test_apply_exam_when_two_rounds_have_one_counts_the_better(rights, passed, exam):
    sizes = {"a": 5, "b": 2}
    key, answers = {}, {}
    for (folder, size), right in zip(sizes.items(), rights, strict=True):
        for n in range(size):
            key[f"{folder}{n}"] = {"kind": "exam", "label": "sad", "folder": folder}
            answers[f"{folder}{n}"] = "sad" if n < right else "angry"
    person = Annotator("a", answers)
    apply_exam([person], key, 0.8)
    assert person.passed is passed
    assert (person.exam_size, person.exam_answers, person.exam_right) == exam


def test_apply_exam_when_hard_tasks_are_left_out_or_tried_again(tasks, tmp_path):
    rows = answers_of(tasks, ["picks", "tries", "honest"], {"tries": 5}.items())
    exam = {f"task{number}" for number in range(EXAM)}
    rows = [row for row in rows if row["annotator"] != "picks" or row["task"] not in exam]
    rows.append({"task": "task0", "annotator": "picks", "answer": EMOTIONS[0]})
    rows += [row | {"annotator": "tries"} for row in rows if row["annotator"] == "honest"]
    path = write_answers(tmp_path / "answers.csv", rows)
    counts = collect(tasks, [path], tmp_path / "archives", quiet=True)
    assert counts["failed"] == 2
    listed = {row["name"]: row for row in rows_of(tmp_path / "archives" / "annotators.csv")}
    assert (listed["picks"]["exam_right"], listed["tries"]["exam_right"]) == ("1", "5")


def test_collect_answers_of_a_platform_with_names_of_its_own_and_of_label_studio(tasks, tmp_path):
    first = [
        {
            "INPUT:audio": f"https://a.example/round1/wavs/{row['task']}.wav?key=1",
            "OUTPUT:emotion": row["answer"].upper(),
            "ASSIGNMENT:worker_id": row["annotator"],
        }
        for row in answers_of(tasks, ["one"])
    ]
    first.append(
        {"INPUT:audio": "wavs/task20.wav", "OUTPUT:emotion": "", "ASSIGNMENT:worker_id": 1}
    )
    first.append({"INPUT:audio": "x.wav", "OUTPUT:emotion": "sad", "ASSIGNMENT:worker_id": "one"})
    table = tmp_path / "pool.tsv"
    lines = ["\t".join(first[0]), *("\t".join(map(str, row.values())) for row in first)]
    table.write_text("\n".join(lines) + "\n")
    export = [
        {
            "data": {"task": row["task"], "audio": "x"},
            "annotations": [
                {
                    "completed_by": {"id": 4, "email": "two@a.example"},
                    "was_cancelled": False,
                    "result": [
                        {
                            "from_name": "emotion",
                            "to_name": "audio",
                            "type": "choices",
                            "value": {"choices": [row["answer"]]},
                        }
                    ],
                }
            ],
        }
        for row in answers_of(tasks, ["two"])
    ]
    (tmp_path / "export.json").write_text(json.dumps(export))
    columns = {
        "task_column": "INPUT:audio",
        "answer_column": "OUTPUT:emotion",
        "annotator_column": "ASSIGNMENT:worker_id",
    }
    counts = collect(
        tasks, [table, tmp_path / "export.json"], tmp_path / "a", quiet=True, **columns
    )
    assert (counts["annotators"], counts["failed"], counts["answers"]) == (2, 0, 56)
    assert counts["other_tasks"] == 1


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("ASSIGNMENT:status", ("APPROVED", "SUBMITTED"), ("REJECTED", "SKIPPED", "EXPIRED")),
        ("AssignmentStatus", ("Approved", "Submitted"), ("Rejected",)),
    ],
)
def test_collect_answers_of_refused_assignments_do_not_count(column, good, bad, tasks, tmp_path):
    rows = []
    for number, row in enumerate(answers_of(tasks, ["one"])):
        rows.append(row | {column: good[number % 2]})
        # The same person's other answer, which stands first.
        rows.insert(0, row | {"answer": "other", column: bad[number % len(bad)]})
    counts = collect(tasks, [write_answers(tmp_path / "a.csv", rows)], tmp_path / "a", quiet=True)
    assert (counts["answers"], counts["failed"], counts["rejected"]) == (28, 0, 38)
    assert describe_uncounted(counts) == "38 of rejected, skipped or expired assignments"


def test_collect_answers_without_a_choice_or_an_annotator_are_counted(tasks, tmp_path):
    rows = answers_of(tasks, ["one", "two"])
    table = write_answers(tmp_path / "a.csv", [*rows, rows[0] | {"answer": " "}])
    export = [
        {"task": row["task"], "audio": "x", "annotator": person, "emotion": answer}
        for row in rows[:2]
        for person, answer in ((None, "sad"), (7, []))
    ]
    (tmp_path / "export.json").write_text(json.dumps(export))
    counts = collect(tasks, [table, tmp_path / "export.json"], tmp_path / "b", quiet=True)
    assert (counts["annotators"], counts["skipped"], counts["removed"]) == (2, 3, 2)
    assert describe_uncounted(counts) == "3 without a choice, 2 by removed users"


def test_collect_answers_that_are_coded_are_what_the_codes_mean(tasks, tmp_path):
    codes = {"angry": "0", "sad": "1", "neutral": "2"}
    rows = answers_of(tasks, ["one"])
    plain = collect(tasks, [write_answers(tmp_path / "a.csv", rows)], tmp_path / "a", quiet=True)
    rows = [row | {"answer": codes.get(row["answer"], row["answer"])} for row in rows]
    label_map = tuple(f"{code}={label}" for label, code in codes.items())
    table = write_answers(tmp_path / "b.csv", rows)
    assert collect(tasks, [table], tmp_path / "b", label_map=label_map, quiet=True) == plain
    first, second = (
        (tmp_path / name / "crowd_train" / "raw_crowd_train.jsonl").read_text() for name in "ab"
    )
    assert first == second


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("task,annotator\ntask0,a\n", "not 'answer'; name yours with `task_column`"),
        ("task,annotator,answer\ntask0,a,happy\n", "line 2 has the answer 'happy'; allowed are"),
        ("task,annotator,answer\ntask0,,sad\n", "line 2 has no annotator"),
        ("task,annotator,answer\nx,a,sad\n", r"no answer to a task of the key \(1 to"),
        ("task,annotator,answer\ntask0,a,angry\n", "no answer is left"),
    ],
    ids=["column", "answer", "annotator", "other key", "exam failed"],
)
def test_collect_answers_when_they_are_wrong(content, said, tasks, tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text(content)
    with pytest.raises(WrongUseError, match=said):
        collect(tasks, [path], tmp_path / "archives", quiet=True)
    assert not (tmp_path / "archives").exists()


def test_collect_answers_when_files_or_numbers_are_wrong(tasks, tmp_path):
    path = write_answers(tmp_path / "answers.csv", answers_of(tasks, ["a"]))
    with pytest.raises(MissingInputError, match="missing.csv"):
        collect(tasks, [tmp_path / "missing.csv"], tmp_path / "out", quiet=True)
    with pytest.raises(MissingInputError, match=r"key\.csv"):
        collect(tmp_path, [path], tmp_path / "out", quiet=True)
    with pytest.raises(WrongUseError, match="`mark` is 80"):
        collect(tasks, [path], tmp_path / "out", mark=80, quiet=True)
    with pytest.raises(WrongUseError, match="`test_share` is 1"):
        collect(tasks, [path], tmp_path / "out", test_share=1, quiet=True)
    (tasks / "upload" / "wavs" / "task20.wav").unlink()
    with pytest.raises(MissingInputError, match=r"task20\.wav"):
        collect(tasks, [path], tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "a/b", ".."])
@pytest.mark.parametrize("column", ["id", "task"])
def test_collect_answers_when_a_key_would_lead_out_of_the_folder(column, name, tasks, tmp_path):
    rows = rows_of(tasks / "key.csv")
    rows[20][column] = name
    write_csv(tasks / "key.csv", list(rows[0]), rows)
    path = write_answers(tmp_path / "answers.csv", answers_of(tasks, ["a"]))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(WrongUseError, match="not of tasks"):
        collect(tasks, [path], tmp_path / "archives", quiet=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_choose_test_takes_whole_sources_near_the_share():
    clips = [
        {"id": f"{source}-{number}", "source_id": f"source {source}", "kind": "clip"}
        for source in range(20)
        for number in range(5 + source % 7)
    ]
    for share in (0.1, 0.2, 0.5):
        test = choose_test(clips, share)
        assert len(test) == pytest.approx(share * len(clips), abs=6)
        sources = {clip["source_id"] for clip in clips if clip["id"] in test}
        assert {clip["id"] for clip in clips if clip["source_id"] in sources} == test
    assert choose_test(clips, 0) == set()
    two = [clip for clip in clips if clip["source_id"] in ("source 0", "source 1")]
    assert 0 < len(choose_test(two, 0.01)) < len(two)
    with pytest.raises(WrongUseError, match="all clips are by one speaker"):
        choose_test(clips[:5], 0.2)


def test_collect_answers_without_a_test_set(tasks, tmp_path):
    path = write_answers(tmp_path / "answers.csv", answers_of(tasks, ["a", "b", "c"]))
    counts = collect(tasks, [path], tmp_path / "archives", test_share=0, quiet=True)
    assert counts["test"] == 0
    assert not (tmp_path / "archives" / "crowd_test").exists()
    dusha.write_folder(
        ["crowd"],
        str(tmp_path / "dusha"),
        data_dir=str(tmp_path / "archives"),
        parts="crowd_train",
        archive_dir=str(tmp_path / "cache"),
        quiet=True,
    )
    assert list((tmp_path / "dusha" / "crowd").glob("train-*"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("0a1b", "0a1b"),
        (" 0a1b\n", "0a1b"),
        ("wavs/0a1b.wav", "0a1b"),
        ("/data/local-files/?d=round1/upload/wavs/0a1b.wav", "0a1b"),
        ("https://a.example/wavs/0a1b.wav?signature=b.wav", "0a1b"),
        ("wavs\\0a1b.wav", "0a1b"),
    ],
)
def test_task_name_of_names_and_addresses(text, name):
    assert task_name(text) == name
