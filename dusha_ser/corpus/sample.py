"""A small synthetic corpus, written as the four archives that Dusha is published in.

It is for trying and testing: a source-filter synthesis makes voiced, speech-like audio whose
pitch, energy, tempo and spectral tilt depend on the emotion, simulated annotators of different
care answer, and everything after that goes through the same code as the real archives.

    crowd.tar          crowd_train/raw_crowd_train.jsonl, crowd_train/wavs/HASH.wav, crowd_test/...
    podcast.tar        podcast_train/raw_podcast_train.jsonl, podcast_test/...: no audio
    features.tar       features/HASH.npy, float32 of shape (1, 64, frames), of all clips
    paper_setups.tgz   paper_setups/crowd_large.jsonl, ..., paper_setups/test/crowd_test.jsonl, ...
    truth.csv          hash_id, emotion: what the clip was made to be (not published with Dusha)
    annotators.csv     annotator_id, kind: how each simulated annotator answers (nor is this)
"""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dusha_ser.archives.find import ARCHIVES
from dusha_ser.audio.reading import SAMPLING_RATE, encode_wav
from dusha_ser.corpus.sample_voice import draw_voice, speak, wordless
from dusha_ser.errors import WrongUseError
from dusha_ser.storage import read_json, replacing_folder, write_csv, write_json
from dusha_ser.vocabulary import ANSWERS, EMOTIONS, OTHER

# Fraction of the clips, and mean clips per speaker; a speaker (or podcast) is in one part only.
PARTS = {
    "crowd_train": (0.68, 10),
    "crowd_test": (0.2, 10),
    "podcast_train": (0.07, 6),
    "podcast_test": (0.05, 6),
}
DEFAULT_CLIPS = 480
# What is in a sample's folder beside the archives: what was made, and what is true of it.
NOTE = "sample.json"
TABLES = ("truth.csv", "annotators.csv")
# Below it crowd_train has too few speakers to learn from.
MINIMUM_CLIPS = 48
OTHER_SHARE = 0.02
CONTROL_SHARE = 0.04
CONTROL_ANSWERS = 25
# How often an actor means one emotion and listeners hear neutral speech.
MISSED_SHARE = 0.05


@dataclass(frozen=True)
class Clip:
    """A clip before anybody has listened to it."""

    id: str  # 32 hexadecimal digits
    part: str  # the part of the corpus, a key of PARTS
    source_id: str  # speaker or podcast
    intended: str  # what the speaker was asked to act
    heard: str  # the truth that annotators answer to, one of ANSWERS
    text: str  # the syllables that are spoken, "" where there is no voice
    samples: np.ndarray  # (samples,) int16 at 16 kHz

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / SAMPLING_RATE


