"""The agent on an emulated processor."""
