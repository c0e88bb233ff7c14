"""The wav and feature files of clips: where they are, what is wrong with them, what they hold."""

import dataclasses
import functools
import io
from tokenize import TokenError

import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm

from dusha_ser.archives.members import Member, Members
from dusha_ser.audio.reading import (
    SAMPLING_RATE,
    UnreadableAudioError,
    complete_wav,
    count_frames,
    read_audio,
    read_info,
)
from dusha_ser.errors import WorkFailedError

MISSING_COLUMNS = ("id", "split", "domain", "reason")
# The columns of files.
MEMBER = pa.struct(
    {"name": pa.string(), "path": pa.string(), "offset": pa.int64(), "size": pa.int64()}
)
# The published features: (1, bands, frames).
MEL_BANDS = 64
# From when on a progress bar is worth drawing, in seconds.
PATIENCE = 2


def locate_files(
    rows: pa.Table, split: str, members: Members, input_features: bool, quiet: bool = True
) -> tuple[pa.Table, list[dict]]:
    """Find the wav and, if asked for, the features of each row, and drop rows without them.

    A domain without a single wav is one without audio (Dusha's podcasts): its rows stay, with
    null audio. Podcast audio is what users collected themselves, so those rows stay as well.

    Args:
        rows: with id, domain, part and audio_path.
        split: name for the list of missing clips.
        members: all files.
        input_features: whether each row needs features, or audio to compute them from.
        quiet: no progress bar.

    Returns:
        The rows that stay, with columns wav and npy, structs of a Member's fields or null; and the
        dropped rows as `missing_clip` gives them.
    """
    ids, domains = rows["id"].to_pylist(), rows["domain"].to_pylist()
    places = zip(ids, rows["part"].to_pylist(), rows["audio_path"].to_pylist(), strict=True)
    description = f"Locating files of {split}"
    wavs = [
        find_wav(members, *place)
        for place in tqdm(places, description, len(rows), delay=PATIENCE, disable=quiet)
    ]
    with_audio = {
        domain for domain, wav in zip(domains, wavs, strict=True) if wav and domain != "podcast"
    }
    features = [members.get(f"features/{name}.npy") if input_features else None for name in ids]
    missing, stays = [], np.ones(len(rows), bool)
    for index, (name, domain, wav, npy) in enumerate(
        zip(ids, domains, wavs, features, strict=True)
    ):
        reason = None
        if not (wav and wav.size):
            if domain in with_audio:
                reason = "empty wav" if wav else "no wav"
            elif input_features and npy is None:
                reason = "neither features nor wav"
        if reason:
            stays[index] = False
            missing.append(missing_clip(name, split, domain, reason))
    rows = rows.drop_columns(["part", "audio_path"])
    for name, files in {"wav": wavs, "npy": features}.items():
        values = pa.array([file and dataclasses.asdict(file) for file in files], MEMBER)
        rows = rows.append_column(name, values)
    return rows.filter(pa.array(stays)), missing


def missing_clip(name: str, split: str, domain: str, reason: str) -> dict[str, str]:
    """Return the entry of a clip in the list of missing audio, by MISSING_COLUMNS."""
    return dict(zip(MISSING_COLUMNS, (name, split, domain, reason), strict=True))


def find_wav(
    members: Members, name: str, part: str | None, audio_path: str | None
) -> Member | None:
    """Return the member that holds a clip's audio, None where there is none."""
    found = members.get(f"{part}/{audio_path}") if part and audio_path else None
    return found or members.wav(name)


def read_wav(member: Member) -> bytes:
    """Read a recording's bytes and make sure that it holds samples, and that its header says so.

    Raises:
        ValueError: it is not an audio file or holds no samples; the message is the reason.
        WorkFailedError: the archive itself cannot be read.
    """
    content = complete_wav(member.read(), member.name)
    frames = count_frames(content)
    if not frames:
        try:
            frames = read_info(content).frames
        except UnreadableAudioError as error:
            raise ValueError(f"unreadable wav ({error})") from error
    if not frames:
        raise ValueError("empty wav")
    return content


def load_features(member: Member) -> np.ndarray:
    """Load published features, an .npy file of float32 (1, 64, frames).

    Returns:
        float32 (frames, 64), dB.

    Raises:
        ValueError: it is something else; the message is the reason.
        WorkFailedError: the archive itself cannot be read.
    """
    content = member.read()
    try:
        # Pickles could run code of the maker of the archive.
        values = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError, TokenError) as error:
        # MemoryError: the shape in a damaged header; TokenError: not a header at all.
        raise ValueError(f"unreadable features ({error})") from error
    if (
        not isinstance(values, np.ndarray)
        or values.dtype != np.float32
        or values.ndim != 3
        or values.shape[:2] != (1, MEL_BANDS)
        or not values.shape[2]
    ):
        found = f"{getattr(values, 'dtype', type(values))} {getattr(values, 'shape', '')}"
        raise ValueError(f"features are {found}, not float32 (1, {MEL_BANDS}, frames)")
    if not np.isfinite(values).all():
        raise ValueError("features hold NaN or infinity")
    return np.ascontiguousarray(values[0].T)


def compute_features(content: bytes) -> np.ndarray:
    """Compute features, float32 (frames, 64) in dB, from a recording of any channels and rate.

    Raises:
        ValueError: it cannot be read; the message is the reason.
    """
    try:
        samples = read_audio(content, SAMPLING_RATE).astype(np.float64)
    except UnreadableAudioError as error:
        raise ValueError(f"unreadable wav ({error})") from error
    features = feature_extractor()(samples, SAMPLING_RATE)
    return np.asarray(features["input_features"][0])


@functools.cache
def feature_extractor():
    """Return the feature extractor; here, because corpora without features need no PyTorch."""
    try:
        import torch

        from feature_extraction_dusha import DushaFeatureExtractor
    except ImportError as error:
        raise WorkFailedError(
            f"computing input_features needs PyTorch and Transformers ({error}): install them, "
            "or fetch features.tar"
        ) from error
    # Processes share the cores already.
    torch.set_num_threads(1)
    return DushaFeatureExtractor(sampling_rate=SAMPLING_RATE)
