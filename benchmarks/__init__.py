"""Measurements, each one command; results go to `benchmarks/results/` as JSON."""

import retrieval  # noqa: F401  first: it switches the telemetry of other libraries off
