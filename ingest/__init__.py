"""From an archive to points in an index: the worker, its ledger, copies of collections, and the doctor."""

import retrieval  # noqa: F401  first: it switches the telemetry of other libraries off
