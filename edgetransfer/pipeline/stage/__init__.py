"""Stages as values, the store that keeps them, and what a run shares."""
