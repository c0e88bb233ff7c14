"""Audio: which files, their samples, and where somebody speaks."""
