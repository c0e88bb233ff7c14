"""Which clips a model's answers pick for annotation."""

import csv
from dataclasses import replace
from pathlib import Path

import fake_corpora
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import PITCHES, save_model

from dusha_ser.collecting.balance import choose_best, merge_best, share_out
from dusha_ser.collecting.options import PseudoLabelOptions
from dusha_ser.collecting.picking import best_clips, label_clips, write_picked
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.ser.ser import LABELS
from dusha_ser.inference.prediction_files import PredictionFile
from dusha_ser.storage import write_csv


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def clips(tmp_path):
    """A folder of twelve clips, one of which is broken."""
    rows = []
    for number in range(12):
        pitch = list(PITCHES.values())[number % 4] * (1 + number / 50)
        fake_corpora.write(tmp_path / f"wavs/{number}.wav", fake_corpora.tone(pitch, 0.15))
        rows.append({"id": f"clip{number}", "path": f"wavs/{number}.wav", "source_id": "somebody"})
    (tmp_path / "wavs" / "5.wav").write_bytes(b"This is no sound")
    write_csv(tmp_path / "clips.csv", list(rows[0]), rows)
    return tmp_path


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def options_for(clips, model, folder, **more):
    file = folder / "picked.csv"
    return PseudoLabelOptions(clips, model, 2, output_file=file, device="cpu", quiet=True, **more)


def test_label_clips_adds_what_predict_says(model, clips, tmp_path):
    from dusha_ser.cli.predict import main as predict

    rows = label_clips(options_for(clips, model, tmp_path))
    assert [row["id"] for row in rows] == [f"clip{number}" for number in range(12)]
    assert [row["id"] for row in rows if row["error"]] == ["clip5"]
    assert {row["source_id"] for row in rows} == {"somebody"}
    arguments = [model, str(clips / "clips.csv"), "--output_file", str(tmp_path / "other.csv")]
    with pytest.raises(Exception, match="1 of 12 files failed"):
        predict([*arguments, "--quiet", "--device", "cpu"])
    for row, other in zip(rows, rows_of(tmp_path / "other.csv"), strict=True):
        assert row["path"] == other["id"]
        for name in ("prediction", "duration", "error", *(f"probability_{one}" for one in LABELS)):
            assert row[name] == other[name]


