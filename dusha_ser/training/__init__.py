"""Training on the HF Trainer."""
