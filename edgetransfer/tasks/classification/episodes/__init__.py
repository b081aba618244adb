"""Learning from few labels an episode, and pretraining for it."""
