"""The stages that fit a classifier."""
