"""Models that somebody else fitted: `--fit none`."""
