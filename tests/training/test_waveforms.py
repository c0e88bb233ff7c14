"""Copies of clips with noise and at other speeds: the same wherever and whenever they are made."""

import json

import datasets
import numpy as np
import pytest
import soxr
import torch
from small_models import write_corpus, write_recordings

from dusha_ser.cli.main import main as dusha
from dusha_ser.corpus.contents import copy_column
from dusha_ser.corpus.named import load_folder_or_hub
from dusha_ser.errors import WrongUseError
from dusha_ser.training import waveforms
from dusha_ser.training.augmentation import draw_numbers
from dusha_ser.training.features import compute_inputs
from dusha_ser.training.waveform_options import CONDITIONS, PHONE, PODCAST
from dusha_ser.training.waveforms import (
    WaveformAugmentation,
    add_noise,
    compute_copies,
    resample,
    with_copies,
    without_copies,
)
from feature_extraction_dusha import DushaFeatureExtractor

CPU = torch.device("cpu")
EXTRACTOR = DushaFeatureExtractor()


def band_limited(rate, seconds, highest, seed=0):
    """Noise of 0.1 of full scale with nothing above a frequency, in Hz."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(round(rate * seconds)))
    spectrum[np.fft.rfftfreq(round(rate * seconds), 1 / rate) > highest] = 0
    samples = np.fft.irfft(spectrum, round(rate * seconds))
    return (0.1 * samples / samples.std()).astype(np.float32)


def speech(count):
    return [
        torch.from_numpy(band_limited(16000, 0.5 + 0.13 * number, 4000, number))
        for number in range(count)
    ]


@pytest.mark.parametrize("rate", [8000, 11025, 14400, 17600, 22050, 44100, 48000])
def test_resampled_clips_are_those_of_soxr(rate):
    samples = band_limited(rate, 2, 7 / 16 * min(rate, 16000))
    (found,) = resample([torch.from_numpy(samples)], rate, 16000)
    expected = soxr.resample(samples, rate, 16000)
    assert len(found) == len(expected) == 32000
    # At the ends there is silence before and behind, of which both see a part.
    np.testing.assert_allclose(found[200:-200], expected[200:-200], atol=1e-4)
    assert expected.std() > 0.09


def test_resampled_clips_are_the_same_alone_and_in_a_batch():
    clips = speech(3)
    for clip, found in zip(clips, resample(clips, 17600, 16000), strict=True):
        torch.testing.assert_close(found, resample([clip], 17600, 16000)[0], atol=1e-6, rtol=0)


def test_noise_has_its_level_and_slope():
    clips = [torch.from_numpy(band_limited(16000, 4, 7900, seed)) for seed in range(2)]
    seeds = np.array([1, 2], dtype=np.uint64)
    noisy = add_noise(clips, np.array([10.0, 20.0]), np.array([0.0, 6.0]), seeds)
    for clip, found, snr, slope in zip(clips, noisy, (10, 20), (0, 6), strict=True):
        noise = (found - clip).numpy().astype(np.float64)
        level = 10 * np.log10((clip.double() ** 2).mean().item() / (noise**2).mean())
        assert level == pytest.approx(snr, abs=0.01)
        power = np.abs(np.fft.rfft(noise)) ** 2
        low, high = (10 * np.log10(power[a : 2 * a].mean()) for a in (1000, 8000))
        assert low - high == pytest.approx(3 * slope, abs=1)


def test_noise_leaves_a_silent_clip_silent():
    (found,) = add_noise([torch.zeros(800)], np.array([5.0]), np.array([0.0]), np.array([3]))
    assert found.tolist() == [0] * 800


def test_copies_follow_from_their_seeds_alone():
    augmentation = WaveformAugmentation(copies=2, seed=7)
    clips = speech(6)
    seeds = augmentation.seeds(np.arange(6), 0)
    together = augmentation(clips, 16000, seeds)
    for place in (5, 0):
        (alone,) = augmentation([clips[place]], 16000, seeds[[place]])
        torch.testing.assert_close(alone, together[place], atol=1e-5, rtol=0)
    sizes = {len(one) / len(clip) for one, clip in zip(together, clips, strict=True)}
    assert any(size > 1.1 for size in sizes) or any(size < 0.92 for size in sizes)
    other = augmentation(clips, 16000, augmentation.seeds(np.arange(6), 1))
    assert not any(torch.equal(a, b) for a, b in zip(other, together, strict=True))
    seen = np.concatenate(
        [
            WaveformAugmentation(2, seed).seeds(np.arange(100), copy)
            for seed in range(5)
            for copy in range(2)
        ]
    )
    assert len(np.unique(seen)) == len(seen)


def test_copies_with_noise_alone_are_what_they_were_before_there_was_more():
    """Numbers of other conditions come behind those of noise and speed."""
    clips, seeds = speech(4), np.arange(4, dtype=np.uint64)
    fast, level, colour = draw_numbers(seeds, 3)
    changed = [
        resample([clip], round((0.9, 1.0, 1.1)[int(3 * drawn)] * 16000), 16000)[0]
        for clip, drawn in zip(clips, fast, strict=True)
    ]
    expected = add_noise(changed, 5 + 25 * level, 6 * colour, seeds)
    for found, one in zip(WaveformAugmentation(1)(clips, 16000, seeds), expected, strict=True):
        torch.testing.assert_close(found, one, atol=1e-5, rtol=0)


def test_copies_by_phone_and_podcast_are_seeded_and_as_long():
    clips, seeds = speech(8), np.arange(8, dtype=np.uint64)
    plain = WaveformAugmentation(1)(clips, 16000, seeds)
    for name in (PHONE, PODCAST):
        augmentation = WaveformAugmentation(1, conditions=(name,))
        together = augmentation(clips, 16000, seeds)
        again = augmentation(clips, 16000, seeds)
        (alone,) = augmentation([clips[3]], 16000, seeds[[3]])
        assert [len(one) for one in together] == [len(one) for one in plain]
        assert all(torch.equal(a, b) for a, b in zip(together, again, strict=True))
        # A codec rounds, so that what differs in the last bit may differ by a step.
        assert np.corrcoef(alone, together[3])[0, 1] > 0.999
        assert not any(torch.equal(a, b) for a, b in zip(together, plain, strict=True))
        high = [np.abs(np.fft.rfft(one))[int(0.3 * len(one)) :].max() for one in together]
        low = [np.abs(np.fft.rfft(one)).max() for one in together]
        is_narrow = np.array(high) < 0.01 * np.array(low)
        assert is_narrow.all() == (name == PHONE)


def test_conditions_of_copies_are_each_as_likely(monkeypatch):
    seen = []
    monkeypatch.setattr(waveforms, "over_phone", lambda clip, *_: seen.append(PHONE) or clip)
    monkeypatch.setattr(waveforms, "as_mp3", lambda clip, *_: seen.append(PODCAST) or clip)
    augmentation = WaveformAugmentation(1, conditions=CONDITIONS)
    augmentation([torch.ones(100)] * 600, 16000, np.arange(600, dtype=np.uint64))
    # 200 are expected of each; five standard deviations are 58.
    for name in (PHONE, PODCAST):
        assert 140 < seen.count(name) < 260


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def source(corpus):
    return load_folder_or_hub(str(corpus), None)["train"]


def make_copies(source, cache, extractor=EXTRACTOR, **changes):
    rows, column = compute_inputs(source, extractor, str(cache))
    augmentation = WaveformAugmentation(**{"copies": 2, "seed": 1} | changes)
    computing = extractor, augmentation, CPU, str(cache)
    return compute_copies(source, rows, column, *computing), column


def test_copies_are_rows_behind_their_clips(source, tmp_path):
    made, column = make_copies(source, tmp_path)
    together = with_copies(made, column, 2)
    assert together.column_names == without_copies(made, column).column_names
    assert together["id"][:] == source["id"][:] * 3
    assert together["label"][:] == source["label"][:] * 3
    assert together["duration"][:12] == [0.12] * 12
    assert set(together["duration"][12:]) == {0.12, 2134 / 16000, 1746 / 16000}
    for row in together:
        assert len(row[column]) == 1 + round(row["duration"] * 16000) // 160
        assert np.max(row[column]) == 0
    apart = [np.array(together[number][column])[:10] for number in (0, 12, 24)]
    assert min(np.abs(a - b).max() for a, b in ((apart[0], apart[1]), (apart[1], apart[2]))) > 1


def test_copies_are_kept_in_the_cache_until_what_makes_them_changes(source, tmp_path):
    make_copies(source, tmp_path)
    files = set((tmp_path / "dusha_inputs").iterdir())
    make_copies(source, tmp_path)
    assert set((tmp_path / "dusha_inputs").iterdir()) == files
    # One more leaves the others what they are.
    make_copies(source, tmp_path, copies=3)
    assert len(set((tmp_path / "dusha_inputs").iterdir())) == len(files) + 1
    make_copies(source, tmp_path, seed=2)
    assert len(set((tmp_path / "dusha_inputs").iterdir())) == len(files) + 3
    make_copies(source, tmp_path, conditions=(PHONE,))
    assert len(set((tmp_path / "dusha_inputs").iterdir())) == len(files) + 5
    # Copies are drawn by the clips' ids.
    column = copy_column("duration", 0)
    before = make_copies(source, tmp_path)[0][column][:]
    renamed = source.map(lambda row: {"id": f"other {row['id']}"})
    assert make_copies(renamed, tmp_path)[0][column][:] != before
    some = make_copies(source.select(range(5, 9)), tmp_path)[0]
    assert some[column][:] == before[5:9]


def test_copies_of_an_extractor_that_cuts_off_silence_are_cut(source, tmp_path):
    extractor = DushaFeatureExtractor(trim_silence=20)
    made, column = make_copies(source, tmp_path, extractor)
    whole, _ = make_copies(source, tmp_path / "whole")
    name = f"{column} of copy 1"
    assert all(len(a[name]) <= len(b[name]) for a, b in zip(made, whole, strict=True))


def test_copies_when_there_is_no_audio(source, tmp_path):
    write_corpus(tmp_path / "features", audio=False, features=True)
    rows = load_folder_or_hub(str(tmp_path / "features"), None)["train"]
    for given in (rows, rows.remove_columns("audio")):
        with pytest.raises(WrongUseError, match="`waveform_copies` .* 12 of 12 .* features alone"):
            make_copies(given, tmp_path)


def test_folds_share_their_copies_which_the_seed_draws(tmp_path):
    table, cache = write_recordings(tmp_path / "clips"), tmp_path / "cache"
    cross_validate = ["cross-validate", str(table), "--folds", "2", "--seeds", "1,2", "--quiet"]
    cross_validate += ["--waveform_copies", "2", "--num_train_epochs", "1", "--validation", "0"]
    dusha(
        [*cross_validate, "--use_cpu", "--keep_checkpoints", "--per_device_train_batch_size", "4"]
        + ["--cache_dir", str(cache), "--output_dir", str(tmp_path / "folds")]
    )
    # All clips' features once, and one file of each copy for each seed.
    files = sorted((cache / "dusha_inputs").iterdir())
    assert len(files) == 1 + 2 * 2
    drawn = [datasets.Dataset.from_file(str(file)) for file in files]
    seconds = {
        tuple(rows[name]) for rows in drawn for name in rows.column_names if "duration" in name
    }
    assert len(seconds) == 4


def test_training_sees_the_copies_and_evaluation_does_not(corpus, tmp_path):
    output = tmp_path / "model"
    dusha(
        ["train", "--dataset", str(corpus), "--waveform_copies", "2", "--num_train_epochs", "1"]
        + ["--waveform_augmentation", "noise,phone,podcast"]
        + ["--validation", "0.3", "--per_device_train_batch_size", "4", "--cache_dir"]
        + [str(tmp_path / "cache"), "--output_dir", str(output), "--keep_checkpoints", "--quiet"]
    )
    (state,) = output.glob("checkpoint-*/trainer_state.json")
    counts = json.loads((output / "metrics.json").read_text())["clips"]
    assert counts["train"] + counts["validation"] == counts["test"] == 12
    # Each clip and its two copies once, in batches of four.
    assert json.loads(state.read_text())["global_step"] == -(-3 * counts["train"] // 4)
    written = (output / "options.yaml").read_text()
    assert "waveform_copies: 2" in written
    assert "waveform_augmentation:\n- noise\n- phone\n- podcast" in written
