"""The Dusha corpus of Russian emotional speech and its model, from raw answers to predictions."""

__version__ = "0.2.0"
