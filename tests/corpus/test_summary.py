"""What preparing says it made: clips per split and class, what was left out and why, what next."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from small_corpus import COUNTS, make_clips, write_corpus

import dusha
from dusha_ser import storage
from dusha_ser.cli.report import report_annotators, report_corpus
from dusha_ser.cli.train import read_options
from dusha_ser.corpus import parquet_folder
from dusha_ser.corpus.configurations import CONFIGURATIONS, RAW
from dusha_ser.corpus.dataset_card import count_table, find_prepared, left_out
from dusha_ser.corpus.options import SourceOptions
from dusha_ser.corpus.summary import describe_folder, next_command

LABELS = {"method": "majority_vote", "threshold": 0.8, "bad_rows": "skip"}
# By number of `make_clips`, of which 0 to 23 are crowd_train and 24 to 31 crowd_test.
LEFT_OUT = {
    "control tasks": 2,
    "below the threshold": 1,
    "labelled other (no usable voice)": 3,
    "audio: no wav": 2,
    "audio: empty wav": 2,  # one of no bytes, one of no samples
    "audio: unreadable wav": 1,
}
CROWD = [
    ("split", "clips", "length", "angry", "sad", "neutral", "positive"),
    ("train", 14, "0 h 00 min", 3, 3, 4, 4),
    ("test", 7, "0 h 00 min", 1, 2, 2, 2),
    ("total", 21, "0 h 00 min", 4, 5, 6, 6),
]


def answered(clip, *answers):
    clip["answers"] = [(f"annotator{number}", answer) for number, answer in enumerate(answers)]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Archives in which each reason to leave a clip out occurs."""
    clips = make_clips()
    clips[0]["golden"] = clips[24]["golden"] = "angry"
    answered(clips[0], "sad", "sad", "angry", "angry")  # below the threshold, too, and counts once
    answered(clips[1], "sad", "sad", "angry", "angry")
    for number in (2, 4, 5):
        answered(clips[number], *["other"] * 5)
    clips[3]["wav"] = None
    clips[2]["wav"] = None  # labelled other, too
    clips[8]["wav"] = None
    clips[6]["wav"] = b""
    clips[7]["wav"] = clips[7]["wav"][:44]
    clips[9]["wav"] = b"RIFF, or so it says"
    clips[10]["answers"].append(("annotator9", "joyful"))  # a row that cannot be read
    clips[32]["wav"] = b"a podcast that somebody recorded badly"
    return write_corpus(tmp_path_factory.mktemp("archives"), clips)


@pytest.fixture
def write(archives, tmp_path):
    """Write configurations to tmp_path/dusha, and return them by name."""

    def write(*names, **options):
        options = {"data_dir": str(archives), "archive_dir": str(tmp_path)} | LABELS | options
        dusha.write_folder(list(names), str(tmp_path / "dusha"), quiet=True, **options)
        return {one.name: one for one in find_prepared(tmp_path / "dusha")}

    return write


def test_left_out_when_each_reason_occurs(write):
    crowd = write("crowd")["crowd"]
    assert left_out(crowd) == LEFT_OUT
    assert list(left_out(crowd))[:3] == list(LEFT_OUT)[:3]
    assert count_table(crowd) == CROWD
    assert crowd.footer["counts"]["clips"] == COUNTS["crowd_train"] + COUNTS["crowd_test"]
    assert sum(LEFT_OUT.values()) + CROWD[-1][1] == crowd.footer["counts"]["clips"]


def test_left_out_when_control_tasks_and_other_are_kept(write):
    crowd = write("crowd", keep_control=True, keep_other=True)["crowd"]
    assert left_out(crowd) == {
        "below the threshold": 2,
        "audio: no wav": 3,
        "audio: empty wav": 2,
        "audio: unreadable wav": 1,
    }
    assert count_table(crowd)[0][-1] == "other"
    assert count_table(crowd)[-1] == ("total", 24, "0 h 00 min", 5, 5, 6, 6, 2)


