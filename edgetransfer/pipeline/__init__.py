"""The order of the stages, their fingerprints and resume: the only place that composes."""
