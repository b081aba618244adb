"""Teaches a small network what a large one says: losses, objective, what the teacher said."""
