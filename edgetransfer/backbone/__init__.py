"""Pretrained networks: where they come from, what is known of them, how they are opened."""
