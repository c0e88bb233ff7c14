"""Several runs together: on given rows, and in folds."""
