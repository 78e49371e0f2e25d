"""Measurements, each one command; results go to `benchmarks/results/` as JSON."""
