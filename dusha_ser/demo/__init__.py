"""The page that predicts emotions in the browser."""
