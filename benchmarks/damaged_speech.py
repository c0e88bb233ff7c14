"""Recordings from telephones and podcasts: models trained with copies so damaged, and without.

    python -m benchmarks.damaged_speech --ravdess FOLDER --model MODEL

Both are trained for as many steps, on the same actors of RAVDESS, and tested on eight others whose
clips are clean or damaged. The damages are not those of training: audiomentations makes rooms,
noise and MP3, FFmpeg the codec of mobile phones, and the seeds are others.
"""

import io
import random
from collections.abc import Callable

import audiomentations
import av
import numpy as np
import soxr

from benchmarks.measuring import RESULTS
from benchmarks.ravdess_models import TEST_ACTORS, divide, parse_options, trained
from dusha_ser.audio.reading import read_audio
from dusha_ser.cli.program import run_program
from dusha_ser.evaluation.predict_rows import match_labels
from dusha_ser.evaluation.results import metrics_row, results_table, write_table
from dusha_ser.evaluation.ser.ser import ser_metrics
from dusha_ser.inference.classify import torch_classifier
from dusha_ser.tables import screen_table

COMMAND = "python -m benchmarks.damaged_speech --ravdess ravdess --model runs/released"
RATE, PHONE_RATE = 16000, 8000
SNR = 10.0
BATCH_SIZE = 16
# Options of training, and the part of the epochs that makes as many steps of it.
TRAININGS = {
    "clips alone": ([], 1.0),
    "and noisy copies": (["--waveform_copies", "1"], 0.5),
    "and copies by phone and podcast": (
        ["--waveform_copies", "1", "--waveform_augmentation", "phone,podcast"],
        0.5,
    ),
}
NOISE = audiomentations.AddColorNoise(SNR, SNR, min_f_decay=-3, max_f_decay=-3, p=1)
# Image sources alone: its rays are drawn by no seed.
ROOM = audiomentations.RoomSimulator(
    min_target_rt60=0.3,
    max_target_rt60=0.6,
    min_mic_distance=0.5,
    max_mic_distance=1.5,
    use_ray_tracing=False,
    max_order=8,
    leave_length_unchanged=True,
    p=1,
)
MP3 = audiomentations.Mp3Compression(16, 16, p=1)


def over_mobile_phone(clip: np.ndarray) -> np.ndarray:
    """Add noise and send a clip through AMR at 7.95 kbit/s, 8 kHz."""
    noisy = soxr.resample(NOISE(samples=clip, sample_rate=RATE), RATE, PHONE_RATE)
    pieces = (0.5 * noisy / np.abs(noisy).max() * 2**15).astype(np.int16)
    file = io.BytesIO()
    with av.open(file, "w", format="amr") as coded:
        stream = coded.add_stream("libopencore_amrnb", rate=PHONE_RATE, layout="mono")
        stream.bit_rate = 7950
        frame = av.AudioFrame.from_ndarray(pieces[None], format="s16", layout="mono")
        frame.sample_rate = PHONE_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            coded.mux(packet)
    file.seek(0)
    with av.open(file, "r") as sent:
        heard = np.concatenate([one.to_ndarray().ravel() for one in sent.decode(audio=0)])
    return soxr.resample(heard, PHONE_RATE, RATE)[: len(clip)]


def in_podcast(clip: np.ndarray) -> np.ndarray:
    """Let a clip sound in a room, put chords behind it, and code it as an MP3 of 16 kbit/s."""
    heard = ROOM(samples=clip, sample_rate=RATE)
    music = chords(len(heard))
    factor = 10 ** (-SNR / 20) * np.sqrt((heard**2).mean() / (music**2).mean())
    mixed = (heard + factor * music).astype(np.float32)
    return MP3(samples=0.5 * mixed / np.abs(mixed).max(), sample_rate=RATE)


def chords(count: int) -> np.ndarray:
    """Play random triads, each half a second, as decaying harmonics, (samples,)."""
    times = np.arange(RATE // 2) / RATE
    played = [
        sum(
            np.sin(2 * np.pi * part * root * interval * times) * np.exp(-4 * part * times) / part
            for interval in (1, 2 ** (random.choice((3, 4)) / 12), 2 ** (7 / 12))
            for part in (1, 2, 3, 4)
        )
        for root in (random.uniform(110, 330) for _ in range(1 + count // len(times)))
    ]
    return np.concatenate(played)[:count]


DAMAGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "clean": lambda clip: clip,
    "phone": over_mobile_phone,
    "podcast": in_podcast,
}


def damaged(clips: list[np.ndarray], damage: str) -> list[np.ndarray]:
    """Damage clips, each by what the seed of its number draws."""
    changed = []
    for number, clip in enumerate(clips):
        # Audiomentations draws from the generators of all.
        random.seed(number)
        np.random.seed(number)
        changed.append(DAMAGES[damage](clip))
    return changed


def main() -> None:
    """Train, test on clean and damaged clips, print and write the table."""
    options = parse_options(__doc__.splitlines()[0], "damaged_speech")
    train, test = divide(options.ravdess)
    clips = [read_audio(audio, RATE) for audio in test.rows["audio"]]
    versions = {name: damaged(clips, name) for name in DAMAGES}
    truth, speakers = np.array(test.rows["label"]), list(test.speakers or [])
    rows = []
    for name, (words, part) in TRAININGS.items():
        found: dict[str, list[np.ndarray]] = {damage: [] for damage in DAMAGES}
        for seed in options.seeds:
            place = options.output_dir / f"{name.replace(' ', '_')}_{seed}"
            epochs = ["--num_train_epochs", str(options.epochs * part), "--seed", str(seed)]
            splits = {"train": train, "test": test.rows}
            model, extractor = trained(place, splits, options.model, [*words, *epochs])
            classify = torch_classifier(model, extractor)
            columns = match_labels(model.config.id2label, test)
            for damage, versed in versions.items():
                batches = [
                    classify(versed[start : start + BATCH_SIZE])
                    for start in range(0, len(versed), BATCH_SIZE)
                ]
                found[damage].append(np.concatenate(batches)[:, columns].argmax(1))
        for damage, predicted in found.items():
            count = len(predicted)
            metrics = ser_metrics(
                np.concatenate(predicted),
                np.tile(truth, count),
                groups=speakers * count,
                labels=test.labels,
            )
            each = (ser_metrics(one, truth, labels=test.labels) for one in predicted)
            seeds = ", ".join(f"{one['balanced_accuracy']:.3f}" for one in each)
            rows.append(
                metrics_row(name, damage, metrics, f"balanced accuracy by seed: {seeds}", None)
            )
            print(f"{name}, {damage}: {seeds}", flush=True)
    table = results_table(rows)
    print(screen_table(table))
    print(f"tested on actors {', '.join(TEST_ACTORS)}")
    file = RESULTS / "damaged_speech.json"
    write_table(file, COMMAND, table)
    print(f"written to {file}")


if __name__ == "__main__":
    run_program(main)
