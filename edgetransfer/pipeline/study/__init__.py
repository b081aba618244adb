"""Stages that look at data and fit, and decide nothing."""
