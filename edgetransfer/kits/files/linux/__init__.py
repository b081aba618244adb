"""The kit for Linux."""
