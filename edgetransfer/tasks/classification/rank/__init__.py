"""Ranking of backbones."""
