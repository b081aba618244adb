"""Judges a candidate against its float reference from raw outputs and raw times, without torch."""
