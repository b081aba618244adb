"""What only text encoders are fitted by: contrastive fine-tuning, and self-training."""
