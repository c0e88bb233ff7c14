"""Spans of recordings and their emotions: merged, drawn, and exchanged with other tools."""
