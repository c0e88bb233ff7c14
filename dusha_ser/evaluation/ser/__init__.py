"""The metric, an `evaluate` module."""
