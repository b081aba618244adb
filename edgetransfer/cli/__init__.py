"""The command line: parses, calls, renders."""

DEBUG = "EDGETRANSFER_DEBUG"
"""In the environment: whether the run was asked with `--debug`."""
