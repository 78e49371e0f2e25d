"""Exports torch checkpoints as model bundles, and trains checkpoints on image-report pairs. The only home of torch."""

import retrieval  # noqa: F401  first, because it switches off the telemetry of other libraries
