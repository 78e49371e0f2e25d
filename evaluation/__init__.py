"""Honest measurement: protocols, measures and what chance alone would give."""

import retrieval  # noqa: F401  first: it switches the telemetry of other libraries off
