"""Linear heads on features: probe, prototypes, one more class."""
