"""Features and logits stay what they are, without real speech or released weights."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import CLIPS, PATH, features_of, logits_of, make_goldens, seeded_network, spoken
from small_network import one_thread  # noqa: F401 - a fixture of every test here

from feature_extraction_dusha import DushaFeatureExtractor


@pytest.fixture(scope="module")
def goldens():
    with np.load(PATH) as found:
        return dict(found)


def test_goldens_are_small_and_whole(goldens):
    assert PATH.stat().st_size < 12_000
    assert goldens.keys() == make_goldens().keys()


@pytest.mark.parametrize("number", range(len(CLIPS)))
def test_synthetic_speech_is_that_of_the_golden(goldens, number):
    golden = goldens[f"waveform_{number}"].astype(int)
    assert np.ptp(golden) > 1000
    # Libraries of mathematics round the last bit as they like.
    assert np.abs(spoken(number) - golden).max() <= 1


@pytest.mark.parametrize("number", range(len(CLIPS)))
def test_features_are_those_of_the_golden(goldens, number):
    (found,) = features_of([goldens[f"waveform_{number}"]])
    np.testing.assert_allclose(found, goldens[f"features_{number}"] / 1000, atol=2e-3, rtol=0)


def test_logits_alone_and_in_a_batch_are_those_of_the_golden(goldens):
    waveforms = [goldens[f"waveform_{number}"] for number in range(len(CLIPS))]
    expected = goldens["logits"]
    assert np.ptp(expected, axis=0).min() > 0.01
    np.testing.assert_allclose(logits_of(features_of(waveforms)), expected, atol=2e-3, rtol=1e-3)
    batch = DushaFeatureExtractor()(waveforms, 16000, return_tensors="pt")
    with torch.no_grad():
        logits = seeded_network()(**batch).logits
    np.testing.assert_allclose(logits.numpy(), expected, atol=2e-3, rtol=1e-3)


def test_skips_for_lack_of_real_data_are_one_line(tmp_path):
    """A public clone runs the same conftest.py without ../shared."""
    folder = tmp_path / "clone" / "tests"
    folder.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    lines = [f"def test_{number}(shared):\n    pass\n" for number in range(3)]
    (folder / "test_real.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    ended = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True)
    assert ended.stdout.count("no real data") == 1, ended.stdout
    assert "3 tests skipped: no real data in ../shared" in ended.stdout
