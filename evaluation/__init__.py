"""Evaluation of models: protocol, tasks, measures, chance, intervals, comparison and report."""

import retrieval  # noqa: F401  must be first: it disables the telemetry of other libraries
