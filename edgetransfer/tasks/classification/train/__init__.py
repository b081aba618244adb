"""Training of layers, and what chooses between trained networks."""
