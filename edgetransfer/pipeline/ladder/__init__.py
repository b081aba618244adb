"""The compression ladder: rungs, trials, and the order in which they are tried."""
