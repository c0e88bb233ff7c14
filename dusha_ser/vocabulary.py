"""Names that all stages share: emotions, answers of annotators, parts of the corpus."""

EMOTIONS = ("angry", "sad", "neutral", "positive")
ANSWERS = (*EMOTIONS, "other")
PARTS = ("crowd_train", "crowd_test", "podcast_train", "podcast_test")
# The label of recordings without a usable voice; no class of the published training sets.
OTHER = "other"
# What to do at a row of answers that cannot be read: stop, or skip and list it.
BAD_ROWS = ("error", "skip")
