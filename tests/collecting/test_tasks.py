"""Annotation tasks: what goes into them, and that nobody can tell the control tasks."""

import csv
import json

import numpy as np
import pytest
import soundfile

from dusha_ser.collecting.clips import convert_clip
from dusha_ser.collecting.label_studio import label_studio_config
from dusha_ser.collecting.options import TaskOptions
from dusha_ser.collecting.tasks import read_key, write_tasks
from dusha_ser.collecting.texts import annotator_instructions
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.fingerprints import hash_name
from dusha_ser.storage import write_csv

EMOTIONS = ("angry", "sad", "neutral", "positive", "other")


def write(*values, **named):
    return write_tasks(TaskOptions(*values, **named))


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_noise(path, seed, rate=16000, seconds=0.05):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate))
    soundfile.write(path, samples, rate)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A folder of 45 clips to annotate, and 30 known ones of other rates and formats."""
    folder = tmp_path_factory.mktemp("material")
    rows = []
    for number in range(45):
        write_noise(folder / f"clips/wavs/{number}.wav", number)
        rows.append(
            {
                "id": f"{number}",
                "path": f"wavs/{number}.wav",
                "source_id": f"podcast {number % 3}",
                "text": "да, " * (number % 2),
                "speaker_emotion": "sad" if number % 2 else "",
            }
        )
    write_csv(folder / "clips" / "clips.csv", list(rows[0]), rows)
    known = []
    for number in range(30):
        label = EMOTIONS[number % 5]
        name = f"experts/{label}_{number}.{'flac' if number % 2 else 'wav'}"
        write_noise(folder / name, 100 + number, 22050 if number % 3 else 16000)
        known.append({"path": name, "label": label})
    write_csv(folder / "known.csv", ["path", "label"], known)
    return folder


@pytest.fixture(scope="module")
def written(material, tmp_path_factory):
    """The tasks as written once, only read."""
    folder = tmp_path_factory.mktemp("written") / "round1"
    counts = write(
        material / "clips",
        material / "known.csv",
        folder,
        control_share=0.1,
        exam_size=15,
        audio_url="https://a.example/",
        quiet=True,
    )
    return folder, counts


def test_write_tasks_gives_every_clip_once_and_as_many_control_tasks_as_asked_for(
    written, material
):
    folder, counts = written
    key = read_key(folder)
    kinds = [row["kind"] for row in key.values()]
    assert kinds.count("clip") == counts["clip"] == 45
    assert kinds.count("control") == counts["control"] == 5
    assert kinds.count("exam") == counts["exam"] == 15
    ids = [row["id"] for row in key.values()]
    assert len(set(ids)) == len(ids)
    expected = {
        hash_name(convert_clip(material / "clips" / "wavs" / f"{number}.wav"))
        for number in range(45)
    }
    assert {row["id"] for row in key.values() if row["kind"] == "clip"} == expected
    for kind, of_each in {"exam": 3, "control": 1}.items():
        labels = [row["label"] for row in key.values() if row["kind"] == kind]
        assert [labels.count(label) for label in EMOTIONS] == [of_each] * 5
    assert all(not row["label"] for row in key.values() if row["kind"] == "clip")
    first = next(row for row in key.values() if row["speaker_emotion"])
    assert first["text"] == "да,"
    assert first["source_id"].startswith("podcast ")
    assert float(first["duration"]) == 0.05


def test_write_tasks_without_known_clips_warns(material, tmp_path, caplog):
    counts = write(material / "clips", None, tmp_path / "a", quiet=True)
    assert (counts["clip"], counts["control"], counts["exam"]) == (45, 0, 0)
    (message,) = caplog.messages
    assert "there is no exam and no control task" in message and "`known`" in message


def test_write_tasks_when_the_exam_has_not_each_answer_warns(material, tmp_path, caplog):
    rows = [row for row in rows_of(material / "known.csv") if row["label"] not in ("sad", "other")]
    for row in rows:
        row["path"] = str(material / row["path"])
    write_csv(tmp_path / "known.csv", ["path", "label"], rows)
    write(material / "clips", tmp_path / "known.csv", tmp_path / "a", exam_size=9, quiet=True)
    assert caplog.messages == [
        f"the exam of 9 tasks has none with the answer sad or other; add such clips to "
        f"{tmp_path / 'known.csv'}"
    ]


def test_write_tasks_of_tables_with_other_columns_and_codes_gives_the_same(
    written, material, tmp_path
):
    tables = {}
    for name, path in {"clips": "clips/clips.csv", "known": "known.csv"}.items():
        folder = (material / path).parent
        rows = [
            {"file": folder / row["path"], "what": row.get("label", "").replace("sad", "S")}
            | {"who": row.get("source_id", "")}
            for row in rows_of(material / path)
        ]
        tables[name] = tmp_path / f"{name}.csv"
        write_csv(tables[name], list(rows[0]), rows)
    named = {"path_column": "file", "label_column": "what", "speaker_column": "who"}
    folder = tmp_path / "tasks"
    more = named | {"label_map": ("S=sad",), "exam_size": 15}
    write(tables["clips"], tables["known"], folder, quiet=True, **more)
    wanted = {row["id"]: (row["label"], row["source_id"]) for row in read_key(written[0]).values()}
    for row in read_key(folder).values():
        if row["kind"] == "clip":
            assert wanted[row["id"]] == (row["label"], row["source_id"])
        else:
            assert row["label"] in EMOTIONS


def test_write_tasks_shows_nothing_but_opaque_names_and_sounds(written):
    folder, _ = written
    upload, key = folder / "upload", read_key(folder)
    tasks, exam = rows_of(upload / "tasks.csv"), rows_of(upload / "exam.csv")
    assert list(tasks[0]) == list(exam[0]) == ["task", "audio"]
    assert len({len(row["task"]) for row in tasks}) == 1
    assert [row["task"] for row in [*exam, *tasks]] == list(key)
    for row in [*tasks, *exam]:
        assert row["audio"] == f"https://a.example/wavs/{row['task']}.wav"
    everything = b"".join(path.read_bytes() for path in upload.iterdir() if path.is_file())
    for row in key.values():
        # Neither what is known of a clip nor a name by which it could be found.
        assert row["id"].encode() not in everything
    for word in (b"control", b"golden", b"honeypot", b"experts", b"podcast", b"known"):
        assert word not in everything
    assert not [path for path in upload.rglob("*") if path.name == "key.csv"]


def test_write_tasks_writes_all_sounds_alike(written, material):
    folder, _ = written
    headers = set()
    names = {path.stem for path in (folder / "upload" / "wavs").iterdir()}
    assert names == set(read_key(folder))
    for name in names:
        content = (folder / "upload" / "wavs" / f"{name}.wav").read_bytes()
        # All but the two sizes.
        headers.add(content[:4] + content[8:40])
        assert hash_name(content) == read_key(folder)[name]["id"]
    assert len(headers) == 1


def test_write_tasks_spreads_control_tasks_over_stretches_and_within_them(material, tmp_path):
    places = []
    for seed in range(12):
        folder = tmp_path / str(seed)
        write(material / "clips", material / "known.csv", folder, 0.1, 0, "", seed, quiet=True)
        kinds = [row["kind"] for row in read_key(folder).values()]
        for stretch in range(5):
            own = kinds[10 * stretch : 10 * stretch + 10]
            assert own.count("control") == 1
            places.append(own.index("control"))
    # Sixty places drawn from ten: each place has its turn but for a chance of about 2 %, and the
    # seeds are fixed.
    assert len(set(places)) >= 9
    assert max(places.count(place) for place in set(places)) < 20


def test_write_tasks_with_the_same_seed_and_with_another(written, material, tmp_path):
    arguments = [material / "clips", material / "known.csv"]
    again, other = tmp_path / "again", tmp_path / "other"
    write(*arguments, again, 0.1, 15, "https://a.example/", 0, quiet=True)
    write(*arguments, other, 0.1, 15, "https://a.example/", 1, quiet=True)
    for name in ("key.csv", "upload/tasks.csv", "upload/exam_label_studio.json"):
        assert (again / name).read_bytes() == (written[0] / name).read_bytes()
        assert (other / name).read_bytes() != (written[0] / name).read_bytes()


def test_write_tasks_cannot_be_worked_out_from_the_code_and_the_seed(written, material, tmp_path):
    # Somebody has the clips, the code and the seed, but not the known answers.
    known = rows_of(material / "known.csv")
    for row in known:
        row["path"] = str(material / row["path"])
        row["label"] = EMOTIONS[(EMOTIONS.index(row["label"]) + 1) % 5]
    write_csv(tmp_path / "guess.csv", ["path", "label"], known)
    folder = tmp_path / "guessed"
    write(material / "clips", tmp_path / "guess.csv", folder, 0.1, 15, "", 0, quiet=True)
    assert not set(read_key(folder)) & set(read_key(written[0]))


def test_write_tasks_of_another_round_share_no_names_and_no_order(written, material, tmp_path):
    rows = rows_of(material / "clips" / "clips.csv")[:30]
    for row in rows:
        row["path"] = str(material / "clips" / row["path"])
    write_csv(tmp_path / "clips.csv", list(rows[0]), rows)
    folder = tmp_path / "round2"
    write(tmp_path / "clips.csv", material / "known.csv", folder, 0.1, 15, "", 0, quiet=True)
    first, second = read_key(written[0]), read_key(folder)
    assert not set(first) & set(second)
    exams = [[r["id"] for r in key.values() if r["kind"] == "exam"] for key in (first, second)]
    assert exams[0] != exams[1]


def test_write_tasks_for_label_studio_are_the_same_tasks(written):
    upload = written[0] / "upload"
    for name in ("tasks", "exam"):
        tasks = json.loads((upload / f"{name}_label_studio.json").read_text())
        assert [task["data"] for task in tasks] == rows_of(upload / f"{name}.csv")
        assert all(list(task) == ["data"] for task in tasks)
    assert "<Choices" in (upload / "label_studio_config.xml").read_text()


@pytest.mark.parametrize("language", [None, "ru", "en"])
def test_write_tasks_in_a_language(language, written, material, tmp_path):
    arguments = [material / "clips", material / "known.csv", tmp_path / "out", 0.1, 15]
    write(*arguments, "https://a.example/", quiet=True, language=language)
    upload, both = tmp_path / "out" / "upload", written[0] / "upload"
    assert (upload / "tasks.csv").read_bytes() == (both / "tasks.csv").read_bytes()
    config = (upload / "label_studio_config.xml").read_text(encoding="utf-8")
    assert config == label_studio_config(language)
    instructions = (upload / "instructions.html").read_text(encoding="utf-8")
    assert instructions == annotator_instructions(language, exam=True)


def test_write_tasks_when_speakers_noted_their_emotion_in_russian(material, tmp_path):
    rows = rows_of(material / "clips" / "clips.csv")[:3]
    for row, emotion in zip(rows, ("Грусть", "позитив", "fear"), strict=True):
        row |= {"path": material / "clips" / row["path"], "speaker_emotion": emotion}
    write_csv(tmp_path / "clips.csv", list(rows[0]), rows)
    write(tmp_path / "clips.csv", None, tmp_path / "out", quiet=True)
    noted = [row["speaker_emotion"] for row in read_key(tmp_path / "out").values()]
    assert sorted(noted) == ["fear", "positive", "sad"]


def test_write_tasks_when_nothing_is_known_has_only_clips(material, tmp_path):
    counts = write(material / "clips", None, tmp_path / "out", quiet=True)
    assert (counts["clip"], counts["control"], counts["exam"]) == (45, 0, 0)
    assert not (tmp_path / "out" / "upload" / "exam.csv").exists()


def test_write_tasks_leaves_out_known_repeated_and_broken_clips(material, tmp_path):
    rows = [{"path": str(material / row["path"])} for row in rows_of(material / "known.csv")[:2]]
    rows += [{"path": str(material / "clips" / "wavs" / "3.wav")}] * 2
    (tmp_path / "broken.wav").write_bytes(b"This is no sound")
    rows += [{"path": "broken.wav"}, {"path": "missing.wav"}]
    write_csv(tmp_path / "clips.csv", ["path"], rows)
    counts = write(
        tmp_path / "clips.csv", material / "known.csv", tmp_path / "out", 0.5, 15, quiet=True
    )
    assert (counts["clip"], counts["control"], counts["exam"]) == (1, 1, 15)
    assert (counts["repeated"], counts["unreadable"]) == (3, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"control_share": 0.6}, "`control_share` is 0.6"),
        ({"exam_size": -1}, "`exam_size` is -1"),
        ({"exam_size": 28}, "30 clips with known answers; 28 for the exam and 5 control tasks"),
        ({"control_share": 0.5}, "20 for the exam and 45 control tasks"),
    ],
)
def test_write_tasks_when_they_cannot_be_had(options, said, material, tmp_path):
    with pytest.raises(WrongUseError, match=said):
        write(material / "clips", material / "known.csv", tmp_path / "out", quiet=True, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("path,label\nexperts/angry_0.wav,happy\n", "line 2 has the label 'happy'; allowed are"),
        ("path\nexperts/angry_0.wav\n", "not 'label'"),
        ("path,label\nmissing.wav,sad\n", r"there is no such file. \(missing.wav\)"),
        ("path,label\nexperts/angry_0.wav,sad\nexperts/angry_0.wav,angry\n", "line 3.*keep one"),
    ],
    ids=["label", "column", "file", "two labels"],
)
def test_write_tasks_when_the_known_answers_are_wrong(content, said, material, tmp_path):
    (material / "wrong.csv").write_text(content)
    with pytest.raises(WrongUseError, match=said):
        write(material / "clips", material / "wrong.csv", tmp_path / "out", quiet=True)
    with pytest.raises(MissingInputError):
        write(material / "nowhere", material / "known.csv", tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()