def write_sample(
    output_dir: str | os.PathLike,
    seed: int = 0,
    clips: int = DEFAULT_CLIPS,
    quiet: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write a synthetic corpus as the four published archives.

    The same arguments give the same bytes. The folder appears when it is complete; a sample that is
    there already stays, and archives that are not a sample's are never replaced.

    Args:
        output_dir: the folder to write.
        seed: of all random choices, at least 0.
        clips: how many clips the four parts have together.
        quiet: no progress bar.
        overwrite: whether to write it again, and replace a sample of another seed or size.

    Returns:
        output_dir as a path.

    Raises:
        WrongUseError: too few clips, a negative seed, or output_dir is a file or holds anything but
            such a sample.
    """
    output_dir = Path(output_dir)
    if clips < MINIMUM_CLIPS:
        raise WrongUseError(
            f"`clips` is {clips}; a sample has at least {MINIMUM_CLIPS}, "
            "so that its four parts have enough speakers"
        )
    if seed < 0:
        raise WrongUseError(f"`seed` is {seed}; take an integer of at least 0")
    made = {"seed": seed, "clips": clips}
    there = read_note(output_dir)
    if not overwrite and there == made:
        return output_dir
    own = () if there is None else (NOTE, *ARCHIVES, *TABLES)
    with replacing_folder(output_dir, own, overwrite) as unfinished:
        _write_archives(unfinished, seed, clips, quiet)
        sizes = {name: (unfinished / name).stat().st_size for name in ARCHIVES}
        write_json(unfinished / NOTE, made | {"sizes": sizes})
    return output_dir


def read_note(folder: Path) -> dict[str, int] | None:
    """Return seed and clips of the sample in a folder; None where other archives are or none."""
    if not (folder / NOTE).is_file():
        return None
    note = read_json(folder / NOTE)
    for name, size in note["sizes"].items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != size:
            return None
    return {name: note[name] for name in ("seed", "clips")}


def _write_archives(folder: Path, seed: int, clips: int, quiet: bool) -> None:
    rng = np.random.default_rng([seed, 1])
    crowd = draw_annotators(rng, max(CONTROL_ANSWERS + 5, clips // 12), seed)
    rows: dict[str, list[dict]] = {part: [] for part in PARTS}
    manifest: dict[str, list[dict]] = {part: [] for part in PARTS}
    truth = []
    # Here and not above: PyTorch takes seconds to import, and most of the corpus does without.
    from dusha_ser.audio.voice_activity import one_thread
    from feature_extraction_dusha import DushaFeatureExtractor

    extractor = DushaFeatureExtractor()
    # Clips this short take several threads longer than one, several times so on busy cores.
    with one_thread(), ExitStack() as stack:
        crowd_tar, podcast_tar, features_tar = (
            stack.enter_context(tarfile.open(folder / name, "w"))
            for name in ("crowd.tar", "podcast.tar", "features.tar")
        )
        bar = tqdm(make_clips(seed, clips), total=clips, unit="clip", desc="sample", disable=quiet)
        for clip in bar:
            answers = list(answer(clip, crowd, rng))
            rows[clip.part].extend(answers)
            truth.append({"hash_id": clip.id, "emotion": clip.heard})
            if clip.heard != OTHER and answers[0]["golden_emo"] != clip.heard:
                manifest[clip.part].append(_manifest_row(clip, answers))
            if clip.part.startswith("crowd"):
                _add(crowd_tar, f"{clip.part}/wavs/{clip.id}.wav", encode_wav(clip.samples))
            samples = clip.samples.astype(np.float32) / 32768
            features = extractor(samples, sampling_rate=SAMPLING_RATE, return_tensors="np")
            _add(features_tar, f"features/{clip.id}.npy", _npy(features["input_features"]))
        for part, part_rows in rows.items():
            # Answers come in over time, not clip by clip.
            shuffled = [part_rows[i] for i in rng.permutation(len(part_rows))]
            archive = crowd_tar if part.startswith("crowd") else podcast_tar
            _add(archive, f"{part}/raw_{part}.jsonl", _jsonl(shuffled))
    _write_manifests(folder / "paper_setups.tgz", manifest)
    write_csv(folder / "truth.csv", ("hash_id", "emotion"), truth)
    people = [{"annotator_id": annotator.id, "kind": annotator.kind} for annotator in crowd]
    write_csv(folder / "annotators.csv", ("annotator_id", "kind"), people)


def make_clips(seed: int, clips: int) -> Iterator[Clip]:
    """Make the clips part by part: each has every emotion, a few of the crowd no usable voice."""
    counts = {part: max(len(EMOTIONS), round(clips * share)) for part, (share, _) in PARTS.items()}
    counts["crowd_train"] += clips - sum(counts.values())
    number = 0
    for part, count in counts.items():
        rng = np.random.default_rng([seed, 2, number])
        voices = [draw_voice(rng) for _ in range(max(3, count // PARTS[part][1]))]
        other = set(rng.choice(count, size=round(count * OTHER_SHARE), replace=False))
        # Where clips are few, the first of them make sure of each emotion.
        sure = len(EMOTIONS) if count < 5 * len(EMOTIONS) else 0
        other -= set(range(sure))
        for i in range(count):
            speaker = int(rng.integers(len(voices)))
            own_rng = np.random.default_rng([seed, 3, number])
            intended = heard = EMOTIONS[i % len(EMOTIONS)]
            if i in other:
                heard = OTHER
            elif i >= sure and own_rng.random() < MISSED_SHARE:
                heard = "neutral"
            samples, text = (
                wordless(own_rng) if heard == OTHER else speak(own_rng, voices[speaker], heard)
            )
            yield Clip(
                id=_hash(f"clip {seed} {number}"),
                part=part,
                source_id=_hash(f"source {seed} {part} {speaker}"),
                intended=intended,
                heard=heard,
                text=text,
                samples=np.round(samples * 32767).astype(np.int16),
            )
            number += 1


@dataclass(frozen=True)
class Annotator:
    """A simulated annotator."""

    id: str  # 32 hexadecimal digits
    kind: str  # "careful", "hasty" or "random"
    # (5, 5), in the order of ANSWERS: probability of each answer for each truth.
    confusion: np.ndarray


def draw_annotators(rng: np.random.Generator, count: int, seed: int) -> list[Annotator]:
    """Draw annotators: of fifteen, nine are careful, five are hasty and one answers at random."""
    crowd = []
    for i in range(count):
        kind = "random" if i % 15 == 14 else "hasty" if i % 3 == 2 else "careful"
        low, high = {"careful": (0.8, 0.97), "hasty": (0.5, 0.7), "random": (0.2, 0.2)}[kind]
        right = rng.uniform(low, high)
        confusion = np.full((5, 5), 0.2)
        for truth in range(5 if kind != "random" else 0):
            # Doubt ends in "neutral" more often than elsewhere, and seldom in OTHER.
            wrong = rng.dirichlet([2, 2, 3, 2, 0.3])
            wrong[truth] = 0
            confusion[truth] = (1 - right) * wrong / wrong.sum()
            confusion[truth, truth] = right
        crowd.append(Annotator(_hash(f"annotator {seed} {i}"), kind, confusion))
    return crowd


def answer(clip: Clip, crowd: list[Annotator], rng: np.random.Generator) -> Iterator[dict]:
    """Let four to seven annotators answer, 25 where the clip is a control task; NaN is unknown."""
    control = clip.heard != OTHER and rng.random() < CONTROL_SHARE
    count = CONTROL_ANSWERS if control else int(rng.integers(4, 8))
    podcast = clip.part.startswith("podcast")
    for i in rng.choice(len(crowd), size=count, replace=False):
        chances = crowd[i].confusion[ANSWERS.index(clip.heard)]
        yield {
            "hash_id": clip.id,
            "audio_path": f"wavs/{clip.id}.wav",
            "duration": clip.duration,
            "annotator_emo": ANSWERS[rng.choice(5, p=chances)],
            "golden_emo": clip.heard if control else float("nan"),
            "speaker_text": float("nan") if podcast else clip.text,
            "speaker_emo": float("nan") if podcast else clip.intended,
            "source_id": clip.source_id,
            "annotator_id": crowd[i].id,
        }


def _manifest_row(clip: Clip, answers: list[dict]) -> dict:
    votes = [sum(row["annotator_emo"] == emotion for row in answers) for emotion in EMOTIONS]
    label = int(np.argmax(votes))
    return {
        "id": clip.id,
        "tensor": f"../features/{clip.id}.npy",
        "wav_length": clip.duration,
        "label": label,
        "emotion": EMOTIONS[label],
        "agreement": votes[label] / len(answers),
    }


def _write_manifests(path: Path, manifest: dict[str, list[dict]]) -> None:
    def confident(*parts: str) -> list[dict]:
        return [row for part in parts for row in manifest[part] if row["agreement"] > 0.5]

    crowd = confident("crowd_train")
    setups = {
        "crowd_large": crowd,
        "crowd_medium": crowd[::2],
        "crowd_small": crowd[::4],
        "crowd_unconfident": manifest["crowd_train"],
        "podcast_large": confident("podcast_train"),
        "dusha_large": confident("crowd_train", "podcast_train"),
        "test/crowd_test": confident("crowd_test"),
        "test/podcast_test": confident("podcast_test"),
        "test/dusha_test": confident("crowd_test", "podcast_test"),
    }
    with (
        path.open("wb") as file,
        # Else gzip's header would hold the name and the time of writing.
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for name, rows in setups.items():
            published = [{k: v for k, v in row.items() if k != "agreement"} for row in rows]
            _add(archive, f"paper_setups/{name}.jsonl", _jsonl(published))


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # its time and owner are 0 unless set
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _jsonl(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _npy(features: np.ndarray) -> bytes:
    """Encode features (1, frames, bands) as published, (1, bands, frames)."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(features.transpose(0, 2, 1), dtype=np.float32))
    return file.getvalue()


def _hash(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
