"""Fit, quantise, export and measure small models for edge devices."""
