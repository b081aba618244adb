"""Classification: one of a few classes for every example."""
