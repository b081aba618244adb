"""Stages that look at labels, examples and the transfer itself."""
