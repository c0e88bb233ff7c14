"""Names and defaults that all stages share, apart from what is heavy to import."""

from collections.abc import Iterable, Sequence

from dusha_ser.errors import WrongUseError

EMOTIONS = ("angry", "sad", "neutral", "positive")
ANSWERS = (*EMOTIONS, "other")
PARTS = ("crowd_train", "crowd_test", "podcast_train", "podcast_test")
# Of texts that people read.
LANGUAGES = ("ru", "en")
# Labels of Dusha and of other corpora, in Russian.
RUSSIAN_NAMES = {
    "angry": "злость",
    "sad": "грусть",
    "neutral": "нейтрально",
    "positive": "позитив",
    "happy": "радость",
    "calm": "спокойствие",
    "fear": "страх",
    "disgust": "отвращение",
    "surprise": "удивление",
    "other": "другое",
}
# The label of recordings without a usable voice; not a class of the published training sets.
OTHER = "other"
# The prediction where no label is probable enough; probabilities stand beside it as they are.
UNCERTAIN = "uncertain"
# Around the sixth digit, a probability depends on what else was in its batch.
PROBABILITY_DIGITS = 6
# What stands in rows for a missing value; none of it may be a label.
MISSING_TEXTS = ("", "nan", "NaN")
# Stop at a row that cannot be read, or leave it out and list it.
BAD_ROWS = ("error", "skip")
REGULARISED = "regularised_dawid_skene"
# How answers become labels (`labels.aggregation`); from the fourth on, crowd-kit's.
METHODS = (
    "dawid_skene",
    REGULARISED,
    "majority_vote",
    "one_coin_dawid_skene",
    "mace",
    "glad",
    "wawa",
    "zero_based_skill",
)
# The published labels of Dusha: the probability from which a clip's label is kept, and the most
# iterations of Dawid-Skene.
THRESHOLD = 0.9
ITERATIONS = 100
# Crowd-kit stops where its loss rises by less than this, also when told to take 100 iterations.
TOLERANCE = 1e-5


def choose_label(
    labels: Sequence[str], probabilities: Sequence[float], least_confidence: float = 0.0
) -> str:
    """Return the most probable label, or UNCERTAIN.

    Args:
        labels: their names.
        probabilities: of each, in [0, 1].
        least_confidence: the label's probability, of six digits, below which it is uncertain.

    Examples:
        >>> choose_label(["sad", "angry"], [0.4, 0.6])
        'angry'
        >>> choose_label(["sad", "angry"], [0.4, 0.6], least_confidence=0.7)
        'uncertain'
    """
    best = max(range(len(labels)), key=lambda number: probabilities[number])
    confidence = round(probabilities[best], PROBABILITY_DIGITS)
    return UNCERTAIN if confidence < least_confidence else labels[best]


def check_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the names of labels, the answers that annotators could give, as a tuple.

    Raises:
        WrongUseError: there are fewer than two, one is given twice, or one means a missing value.

    Examples:
        >>> check_labels(["yes", "no"])
        ('yes', 'no')
    """
    labels = tuple(labels)
    refused = [label for label in labels if label in MISSING_TEXTS or labels.count(label) > 1]
    if refused or len(labels) < 2:
        raise WrongUseError(
            f"`labels` are {', '.join(map(repr, labels)) or 'not given'}; give at least two, each "
            f"once, none of them empty or nan: `labels={','.join(ANSWERS)}`"
        )
    return labels


def check_threshold(name: str, threshold: float) -> None:
    """Raise a WrongUseError, which calls it by its name, where it keeps everything or nothing."""
    if not 0 < threshold <= 1:
        raise WrongUseError(f"`{name}` is {threshold}: take a number above 0 and up to 1")


def check_stop(iterations: int, tolerance: float) -> None:
    """Raise a WrongUseError unless an aggregator can stop by these."""
    for name, value in {"iterations": iterations, "tolerance": tolerance}.items():
        if not value >= 0:
            raise WrongUseError(f"`{name}` is {value}: take a number of at least 0")
