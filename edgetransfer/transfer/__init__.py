"""Fits a backbone to examples: features, probe, fine-tuning."""
