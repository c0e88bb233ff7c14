"""A corpus of your own: clips, annotation tasks, and the answers to them."""
