"""Predictions, metrics and results."""
