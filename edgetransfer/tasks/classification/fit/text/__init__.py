"""Fitting of text classifiers."""
