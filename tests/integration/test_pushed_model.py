"""What a training run leaves on the Hub, and what it says where the Hub refuses."""

import pytest
from hub_cards import read_card
from own_recordings import write_recordings
from small_network import small_classifier

from feature_extraction_dusha import DushaFeatureExtractor

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def options(tmp_path):
    """Options of a run that takes a step on a few recordings."""
    table = write_recordings(tmp_path / "train", ["no", "yes"], 12, "abcdef")
    test_table = write_recordings(tmp_path / "test", ["no", "yes"], 8, "xy")
    small_classifier(num_mel_bins=64).save_pretrained(tmp_path / "small")
    DushaFeatureExtractor().save_pretrained(tmp_path / "small")
    return (
        *("--train_file", table, "--test_file", test_table, "--cache_dir", tmp_path / "cache"),
        *("--model_name_or_path", tmp_path / "small", "--num_train_epochs", 1, "--quiet"),
        *("--output_dir", tmp_path / "model", "--push_to_hub"),
    )


def test_run_when_pushed_leaves_all_that_tells_how_the_model_was_made(
    options, hub, shell, repository, tmp_path
):
    shell(
        *("-m", "dusha_ser", "train", *options, "--hub_model_id", "newcomer/mine"),
        cwd=tmp_path,
        env=hub.environment(tmp_path / "home"),
    )
    pushed = hub.repositories.visible("model", "newcomer/mine", None).resolve("main")
    assert set(pushed.files) >= {
        *("model.safetensors", "config.json", "preprocessor_config.json", "README.md"),
        *("modeling_dusha.py", "configuration_dusha.py"),
        *("feature_extraction_dusha.py", "training_args.bin", "options.yaml", "metrics.json"),
        *("curves.png", "confusion_matrix.png", "test_predictions.csv"),
    }
    assert not [name for name in pushed.files if "checkpoint" in name]
    read = hub.repositories.store.read
    assert b"learning_rate" not in read(pushed.files["options.yaml"]), "that was not changed"
    assert read(pushed.files["curves.png"]).startswith(b"\x89PNG")
    card, errors, warnings = read_card(read(pushed.files["README.md"]).decode())
    assert not errors + warnings
    (result,) = card["model-index"][0]["results"]
    assert result["dataset"]["split"] == "test"
    for metric in result["metrics"]:
        assert 0 <= metric["value"] <= 1
        low, high = metric["args"]["confidence_interval"]
        assert 0 <= low <= high <= 1


def test_run_when_the_hub_refuses_the_name_ends_with_one_line(
    options, hub, shell, repository, tmp_path
):
    process = shell(
        *("-m", "dusha_ser", "train", *options, "--hub_model_id", "somebody-else/mine"),
        cwd=tmp_path,
        env=hub.environment(tmp_path / "home"),
        status=1,
    )
    line = process.stderr.splitlines()[-1]
    assert line.startswith("dusha train: somebody-else/mine cannot be pushed to the Hub (403")
    assert "--hub_model_id" in line
    assert "Traceback" not in process.stderr
