"""Rows that are read for a model: all that cannot be used are named at once."""

import numpy as np
import pytest
from own_recordings import write_recordings
from small_network import small_classifier

from dusha_ser.audio.reading import encode_wav
from dusha_ser.corpus.named import NamedRows, named_rows
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predict_rows import predict_rows
from feature_extraction_dusha import DushaFeatureExtractor

LABELS = ("angry", "sad", "neutral", "positive")


@pytest.fixture
def test_set(tmp_path):
    return named_rows(str(write_recordings(tmp_path, LABELS)))


def predict(test_set):
    model = small_classifier(num_mel_bins=64).eval()
    return predict_rows(model, DushaFeatureExtractor(), test_set, quiet=True)


def with_audio(test_set, contents):
    """The rows with other bytes in some."""

    def replaced(row, number):
        if number in contents:
            row["audio"] = {"bytes": contents[number], "path": None}
        return row

    return NamedRows("test", test_set.rows.map(replaced, with_indices=True))


def test_predict_rows_when_audio_cannot_be_read_names_all(test_set):
    broken = with_audio(test_set, {1: b"<html>", 3: b"RIFF", 6: b"<html>"})
    with pytest.raises(WrongUseError) as caught:
        predict(broken)
    said = str(caught.value)
    assert said.startswith('3 of 8 recordings cannot be used: 2 x "is a web page')
    assert "(1.flac, 6.flac)" in said and "(3.flac)" in said


def test_predict_rows_when_clips_are_silent_warns_of_them(test_set, caplog):
    silent = encode_wav(np.zeros(8000))
    predictions = predict(with_audio(test_set, {2: silent, 5: silent}))
    assert len(predictions.ids) == 8
    (warning,) = (text for text in caplog.messages if "silent" in text)
    assert warning.startswith("2 of 8 clips of test are silent")
    assert "2.flac" in warning and "5.flac" in warning
