"""Kits: what an app developer drops into a project, made of a bundle, with cases that prove it."""
