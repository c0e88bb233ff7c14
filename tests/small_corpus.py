"""A corpus of a few short clips in the published layout, every value of which a test decides."""

import io
import json
import tarfile

import numpy as np
import soundfile

EMOTIONS = ("angry", "sad", "neutral", "positive")
COUNTS = {"crowd_train": 24, "crowd_test": 8, "podcast_train": 12, "podcast_test": 8}
SAMPLING_RATE = 16000


def make_clips(counts=None):
    """Make clips as dicts: id, part, emotion, source, golden, answers (annotator, emotion), wav."""
    rng = np.random.default_rng(0)
    clips = []
    for part, count in (COUNTS if counts is None else counts).items():
        for number in range(count):
            emotion = EMOTIONS[number % 4]
            answers = [(f"annotator{i}", emotion) for i in rng.choice(9, 4, replace=False)]
            answers.append(("annotator9", EMOTIONS[(number + 1) % 4]))  # always wrong
            samples = 0.1 * rng.standard_normal(800 + 160 * number)
            clips.append(
                {
                    "id": f"{part}{number:04d}",
                    "part": part,
                    "emotion": emotion,
                    "source": f"{part} source {number // 4 % 5}",
                    "golden": None,
                    "answers": answers,
                    "samples": samples,
                    "wav": wav_bytes(samples) if part.startswith("crowd") else None,
                    "features": None,
                }
            )
    return clips


def wav_bytes(samples, sampling_rate=SAMPLING_RATE):
    file = io.BytesIO()
    soundfile.write(file, samples, sampling_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def npy_bytes(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def raw_rows(clip):
    nan = float("nan")
    acted = clip["part"].startswith("crowd")
    for annotator, answer in clip["answers"]:
        yield {
            "hash_id": clip["id"],
            "audio_path": f"wavs/{clip['id']}.wav",
            "duration": len(clip["samples"]) / SAMPLING_RATE,
            "annotator_emo": answer,
            "golden_emo": clip["golden"] or nan,
            "speaker_text": "да" if acted else nan,
            "speaker_emo": clip["emotion"] if acted else nan,
            "source_id": clip["source"],
            "annotator_id": annotator,
        }


def manifest_rows(clips):
    for clip in clips:
        yield {
            "id": clip["id"],
            "tensor": f"../features/{clip['id']}.npy",
            "wav_length": len(clip["samples"]) / SAMPLING_RATE,
            "label": EMOTIONS.index(clip["emotion"]),
            "emotion": clip["emotion"],
        }


def write_corpus(folder, clips=None):
    """Write clips as the four archives; returns the folder."""
    clips = make_clips() if clips is None else clips
    folder.mkdir(parents=True, exist_ok=True)
    by_part = {part: [clip for clip in clips if clip["part"] == part] for part in COUNTS}
    for domain in ("crowd", "podcast"):
        files = {}
        for part, own in by_part.items():
            if own and part.startswith(domain):
                files[f"{part}/raw_{part}.jsonl"] = jsonl(
                    row for clip in own for row in raw_rows(clip)
                )
                files |= {
                    f"{part}/wavs/{clip['id']}.wav": clip["wav"]
                    for clip in own
                    if clip["wav"] is not None
                }
        write_tar(folder / f"{domain}.tar", files)
    features = {
        f"features/{clip['id']}.npy": npy_bytes(clip["features"])
        for clip in clips
        if clip["features"] is not None
    }
    write_tar(folder / "features.tar", features | {"features/README": b""})
    crowd, podcast = by_part["crowd_train"], by_part["podcast_train"]
    manifests = {
        "crowd_large": crowd,
        "crowd_medium": crowd[::2],
        "crowd_small": crowd[::4],
        "crowd_unconfident": crowd[1::2],
        "podcast_large": podcast,
        "dusha_large": crowd + podcast,
        "test/crowd_test": by_part["crowd_test"],
        "test/podcast_test": by_part["podcast_test"],
        "test/dusha_test": by_part["crowd_test"] + by_part["podcast_test"],
    }
    write_tar(
        folder / "paper_setups.tgz",
        {
            f"paper_setups/{name}.jsonl": jsonl(manifest_rows(own))
            for name, own in manifests.items()
        },
    )
    return folder


def jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write_tar(path, files):
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
