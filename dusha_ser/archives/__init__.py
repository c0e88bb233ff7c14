"""The archives of the corpus: found, fetched, indexed, read in place."""
