"""From an archive on disk to points in the index: sources and the worker."""

import retrieval  # noqa: F401  first: it switches the telemetry of other libraries off
