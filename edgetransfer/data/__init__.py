"""Labelled examples as plain values: found, read, checked and given a role; no torch here."""
