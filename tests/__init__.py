import retrieval  # noqa: F401  first: it switches the telemetry of other libraries off
