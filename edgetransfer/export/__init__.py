"""Writes artefacts: one file a format."""