def test_left_out_when_a_podcast_stays_without_its_audio(write, tmp_path):
    podcast = write("podcast")["podcast"]
    assert left_out(podcast) == {}
    assert [row[:2] for row in count_table(podcast)[1:]] == [
        ("train", COUNTS["podcast_train"]),
        ("test", COUNTS["podcast_test"]),
        ("total", 20),
    ]
    text = describe_folder(tmp_path / "dusha", ["podcast"])
    assert "None of the 20 clips was left out." in text
    assert "Clips without audio: 20." in text


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_left_out_and_splits_of_each_configuration_add_up_to_all(name, write, archives, tmp_path):
    one = write(name)[name]
    *_, total = count_table(one)
    parts = {"crowd": ("crowd",), "podcast": ("podcast",)}.get(name, ("crowd", "podcast"))
    manifests = {
        "crowd_large": 32,
        "crowd_medium": 20,
        "crowd_small": 14,
        "crowd_unconfident": 20,
        "podcast_large": 20,
        "dusha_large": 52,
    }
    clips = sum(count for part, count in COUNTS.items() if part.startswith(parts))
    # Five answers of each clip, but for four of two clips, and the one that cannot be read.
    expected = manifests.get(name, 5 * clips - 2 + 1 if name == RAW else clips)
    assert total[1] + sum(left_out(one).values()) == expected
    assert sum(row[1] for row in count_table(one)[1:-1]) == total[1]
    first_class = 2 if name == RAW else 3
    assert all(sum(row[first_class:]) == row[1] for row in count_table(one)[1:])
    assert f"\n{name}\n" in describe_folder(tmp_path / "dusha", [name])


def test_left_out_of_answers_are_the_rows_that_cannot_be_read(write):
    raw = write("raw")["raw"]
    assert left_out(raw) == {"rows that cannot be read": 1}
    assert count_table(raw)[0] == (
        *("split", "answers"),
        *("angry", "sad", "neutral", "positive", "other"),
    )
    assert count_table(raw)[-1][1] == 258 and count_table(raw)[-1][-1] == 15


def test_describe_folder_when_a_killed_run_was_started_again(write, tmp_path, monkeypatch):
    write("crowd")
    once = describe_folder(tmp_path / "dusha", ["crowd"])
    (tmp_path / "dusha").rename(tmp_path / "once")
    real = parquet_folder.write_shard

    def stop_at_test(path, *arguments):
        if path.name.startswith("test"):
            raise KeyboardInterrupt
        real(path, *arguments)

    monkeypatch.setattr(parquet_folder, "write_shard", stop_at_test)
    with pytest.raises(KeyboardInterrupt):
        write("crowd")
    monkeypatch.setattr(parquet_folder, "write_shard", real)
    storage._remove_leftovers.cache_clear()
    write("crowd")
    assert describe_folder(tmp_path / "dusha", ["crowd"]) == once
    write("crowd")
    assert describe_folder(tmp_path / "dusha", ["crowd"]) == once


def test_describe_folder_when_people_read_it(write, tmp_path, monkeypatch):
    write("crowd")
    monkeypatch.chdir(tmp_path)
    assert describe_folder(Path("dusha"), ["crowd"]).splitlines() == [
        "",
        "crowd",
        "",
        "split      clips  length        angry    sad    neutral    positive",
        "-------  -------  ----------  -------  -----  ---------  ----------",
        "train         14  0 h 00 min        3      3          4           4",
        "test           7  0 h 00 min        1      2          2           2",
        "total         21  0 h 00 min        4      5          6           6",
        "",
        "                                              clips",
        "------------------------------------------  -------",
        "all                                              32",
        "left out, control tasks                           2",
        "left out, below the threshold                     1",
        "left out, labelled other (no usable voice)        3",
        "left out, audio: no wav                           2",
        "left out, audio: empty wav                        2",
        "left out, audio: unreadable wav                   1",
        "in the splits                                    21",
        "",
        "Answers that could not be read: 1.",
        "",
        "One by one: dusha/crowd/missing_audio.csv, dusha/crowd/bad_rows.csv.",
    ]


