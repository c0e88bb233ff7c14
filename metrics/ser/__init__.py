"""The metric as `evaluate` loads it from this folder; the package lets installed code import it."""
