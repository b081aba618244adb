"""Stores the numbers of a graph in fewer bits: calibration, Q/DQ, 16-bit floats."""
