"""Honest measurement: protocols, measures and what chance alone would give."""
