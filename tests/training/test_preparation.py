import datasets
import numpy as np
from small_network import small_classifier

from dusha_ser.training.preparation import Preparation


def test_clips_of_an_evaluation_have_the_models_numbers_in_the_order_of_the_rows():
    features = datasets.Features(
        {
            "input_features": datasets.Array2D(shape=(None, 2), dtype="float32"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    spectrograms = [np.full((frames, 2), frames, np.float32) for frames in (3, 1, 2)]
    columns = {"input_features": spectrograms, "label": [0, 1, 0]}
    rows = datasets.Dataset.from_dict(columns, features=features)
    model = small_classifier()
    model.config.label2id = {"no": 1, "yes": 0}
    prepared = Preparation(model, None, {"train": rows}, "input_features")
    clips = prepared.clips("train")
    assert prepared.clips("test") is None
    assert [int(clips[number]["labels"]) for number in range(3)] == [1, 0, 1]
    assert [clips[number]["inputs"].shape[0] for number in range(3)] == [3, 1, 2]
