"""The agent on a device that answers to ssh."""
