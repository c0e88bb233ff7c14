"""The corpus: clips, splits, columns, the dataset folder, and other sources of rows."""
