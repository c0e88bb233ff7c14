"""The configurations of the corpus: their names, what they hold, their columns."""

from dusha_ser.errors import WrongUseError

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
# What `corpus.exports` writes.
EXPORT_FORMATS = ("csv", "emobox", "lhotse")
DESCRIPTIONS = {
    "crowd": "short phrases acted by a crowd, with audio",
    "podcast": "pieces of podcasts, as they were said, published without audio",
    "all": "crowd and podcast together",
    RAW: "one row an answer of an annotator, nothing aggregated, no audio",
} | {
    name: f"clips and labels of the published experiment {name}, tested on {test}"
    for name, test in MANIFESTS.items()
}
# Columns of a row before its audio and features are read; these come from its clip.
CLIP_COLUMNS = (
    "label_probabilities",
    "votes",
    "text",
    "speaker_emotion",
    "golden_emotion",
    "source_id",
)
RAW_COLUMNS = (
    "id",
    "audio_path",
    "duration",
    "annotator_emotion",
    "golden_emotion",
    "text",
    "speaker_emotion",
    "source_id",
    "annotator_id",
)


def check_name(name: str) -> None:
    """Raise a WrongUseError unless there is a configuration of that name."""
    if name not in CONFIGURATIONS:
        raise WrongUseError(
            f"there is no configuration {name!r}: take one of {', '.join(CONFIGURATIONS)}"
        )
