"""What is known of the corpus: citation and licence, its configurations, their columns."""

from pathlib import Path

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.options import is_hub_name

CITATION = """\
@inproceedings{kondratenko2023hybrid,
  title = {Hybrid Dataset for Speech Emotion Recognition in Russian Language},
  author = {Kondratenko, Vladimir and Sokolov, Artem and Karpov, Nikolay and Kutuzov, Oleg and
            Savushkin, Nikita and Minkin, Fyodor},
  booktitle = {Interspeech},
  year = {2023},
}"""
SUMMARY = (
    "Dusha is the largest corpus of Russian emotional speech: some 300,000 clips, acted by a crowd "
    "or cut from podcasts, with 1.7 million answers of annotators to what emotion they hear."
)
HOMEPAGE = "https://github.com/salute-developers/golos/tree/master/dusha"
LICENSE = "Dusha's public licence with attribution, not that of this software"
# As cards on the Hub name it.
LICENSE_FIELDS = {
    "license": "other",
    "license_name": "dusha-public-license-with-attribution",
    "license_link": HOMEPAGE,
}

SPLITS = ("train", "test")
DOMAINS = ("crowd", "podcast")
# Aggregated configurations and their domains.
AGGREGATED = {"crowd": ("crowd",), "podcast": ("podcast",), "all": DOMAINS}
RAW = "raw"
# The published experiments: the manifest of each one's test split.
MANIFESTS = {
    "crowd_small": "crowd_test",
    "crowd_medium": "crowd_test",
    "crowd_large": "crowd_test",
    "crowd_unconfident": "crowd_test",
    "podcast_large": "podcast_test",
    "dusha_large": "dusha_test",
}
CONFIGURATIONS = (*AGGREGATED, RAW, *MANIFESTS)
# Other corpora of emotional speech, by the name that commands take; see `corpus.other_corpora`.
OTHER_CORPORA = {
    "iemocap": "IEMOCAP",
    "ravdess": "RAVDESS",
    "ravdess_8": "RAVDESS with its eight emotions",
    "emodb": "EmoDB",
    "crema_d": "CREMA-D",
    "savee": "SAVEE",
    "tess": "TESS",
}
SPELLINGS = (
    "FOLDER_OR_HUB_NAME[:CONFIGURATION[:SPLIT]] (a prepared corpus or another data set), TABLE.csv "
    "or a folder with one folder per label, or one per split with these in it (own recordings), or "
    "CORPUS=FOLDER (CORPUS is one of "
    f"{', '.join(OTHER_CORPORA)})"
)
# What `corpus.exports` writes.
EXPORT_FORMATS = ("csv", "emobox", "lhotse")
DESCRIPTIONS = {
    "crowd": "short phrases acted by a crowd, with audio",
    "podcast": "pieces of podcasts, as they were said, published without audio",
    "all": "crowd and podcast together",
    RAW: "one row per answer of an annotator, nothing aggregated, no audio",
} | {
    name: f"clips and labels of the published experiment {name}, tested on {test}"
    for name, test in MANIFESTS.items()
}
# Columns of a clip that come from its first answer, and all that a row takes from its clip.
METADATA = ("golden_emotion", "text", "speaker_emotion", "source_id")
CLIP_COLUMNS = ("answers", "label_probabilities", "votes", *METADATA)
# Of clips, where it is asked for.
LIKELIHOODS = "log_likelihoods"
RAW_COLUMNS = ("id", "audio_path", "duration", "annotator_emotion", *METADATA, "annotator_id")
# What the columns hold, for the dataset card.
COLUMNS = {
    "id": "hash of the clip",
    "audio": "the recording as published, bytes and file name; null where none is published",
    "input_features": "log-Mel spectrogram, (frames, 64), dB below the clip's loudest point, "
    "100 frames per second",
    "duration": "seconds",
    "label": "the most probable emotion",
    "labels": "all emotions that are probable enough",
    "answers": "names of the answers, in the order of the next two columns",
    "label_probabilities": "probability of each answer being the true one: {labels}",
    LIKELIHOODS: "natural logarithm of how probable the clip's answers are if each of these were "
    "true, the largest being 0: {labels}",
    "votes": "number of annotators who gave each answer: {labels}",
    "text": "what was to be said (crowd)",
    "speaker_emotion": "what the speaker was asked to act (crowd)",
    "golden_emotion": "known answer of a control task, else null",
    "source_id": "speaker or podcast",
    "domain": "crowd or podcast",
    "audio_path": "file name in the archive",
    "annotator_emotion": "the answer",
    "annotator_id": "who answered",
}


def check_name(name: str) -> None:
    """Raise a WrongUseError unless there is a configuration of that name."""
    if name not in CONFIGURATIONS:
        raise WrongUseError(
            f"there is no configuration {name!r}: take one of {', '.join(CONFIGURATIONS)}"
        )


def check_spelling(spelling: str) -> None:
    """Refuse what names no data, without reading them or asking the Hub; see `corpus.named`.

    Raises:
        MissingInputError: if it can only be a file or folder, and there is none.
    """
    corpus, equals, folder = spelling.partition("=")
    if equals and corpus in OTHER_CORPORA:
        if not Path(folder).is_dir():
            raise MissingInputError(
                f"no folder {folder}; give the one that {OTHER_CORPORA[corpus]} was unpacked to"
            )
        return
    name = spelling if Path(spelling).exists() else spelling.partition(":")[0]
    if not Path(name).exists() and not is_hub_name(name):
        raise MissingInputError(f"no data set {spelling!r}; give {SPELLINGS}")
