"""Measuring a bundle and judging it: times, proofs, agreement, verdict."""
