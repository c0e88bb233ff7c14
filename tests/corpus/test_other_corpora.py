"""Readers of other corpora on fake copies with the layout, the numbers and the junk of each."""

import csv
from collections import Counter

import fake_corpora
import pytest

from dusha_ser.corpus.other_corpora import CORPORA, read_corpus
from dusha_ser.errors import MissingInputError, WrongUseError

IEMOCAP_COUNTS = {"ang": 1103, "sad": 1084, "neu": 1708, "hap": 595, "exc": 1041}


def labels_of(recordings):
    return Counter(recording.label for recording in recordings)


@pytest.fixture(scope="module")
def iemocap(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release") / "IEMOCAP_full_release"
    fake_corpora.write_iemocap(folder, IEMOCAP_COUNTS)
    return folder


def test_read_corpus_reads_iemocap_with_excited_as_positive(iemocap):
    recordings = read_corpus("iemocap", iemocap)
    assert len(recordings) == 5531
    assert labels_of(recordings) == {
        "angry": 1103,
        "sad": 1084,
        "neutral": 1708,
        "positive": 1636,
    }
    assert all(recording.path.is_file() for recording in recordings)
    assert len({recording.id for recording in recordings}) == 5531


def test_read_corpus_takes_iemocaps_speaker_from_the_turn_and_its_fold_from_the_session(iemocap):
    recordings = read_corpus("iemocap", iemocap)
    assert {recording.fold for recording in recordings} == {f"Session{i}" for i in range(1, 6)}
    by_id = {recording.id: recording for recording in recordings}
    # The markers were on the woman; the man speaks.
    recording = by_id["Ses03F_impro01_M002"]
    assert recording.speaker == "Ses03M"
    assert recording.fold == "Session3"
    assert recording.path == (
        iemocap / "Session3/sentences/wav/Ses03F_impro01/Ses03F_impro01_M002.wav"
    )
    assert len({recording.speaker for recording in recordings}) == 10


def test_read_corpus_when_iemocap_is_not_complete_tells_the_counts(tmp_path):
    fake_corpora.write_iemocap(tmp_path, {"ang": 10, "hap": 5, "exc": 5, "neu": 5, "sad": 5})
    with pytest.raises(WrongUseError) as error:
        read_corpus("iemocap", tmp_path)
    assert "5,531" in str(error.value)
    assert "positive 10 (of 1636)" in str(error.value)
    assert "`allow_other_counts=True`" in str(error.value)
    assert len(read_corpus("iemocap", tmp_path, allow_other_counts=True)) == 30


def test_read_corpus_when_a_file_of_iemocap_is_missing_names_it(tmp_path):
    fake_corpora.write_iemocap(tmp_path, {"ang": 10})
    lost = next(tmp_path.rglob("Session2/sentences/wav/*/Ses*.wav"))
    lost.unlink()
    with pytest.raises(MissingInputError, match=lost.name):
        read_corpus("iemocap", tmp_path, allow_other_counts=True)


@pytest.mark.parametrize(
    ("name", "write", "speakers", "folds"),
    [
        ("ravdess", fake_corpora.write_ravdess, 24, 6),
        ("ravdess_8", fake_corpora.write_ravdess, 24, 6),
        ("emodb", fake_corpora.write_emodb, 10, 10),
        ("crema_d", fake_corpora.write_crema_d, 91, None),
        ("savee", fake_corpora.write_savee, 4, 4),
        ("tess", fake_corpora.write_tess, 2, 2),
    ],
)
def test_read_corpus_finds_all_recordings_with_its_emotions(name, write, speakers, folds, tmp_path):
    write(tmp_path)
    recordings = read_corpus(name, tmp_path)
    assert labels_of(recordings) == CORPORA[name].counts
    assert len({recording.speaker for recording in recordings}) == speakers
    found = {recording.fold for recording in recordings}
    assert found == {None} if folds is None else len(found) == folds
    assert [recording.id for recording in recordings] == sorted(
        {recording.id for recording in recordings}
    )


@pytest.mark.parametrize(
    ("name", "file", "recording_id", "label", "speaker"),
    [
        ("ravdess", "Actor_12/03-01-02-01-01-02-12.wav", "03-01-02-01-01-02-12", "neutral", "12"),
        ("ravdess", "03-01-03-02-01-02-07.flac", "03-01-03-02-01-02-07", "positive", "07"),
        ("ravdess_8", "a/03-01-02-01-01-02-12.wav", "03-01-02-01-01-02-12", "calm", "12"),
        ("ravdess_8", "a/03-01-06-02-01-02-11.wav", "03-01-06-02-01-02-11", "fearful", "11"),
        ("ravdess_8", "a/03-01-08-02-01-02-11.wav", "03-01-08-02-01-02-11", "surprised", "11"),
        ("emodb", "wav/16b10Wb.wav", "16b10Wb", "angry", "16"),
        ("emodb", "wav/03a01Fa.wav", "03a01Fa", "positive", "03"),
        ("emodb", "wav/08a05Ta.wav", "08a05Ta", "sad", "08"),
        ("crema_d", "AudioWAV/1091_WSI_HAP_XX.wav", "1091_WSI_HAP_XX", "positive", "1091"),
        ("crema_d", "AudioWAV/1040_ITH_SAD_X.wav", "1040_ITH_SAD_X", "sad", "1040"),
        ("savee", "AudioData/KL/sa03.wav", "KL_sa03", "sad", "KL"),
        ("savee", "ALL/DC_h15.wav", "DC_h15", "positive", "DC"),
        ("tess", "YAF_happy/YAF_chat_happy.wav", "YA_chat_happy", "positive", "YA"),
        ("tess", "OAF_neutral/OA_bite_neutral.wav", "OA_bite_neutral", "neutral", "OA"),
    ],
)
def test_read_corpus_takes_label_and_speaker_from_the_name(
    name, file, recording_id, label, speaker, tmp_path
):
    fake_corpora.write(tmp_path / file, fake_corpora.TINY)
    (recording,) = read_corpus(name, tmp_path, allow_other_counts=True)
    assert (recording.id, recording.label, recording.speaker) == (recording_id, label, speaker)
    assert recording.path == tmp_path / file


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ravdess", "Actor_12/03-01-06-01-01-02-12.wav"),  # fear
        ("ravdess", "Actor_12/03-02-05-01-01-02-12.wav"),  # a song
        ("emodb", "wav/16b10La.wav"),  # boredom
        ("crema_d", "AudioWAV/1091_WSI_DIS_XX.wav"),
        ("savee", "AudioData/KL/su03.wav"),  # surprise
        ("tess", "YAF_ps/YAF_chat_ps.wav"),  # pleasant surprise
    ],
)
def test_read_corpus_leaves_out_what_is_not_of_the_four_emotions(name, file, tmp_path):
    fake_corpora.write(tmp_path / file, fake_corpora.TINY)
    with pytest.raises(MissingInputError, match="no recordings of"):
        read_corpus(name, tmp_path, allow_other_counts=True)