def test_label_clips_when_stopped_asks_only_for_the_rest(model, clips, tmp_path, monkeypatch):
    output = tmp_path / "picked.predictions.csv"
    expected = label_clips(options_for(clips, model, tmp_path))
    whole = output.read_bytes()
    output.write_bytes(whole[: len(whole) // 2])
    written, write = [], PredictionFile.write

    def count(self, files):
        files = list(files)
        written.extend(rows[0]["id"] for rows in files if rows[0]["id"] not in self.done)
        write(self, files)

    monkeypatch.setattr(PredictionFile, "write", count)
    assert label_clips(options_for(clips, model, tmp_path)) == expected
    assert output.read_bytes() == whole
    assert 0 < len(written) < 12


def test_label_clips_when_the_file_is_another_models(model, clips, tmp_path):
    label_clips(options_for(clips, model, tmp_path))
    other = save_model(tmp_path / "other", seed=1)
    with pytest.raises(WrongUseError, match="`overwrite=True`"):
        label_clips(options_for(clips, other, tmp_path))
    label_clips(options_for(clips, other, tmp_path, overwrite=True))


def test_label_clips_when_a_clip_was_replaced(model, clips, tmp_path):
    label_clips(options_for(clips, model, tmp_path))
    (clips / "wavs" / "2.wav").write_bytes((clips / "wavs" / "3.wav").read_bytes())
    with pytest.raises(WrongUseError, match="such as clip2, have changed"):
        label_clips(options_for(clips, model, tmp_path))
    rows = label_clips(options_for(clips, model, tmp_path, overwrite=True))
    assert rows[2]["probability_sad"] == rows[3]["probability_sad"]


def test_label_clips_when_an_id_comes_twice(model, clips, tmp_path):
    with (clips / "clips.csv").open("a") as file:
        file.write("clip1,wavs/2.wav,somebody\n")
    with pytest.raises(WrongUseError, match="has an id twice"):
        label_clips(options_for(clips, model, tmp_path))


def test_write_picked_leads_to_the_clips_from_where_it_lies(clips, tmp_path, caplog):
    rows = [
        {
            "id": f"clip{number}",
            "path": f"wavs/{number}.wav",
            "prediction": "sad",
            "probability_angry": str(number / 20),
            "probability_sad": str(1 - number / 20),
            "error": "is broken" if number == 5 else "",
        }
        for number in range(12)
    ]
    path = tmp_path / "round" / "picked.csv"
    options = PseudoLabelOptions(clips, "unused", 3, "uncertain", path)
    write_picked(rows, options)
    assert not caplog.messages
    picked = rows_of(path)
    assert [row["id"] for row in picked] == ["clip9", "clip10", "clip11"]
    assert "error" not in picked[0]
    assert all((path.parent / row["path"]).is_file() for row in picked)
    renamed = [{"file" if name == "path" else name: row[name] for name in row} for row in rows]
    other = replace(options, path_column="file", output_file=tmp_path / "other" / "picked.csv")
    for row in renamed:
        row["file"] = f"wavs/{row['id'].removeprefix('clip')}.wav"
    assert [row["file"] for row in write_picked(renamed, other)] == [row["path"] for row in picked]
    write_picked(rows, replace(options, number=12, overwrite=True))
    assert caplog.messages == [
        "12 clips are to be picked, and 11 have a prediction: all of these are taken"
    ]
    for row in rows:
        row["error"] = "is broken"
    with pytest.raises(WrongUseError, match="no prediction for any clip of"):
        write_picked(rows, replace(options, pick="balanced"))


def random_probabilities(seed, clips=60):
    return np.random.default_rng(seed).dirichlet([0.3, 0.3, 2.0, 0.5], clips)


def names_of(probabilities):
    return [f"clip{number}" for number in range(len(probabilities))]


def pick(probabilities, number, pick="balanced", seed=0):
    """The places that are chosen of all clips at once."""
    options = PseudoLabelOptions(Path(), "unused", number, pick, seed=seed)
    names = names_of(probabilities)
    best = best_clips(names, probabilities, range(len(names)), options)
    return np.sort(choose_best(best, number))


def test_pick_when_most_are_neutral_takes_each_emotion_alike():
    probabilities = random_probabilities(1, 400)
    labels = probabilities.argmax(axis=1)
    chosen = pick(probabilities, 40)
    assert np.bincount(labels).max() > 200
    assert np.bincount(labels[chosen]).tolist() == [10, 10, 10, 10]
    assert (pick(probabilities, 40) == chosen).all()
    assert (pick(probabilities, 40, seed=1) != chosen).any()


def test_pick_of_uncertain_clips_leaves_only_surer_ones():
    probabilities = random_probabilities(2)
    chosen = pick(probabilities, 15, "uncertain")
    surest = probabilities.max(axis=1)
    others = np.setdiff1d(np.arange(60), chosen)
    assert surest[chosen].max() <= surest[others].min()


@pytest.mark.parametrize("kind", ["balanced", "uncertain"])
@pytest.mark.parametrize("number", [1, 7, 60, 1000])
def test_pick_gives_as_many_as_were_asked_for(kind, number):
    chosen = pick(random_probabilities(3), number, kind)
    assert len(chosen) == len(set(chosen.tolist())) == min(number, 60)


@pytest.mark.parametrize("kind", ["balanced", "uncertain"])
@pytest.mark.parametrize("number", [1, 7, 40, 90])
def test_pick_of_parts_in_any_order_is_that_of_the_whole(kind, number):
    probabilities = random_probabilities(4, 100).round(1)  # many ties
    names = np.array(names_of(probabilities))
    options = PseudoLabelOptions(Path(), "unused", number, kind)
    order = np.random.default_rng(0).permutation(100)
    # Parts overlap: what is done twice counts once.
    parts = [order[:30], order[20:70], order[60:]]
    best = {}
    for part in parts:
        own = best_clips(names[part].tolist(), probabilities[part], part.tolist(), options)
        best = merge_best(own, best, number)
    assert sorted(choose_best(best, number)) == pick(probabilities, number, kind).tolist()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"number": 0}, "`number` is 0"),
        ({"pick": "best"}, "allowed are balanced, uncertain"),
        ({"seed": -1}, "`seed` is -1"),
    ],
)
def test_pick_when_it_cannot(given, said):
    with pytest.raises(WrongUseError, match=said):
        pick(random_probabilities(0), **{"number": 3} | given)


@settings(max_examples=200)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.data())
def test_share_out_takes_all_as_evenly_as_can_be(counts, data):
    number = data.draw(st.integers(0, sum(counts)))
    shares = share_out(counts, number)
    assert sum(shares) == number
    assert all(0 <= share <= count for share, count in zip(shares, counts, strict=True))
    # Nobody has more than one above another who could have had more.
    for share, count in zip(shares, counts, strict=True):
        if share < count:
            assert max(shares) <= share + 1
