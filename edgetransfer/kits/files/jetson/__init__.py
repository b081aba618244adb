"""The kit for NVIDIA Jetson."""