def test_read_corpus_reads_savee_with_all_names_in_one_folder(tmp_path):
    fake_corpora.write_savee(tmp_path, flat=True)
    assert labels_of(read_corpus("savee", tmp_path)) == CORPORA["savee"].counts


def test_read_corpus_takes_ravdess_in_six_folds_of_four_actors_in_order(tmp_path):
    fake_corpora.write_ravdess(tmp_path)
    actors = {}
    for recording in read_corpus("ravdess", tmp_path):
        actors.setdefault(recording.fold, set()).add(int(recording.speaker))
    assert actors["1"] == {1, 2, 3, 4}
    assert actors["6"] == {21, 22, 23, 24}


def test_read_corpus_knows_sex_intensity_and_statement_of_ravdess(tmp_path):
    for name in ("03-01-05-01-02-01-07", "03-01-05-02-01-01-08"):
        fake_corpora.write(tmp_path / f"{name}.wav", fake_corpora.TINY)
    man, woman = read_corpus("ravdess", tmp_path, allow_other_counts=True)
    assert man.facts == {"sex": "male", "intensity": "normal", "statement": "Dogs are sitting"}
    assert woman.facts == {"sex": "female", "intensity": "strong", "statement": "Kids are talking"}


def test_read_corpus_reads_the_real_ravdess(shared):
    folder = shared / "data" / "ravdess"
    recordings = read_corpus("ravdess", folder)
    with (folder / "labels.csv").open(newline="") as file:
        truth = {row["file"]: row for row in csv.DictReader(file)}
    assert len(recordings) == len(truth) == 864
    for recording in recordings:
        row = truth[recording.path.name]
        assert (recording.label, recording.speaker) == (row["emotion"], row["actor"])


def test_read_corpus_when_two_files_of_one_name_differ_asks_which(tmp_path):
    name = "03-01-05-01-01-01-01.wav"
    fake_corpora.write(tmp_path / "Actor_01" / name, fake_corpora.TINY)
    fake_corpora.write(tmp_path / "copy" / name, fake_corpora.TINY + b"\0\0")
    with pytest.raises(WrongUseError, match="keep the right one"):
        read_corpus("ravdess", tmp_path, allow_other_counts=True)


def test_read_corpus_when_the_folder_holds_something_else_shows_the_layout(tmp_path):
    (tmp_path / "speech.wav").write_bytes(fake_corpora.TINY)
    with pytest.raises(MissingInputError, match=r"AudioWAV/1001_IEO_ANG_HI\.wav"):
        read_corpus("crema_d", tmp_path)


def test_read_corpus_when_there_is_no_such_folder_or_corpus_says_so(tmp_path):
    with pytest.raises(MissingInputError, match="no folder"):
        read_corpus("emodb", tmp_path / "nowhere")
    with pytest.raises(WrongUseError, match="known are iemocap, ravdess"):
        read_corpus("msp", tmp_path)
