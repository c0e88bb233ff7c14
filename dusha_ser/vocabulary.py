"""Names and defaults that all stages share; importing this imports nothing else."""

EMOTIONS = ("angry", "sad", "neutral", "positive")
ANSWERS = (*EMOTIONS, "other")
PARTS = ("crowd_train", "crowd_test", "podcast_train", "podcast_test")
# The label of recordings without a usable voice; not a class of the published training sets.
OTHER = "other"
# What stands in rows for a missing value; none of it may be a label.
MISSING_TEXTS = ("", "nan", "NaN")
# Stop at a row that cannot be read, or leave it out and list it.
BAD_ROWS = ("error", "skip")
# How answers become labels (`labels.aggregation`); from the fourth on, crowd-kit's.
METHODS = (
    "dawid_skene",
    "regularised_dawid_skene",
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