def test_card_says_what_was_left_out(write, tmp_path):
    write("crowd", "dusha_large")
    text = (tmp_path / "dusha" / "README.md").read_text(encoding="utf-8")
    assert (
        "Of 32 clips, left out were (each by the first reason): 2 control tasks; 1 below the "
        "threshold; 3 labelled other (no usable voice); 2 audio: no wav;"
    ) in text
    assert (
        "manifest. Of 52 clips, left out were (each by the first reason): 3 audio: no wav" in text
    )
    assert "| total | 21 | 0 h 00 min | 4 | 5 | 6 | 6 |" in text


def test_describe_folder_when_an_older_version_wrote_it(write, tmp_path, monkeypatch):
    def as_it_was(path, shard, features, footer, report):
        older = {key: footer[key] for key in footer.keys() - {"without_files", "bad_rows"}}
        real(path, shard, features, older, report)

    real = parquet_folder.write_shard
    monkeypatch.setattr(parquet_folder, "write_shard", as_it_was)
    assert left_out(write("crowd")["crowd"]) is None
    text = describe_folder(tmp_path / "dusha", ["crowd"])
    assert "total         21" in text and "What was left out is not known" in text
    assert "left out were" not in (tmp_path / "dusha" / "README.md").read_text(encoding="utf-8")


def test_count_without_audio_when_some_have_none(write):
    found = write("all", "raw")
    assert found["all"].count_without_audio() == 20
    shards = [path for paths in found["all"].shards.values() for path in paths]
    audio = [row for path in shards for row in pq.read_table(path)["audio"].to_pylist()]
    assert sum(row is None for row in audio) == 20
    assert found["raw"].count_without_audio() == count_table(found["raw"])[-1][1]


def test_next_command_when_it_trains(write, tmp_path, archives):
    write("crowd", "crowd_small", "podcast", "raw")
    folder, source = tmp_path / "dusha", SourceOptions(data_dir=str(archives))
    for names, words in {
        ("crowd", "podcast"): [],
        ("raw", "podcast", "crowd_small"): ["--configuration", "crowd_small"],
    }.items():
        command = next_command(folder, names, source).split()
        name = "crowd_small" if words else "crowd"
        assert command == [
            *("dusha", "train", "--dataset", str(folder), *words),
            *("--output_dir", f"runs/{name}"),
        ]
        _, data, _, run = read_options(command[2:])
        data.check_names()
        assert (data.configuration or "crowd", run.output_dir) == (name, f"runs/{name}")


def test_next_command_when_nothing_can_be_trained_on(write, tmp_path, archives, monkeypatch):
    write("podcast", "raw")
    folder, source = tmp_path / "dusha", SourceOptions(data_dir=str(archives))
    assert next_command(folder, ["podcast"], source) == (
        f"dusha report corpus {folder} --configuration podcast --output_dir report"
    )
    monkeypatch.chdir(tmp_path)
    report_corpus([str(folder), "--configuration", "podcast", "--output_dir", "report"])
    assert (tmp_path / "report" / "corpus.html").is_file()
    assert next_command(folder, ["raw"], source) == (
        f"dusha report annotators {archives} --bad_rows skip --output_dir annotators"
    )
    fetched = SourceOptions(base_url=("http://me:secret@a.example", "http://b.example/?key=secret"))
    words = next_command(folder, ["raw"], fetched)
    assert " http://a.example/ http://b.example/ --bad_rows skip " in words
    assert "https://" in next_command(folder, ["raw"], SourceOptions())


def test_next_command_on_answers_runs(write, tmp_path, archives, monkeypatch):
    write("raw", labels=("other", "angry", "sad", "neutral", "positive"))
    source = SourceOptions(data_dir=str(archives), cache_dir=str(tmp_path / "cache"))
    command = next_command(tmp_path / "dusha", ["raw"], source).split()
    assert command[4:6] == ["--labels", "other,angry,sad,neutral,positive"]
    monkeypatch.chdir(tmp_path)
    report_annotators([*command[3:], "--quiet"])
    assert (tmp_path / "annotators" / "annotators.html").is_file()


def test_next_command_when_there_is_only_test(write, tmp_path):
    write("crowd", parts="crowd_test")
    command = next_command(tmp_path / "dusha", ["crowd"], SourceOptions())
    assert command.startswith("dusha report corpus ")
