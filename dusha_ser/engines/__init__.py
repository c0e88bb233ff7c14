"""Engines that spread work over machines."""
